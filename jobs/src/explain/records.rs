//! Records of the archive, as the threads that read them leave them: small, in batches, each of one file.

use std::sync::Arc;

use weir_connectors::delta::{ClickBatch, ClickCopy, TracedFile};
use weir_dataflow::Coupon;

use super::Question;
use super::late::Late;

/// Keys are apart by their first byte.
const SHARDS: usize = 256;

/// A click's key. In two halves, so that a record need not be aligned to sixteen bytes.
pub(super) type Key = [u64; 2];

/// A record, in the order in which copies of one click compete: by epoch, partition and offset.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) key: Key,
    pub(super) epoch: u64,
    pub(super) offset: u64,
    pub(super) event_time_ms: i64,
    pub(super) partition: u32,
    pub(super) coupon: Coupon,
    pub(super) role: Role,
    /// It is of the window and region that is asked for.
    pub(super) is_inside: bool,
}

/// What a record is among those of its click.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It counts; so all are taken for at first.
    First,
    /// It is a copy of one that counts.
    Copy,
    /// It is not on time, and has no part in it.
    Late,
    /// It was met before: the same record.
    Again,
}

impl Record {
    fn new(copy: &ClickCopy<'_>, question: &Question, late: &Late) -> Self {
        let key = copy.click.key().0;
        let event_time_ms = copy.click.event_time_ms();
        Self {
            key: [(key >> 64) as u64, key as u64],
            epoch: copy.epoch.0,
            offset: copy.offset.0,
            event_time_ms,
            partition: copy.partition.0,
            coupon: Coupon::of_user(copy.click.user_id),
            role: if late.reason((copy.partition.0, copy.offset.0)).is_some() { Role::Late } else { Role::First },
            is_inside: question.is_inside(event_time_ms, copy.region),
        }
    }

    /// Which part of all keys its own is in.
    pub(super) fn shard(&self) -> usize {
        let [high, _] = self.key;
        (high >> 56) as usize
    }

    /// In which order the copies of a click compete.
    pub(super) fn place(&self) -> (u64, u32, u64) {
        (self.epoch, self.partition, self.offset)
    }

    /// Where it is in the log.
    pub(super) fn position(&self) -> (u32, u64) {
        (self.partition, self.offset)
    }

    /// Whether it is one of the window's records.
    pub(super) fn is_told_of(&self) -> bool {
        self.is_inside && self.role != Role::Again
    }
}

/// Some records of one file, or some that are held back for one; by shards in the end.
pub(super) struct Batch<'a> {
    question: &'a Question,
    late: &'a Late,
    pub(super) file: Option<Arc<TracedFile>>,
    pub(super) topic: Option<String>,
    pub(super) records: Vec<Record>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(question: &'a Question, late: &'a Late) -> Self {
        Self { question, late, file: None, topic: None, records: Vec::new() }
    }

    /// Its records of each shard that it has any of.
    pub(super) fn shards_mut(&mut self) -> impl Iterator<Item = (usize, &mut [Record])> {
        let parts = self.records.chunk_by_mut(|one, other| one.shard() == other.shard());
        parts.map(|records| (records.first().map_or(0, Record::shard), records))
    }
}

impl ClickBatch for Batch<'_> {
    fn add(&mut self, copy: &ClickCopy<'_>) {
        let record = Record::new(copy, self.question, self.late);
        if self.records.is_empty() {
            self.file = copy.file.cloned();
        }
        // A job has one.
        if record.is_inside && self.topic.is_none() {
            self.topic = copy.topic.map(str::to_owned);
        }
        self.records.push(record);
    }

    /// Puts the records of a shard together, in the order that they have.
    fn end(&mut self) {
        let mut places = [0_usize; SHARDS];
        self.records.iter().for_each(|record| places[record.shard()] += 1);
        let mut start = 0;
        for place in &mut places {
            start += std::mem::replace(place, start);
        }
        let mut sorted = self.records.clone();
        for record in &self.records {
            let place = &mut places[record.shard()];
            sorted[*place] = *record;
            *place += 1;
        }
        self.records = sorted;
    }
}

/// For each shard, its records in all batches, with the batches' numbers.
pub(super) fn shards<'b>(batches: &'b mut [Batch<'_>]) -> Vec<Vec<(usize, &'b mut [Record])>> {
    let mut shards: Vec<Vec<(usize, &mut [Record])>> = (0..SHARDS).map(|_| Vec::new()).collect();
    for (number, batch) in batches.iter_mut().enumerate() {
        for (shard, records) in batch.shards_mut() {
            shards[shard].push((number, records));
        }
    }
    shards
}
