//! Questions about windows: right answers from every tier, while a job runs, after it was killed, and from its tables alone.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod day;
mod fuzz;
mod process;
mod protocol;
mod tiers;
mod truth;
mod warm;

#[path = "../../../connectors/tests/clickhouse_engines/mod.rs"]
mod clickhouse_engines;
