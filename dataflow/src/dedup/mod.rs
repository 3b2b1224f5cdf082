//! Which clicks were seen lately: exact, by 128-bit key, in 256 key groups.
//!
//! ```text
//!   group 0   ┌ table: key (16 bytes) → when it was first seen (event time, in seconds)
//!   group 1   │
//!   …         └ a click stays for the horizon, measured in watermark time
//! ```
//!
//! - The clicks of an epoch are taken group by group, so the table at work is small enough for the cache: with a million
//!   ids it has 4,000 of them.
//! - Among clicks of one id within one epoch, the one with the smallest (partition, offset) counts, in whatever order
//!   they arrive. Otherwise the first epoch counts.
//! - An id counts as seen at the watermark that closed the epoch of its first click, or at the end of that click's own
//!   minute, whichever is later; while there is no watermark yet, at the latter. A click of epoch `E` is a duplicate if
//!   that lies at most the horizon before the watermark that closed epoch `E − 1`. Contents decide, never the clock on
//!   the wall, the order in which expired entries are swept, or a restart.
//! - The click's own minute matters where its partition is read far ahead of the others, as after a standstill: the
//!   watermark may then be hours behind the click, and would forget it before a slower partition gives its copy.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use weir_checkpoints::{GroupRange, group_of};
use weir_checkpoints::{KEY_GROUPS, PartError, PartReader, PartWriter, StatePart, Store};

use crate::records::KeyedClick;

/// The kind of its state parts.
pub(crate) const STATE_KIND: &str = "dedup";

/// Marks an entry of the epoch at work: its `seen` is the index of the click that counts, not a time.
const FRESH: u32 = 0xF000_0000;

/// The latest time that an entry can say, in unix seconds: the year 2097.
const LATEST_S: u32 = FRESH - 1;

/// The bytes of an entry in a state part: key and time.
const STORED_BYTES: usize = 20;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Seen {
    /// The key in two halves of `u32` pairs: keeps the entry at 20 bytes.
    key: [u32; 4],
    seen_s: u32,
}

/// The ids that a worker remembers.
pub(crate) struct SeenClicks {
    groups: GroupRange,
    tables: Vec<HashTable<Seen>>,
    horizon_s: u32,
    /// What came in since the last checkpoint.
    added: PartWriter,
    newest_s: u32,
    sweep_next: usize,
    scratch: Vec<usize>,
}

/// What became of a click.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Counted,
    Duplicate,
}

impl SeenClicks {
    pub(crate) fn new(groups: GroupRange, horizon_ms: i64) -> Self {
        Self {
            groups,
            tables: groups.iter().map(|_| HashTable::new()).collect(),
            horizon_s: u32::try_from(horizon_ms.div_euclid(1000)).unwrap_or(LATEST_S),
            added: PartWriter::new(groups),
            newest_s: 0,
            sweep_next: 0,
            scratch: Vec::new(),
        }
    }

    /// How many ids are remembered, expired ones that are not yet swept included.
    pub(crate) fn len(&self) -> usize {
        self.tables.iter().map(HashTable::len).sum()
    }

    /// The memory that the tables take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.tables.iter().map(HashTable::allocation_size).sum()
    }

    /// Settles the clicks of one key group and epoch. `before_ms` and `end_ms` are the watermarks before and after the
    /// epoch. Calls `verdict` once for each click, in no particular order.
    pub(crate) fn settle(
        &mut self,
        group: u16,
        clicks: &[KeyedClick],
        before_ms: Option<i64>,
        end_ms: Option<i64>,
        mut verdict: impl FnMut(&KeyedClick, Verdict),
    ) {
        let oldest_s = self.oldest_remembered_s(before_ms);
        let now_s = end_ms.map_or(0, to_seconds);
        let Some(table) = group.checked_sub(self.groups.start).and_then(|at| self.tables.get_mut(usize::from(at)))
        else {
            unreachable!("key group {group} belongs to another worker");
        };
        let winners = &mut self.scratch;
        winners.clear();
        // Room for all of them first: a table that does not grow in between keeps its entries in place.
        table.reserve(clicks.len(), |seen| hash_of(&seen.key));
        for (index, click) in clicks.iter().enumerate() {
            let key = words(click);
            let mine = FRESH | index as u32;
            match table.entry(hash_of(&key), |seen| seen.key == key, |seen| hash_of(&seen.key)) {
                Entry::Vacant(vacant) => {
                    winners.push(vacant.insert(Seen { key, seen_s: mine }).bucket_index());
                }
                Entry::Occupied(mut occupied) => {
                    let bucket = occupied.bucket_index();
                    let seen = occupied.get_mut();
                    if seen.seen_s >= FRESH {
                        let rival = clicks.get((seen.seen_s & !FRESH) as usize);
                        match rival {
                            Some(rival) if place(click) < place(rival) => {
                                verdict(rival, Verdict::Duplicate);
                                seen.seen_s = mine;
                            }
                            _ => verdict(click, Verdict::Duplicate),
                        }
                    } else if seen.seen_s < oldest_s {
                        seen.seen_s = mine;
                        winners.push(bucket);
                    } else {
                        verdict(click, Verdict::Duplicate);
                    }
                }
            }
        }
        let Some(block) = self.added.group(group) else {
            unreachable!("key group {group} belongs to another worker");
        };
        for bucket in winners.iter() {
            let Some(seen) = table.get_bucket_mut(*bucket) else {
                unreachable!("an entry moved although its table had room");
            };
            let Some(winner) = clicks.get((seen.seen_s & !FRESH) as usize) else {
                unreachable!("an entry names a click that is none of this epoch");
            };
            verdict(winner, Verdict::Counted);
            seen.seen_s = now_s.max(minute_end_s(winner.minute));
            self.newest_s = self.newest_s.max(seen.seen_s);
            store(block, seen);
        }
    }

    /// Frees what is older than the horizon, a few groups at a time so that no epoch waits for all of them.
    pub(crate) fn sweep(&mut self, watermark_ms: Option<i64>, groups: usize) {
        let oldest_s = self.oldest_remembered_s(watermark_ms);
        for _ in 0..groups.min(self.tables.len()) {
            self.sweep_next = (self.sweep_next + 1) % self.tables.len();
            if let Some(table) = self.tables.get_mut(self.sweep_next) {
                let before = table.len();
                table.retain(|seen| seen.seen_s >= oldest_s);
                if table.len() < before / 2 {
                    table.shrink_to(table.len() * 2, |seen| hash_of(&seen.key));
                }
            }
        }
    }

    /// Takes out what came in since the last checkpoint, and the event time from which on it is forgotten; `None` where
    /// nothing came in.
    pub(crate) fn take_added(&mut self) -> Option<(PartWriter, i64)> {
        if self.added.is_empty() {
            return None;
        }
        let part = std::mem::replace(&mut self.added, PartWriter::new(self.groups));
        let expires_ms = (i64::from(self.newest_s) + i64::from(self.horizon_s) + 1) * 1000;
        self.newest_s = 0;
        Some((part, expires_ms))
    }

    /// Loads this worker's groups of a stored part.
    pub(crate) fn restore(&mut self, store: &dyn Store, part: &StatePart) -> Result<(), PartError> {
        let groups = self.groups;
        PartReader::open(store, part)?.read(groups, |group, block| self.restore_block(group, block))
    }

    fn restore_block(&mut self, group: u16, block: &[u8]) {
        let Some(table) = group.checked_sub(self.groups.start).and_then(|at| self.tables.get_mut(usize::from(at)))
        else {
            return;
        };
        table.reserve(block.len() / STORED_BYTES, |seen| hash_of(&seen.key));
        for stored in block.chunks_exact(STORED_BYTES) {
            let seen = load(stored);
            match table.entry(hash_of(&seen.key), |other| other.key == seen.key, |other| hash_of(&other.key)) {
                Entry::Vacant(vacant) => {
                    vacant.insert(seen);
                }
                // An id that was forgotten and seen again stands in two parts: the later sighting counts.
                Entry::Occupied(mut occupied) => {
                    let known = occupied.get_mut();
                    known.seen_s = known.seen_s.max(seen.seen_s);
                }
            }
        }
    }

    /// Entries seen before this are forgotten.
    fn oldest_remembered_s(&self, watermark_ms: Option<i64>) -> u32 {
        watermark_ms.map_or(0, |watermark| to_seconds(watermark).saturating_sub(self.horizon_s))
    }
}

fn to_seconds(ms: i64) -> u32 {
    u32::try_from(ms.div_euclid(1000).clamp(0, i64::from(LATEST_S))).unwrap_or(LATEST_S)
}

/// The end of a minute, in seconds.
fn minute_end_s(minute: u32) -> u32 {
    minute.saturating_add(1).saturating_mul(60).min(LATEST_S)
}

/// Where the click stands in the log; decides among copies of one epoch.
fn place(click: &KeyedClick) -> (u32, u64) {
    (click.partition, click.offset)
}

fn words(click: &KeyedClick) -> [u32; 4] {
    [click.key_high as u32, (click.key_high >> 32) as u32, click.key_low as u32, (click.key_low >> 32) as u32]
}

/// The low half of the key is the hash: the high half chose the group.
fn hash_of(key: &[u32; 4]) -> u64 {
    let [_, _, low, high] = *key;
    u64::from(low) | (u64::from(high) << 32)
}

fn store(block: &mut Vec<u8>, seen: &Seen) {
    let [a, b, c, d] = seen.key;
    let words = [a, b, c, d, seen.seen_s];
    let mut bytes = [0; STORED_BYTES];
    for (at, word) in bytes.chunks_exact_mut(4).zip(words) {
        at.copy_from_slice(&word.to_le_bytes());
    }
    block.extend_from_slice(&bytes);
}

fn load(stored: &[u8]) -> Seen {
    let mut words = [0; 5];
    for (word, bytes) in words.iter_mut().zip(stored.chunks_exact(4)) {
        *word = bytes.iter().rev().fold(0, |value, byte| (value << 8) | u32::from(*byte));
    }
    let [a, b, c, d, seen_s] = words;
    Seen { key: [a, b, c, d], seen_s }
}

/// The clicks of an epoch, by key group: what arrives is laid out so that each group can be settled on its own.
pub(crate) struct ByGroup {
    groups: Vec<Vec<KeyedClick>>,
}

impl Default for ByGroup {
    fn default() -> Self {
        Self { groups: (0..KEY_GROUPS).map(|_| Vec::new()).collect() }
    }
}

impl ByGroup {
    #[inline]
    pub(crate) fn push(&mut self, click: KeyedClick) {
        if let Some(group) = self.groups.get_mut(usize::from(group_of(click.key_high))) {
            group.push(click);
        }
    }

    /// The non-empty groups.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &[KeyedClick])> {
        self.groups
            .iter()
            .enumerate()
            .filter(|(_, clicks)| !clicks.is_empty())
            .map(|(g, clicks)| (g as u16, clicks.as_slice()))
    }

    /// Empties it, keeping the memory for the next epoch.
    pub(crate) fn clear(&mut self) {
        self.groups.iter_mut().for_each(Vec::clear);
    }
}
