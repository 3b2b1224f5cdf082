//! The clicks that were taken lately, so that one that comes again is not written again.
//!
//! ```text
//!   claim(key) ──▶ Fresh       nobody had it: write it, then settle(key)
//!             ├──▶ Taken       it is in the log
//!             └──▶ Twin        another request is writing it at this moment: wait for what becomes of that
//! ```
//!
//! - Exact: keys are compared in full. A filter that guesses could lose a click that somebody pays for.
//! - It only spares the log. What it forgets, the job's dedup still knows; so it may forget early, and its memory is
//!   bounded: a slot of its tables has 25 bytes, and there are at most 16 slots for 7 ids.
//! - Time is the wall clock's, in whole seconds since the set was made.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashTable;
use tokio::sync::oneshot;
use weir_dataflow::ClickKey;

const SHARDS: usize = 256;

/// A shard is swept so often in each window; ids stay at most a quarter longer in memory than they count.
const SWEEPS: u64 = 4;

/// What a click's key turned out to be.
#[derive(Debug)]
pub(super) enum Claim {
    /// New. The caller must settle it, whatever happens.
    Fresh,
    /// In the log already.
    Taken,
    /// Being written by somebody else. The answer is whether that went well.
    Twin(oneshot::Receiver<bool>),
}

/// Keys with the time when they were taken.
#[derive(Debug)]
pub(super) struct Recent {
    shards: Box<[Mutex<Shard>]>,
    started: Instant,
    window_seconds: u32,
    max_ids_a_shard: usize,
    forgotten_early: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    ids: HashTable<Slot>,
    /// Who waits for a click that another one writes.
    waiting: HashMap<u128, Vec<oneshot::Sender<bool>>>,
    swept_at: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// In two halves, which need no more than eight bytes of alignment.
    key: [u64; 2],
    /// When it was taken, counted from 1; 0 while it is being written.
    taken_at: u32,
}

impl Recent {
    pub(super) fn new(window: Duration, max_ids: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            started: Instant::now(),
            window_seconds: window.as_secs().max(1) as u32,
            max_ids_a_shard: (max_ids / SHARDS).max(1),
            forgotten_early: AtomicU64::new(0),
        }
    }

    /// The time, for as many calls as are made at once.
    pub(super) fn now(&self) -> u32 {
        self.started.elapsed().as_secs() as u32 + 1
    }

    /// Asks for a click.
    pub(super) fn claim(&self, key: ClickKey, now: u32) -> Claim {
        let mut shard = self.shard(key);
        let parts = halves(key);
        match shard.ids.find_mut(hash(key), |slot| slot.key == parts) {
            Some(slot) if slot.taken_at == 0 => {
                let (sender, receiver) = oneshot::channel();
                shard.waiting.entry(key.0).or_default().push(sender);
                return Claim::Twin(receiver);
            }
            Some(slot) if age(slot.taken_at, now) <= self.window_seconds => return Claim::Taken,
            Some(slot) => {
                slot.taken_at = 0;
                return Claim::Fresh;
            }
            None => {}
        }
        self.make_room(&mut shard, now);
        shard.ids.insert_unique(hash(key), Slot { key: parts, taken_at: 0 }, rehash);
        Claim::Fresh
    }

    /// Says what became of a click that was claimed.
    pub(super) fn settle(&self, key: ClickKey, taken: bool, now: u32) {
        let mut shard = self.shard(key);
        let parts = halves(key);
        if taken {
            if let Some(slot) = shard.ids.find_mut(hash(key), |slot| slot.key == parts) {
                slot.taken_at = now;
            }
        } else if let Ok(entry) = shard.ids.find_entry(hash(key), |slot| slot.key == parts) {
            entry.remove();
        }
        if shard.waiting.is_empty() {
            return;
        }
        for twin in shard.waiting.remove(&key.0).unwrap_or_default() {
            // A twin whose client has gone waits no more.
            let _ = twin.send(taken);
        }
    }

    /// How many ids are remembered.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).ids.len()).sum()
    }

    /// How many were forgotten before their time, since the process started.
    pub(super) fn forgotten_early(&self) -> u64 {
        self.forgotten_early.load(Ordering::Relaxed)
    }

    fn make_room(&self, shard: &mut Shard, now: u32) {
        let sweep_seconds = (u64::from(self.window_seconds) / SWEEPS).max(1) as u32;
        if age(shard.swept_at, now) >= sweep_seconds {
            shard.swept_at = now;
            shard.ids.retain(|slot| slot.taken_at == 0 || age(slot.taken_at, now) <= self.window_seconds);
        }
        if shard.ids.len() < self.max_ids_a_shard {
            return;
        }
        // The older half of the time goes: that takes one pass, and is not needed again soon.
        let before = shard.ids.len();
        let taken = shard.ids.iter().map(|slot| slot.taken_at).filter(|taken_at| *taken_at > 0);
        let Some(oldest) = taken.min() else { return };
        let cut = oldest + age(oldest, now) / 2;
        shard.ids.retain(|slot| slot.taken_at == 0 || slot.taken_at > cut);
        self.forgotten_early.fetch_add((before - shard.ids.len()) as u64, Ordering::Relaxed);
    }

    fn shard(&self, key: ClickKey) -> MutexGuard<'_, Shard> {
        // The high half chooses the shard, the low half the slot.
        let index = (key.0 >> 64) as usize % SHARDS;
        lock(self.shards.get(index).unwrap_or_else(|| unreachable!("there are {SHARDS} shards")))
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Callers look at the clock once for many clicks, so another one may have taken a click at a later `now` than this one's.
const fn age(since: u32, now: u32) -> u32 {
    now.saturating_sub(since)
}

const fn halves(key: ClickKey) -> [u64; 2] {
    [key.0 as u64, (key.0 >> 64) as u64]
}

/// Keys are hashes themselves.
const fn hash(key: ClickKey) -> u64 {
    key.0 as u64
}

const fn rehash(slot: &Slot) -> u64 {
    slot.key[0]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn key(number: u128) -> ClickKey {
        ClickKey::of(&number.to_string())
    }

    #[test]
    fn a_click_is_fresh_once_within_the_window() {
        let recent = Recent::new(Duration::from_secs(60), 1 << 20);
        assert!(matches!(recent.claim(key(1), 10), Claim::Fresh));
        recent.settle(key(1), true, 10);
        assert!(matches!(recent.claim(key(1), 70), Claim::Taken));
        assert!(matches!(recent.claim(key(2), 70), Claim::Fresh));
        assert!(matches!(recent.claim(key(1), 71), Claim::Fresh), "the window is over");
        assert!(matches!(recent.claim(key(1), 71), Claim::Twin(_)));
    }

    #[test]
    fn a_clock_that_was_looked_at_earlier_finds_what_was_taken_since() {
        let recent = Recent::new(Duration::from_secs(60), 1 << 20);
        assert!(matches!(recent.claim(key(1), 100), Claim::Fresh));
        recent.settle(key(1), true, 100);
        assert!(matches!(recent.claim(key(1), 99), Claim::Taken));
        // Nor is it swept with a shard that was last swept later.
        for number in 2..10_000 {
            recent.claim(key(number), 99);
        }
        assert!(matches!(recent.claim(key(1), 99), Claim::Taken));
    }

    #[test]
    fn one_that_failed_is_fresh_again() {
        let recent = Recent::new(Duration::from_secs(60), 1 << 20);
        assert!(matches!(recent.claim(key(1), 1), Claim::Fresh));
        recent.settle(key(1), false, 1);
        assert!(matches!(recent.claim(key(1), 1), Claim::Fresh));
    }

    #[test]
    fn twins_hear_what_became_of_the_first() {
        for taken in [true, false] {
            let recent = Recent::new(Duration::from_secs(60), 1 << 20);
            assert!(matches!(recent.claim(key(1), 1), Claim::Fresh));
            let Claim::Twin(mut first) = recent.claim(key(1), 1) else { panic!("no twin") };
            let Claim::Twin(mut second) = recent.claim(key(1), 1) else { panic!("no twin") };
            assert!(first.try_recv().is_err());
            recent.settle(key(1), taken, 1);
            assert_eq!((first.try_recv(), second.try_recv()), (Ok(taken), Ok(taken)));
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_being_written_stays() {
        let max_ids = SHARDS * 64;
        let recent = Recent::new(Duration::from_secs(600), max_ids);
        assert!(matches!(recent.claim(key(0), 1), Claim::Fresh));
        let mut clock = 1;
        for number in 1..200_000 {
            clock = 1 + (number / 1000) as u32;
            if matches!(recent.claim(key(number), clock), Claim::Fresh) {
                recent.settle(key(number), true, clock);
            }
            assert!(number % 1000 != 0 || recent.len() <= max_ids + SHARDS, "{}", recent.len());
        }
        assert!(recent.forgotten_early() > 0);
        assert!(matches!(recent.claim(key(0), clock), Claim::Twin(_)));
        assert!(matches!(recent.claim(key(199_999), clock), Claim::Taken));
    }

    #[test]
    fn what_is_over_is_swept() {
        let recent = Recent::new(Duration::from_secs(10), 1 << 20);
        for number in 0..10_000 {
            recent.claim(key(number), 1);
            recent.settle(key(number), true, 1);
        }
        for number in 10_000..20_000 {
            recent.claim(key(number), 100);
            recent.settle(key(number), true, 100);
        }
        assert!(recent.len() <= 10_100, "{}", recent.len());
        assert_eq!(recent.forgotten_early(), 0);
    }
}
