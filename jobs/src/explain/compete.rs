//! Which record of a click counts: the first in the order of epoch, partition and offset.
//!
//! ```text
//!   batch 0  ┌ a │ a b │ …        shard 0 ─┐ thread 0       role of each record
//!   batch 1  │ a │ b   │ …   ─▶   shard 1 ─┤           ─▶
//!   …        └   │ b b │ …        …        ┘ thread 1 …     groups: clicks with copies
//! ```
//!
//! All records of a click are in one shard, so threads share nothing. What is held back for a file comes in the last batch:
//! then a row that has come into a file meanwhile is there already.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::thread;

use hashbrown::HashTable;

use super::records::{Batch, Key, Record, Role, shards};

/// Fewer records than this are not worth a thread.
const RECORDS_PER_THREAD: usize = 64 * 1024;

/// A record, and the batch that it is in.
pub(super) type InBatch = (usize, Record);

/// A click with copies.
pub(super) struct Group {
    pub(super) first: InBatch,
    /// In the order in which they compete.
    pub(super) others: Vec<InBatch>,
}

/// Gives all records their roles; the clicks that have copies.
pub(super) fn compete(batches: &mut [Batch<'_>]) -> Vec<Group> {
    let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = cores.min(records / RECORDS_PER_THREAD).max(1);
    let mut shards = shards(batches);
    let for_each = shards.len().div_ceil(threads);
    let settle = |part: &mut [Vec<Slice<'_>>]| -> Vec<Group> {
        part.iter_mut().flat_map(|slices| Shard::new(slices).settle()).collect()
    };
    thread::scope(|scope| {
        let mut parts = shards.chunks_mut(for_each);
        let own = parts.next();
        let others: Vec<_> = parts.map(|part| scope.spawn(|| settle(part))).collect();
        let mut groups: Vec<Group> = own.into_iter().flat_map(settle).collect();
        for other in others {
            match other.join() {
                Ok(more) => groups.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        groups
    })
}

/// Records of one shard in one batch, with the batch's number.
type Slice<'b> = (usize, &'b mut [Record]);

/// Where a record is: which slice, and where in it.
type At = (u32, u32);

struct Shard<'s, 'b> {
    slices: &'s mut [Slice<'b>],
    firsts: HashTable<At>,
    others: HashMap<Key, Vec<InBatch>>,
}

impl<'s, 'b> Shard<'s, 'b> {
    fn new(slices: &'s mut [Slice<'b>]) -> Self {
        let records = slices.iter().map(|(_, records)| records.len()).sum();
        Self { slices, firsts: HashTable::with_capacity(records), others: HashMap::new() }
    }

    fn settle(mut self) -> Vec<Group> {
        for slice in 0..self.slices.len() {
            for place in 0..self.slices[slice].1.len() {
                self.take((slice as u32, place as u32));
            }
        }
        let Self { slices, firsts, others } = self;
        let group = |(key, mut others): (Key, Vec<InBatch>)| {
            others.sort_unstable_by_key(|(_, record)| record.place());
            let at = firsts.find(hash_of(&key), |at| record_at(slices, *at).1.key == key)?;
            Some(Group { first: record_at(slices, *at), others })
        };
        others.into_iter().filter_map(group).collect()
    }

    fn take(&mut self, at: At) {
        let (batch, record) = record_at(self.slices, at);
        if record.role == Role::Late {
            return;
        }
        let slices = &*self.slices;
        let first = self.firsts.find_mut(hash_of(&record.key), |at| record_at(slices, *at).1.key == record.key);
        let Some(first) = first else {
            let hash = |at: &At| hash_of(&record_at(slices, *at).1.key);
            self.firsts.insert_unique(hash_of(&record.key), at, hash);
            return;
        };
        let known = record_at(slices, *first);
        let is_same = |other: &InBatch| other.1.position() == record.position();
        if is_same(&known) || self.others.get(&record.key).is_some_and(|others| others.iter().any(is_same)) {
            self.record_mut(at).role = Role::Again;
            return;
        }
        let (loser, lost_at) = if record.place() < known.1.place() {
            (known, std::mem::replace(first, at))
        } else {
            ((batch, record), at)
        };
        self.others.entry(record.key).or_default().push(loser);
        self.record_mut(lost_at).role = Role::Copy;
    }

    fn record_mut(&mut self, (slice, place): At) -> &mut Record {
        &mut self.slices[slice as usize].1[place as usize]
    }
}

fn record_at(slices: &[Slice<'_>], (slice, place): At) -> InBatch {
    let (batch, records) = &slices[slice as usize];
    (*batch, records[place as usize])
}

/// Keys are hashes already; the first byte is that of the shard.
fn hash_of([_, low]: &Key) -> u64 {
    *low
}
