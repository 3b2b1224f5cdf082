//! ClickHouse as a sink and as a place to ask, on the oldest server that Weir works with and on the current engine: what is
//! there equals what a plain loop over the same clicks says, whatever happens on the way.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod faults;
mod job;
mod questions;
mod tables;

#[path = "../clickhouse_engines/mod.rs"]
mod clickhouse_engines;

use clickhouse_engines::Engine;

/// Runs a scenario on both.
fn on_both(scenario: impl Fn(Engine)) {
    for engine in [Engine::Oldest, Engine::Current] {
        eprintln!("on {engine:?}");
        scenario(engine);
    }
}
