//! When each request is due.
//!
//! ```text
//!   steady   ●    ●    ●    ●    ●    ●        request i at start + i × interval, whatever the server does
//!   wave     ●  ● ● ●●● ● ●  ●     ●      ●    the rate swings around its mean, as traffic does over a day
//!   closed   as soon as a connection has room
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::Notify;

/// Two ticks are at least that far apart: requests that become due in between go out together, late by as much.
const TICK: Duration = Duration::from_micros(200);
/// How often a slow pace looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(20);
/// How far the rate of a wave swings, as a share of it.
const SWING: f64 = 0.6;

/// The due times, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    kind: PaceKind,
    /// The request that comes next, and when, in seconds.
    index: u64,
    next: f64,
}

/// Requests in time.
#[derive(Debug, Clone, Copy)]
pub(super) enum PaceKind {
    /// As fast as answers come.
    Closed,
    /// One each so many seconds.
    Steady(f64),
    /// So many a second on average, and the seconds from one high tide to the next.
    Wave(f64, f64),
}

impl Pace {
    pub(super) const fn new(kind: PaceKind) -> Self {
        Self { kind, index: 0, next: 0.0 }
    }

    /// When the next request is due, counted from the start; none where there is no schedule.
    pub(super) fn due(&self) -> Option<Duration> {
        match self.kind {
            PaceKind::Closed => None,
            PaceKind::Steady(_) | PaceKind::Wave(..) => Some(Duration::from_secs_f64(self.next)),
        }
    }

    /// How many requests are due and have not been taken.
    pub(super) fn backlog(&self, elapsed: Duration) -> u64 {
        let ahead = elapsed.as_secs_f64() - self.next;
        let interval = match self.kind {
            PaceKind::Closed => return 0,
            PaceKind::Steady(interval) => interval,
            PaceKind::Wave(..) => self.interval(),
        };
        if ahead < 0.0 { 0 } else { (ahead / interval) as u64 + 1 }
    }

    /// Goes on to the request after the next.
    pub(super) fn advance(&mut self) {
        self.index += 1;
        self.next = match self.kind {
            PaceKind::Closed => 0.0,
            // Multiplied, so that no error adds up.
            PaceKind::Steady(interval) => self.index as f64 * interval,
            PaceKind::Wave(..) => self.next + self.interval(),
        };
    }

    /// Leaves out what was due before; only of a wave, whose requests are not numbered.
    pub(super) fn skip_to(&mut self, elapsed: Duration) {
        if matches!(self.kind, PaceKind::Wave(..)) {
            self.next = self.next.max(elapsed.as_secs_f64());
        }
    }

    fn interval(&self) -> f64 {
        match self.kind {
            PaceKind::Closed => 0.0,
            PaceKind::Steady(interval) => interval,
            PaceKind::Wave(rate, period) => {
                let tide = (self.next / period * std::f64::consts::TAU).sin();
                1.0 / (rate * (1.0 + SWING * tide))
            }
        }
    }
}

/// A thread that tells when requests become due: tokio's own timers know milliseconds only.
pub(super) struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts to tick.
    pub(super) fn start(kind: PaceKind, start: Instant, tick: Arc<Notify>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            while !stopped.load(Ordering::Relaxed) {
                if !sleep_until_due(kind, start) {
                    continue;
                }
                tick.notify_one();
            }
        };
        let thread =
            std::thread::Builder::new().name("weir-pace".to_owned()).spawn(run).context("cannot start a thread")?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has ended the process already.
            let _joined = thread.join();
        }
    }
}

/// Sleeps until a request is due; returns false when it has slept for long enough without one.
fn sleep_until_due(kind: PaceKind, start: Instant) -> bool {
    let wait = match kind {
        PaceKind::Steady(interval) => {
            let earliest = (start.elapsed() + TICK).as_secs_f64();
            let due = (earliest / interval).ceil() * interval;
            Duration::from_secs_f64(due).saturating_sub(start.elapsed())
        }
        PaceKind::Closed | PaceKind::Wave(..) => 10 * TICK,
    };
    std::thread::sleep(wait.min(LOOK));
    wait <= LOOK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_pace_does_not_drift() {
        let mut pace = Pace::new(PaceKind::Steady(1.0 / 3000.0));
        (0..9_000_000).for_each(|_| pace.advance());
        assert_eq!(pace.due(), Some(Duration::from_secs(3000)));
        assert_eq!(pace.backlog(Duration::from_secs(2999)), 0);
        assert_eq!(pace.backlog(Duration::from_secs(3001)), 3001);
    }

    #[test]
    fn a_wave_has_its_mean() {
        let mut pace = Pace::new(PaceKind::Wave(500.0, 60.0));
        let mut requests = 0u32;
        while pace.due().is_some_and(|due| due < Duration::from_secs(60)) {
            pace.advance();
            requests += 1;
        }
        assert!((29_900..30_100).contains(&requests), "{requests}");
    }
}
