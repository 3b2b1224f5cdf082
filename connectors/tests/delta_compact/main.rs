//! What compaction must keep: the rows of a table, whatever the job, other compactors, faults of the store and kills do in
//! between; and the form of the files.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "of another test")]
#[path = "../sink_contract/delta_reader.rs"]
mod delta_reader;
mod files;
mod interleaved;
mod lost_answer;
mod removed;
#[allow(dead_code, reason = "of another test")]
#[path = "../sink_contract/rows.rs"]
mod rows;
mod stores;
mod world;
