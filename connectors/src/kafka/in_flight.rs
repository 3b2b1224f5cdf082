//! The groups of a producer that are not settled yet.
//!
//! ```text
//!   insert(group) ──▶ slot ──▶ report(slot, index, …) for each record ──▶ the last one takes the group out: Done
//!                              abandon() ───────────────────────────────▶ all groups that are left: Done
//! ```
//!
//! A slot is used again only after every record of its group was reported. [`InFlight::abandon`] closes the whole table
//! for good, so that a report that comes late can never count for another group.

use crate::log::{LogError, Settle, Settled};

/// Groups by slot.
#[derive(Default)]
pub(super) struct InFlight {
    slots: Vec<Option<Pending>>,
    free: Vec<u32>,
    closed: bool,
}

struct Pending {
    settle: Settle,
    records: u32,
    bytes: u64,
    /// Records that were not reported yet.
    left: u32,
    failed: Vec<u32>,
    error: Option<LogError>,
}

/// A group that can be settled. It is not settled here, since that may take any time and call anything.
pub(super) struct Done {
    pub(super) settle: Settle,
    pub(super) settled: Settled,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl InFlight {
    /// Takes in a group of at least one record. Gives `settle` back where the table is closed.
    pub(super) fn insert(&mut self, records: u32, bytes: u64, settle: Settle) -> Result<u32, Settle> {
        if self.closed {
            return Err(settle);
        }
        let pending = Pending { settle, records, bytes, left: records, failed: Vec::new(), error: None };
        if let Some(slot) = self.free.pop() {
            if let Some(place) = self.slots.get_mut(slot as usize) {
                *place = Some(pending);
            }
            return Ok(slot);
        }
        self.slots.push(Some(pending));
        Ok((self.slots.len() - 1) as u32)
    }

    /// Counts a record. `error` is asked for the reason only where it is the group's first.
    pub(super) fn report(&mut self, slot: u32, failed: Option<u32>, error: impl FnOnce() -> LogError) -> Option<Done> {
        let place = self.slots.get_mut(slot as usize)?;
        let pending = place.as_mut()?;
        if let Some(index) = failed {
            pending.failed.push(index);
            pending.error.get_or_insert_with(error);
        }
        pending.left = pending.left.saturating_sub(1);
        if pending.left > 0 {
            return None;
        }
        let done = place.take().map(Pending::done);
        self.free.push(slot);
        done
    }

    /// Refuses groups from now on.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Takes out every group, with all of its records failed that were not reported, and refuses groups from now on.
    pub(super) fn abandon(&mut self, error: &LogError) -> Vec<Done> {
        self.closed = true;
        self.slots.drain(..).flatten().map(|pending| pending.abandoned(error.clone())).collect()
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len() || self.slots.is_empty()
    }
}

impl Pending {
    fn done(mut self) -> Done {
        // Partitions report in any order.
        self.failed.sort_unstable();
        let settled = Settled { failed: self.failed, error: self.error };
        Done { settle: self.settle, settled, records: u64::from(self.records), bytes: self.bytes }
    }

    /// Which records were delivered is not kept, so all of them count as failed: they may be appended again.
    fn abandoned(self, error: LogError) -> Done {
        let settled = Settled::all_failed(self.records as usize, self.error.unwrap_or(error));
        Done { settle: self.settle, settled, records: u64::from(self.records), bytes: self.bytes }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn full() -> LogError {
        LogError::Full { place: "kafka://b:1/clicks".to_owned() }
    }

    fn insert(groups: &mut InFlight, records: u32) -> u32 {
        groups.insert(records, 100, Box::new(|_| ())).unwrap_or_else(|_| panic!("the table is closed"))
    }

    #[test]
    fn a_group_is_done_with_its_last_record() {
        let mut groups = InFlight::default();
        let slot = insert(&mut groups, 3);
        assert!(groups.report(slot, Some(2), full).is_none());
        assert!(groups.report(slot, None, full).is_none());
        assert!(!groups.is_empty());
        let done = groups.report(slot, Some(0), full).unwrap();
        assert_eq!(done.settled.failed, [0, 2]);
        assert_eq!(done.settled.error, Some(full()));
        assert_eq!((done.records, done.bytes), (3, 100));
        assert!(groups.is_empty());
    }

    #[test]
    fn slots_are_used_again() {
        let mut groups = InFlight::default();
        let (first, second) = (insert(&mut groups, 1), insert(&mut groups, 1));
        assert!(groups.report(first, None, full).is_some());
        assert!(groups.report(first, None, full).is_none(), "the slot is empty");
        assert_eq!(insert(&mut groups, 1), first);
        assert_ne!(first, second);
    }

    #[test]
    fn what_is_abandoned_has_failed_and_late_reports_count_for_nobody() {
        let mut groups = InFlight::default();
        let slot = insert(&mut groups, 2);
        assert!(groups.report(slot, None, full).is_none());
        let done = groups.abandon(&full());
        assert_eq!(done.len(), 1);
        assert_eq!(done.first().unwrap().settled.failed, [0, 1]);
        assert!(groups.report(slot, None, full).is_none());
        assert!(groups.is_empty());
        assert!(groups.insert(1, 1, Box::new(|_| ())).is_err());
    }
}
