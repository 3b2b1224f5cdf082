//! How much of a log is on its way.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::log::{Group, LogError, LogLoad};

/// What all lanes hold together.
pub(super) struct Books {
    place: String,
    capacity_bytes: u64,
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Books {
    pub(super) fn new(place: String, capacity_bytes: u64) -> Self {
        Self { place, capacity_bytes, records: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Where the log is.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Counts a group in, if there is room for it. One that is too large for the log is let in alone.
    pub(super) fn admit(&self, group: &Group) -> Result<(), LogError> {
        let bytes = group.bytes() as u64;
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before + bytes > self.capacity_bytes {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(LogError::Full { place: self.place.clone() });
        }
        self.records.fetch_add(group.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Counts out what is settled, or about to be.
    pub(super) fn release(&self, records: u64, bytes: u64) {
        self.records.fetch_sub(records, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn load(&self) -> LogLoad {
        LogLoad {
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            capacity_bytes: self.capacity_bytes,
        }
    }

    pub(super) fn unavailable(&self, reason: impl ToString) -> LogError {
        LogError::Unavailable { place: self.place.clone(), reason: reason.to_string() }
    }

    pub(super) fn refused(&self, reason: impl ToString) -> LogError {
        LogError::Refused { place: self.place.clone(), reason: reason.to_string() }
    }
}
