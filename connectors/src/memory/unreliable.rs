//! A store that fails now and then, before or after it did what it was asked.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_checkpoints::{Created, ObjectInfo, Store, StoreError};

/// Any store, with faults from a seed.
#[derive(Debug)]
pub struct Unreliable<S> {
    inner: S,
    faults: Faults,
    seed: u64,
    /// Counts calls; the n-th call's fate is a function of the seed and n.
    calls: AtomicU64,
    injected: AtomicU64,
}

/// How often calls fail, each as a share of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Nothing was done, and the answer is [`StoreError::Failed`]. For every call.
    pub before_per_mille: u64,
    /// It was done, and the answer is [`StoreError::Unknown`]. For writes.
    pub after_per_mille: u64,
    /// It was done, the answer was lost below and it was asked again: [`Created::Exists`] for a write of one's own.
    /// For `put_if_absent`.
    pub repeated_per_mille: u64,
}

/// What becomes of one call.
enum Fate {
    Works,
    FailsBefore,
    FailsAfter,
    Repeats,
}

impl<S: Store> Unreliable<S> {
    /// Wraps a store.
    pub fn new(inner: S, seed: u64, faults: Faults) -> Self {
        Self { inner, faults, seed, calls: AtomicU64::new(0), injected: AtomicU64::new(0) }
    }

    /// The store beneath, which does not fail.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// How many faults there were so far.
    pub fn injected(&self) -> u64 {
        self.injected.load(Ordering::Relaxed)
    }

    fn fate(&self) -> Fate {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut dice = mix(self.seed ^ mix(call)) % 1000;
        let kinds = [
            (self.faults.before_per_mille, Fate::FailsBefore),
            (self.faults.after_per_mille, Fate::FailsAfter),
            (self.faults.repeated_per_mille, Fate::Repeats),
        ];
        for (share, fate) in kinds {
            if dice < share {
                return fate;
            }
            dice -= share;
        }
        Fate::Works
    }

    fn read<T>(&self, name: &str, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        match self.fate() {
            Fate::FailsBefore => Err(self.failed("read", name)),
            Fate::Works | Fate::FailsAfter | Fate::Repeats => read(),
        }
    }

    fn write<T>(
        &self,
        action: &'static str,
        name: &str,
        write: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.fate() {
            Fate::FailsBefore => Err(self.failed(action, name)),
            Fate::FailsAfter => {
                write()?;
                Err(self.unknown(action, name))
            }
            Fate::Works | Fate::Repeats => write(),
        }
    }

    fn failed(&self, action: &'static str, name: &str) -> StoreError {
        self.injected.fetch_add(1, Ordering::Relaxed);
        StoreError::Failed { action, name: name.to_owned(), reason: "injected fault".to_owned() }
    }

    fn unknown(&self, action: &'static str, name: &str) -> StoreError {
        self.injected.fetch_add(1, Ordering::Relaxed);
        StoreError::Unknown { action, name: name.to_owned(), reason: "injected fault".to_owned() }
    }
}

/// The finisher of SplitMix64: spreads neighbouring numbers over all 64 bits.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl<S: Store> Store for Unreliable<S> {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.write("write", name, || self.inner.put(name, bytes))
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        match self.fate() {
            Fate::Works => self.inner.put_if_absent(name, bytes),
            Fate::FailsBefore => Err(self.failed("create", name)),
            Fate::FailsAfter => {
                self.inner.put_if_absent(name, bytes)?;
                Err(self.unknown("create", name))
            }
            Fate::Repeats => {
                self.injected.fetch_add(1, Ordering::Relaxed);
                self.inner.put_if_absent(name, bytes)?;
                Ok(Created::Exists)
            }
        }
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(name, || self.inner.get(name))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.read(name, || self.inner.get_range(name, range))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.read(prefix, || self.inner.list(prefix))
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.write("delete", name, || self.inner.delete(name))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    fn outcomes(seed: u64) -> Vec<String> {
        let faults = Faults { before_per_mille: 200, after_per_mille: 200, repeated_per_mille: 200 };
        let store = Unreliable::new(MemoryStore::new(), seed, faults);
        (0..200).map(|n| format!("{:?}", store.put_if_absent(&format!("{n}"), Vec::new()))).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        assert_eq!(outcomes(7), outcomes(7));
        assert_ne!(outcomes(7), outcomes(8));
    }

    #[test]
    fn a_write_is_done_exactly_when_its_fault_says_so() {
        let faults = Faults { before_per_mille: 300, after_per_mille: 300, repeated_per_mille: 0 };
        let store = Unreliable::new(MemoryStore::new(), 1, faults);
        for n in 0..200 {
            let name = format!("{n}");
            let answer = store.put(&name, Vec::new());
            let is_there = store.inner().get(&name).unwrap().is_some();
            assert_eq!(is_there, !matches!(answer, Err(StoreError::Failed { .. })), "call {n}: {answer:?}");
        }
        assert!(store.injected() > 50);
    }
}
