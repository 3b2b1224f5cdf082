//! Who writes.

use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// A token that no other process has: process id, time to the nanosecond, and the standard library's per-process random keys.
#[must_use]
pub fn owner_token() -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let random = RandomState::new().hash_one((std::process::id(), nanos));
    format!("{}-{random:016x}", std::process::id())
}
