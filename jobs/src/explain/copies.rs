//! Copies of clicks: which of them counts, which are duplicates, and which epochs the count grew by.
//!
//! A click is known by its key; of its records the first in the order of epoch, partition and offset counts. Memory goes
//! with the distinct clicks, some 100 bytes each; texts are kept of duplicates and of what is listed.

use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use weir_connectors::delta::ClickCopy;
use weir_dataflow::{Coupon, UserSketch};

use super::late::{KeyText, Late};
use super::places::Places;
use super::report::{Archive, CopyPlace, Duplicate, EpochClicks, ListedClick};
use super::{Question, Time};

const MINUTE_MS: i64 = 60_000;

/// Room for no more clicks than this is made before they are there.
const MOST_EXPECTED: u64 = 16 << 20;

/// Every record of the ad in the archive, within some time.
pub(super) struct Copies<'q> {
    question: &'q Question,
    firsts: HashMap<u128, Place, BuildHasherDefault<KeyHasher>>,
    others: HashMap<u128, Others, BuildHasherDefault<KeyHasher>>,
    places: Places,
    /// Records of the window and region.
    records: u64,
    late: u64,
    /// Records that stand in the archive more than once.
    repeated: u64,
    listed: BinaryHeap<Listed>,
}

/// Where a record stands. In the order in which copies compete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    epoch: u64,
    partition: u32,
    offset: u64,
    event_time_ms: i64,
    file: u32,
    coupon: u32,
    /// It is of the window and region that is asked for.
    is_inside: bool,
}

/// The records of a click beside its first.
struct Others {
    click_id: String,
    places: Vec<Place>,
}

/// A record that is listed; the earliest are kept.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    event_time_ms: i64,
    partition: u32,
    offset: u64,
    click_id: String,
    key: u128,
    epoch: u64,
    file: u32,
    reason: Option<String>,
}

impl<'q> Copies<'q> {
    /// About so many clicks are expected.
    pub(super) fn new(question: &'q Question, expected: u64) -> Self {
        let expected = expected.min(MOST_EXPECTED) as usize;
        Self {
            question,
            firsts: HashMap::with_capacity_and_hasher(expected, BuildHasherDefault::default()),
            others: HashMap::default(),
            places: Places::default(),
            records: 0,
            late: 0,
            repeated: 0,
            listed: BinaryHeap::new(),
        }
    }

    /// Takes a record in. What is held back for the archive must come after what is in it.
    pub(super) fn add(&mut self, copy: &ClickCopy<'_>, late: &Late) {
        let key = copy.click.key().0;
        let place = self.place(copy);
        let reason = late.reason(copy);
        if reason.is_none() && !self.compete(key, place, copy) {
            // A row that was held back may have come into a file meanwhile; two rows in files are one too many.
            self.repeated += u64::from(copy.file.is_some());
            return;
        }
        if place.is_inside {
            self.records += 1;
            self.late += u64::from(reason.is_some());
            self.places.count(copy, place.file);
            self.list(key, place, copy, reason);
        }
    }

    /// The clicks that count in a part of the window, each once.
    pub(super) fn counted_in(&self, part_ms: &Range<i64>) -> u64 {
        let counted = self.firsts.values().filter(|place| place.is_inside && part_ms.contains(&place.event_time_ms));
        counted.count() as u64
    }

    /// Second copies in a part of the window that the job may have counted again, since they came when the first may have
    /// been forgotten: a window takes clicks until `lateness` after its end, and a click is remembered for `horizon` after
    /// the end of its minute at least.
    pub(super) fn counted_again_in(&self, part_ms: &Range<i64>, time: &Time) -> u64 {
        let mut again = 0;
        for (key, others) in &self.others {
            let Some(mut counted) = self.firsts.get(key).copied() else { continue };
            for place in &in_order(&others.places) {
                let latest_ms = minute_end_ms(place) + time.lateness_ms;
                let may_count = place.epoch > counted.epoch && latest_ms - time.horizon_ms > minute_end_ms(&counted);
                if may_count {
                    counted = *place;
                    again += u64::from(place.is_inside && part_ms.contains(&place.event_time_ms));
                }
            }
        }
        again
    }

    /// What is told of the archive.
    pub(super) fn report(&self, limit: usize) -> Archive {
        let counted = || self.firsts.values().filter(|place| place.is_inside);
        let mut epochs: BTreeMap<u64, u64> = BTreeMap::new();
        let mut users = UserSketch::new();
        for place in counted() {
            *epochs.entry(place.epoch).or_default() += 1;
            users.update(Coupon(place.coupon));
        }
        let distinct: u64 = epochs.values().sum();
        let on_time = self.records - self.late;
        Archive {
            records: self.records,
            held_back: self.places.held(),
            not_on_time: self.late,
            on_time,
            distinct,
            unique_users: users.estimate(),
            duplicate_records: on_time.saturating_sub(distinct),
            records_stored_twice: self.repeated,
            epochs: epochs.into_iter().map(|(epoch, clicks)| EpochClicks { epoch, clicks }).collect(),
            partitions: self.places.partitions(),
            files: self.places.files(),
            duplicates: self.duplicates(limit),
        }
    }

    /// The records that are listed, earliest first.
    pub(super) fn list_of_clicks(self) -> Vec<ListedClick> {
        let Self { listed, firsts, places, .. } = self;
        let listed = listed.into_sorted_vec().into_iter();
        listed
            .map(|click| {
                let first = firsts.get(&click.key);
                let is_first =
                    first.is_some_and(|first| (first.partition, first.offset) == (click.partition, click.offset));
                let otherwise = if is_first { "counted" } else { "duplicate" };
                ListedClick {
                    status: click.reason.unwrap_or_else(|| otherwise.to_owned()),
                    click_id: click.click_id,
                    event_time_ms: click.event_time_ms,
                    partition: click.partition,
                    offset: click.offset,
                    epoch: click.epoch,
                    file: places.path(click.file),
                }
            })
            .collect()
    }

    fn place(&mut self, copy: &ClickCopy<'_>) -> Place {
        let event_time_ms = copy.click.event_time_ms();
        Place {
            epoch: copy.epoch.0,
            partition: copy.partition.0,
            offset: copy.offset.0,
            event_time_ms,
            file: self.places.number(copy),
            coupon: Coupon::of_user(copy.click.user_id).0,
            is_inside: self.question.is_inside(event_time_ms, copy.region),
        }
    }

    /// Finds the record its place among those of its click; false where it is known already.
    fn compete(&mut self, key: u128, place: Place, copy: &ClickCopy<'_>) -> bool {
        let Some(first) = self.firsts.get_mut(&key) else {
            self.firsts.insert(key, place);
            return true;
        };
        let is_same = |known: &Place| (known.partition, known.offset) == (place.partition, place.offset);
        let others = self.others.get(&key).map(|others| others.places.as_slice()).unwrap_or_default();
        if is_same(first) || others.iter().any(is_same) {
            return false;
        }
        let other = if place < *first { std::mem::replace(first, place) } else { place };
        let new = || Others { click_id: copy.click.key_text(), places: Vec::new() };
        self.others.entry(key).or_insert_with(new).places.push(other);
        true
    }

    fn list(&mut self, key: u128, place: Place, copy: &ClickCopy<'_>, reason: Option<&str>) {
        if !self.question.clicks {
            return;
        }
        let is_earlier = |last: &Listed| {
            let this = (place.event_time_ms, place.partition, place.offset);
            this < (last.event_time_ms, last.partition, last.offset)
        };
        if self.listed.len() >= self.question.limit {
            if !self.listed.peek().is_some_and(is_earlier) {
                return;
            }
            self.listed.pop();
        }
        self.listed.push(Listed {
            event_time_ms: place.event_time_ms,
            partition: place.partition,
            offset: place.offset,
            click_id: copy.click.key_text(),
            key,
            epoch: place.epoch,
            file: place.file,
            reason: reason.map(str::to_owned),
        });
    }

    fn duplicates(&self, limit: usize) -> Vec<Duplicate> {
        let groups = self.others.iter().filter_map(|(key, others)| Some((self.firsts.get(key)?, others)));
        let mut groups: Vec<(&Place, &Others)> = groups
            .filter(|(first, others)| first.is_inside || others.places.iter().any(|place| place.is_inside))
            .collect();
        groups.sort_unstable_by_key(|(first, _)| (first.event_time_ms, **first));
        groups.truncate(limit);
        let of = |place: &Place| self.copy_place(place);
        let groups = groups.into_iter().map(|(first, others)| Duplicate {
            click_id: others.click_id.clone(),
            first: of(first),
            others: in_order(&others.places).iter().map(of).collect(),
        });
        groups.collect()
    }

    fn copy_place(&self, place: &Place) -> CopyPlace {
        CopyPlace {
            partition: place.partition,
            offset: place.offset,
            epoch: place.epoch,
            event_time_ms: place.event_time_ms,
            file: self.places.path(place.file),
        }
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

fn in_order(places: &[Place]) -> Vec<Place> {
    let mut places = places.to_vec();
    places.sort_unstable();
    places
}

fn minute_end_ms(place: &Place) -> i64 {
    (place.event_time_ms.div_euclid(MINUTE_MS) + 1) * MINUTE_MS
}

/// Keys are hashes already.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
