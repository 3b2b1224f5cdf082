//! `weir compact` beside everything else: a running job, its own death at any moment, the closing of days, explanations, and
//! questions.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "../reconcile/bench.rs"]
#[allow(dead_code, reason = "of another test")]
mod bench;
mod days;
mod killed;
mod points;
#[path = "../serve/process.rs"]
mod process;
mod served;
#[path = "../support/mod.rs"]
mod support;
