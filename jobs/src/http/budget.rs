//! How much memory all bodies together take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::body::BodyError;

/// How much memory all bodies together may take.
#[derive(Debug, Clone)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    limit_bytes: usize,
}

impl Budget {
    /// So many bytes.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self { used: Arc::default(), limit_bytes }
    }

    /// Nothing yet; it grows with what is read.
    #[must_use]
    pub fn reservation(&self) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }

    /// How much is in use.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Reservation {
    /// Takes more, if there is more.
    pub fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        // What was taken too much is given back with the rest.
        if before + bytes > self.budget.limit_bytes { Err(BodyError::NoMemory) } else { Ok(()) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_budget_comes_back() {
        let budget = Budget::new(100);
        let mut first = budget.reservation();
        first.grow(60).unwrap();
        let mut second = budget.reservation();
        assert!(second.grow(50).is_err());
        drop(second);
        first.grow(40).unwrap();
        drop(first);
        assert_eq!(budget.used_bytes(), 0);
    }
}
