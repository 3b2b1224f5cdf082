//! When clicks are refused because they could not be kept, or because nobody keeps up with them.
//!
//! ```text
//!   the log's buffer, the disk's free space, the job's lag ──▶ Signal: above its limit? below its resume point?
//!   what became of groups ──▶ Breaker                                   │
//!                               └──────────────▶ Overload ◀─────────────┘
//!                                                  │ check(), one load for each request
//!                                                  ▼
//!                                      503 with Retry-After, or go on
//! ```
//!
//! A signal that is raised stays so until its value is well below the limit again, so that the answer does not flutter.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::breaker::Breaker;

/// Why clicks are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The log's buffer is nearly full.
    Buffer,
    /// The job is too far behind.
    Lag,
    /// The disk is nearly full.
    Disk,
    /// The log takes nothing.
    Log,
}

impl Cause {
    pub(super) const ALL: [Self; 4] = [Self::Buffer, Self::Lag, Self::Disk, Self::Log];

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Buffer => "buffer",
            Self::Lag => "lag",
            Self::Disk => "disk",
            Self::Log => "log",
        }
    }

    /// In words, for the client.
    pub(super) const fn detail(self) -> &'static str {
        match self {
            Self::Buffer => "the log is slower than the clicks come; send them again",
            Self::Lag => "the job that counts the clicks is too far behind; send them again later",
            Self::Disk => "the log's disk is nearly full; send them again later",
            Self::Log => "the log cannot be written to at this moment; send them again",
        }
    }

    /// When it may be better.
    pub(super) const fn retry_after_seconds(self) -> u64 {
        match self {
            Self::Buffer => 1,
            Self::Log => 2,
            Self::Lag => 10,
            Self::Disk => 30,
        }
    }
}

/// Whether clicks are taken.
#[derive(Debug, Default)]
pub(super) struct Overload {
    raised: AtomicU8,
    pub(super) breaker: Breaker,
}

impl Overload {
    /// Why a request is refused, if it is. With a breaker that is half open none is: which group may try is found out when
    /// there is one to append.
    pub(super) fn check(&self) -> Option<Cause> {
        let raised = self.raised.load(Ordering::Relaxed);
        if raised != 0 {
            return Cause::ALL.into_iter().find(|cause| raised & cause.bit() != 0);
        }
        if self.breaker.refuses() { Some(Cause::Log) } else { None }
    }

    /// Whether clicks are refused for this cause.
    pub(super) fn is_raised(&self, cause: Cause) -> bool {
        self.raised.load(Ordering::Relaxed) & cause.bit() != 0 || (cause == Cause::Log && self.breaker.refuses())
    }

    pub(super) fn set(&self, cause: Cause, raised: bool) {
        let before = if raised {
            self.raised.fetch_or(cause.bit(), Ordering::Relaxed)
        } else {
            self.raised.fetch_and(!cause.bit(), Ordering::Relaxed)
        };
        match (before & cause.bit() != 0, raised) {
            (false, true) => tracing::warn!(cause = cause.as_str(), "clicks are refused: {}", cause.detail()),
            (true, false) => tracing::info!(cause = cause.as_str(), "clicks are taken again"),
            _ => {}
        }
    }
}

/// A value with a limit and a resume point below it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signal {
    limit: u64,
    resume: u64,
    raised: bool,
}

impl Signal {
    /// Raised above `limit`, and until it is below `resume`.
    pub(super) const fn new(limit: u64, resume: u64) -> Self {
        Self { limit, resume, raised: false }
    }

    /// Whether it is raised with this value.
    pub(super) const fn update(&mut self, value: u64) -> bool {
        self.raised = if self.raised { value >= self.resume } else { value > self.limit };
        self.raised
    }
}

/// How often the signals are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_does_not_flutter() {
        let mut signal = Signal::new(100, 75);
        let seen = [50, 100, 101, 100, 76, 75, 74, 100, 101].map(|value| signal.update(value));
        assert_eq!(seen, [false, false, true, true, true, true, false, false, true]);
    }

    #[test]
    fn the_first_cause_is_named_until_it_is_over() {
        let overload = Overload::default();
        assert_eq!(overload.check(), None);
        overload.set(Cause::Disk, true);
        overload.set(Cause::Buffer, true);
        assert_eq!(overload.check(), Some(Cause::Buffer));
        overload.set(Cause::Buffer, false);
        assert_eq!(overload.check(), Some(Cause::Disk));
        assert!(overload.is_raised(Cause::Disk) && !overload.is_raised(Cause::Buffer));
    }
}
