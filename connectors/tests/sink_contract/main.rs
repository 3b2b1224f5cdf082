//! What every sink must keep, whatever it writes to: rows of published manifests become visible exactly once, all others
//! never, through crashes, restarts with other numbers of workers, and faults of the store.
//!
//! A new sink is added by a file beside these that makes a [`contract::Subject`] and gives it to [`contract::check`].

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod clickhouse;
mod contract;
mod dead_letters;
mod delta;
mod delta_log;
mod delta_reader;
mod job;
mod rows;

#[path = "../clickhouse_engines/mod.rs"]
mod clickhouse_engines;
