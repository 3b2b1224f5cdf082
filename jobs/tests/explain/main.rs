//! `weir explain` after whole jobs: what it says of a number, compared with a plain loop over the log.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bench;
mod cases;
mod ledgers;
mod log;
mod truth;
