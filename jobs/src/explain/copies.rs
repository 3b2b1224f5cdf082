//! The copies of clicks: what counts, which are duplicates, and which epochs the count grew by.
//!
//! A record takes 56 bytes. Texts are not kept: those of the clicks that are told of are read once all is known.

use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::ops::Range;

use anyhow::{Context, Result};
use weir_connectors::delta::ClickCopy;
use weir_dataflow::UserSketch;

use super::compete::{Group, InBatch, compete};
use super::late::{KeyText, Late};
use super::places::{self, files, partitions};
use super::records::{Batch, Key, Record, Role};
use super::report::{Archive, CopyPlace, Duplicate, EpochClicks, ListedClick};
use super::{Question, Time};

const MINUTE_MS: i64 = 60_000;

/// Every record of the ad in the archive, within some time.
pub(super) struct Copies<'a> {
    question: &'a Question,
    late: &'a Late,
    batches: Vec<Batch<'a>>,
    groups: Vec<Group>,
    /// Ids of clicks that are told of.
    ids: HashMap<Key, String>,
}

impl<'a> Copies<'a> {
    /// What is held back for the archive must come after what is in it.
    pub(super) fn of(question: &'a Question, late: &'a Late, mut batches: Vec<Batch<'a>>) -> Self {
        let groups = compete(&mut batches);
        Self { question, late, batches, groups, ids: HashMap::new() }
    }

    /// The clicks that count in a part of the window, each once.
    pub(super) fn counted_in(&self, part_ms: &Range<i64>) -> u64 {
        self.counted().filter(|record| part_ms.contains(&record.event_time_ms)).count() as u64
    }

    /// Second copies in a part of the window that the job may have counted again, since they came when the first may have
    /// been forgotten: a window takes clicks until `lateness` after its end, and a click is remembered for `horizon` after
    /// the end of its minute at least.
    pub(super) fn counted_again_in(&self, part_ms: &Range<i64>, time: &Time) -> u64 {
        let mut again = 0;
        for group in &self.groups {
            let (_, mut counted) = group.first;
            for (_, copy) in &group.others {
                let latest_ms = minute_end_ms(copy) + time.lateness_ms;
                let may_count = copy.epoch > counted.epoch && latest_ms - time.horizon_ms > minute_end_ms(&counted);
                if may_count {
                    counted = *copy;
                    again += u64::from(copy.is_inside && part_ms.contains(&copy.event_time_ms));
                }
            }
        }
        again
    }

    /// The times between which the clicks lie that are told of one by one; none if there are no such clicks.
    pub(super) fn told_of_ms(&self) -> Option<Range<i64>> {
        let times = self.told_of().into_iter().map(|record| record.event_time_ms);
        let (first, last) = times.fold((i64::MAX, i64::MIN), |(first, last), time| (first.min(time), last.max(time)));
        Some(first..last.saturating_add(1)).filter(|_| first <= last)
    }

    /// Takes the ids of clicks that are told of, from what `read` hands out. Fails where one is gone.
    pub(super) fn name(&mut self, read: impl FnOnce(&mut dyn FnMut(&ClickCopy<'_>)) -> Result<()>) -> Result<()> {
        let mut ids: HashMap<Key, Option<String>> =
            self.told_of().into_iter().map(|record| (record.key, None)).collect();
        read(&mut |copy| {
            let key = copy.click.key().0;
            if let Some(id) = ids.get_mut(&[(key >> 64) as u64, key as u64]) {
                id.get_or_insert_with(|| copy.click.key_text());
            }
        })?;
        let ids: Option<HashMap<Key, String>> = ids.into_iter().map(|(key, id)| Some((key, id?))).collect();
        self.ids = ids.context("a click that was there is gone: the archive was changed meanwhile; ask again")?;
        Ok(())
    }

    /// What is told of the archive.
    pub(super) fn report(&self) -> Archive {
        let mut epochs: BTreeMap<u64, u64> = BTreeMap::new();
        let mut users = UserSketch::new();
        for record in self.counted() {
            *epochs.entry(record.epoch).or_default() += 1;
            users.update(record.coupon);
        }
        let distinct: u64 = epochs.values().sum();
        let told_of = || self.records().filter(|record| record.is_told_of());
        let records = told_of().count() as u64;
        let late = told_of().filter(|record| record.role == Role::Late).count() as u64;
        // A row that was held back may have come into a file meanwhile; two rows in files are one too many.
        let in_files = self.batches.iter().filter(|batch| batch.file.is_some()).flat_map(|batch| &batch.records);
        let held = self.batches.iter().filter(|batch| batch.file.is_none()).map(places::told_of).sum();
        Archive {
            records,
            held_back: held,
            not_on_time: late,
            on_time: records - late,
            distinct,
            unique_users: users.estimate(),
            duplicate_records: (records - late).saturating_sub(distinct),
            records_stored_twice: in_files.filter(|record| record.role == Role::Again).count() as u64,
            epochs: epochs.into_iter().map(|(epoch, clicks)| EpochClicks { epoch, clicks }).collect(),
            partitions: partitions(&self.batches),
            files: files(&self.batches),
            duplicates: self.duplicates().into_iter().map(|group| self.duplicate(group)).collect(),
        }
    }

    /// The records that are listed, earliest first.
    pub(super) fn list_of_clicks(&self) -> Vec<ListedClick> {
        let listed = self.listed().into_iter();
        listed
            .map(|(batch, record)| ListedClick {
                status: self.status(&record).to_owned(),
                click_id: self.id(&record),
                event_time_ms: record.event_time_ms,
                partition: record.partition,
                offset: record.offset,
                epoch: record.epoch,
                file: self.batches.get(batch).and_then(places::path),
            })
            .collect()
    }

    fn status(&self, record: &Record) -> &str {
        match record.role {
            Role::First => "counted",
            Role::Copy | Role::Again => "duplicate",
            Role::Late => self.late.reason(record.position()).unwrap_or("late"),
        }
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        self.batches.iter().flat_map(|batch| &batch.records)
    }

    fn counted(&self) -> impl Iterator<Item = &Record> {
        self.records().filter(|record| record.is_inside && record.role == Role::First)
    }

    /// One record of each click that is told of.
    fn told_of(&self) -> Vec<Record> {
        let listed = if self.question.clicks { self.listed() } else { Vec::new() };
        let listed = listed.into_iter().map(|(_, record)| record);
        listed.chain(self.duplicates().into_iter().map(|group| group.first.1)).collect()
    }

    /// The earliest records, as many as are listed.
    fn listed(&self) -> Vec<InBatch> {
        let limit = self.question.limit;
        let mut earliest: BinaryHeap<Earliest> = BinaryHeap::new();
        for (number, batch) in self.batches.iter().enumerate() {
            for record in batch.records.iter().filter(|record| record.is_told_of()) {
                let this = Earliest((record.event_time_ms, record.partition, record.offset), (number, *record));
                if earliest.len() < limit {
                    earliest.push(this);
                } else if let Some(mut last) = earliest.peek_mut().filter(|last| this < **last) {
                    *last = this;
                }
            }
        }
        earliest.into_sorted_vec().into_iter().map(|Earliest(_, record)| record).collect()
    }

    /// Clicks with copies in the window, the earliest, as many as are listed.
    fn duplicates(&self) -> Vec<&Group> {
        let of_window = |group: &&Group| group.first.1.is_inside || group.others.iter().any(|(_, copy)| copy.is_inside);
        let mut groups: Vec<&Group> = self.groups.iter().filter(of_window).collect();
        groups.sort_unstable_by_key(|group| (group.first.1.event_time_ms, group.first.1.place()));
        groups.truncate(self.question.limit);
        groups
    }

    fn duplicate(&self, group: &Group) -> Duplicate {
        let place = |(batch, record): &InBatch| CopyPlace {
            partition: record.partition,
            offset: record.offset,
            epoch: record.epoch,
            event_time_ms: record.event_time_ms,
            file: self.batches.get(*batch).and_then(places::path),
        };
        Duplicate {
            click_id: self.id(&group.first.1),
            first: place(&group.first),
            others: group.others.iter().map(place).collect(),
        }
    }

    /// All that are told of have been named.
    fn id(&self, record: &Record) -> String {
        self.ids.get(&record.key).cloned().unwrap_or_default()
    }
}

/// A record among the earliest, by time and place.
struct Earliest((i64, u32, u64), InBatch);

impl PartialEq for Earliest {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Earliest {}

impl PartialOrd for Earliest {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Earliest {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl Question {
    /// Whether a click is of the window and region.
    pub(super) fn is_inside(&self, event_time_ms: i64, region: Option<&str>) -> bool {
        self.span.time_ms.contains(&event_time_ms) && self.is_of_region(region)
    }

    /// Whether a row is of the region that is asked for.
    pub(super) fn is_of_region(&self, region: Option<&str>) -> bool {
        self.region.is_none() || self.region.as_deref() == region
    }
}

fn minute_end_ms(record: &Record) -> i64 {
    (record.event_time_ms.div_euclid(MINUTE_MS) + 1) * MINUTE_MS
}

#[cfg(test)]
mod tests;
