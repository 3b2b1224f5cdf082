//! What one question may use.

use std::sync::atomic::{AtomicU64, Ordering};

use super::error::ReadError;

/// What a question has used, of what it may.
pub(super) struct Budget {
    limit_bytes: u64,
    used_bytes: AtomicU64,
}

impl Budget {
    pub(super) fn limited(limit_bytes: u64) -> Self {
        Self { limit_bytes, used_bytes: AtomicU64::new(0) }
    }

    pub(super) fn unlimited() -> Self {
        Self::limited(u64::MAX)
    }

    pub(super) fn take(&self, bytes: u64) -> Result<(), ReadError> {
        let used = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        if used.saturating_add(bytes) > self.limit_bytes {
            return Err(ReadError::TooMuch { limit_bytes: self.limit_bytes });
        }
        Ok(())
    }
}
