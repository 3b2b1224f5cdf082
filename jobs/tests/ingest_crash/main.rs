//! No click that `weir ingest` answered as accepted is ever lost, whatever fails: real processes, a real Kafka, a real
//! disk.
//!
//! ```text
//!   clients ──HTTP, again until it is answered──▶ weir ingest ×2 ──Network──▶ broker      folder of the embedded log
//!      │                                           SIGKILL, SIGTERM  cut, stall,  SIGKILL           SIGKILL, SIGTERM
//!      ▼                                                             lost answers
//!   Book: every click that was answered accepted or duplicate ◀── equal? ──▶ the log, read back
//!                                                             ◀── equal? ──▶ `weir run`, `weir verify`
//! ```
//!
//! - A schedule is a seed: it decides what fails when, and what clients send. `WEIR_TEST_SCHEDULE=kafka-17` (or
//!   `embedded-3`) runs one alone; `WEIR_TEST_SCHEDULES=130` runs that many, of which 100 are on Kafka.
//! - In the end everything is healed and every client has had its last click accepted. So the log must hold exactly the
//!   clicks of the book: one that is missing was lost, one more was made up. A click may be there several times: a client
//!   that got no answer sends it again. The job must count each of them once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod book;
mod broker_down;
mod client;
mod connection;
mod count;
mod drain;
mod embedded;
mod full_disk;
mod incidents;
mod kafka;
mod load;
mod posts;
mod process;
mod read_back;
mod schedules;
mod zone;

#[path = "../../../connectors/tests/kafka/cluster.rs"]
mod cluster;
#[path = "../../../connectors/tests/kafka/own.rs"]
mod own;
#[path = "../../../connectors/tests/kafka/patience.rs"]
mod patience;
#[path = "../../../connectors/tests/kafka/to_the_end.rs"]
mod to_the_end;

use patience::{PATIENCE, await_until};

fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}
