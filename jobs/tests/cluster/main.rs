//! Jobs over several processes: exact, whichever of them is killed, hangs, is cut off or comes back; and two attempts of
//! one job that race.
//!
//! ```text
//!   weir generate ──▶ log ──▶ weir run --process 0 ◀─▶ --process 1 ◀─▶ --process 2 ──▶ tables
//!        └── oracle ◀───────────────────── equal? ───────────────── weir verify ◀────────┘
//! ```

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod hosts;
mod killed;
mod local;
mod namespaces;
mod racing;
mod silent;
mod start;
#[path = "../support/mod.rs"]
mod support;
