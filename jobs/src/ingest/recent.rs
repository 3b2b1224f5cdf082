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
//! - Many keys are asked for at once, shard by shard: each lock is taken once, and the processor looks for several slots at
//!   a time, none of which is in its caches.
//! - Time is the wall clock's, in whole seconds since the set was made.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashTable;
use tokio::sync::oneshot;
use weir_dataflow::ClickKey;

/// As many as there are values of a byte.
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

    /// Asks for clicks, those of one key in their order; tells what each is with its index, in any order.
    pub(super) fn claim_all(&self, keys: &[ClickKey], now: u32, mut tell: impl FnMut(usize, Claim)) {
        self.by_shard(keys, |shard, index, key| tell(index, self.claim(shard, key, now)));
    }

    /// Says what became of clicks that were claimed: of each, by its index, whether it was taken.
    pub(super) fn settle_all(&self, keys: &[ClickKey], now: u32, taken: impl Fn(usize) -> bool) {
        self.by_shard(keys, |shard, index, key| shard.settle(key, taken(index), now));
    }

    fn claim(&self, shard: &mut Shard, key: ClickKey, now: u32) -> Claim {
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
        self.make_room(shard, now);
        shard.ids.insert_unique(hash(key), Slot { key: parts, taken_at: 0 }, rehash);
        Claim::Fresh
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

    /// Goes through keys with their indices, shard by shard, and in their order in each.
    fn by_shard(&self, keys: &[ClickKey], mut visit: impl FnMut(&mut Shard, usize, ClickKey)) {
        if let [key] = keys {
            return visit(&mut self.shard(shard_of(*key)), 0, *key);
        }
        let mut order: Vec<(u8, u32)> = keys.iter().map(|key| shard_of(*key)).zip(0..).collect();
        order.sort_unstable();
        for of_shard in order.chunk_by(|one, next| one.0 == next.0) {
            let Some((number, _)) = of_shard.first() else { continue };
            let mut shard = self.shard(*number);
            for (_, index) in of_shard {
                let index = *index as usize;
                let Some(key) = keys.get(index) else { continue };
                visit(&mut shard, index, *key);
            }
        }
    }

    fn shard(&self, number: u8) -> MutexGuard<'_, Shard> {
        lock(self.shards.get(usize::from(number)).unwrap_or_else(|| unreachable!("there are {SHARDS} shards")))
    }
}

impl Shard {
    fn settle(&mut self, key: ClickKey, taken: bool, now: u32) {
        let parts = halves(key);
        if taken {
            if let Some(slot) = self.ids.find_mut(hash(key), |slot| slot.key == parts) {
                slot.taken_at = now;
            }
        } else if let Ok(entry) = self.ids.find_entry(hash(key), |slot| slot.key == parts) {
            entry.remove();
        }
        if self.waiting.is_empty() {
            return;
        }
        for twin in self.waiting.remove(&key.0).unwrap_or_default() {
            // A twin whose client has gone waits no more.
            let _ = twin.send(taken);
        }
    }
}

/// The high half chooses the shard, the low half the slot.
const fn shard_of(key: ClickKey) -> u8 {
    (key.0 >> 64) as u8
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

    impl Recent {
        fn claim_one(&self, key: ClickKey, now: u32) -> Claim {
            let mut found = None;
            self.claim_all(&[key], now, |_, claim| found = Some(claim));
            found.unwrap()
        }

        fn settle_one(&self, key: ClickKey, taken: bool, now: u32) {
            self.settle_all(&[key], now, |_| taken);
        }
    }

    #[test]
    fn a_click_is_fresh_once_within_the_window() {
        let recent = Recent::new(Duration::from_secs(60), 1 << 20);
        assert!(matches!(recent.claim_one(key(1), 10), Claim::Fresh));
        recent.settle_one(key(1), true, 10);
        assert!(matches!(recent.claim_one(key(1), 70), Claim::Taken));
        assert!(matches!(recent.claim_one(key(2), 70), Claim::Fresh));
        assert!(matches!(recent.claim_one(key(1), 71), Claim::Fresh), "the window is over");
        assert!(matches!(recent.claim_one(key(1), 71), Claim::Twin(_)));
    }

    #[test]
    fn a_clock_that_was_looked_at_earlier_finds_what_was_taken_since() {
        let recent = Recent::new(Duration::from_secs(60), 1 << 20);
        assert!(matches!(recent.claim_one(key(1), 100), Claim::Fresh));
        recent.settle_one(key(1), true, 100);
        assert!(matches!(recent.claim_one(key(1), 99), Claim::Taken));
        // Nor is it swept with a shard that was last swept later.
        for number in 2..10_000 {
            recent.claim_one(key(number), 99);
        }
        assert!(matches!(recent.claim_one(key(1), 99), Claim::Taken));
    }

    #[test]
    fn one_that_failed_is_fresh_again() {
        let recent = Recent::new(Duration::from_secs(60), 1 << 20);
        assert!(matches!(recent.claim_one(key(1), 1), Claim::Fresh));
        recent.settle_one(key(1), false, 1);
        assert!(matches!(recent.claim_one(key(1), 1), Claim::Fresh));
    }

    #[test]
    fn twins_hear_what_became_of_the_first() {
        for taken in [true, false] {
            let recent = Recent::new(Duration::from_secs(60), 1 << 20);
            assert!(matches!(recent.claim_one(key(1), 1), Claim::Fresh));
            let Claim::Twin(mut first) = recent.claim_one(key(1), 1) else { panic!("no twin") };
            let Claim::Twin(mut second) = recent.claim_one(key(1), 1) else { panic!("no twin") };
            assert!(first.try_recv().is_err());
            recent.settle_one(key(1), taken, 1);
            assert_eq!((first.try_recv(), second.try_recv()), (Ok(taken), Ok(taken)));
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_being_written_stays() {
        let max_ids = SHARDS * 64;
        let recent = Recent::new(Duration::from_secs(600), max_ids);
        assert!(matches!(recent.claim_one(key(0), 1), Claim::Fresh));
        let mut clock = 1;
        for number in 1..200_000 {
            clock = 1 + (number / 1000) as u32;
            if matches!(recent.claim_one(key(number), clock), Claim::Fresh) {
                recent.settle_one(key(number), true, clock);
            }
            assert!(number % 1000 != 0 || recent.len() <= max_ids + SHARDS, "{}", recent.len());
        }
        assert!(recent.forgotten_early() > 0);
        assert!(matches!(recent.claim_one(key(0), clock), Claim::Twin(_)));
        assert!(matches!(recent.claim_one(key(199_999), clock), Claim::Taken));
    }

    #[test]
    fn what_is_over_is_swept() {
        let recent = Recent::new(Duration::from_secs(10), 1 << 20);
        for number in 0..10_000 {
            recent.claim_one(key(number), 1);
            recent.settle_one(key(number), true, 1);
        }
        for number in 10_000..20_000 {
            recent.claim_one(key(number), 100);
            recent.settle_one(key(number), true, 100);
        }
        assert!(recent.len() <= 10_100, "{}", recent.len());
        assert_eq!(recent.forgotten_early(), 0);
    }

    #[test]
    fn many_at_once_are_as_one_after_the_other() {
        // Each key three times over, some of them taken before.
        let (together, apart) =
            (Recent::new(Duration::from_secs(60), 1 << 20), Recent::new(Duration::from_secs(60), 1 << 20));
        for recent in [&together, &apart] {
            for number in 0..100 {
                recent.claim_one(key(number), 1);
                recent.settle_one(key(number), true, 1);
            }
        }
        let keys: Vec<ClickKey> = (0..3000).map(|number| key(number * 7 % 1000)).collect();
        let kind = |claim: &Claim| std::mem::discriminant(claim);
        let mut found: Vec<Option<Claim>> = keys.iter().map(|_| None).collect();
        together.claim_all(&keys, 2, |index, claim| {
            assert!(found.get_mut(index).unwrap().replace(claim).is_none(), "{index} was told twice");
        });
        let expected: Vec<Claim> = keys.iter().map(|key| apart.claim_one(*key, 2)).collect();
        let found: Vec<Claim> = found.into_iter().map(Option::unwrap).collect();
        assert_eq!(found.iter().map(kind).collect::<Vec<_>>(), expected.iter().map(kind).collect::<Vec<_>>());

        // Every second one of those that are new fails.
        let fresh: Vec<ClickKey> =
            keys.iter().zip(&found).filter(|(_, claim)| matches!(claim, Claim::Fresh)).map(|(key, _)| *key).collect();
        assert_eq!(fresh.len(), 900);
        together.settle_all(&fresh, 3, |index| index % 2 == 0);
        for (index, key) in fresh.iter().enumerate() {
            assert_eq!(matches!(together.claim_one(*key, 3), Claim::Taken), index % 2 == 0);
        }
        for (claim, key) in found.into_iter().zip(&keys) {
            let Claim::Twin(mut outcome) = claim else { continue };
            let index = fresh.iter().position(|fresh| fresh == key).unwrap();
            assert_eq!(outcome.try_recv(), Ok(index % 2 == 0));
        }
    }
}
