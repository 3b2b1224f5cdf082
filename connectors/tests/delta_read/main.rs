//! What the reader of `clicks_agg` must answer: the same as a plain loop over all rows that were committed, from a local
//! folder and from S3, while the table is written, after other engines rewrote it, and never anything from damaged bytes
//! but an error.
//!
//! The S3 tests need a server and the tests with other engines a Python with `deltalake` and `duckdb`; `scripts/test`
//! has both.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod compacted;
mod contract;
mod damage;
mod engines;
mod foreign;
mod oracle;
mod pruning;
#[path = "../remote/mod.rs"]
mod remote;
mod table;
mod versions;
