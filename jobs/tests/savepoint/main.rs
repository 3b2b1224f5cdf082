//! Checkpoints that are kept under a name, and jobs that begin from them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod bench;
mod days;
mod fixture;
mod forks;
mod kept;
mod killed;
mod refused;
mod tables;
