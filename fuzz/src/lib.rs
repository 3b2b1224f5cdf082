//! Fuzz targets for everything that reads bytes which others wrote, or which a disk may have changed.
//!
//! ```text
//!   scripts/fuzz ──▶ libFuzzer ── bytes, changed where that led to new code ──▶ targets::NAME::check ──▶ panic: a finding
//!                        ▲                                                            │
//!                        └───────────────── which code was run ───────────────────────┘
//!                    targets::NAME::seeds: where it starts from
//! ```
//!
//! A target is a file in [`targets`]: `check` takes any bytes and panics where a promise is broken, `seeds` gives some that
//! are understood. That nothing panics, takes more memory than [`allocations`] allows or runs for ever is checked
//! everywhere; each target says what it checks beside that.
//!
//! What a crate shows is used as it is. Readers that a crate keeps to itself are taken over as source files, by their paths:
//! so no crate has to open a door for the fuzzer, and librdkafka and the clients of object stores need not be built.

#![cfg(all(feature = "targets", not(test)))]
#![allow(
    clippy::duplicate_mod,
    reason = "a target takes over for itself what a module, taken over as well, keeps to itself"
)]

mod allocations;
mod inputs;
pub mod seeds;
pub mod targets;

#[allow(dead_code, unused_imports, reason = "taken over whole")]
#[path = "../../connectors/src/delta/mod.rs"]
mod delta;
#[allow(dead_code, unused_imports, reason = "taken over whole")]
#[path = "../../connectors/src/log.rs"]
mod log;
#[allow(dead_code, unused_imports, reason = "taken over whole")]
#[path = "../../connectors/src/memory/store.rs"]
mod memory;
#[allow(dead_code, unused_imports, reason = "taken over whole")]
#[path = "../../connectors/src/ndjson/mod.rs"]
mod ndjson;
mod objects;
#[path = "../../connectors/src/staging.rs"]
mod staging;

#[doc(hidden)]
pub use libfuzzer_sys;

/// Makes the binary of a target.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        $crate::libfuzzer_sys::fuzz_target!(
            init: $crate::seeds::write(&$crate::targets::$name::seeds),
            |data: &[u8]| $crate::targets::$name::check(data)
        );
    };
}
