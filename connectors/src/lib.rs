//! Where clicks come from and where results go: one folder for each outside system.
//!
//! ```text
//!   kafka ───┐                                                     ┌─▶ delta         (tables, over a store)
//!   ndjson ──┴─▶ weir_dataflow::Source ─▶ graph ─▶ Sink ───────────┼─▶ dead_letters  (files, over a store)
//!                                                                  └─▶ kafka         (dead letters, group offsets)
//!   objects: weir_checkpoints::Store on local disk, S3, Google Cloud, Azure;  memory: the same without a disk, and with faults
//! ```
//!
//! Each source passes the contract in `tests/source_contract`, each sink that in `tests/sink_contract`, each store
//! that in `tests/store_contract.rs`, each log that clicks are appended to that in `tests/log_contract`. The reader of
//! windows is compared with a plain loop in `tests/delta_read`.

pub mod dead_letters;
pub mod delta;
pub mod kafka;
pub mod log;
pub mod memory;
pub mod ndjson;
pub mod objects;
mod staging;
