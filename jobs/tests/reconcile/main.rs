//! Days that are closed: against a plain loop over the same log, at the edges of days, with faults, and killed at any moment.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod bench;
#[path = "../../../connectors/tests/clickhouse_engines/mod.rs"]
mod clickhouse_engines;
mod closing;
mod copied;
mod edges;
mod excluded;
mod faults;
mod indexed;
mod killed;
mod planted;
#[path = "../serve/process.rs"]
mod process;
mod proofs;
mod served;
mod together;
mod what_if;
