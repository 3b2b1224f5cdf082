//! Key groups: the unit in which state moves between workers.
//!
//! A key's group is the top eight bits of its hash; a worker owns a contiguous range of groups. Both are part of the
//! stored format: a job restarted with another number of workers reads the same groups in other hands.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::WorkerIndex;

/// How many key groups there are. Part of the stored format.
pub const KEY_GROUPS: u16 = 256;

/// The group of a key, by the high 64 bits of its hash. Hash tables use the low bits, so the two never interfere.
#[inline]
#[must_use]
pub const fn group_of(hash_high: u64) -> u16 {
    (hash_high >> 56) as u16
}

/// The groups that a worker owns, of `workers` in all.
#[must_use]
pub fn groups_of_worker(worker: WorkerIndex, workers: u32) -> GroupRange {
    let first_group = |w: u64| (w * u64::from(KEY_GROUPS)).div_ceil(u64::from(workers)) as u16;
    GroupRange::new(first_group(u64::from(worker.0)), first_group(u64::from(worker.0) + 1))
}

/// The worker that owns a group: the inverse of [`groups_of_worker`].
#[inline]
#[must_use]
pub const fn worker_of_group(group: u16, workers: u32) -> WorkerIndex {
    WorkerIndex((group as u32 * workers) / KEY_GROUPS as u32)
}

/// Groups `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "(u16, u16)", from = "(u16, u16)")]
pub struct GroupRange {
    /// The first group.
    pub start: u16,
    /// One past the last group.
    pub end: u16,
}

impl GroupRange {
    /// All key groups.
    pub const ALL: Self = Self { start: 0, end: KEY_GROUPS };

    /// Groups `start..end`; empty where `end <= start`.
    #[must_use]
    pub const fn new(start: u16, end: u16) -> Self {
        Self { start, end }
    }

    /// Whether there is no group in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// Whether `group` is in it.
    #[must_use]
    pub const fn contains(self, group: u16) -> bool {
        self.start <= group && group < self.end
    }

    /// The groups, one by one.
    #[must_use]
    pub const fn iter(self) -> Range<u16> {
        self.start..self.end
    }

    /// What both have.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

impl From<GroupRange> for (u16, u16) {
    fn from(range: GroupRange) -> Self {
        (range.start, range.end)
    }
}

impl From<(u16, u16)> for GroupRange {
    fn from((start, end): (u16, u16)) -> Self {
        Self::new(start, end)
    }
}

/// The groups of a part that still count: a part written by one worker can be replaced range by range by several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupSet(Vec<GroupRange>);

impl GroupSet {
    /// The set of one range.
    #[must_use]
    pub fn of(range: GroupRange) -> Self {
        if range.is_empty() { Self::default() } else { Self(vec![range]) }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `group` is in the set.
    #[must_use]
    pub fn contains(&self, group: u16) -> bool {
        self.0.iter().any(|range| range.contains(group))
    }

    /// Takes `gone` out of the set.
    pub fn subtract(&mut self, gone: GroupRange) {
        self.0 = self
            .0
            .iter()
            .flat_map(|range| {
                let below = GroupRange::new(range.start, range.end.min(gone.start));
                let above = GroupRange::new(range.start.max(gone.end), range.end);
                [below, above]
            })
            .filter(|range| !range.is_empty())
            .collect();
    }

    /// The ranges, ascending.
    #[must_use]
    pub fn ranges(&self) -> &[GroupRange] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_group_has_one_worker(workers in 1u32..=64) {
            for group in 0..KEY_GROUPS {
                let owner = worker_of_group(group, workers);
                prop_assert!(owner.0 < workers);
                for worker in 0..workers {
                    let owns = groups_of_worker(WorkerIndex(worker), workers).contains(group);
                    prop_assert_eq!(owns, worker == owner.0, "group {} worker {}", group, worker);
                }
            }
        }

        #[test]
        fn subtraction_is_set_difference(cuts in prop::collection::vec((0u16..256, 0u16..256), 0..12)) {
            let mut set = GroupSet::of(GroupRange::ALL);
            let mut model: Vec<bool> = vec![true; KEY_GROUPS as usize];
            for (a, b) in cuts {
                let range = GroupRange::new(a.min(b), a.max(b));
                set.subtract(range);
                for group in range.iter() {
                    model[group as usize] = false;
                }
            }
            for group in 0..KEY_GROUPS {
                prop_assert_eq!(set.contains(group), model[group as usize]);
            }
        }
    }
}
