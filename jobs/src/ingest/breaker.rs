//! A circuit breaker towards the log: while it takes nothing, clients are told at once instead of after a time-out.
//!
//! ```text
//!   closed ──FAILURES groups in a row fail──▶ open ──after a pause──▶ half open: one group may try
//!     ▲                                         ▲                        │
//!     └───────────── it is in the log ──────────┼────────────────────────┤
//!                                               └── it failed, pause doubles ──┘
//! ```
//!
//! - The permission to try goes to a group that is about to be appended, not to a request: one that turns out to hold
//!   nothing new would take it and not try.
//! - Half open counts as ready. A load balancer that sends nothing to who is not ready would keep it open for ever.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Groups that fail in a row until it opens.
const FAILURES: u32 = 16;
/// The first pause, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Closed at first.
#[derive(Debug)]
pub(super) struct Breaker {
    started: Instant,
    failures: AtomicU32,
    /// While open, when the next group may try, in milliseconds since the start.
    try_at_ms: AtomicU64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { started: Instant::now(), failures: AtomicU32::new(0), try_at_ms: AtomicU64::new(0) }
    }
}

impl Breaker {
    /// Whether a group may be appended. While it is half open, the first who asks may, and has to.
    pub(super) fn permits(&self) -> bool {
        !self.is_open() || self.permits_at(self.now_ms())
    }

    /// Whether no group may try at this moment. Asking changes nothing.
    pub(super) fn refuses(&self) -> bool {
        self.is_open() && self.now_ms() < self.try_at_ms.load(Ordering::Relaxed)
    }

    fn is_open(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= FAILURES
    }

    /// A group is in the log.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 && self.failures.swap(0, Ordering::Relaxed) >= FAILURES {
            tracing::info!("the log takes clicks again");
        }
    }

    /// A group did not get into the log.
    pub(super) fn failed(&self, reason: &str) {
        self.failed_at(self.now_ms(), reason);
    }

    fn permits_at(&self, now_ms: u64) -> bool {
        let try_at_ms = self.try_at_ms.load(Ordering::Relaxed);
        // Who moves the time on may try; the others wait for what becomes of it.
        now_ms >= try_at_ms
            && self
                .try_at_ms
                .compare_exchange(
                    try_at_ms,
                    now_ms + LONGEST_PAUSE.as_millis() as u64,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    fn failed_at(&self, now_ms: u64, reason: &str) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < FAILURES {
            return;
        }
        if failures == FAILURES {
            tracing::warn!(reason, "the log takes no clicks: they are refused until it does");
        }
        let doublings = (failures - FAILURES).min(8);
        let pause = (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE);
        self.try_at_ms.store(now_ms + pause.as_millis() as u64, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_one_success() {
        let breaker = Breaker::default();
        for _ in 1..FAILURES {
            breaker.failed_at(0, "down");
        }
        breaker.succeeded();
        for _ in 1..FAILURES {
            breaker.failed_at(0, "down");
        }
        assert!(!breaker.is_open(), "a success between them counts");
        breaker.failed_at(0, "down");
        assert!(breaker.is_open());
        assert!(!breaker.permits_at(249));
        assert!(breaker.permits_at(250));
        assert!(!breaker.permits_at(251), "one may try");
        breaker.failed_at(260, "down");
        assert!(!breaker.permits_at(260 + 499) && breaker.permits_at(260 + 500), "the pause doubles");
        breaker.succeeded();
        assert!(!breaker.is_open() && breaker.permits());
    }

    #[test]
    fn asking_whether_it_refuses_takes_no_permission() {
        let breaker = Breaker::default();
        assert!(!breaker.refuses());
        for _ in 0..FAILURES {
            breaker.failed("down");
        }
        assert!(breaker.refuses());
        std::thread::sleep(FIRST_PAUSE);
        assert!(!breaker.refuses() && !breaker.refuses(), "it is half open");
        assert!(breaker.permits() && !breaker.permits());
        assert!(breaker.refuses(), "somebody is trying");
    }
}
