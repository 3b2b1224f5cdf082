//! Jobs whose topic changes under them, on real brokers: it grows, loses its oldest records, is made again, holds every
//! record twice, and its brokers go away one after the other. Either the counts are right, or the job stops and says why.
//!
//! ```text
//!   weir generate ──▶ topic of the generator ──▶ Stream ──the test says when, where to, how often──▶ topic of the job
//!        └── oracle ◀────────────────────────────── equal? ─────────────────────────────── weir verify ◀── weir run
//! ```

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod brokers;
mod grown;
mod made_again;
mod stream;
mod truncated;
mod twice;

#[path = "../../../connectors/tests/kafka/cluster.rs"]
mod cluster;
#[path = "../../../connectors/tests/kafka/own.rs"]
#[allow(dead_code, reason = "of these tests none is behind a network that fails")]
mod own;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Calls `done` until it says so.
#[track_caller]
fn await_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
