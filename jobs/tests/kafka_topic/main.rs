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
#[path = "../../../connectors/tests/kafka/patience.rs"]
mod patience;
#[path = "../support/mod.rs"]
mod support;
#[path = "../../../connectors/tests/kafka/to_the_end.rs"]
mod to_the_end;

use patience::{PATIENCE, await_until};
