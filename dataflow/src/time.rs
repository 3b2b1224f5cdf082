//! Event time: the watermark, and which windows are closed.
//!
//! ```text
//!   watermark(E)    = min over partitions that are neither idle nor ended of (largest event time) − out-of-orderness
//!   closed until(E) = whole minutes of watermark(E) − allowed lateness
//!   a click of epoch E is late  ⇔  its minute ends at or before closed until(E − 1)
//! ```
//!
//! - Neither ever goes back.
//! - Both are functions of the epochs' contents alone: every worker computes the same, in any order of scheduling.
//! - When all partitions have ended, the watermark is the end of time.

use std::collections::BTreeMap;

use weir_checkpoints::{Epoch, EpochEnd, Manifest, PartitionId};

use crate::records::{Activity, EpochReport};

/// A pane: the smallest window, in milliseconds.
pub const PANE_MS: i64 = 60_000;

/// The watermark when there is nothing more to come.
pub const END_OF_TIME_MS: i64 = i64::MAX;

/// How the job treats time, all in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSettings {
    /// How far behind the largest event time of its partition a click may be without being out of order.
    pub out_of_orderness_ms: i64,
    /// How long a window stays open once the watermark has passed its end.
    pub allowed_lateness_ms: i64,
    /// How long a partition must be read to its end before it no longer holds the watermark.
    pub idle_timeout_ms: i64,
    /// How far ahead of the log's clock a click may be.
    pub max_future_skew_ms: i64,
    /// How far a partition may run ahead of the watermark while the others catch up.
    pub max_partition_lead_ms: i64,
}

/// The minute of an event time.
#[inline]
#[must_use]
pub const fn minute_of(event_time_ms: i64) -> u32 {
    (event_time_ms / PANE_MS) as u32
}

/// Whether a window that ends at `end_ms` is closed for good.
#[inline]
#[must_use]
pub fn is_closed(end_ms: i64, closed_until_ms: Option<i64>) -> bool {
    closed_until_ms.is_some_and(|closed| end_ms <= closed)
}

/// What all workers agree on at the end of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreement {
    pub(crate) end: EpochEnd,
    /// The watermark before the epoch.
    pub(crate) before_ms: Option<i64>,
    /// The epoch is sealed by a checkpoint.
    pub(crate) checkpoint: bool,
    /// It is the last one of this attempt.
    pub(crate) last: bool,
}

/// Computes the watermark, epoch by epoch.
#[derive(Debug, Clone)]
pub(crate) struct EventClock {
    settings: TimeSettings,
    watermark_ms: Option<i64>,
    closed_until_ms: Option<i64>,
    max_event_time_ms: BTreeMap<PartitionId, i64>,
}

impl EventClock {
    /// The clock as the manifest left it.
    pub(crate) fn resume(settings: TimeSettings, manifest: &Manifest) -> Self {
        let max_event_time_ms = manifest
            .partitions
            .iter()
            .filter_map(|(partition, cut)| Some((*partition, cut.max_event_time_ms?)))
            .collect();
        Self {
            settings,
            watermark_ms: manifest.watermark_ms,
            closed_until_ms: manifest.closed_until_ms,
            max_event_time_ms,
        }
    }

    /// Takes the reports of all workers on one epoch.
    pub(crate) fn end_epoch(&mut self, epoch: Epoch, reports: &[EpochReport]) -> Agreement {
        let before_ms = self.watermark_ms;
        let ended = self.all_ended(reports);
        let candidate = if ended { Some(END_OF_TIME_MS) } else { self.candidate(reports) };
        self.watermark_ms = before_ms.max(candidate);
        self.closed_until_ms = self.closed_until_ms.max(self.watermark_ms.map(|watermark| self.closed_at(watermark)));
        let stop = ended || reports.iter().any(|report| report.stop);
        Agreement {
            end: EpochEnd { epoch, watermark_ms: self.watermark_ms, closed_until_ms: self.closed_until_ms, ended },
            before_ms,
            checkpoint: stop || reports.iter().any(|report| report.checkpoint),
            last: stop,
        }
    }

    fn all_ended(&self, reports: &[EpochReport]) -> bool {
        let mut partitions = reports.iter().flat_map(|report| &report.partitions).peekable();
        partitions.peek().is_some() && partitions.all(|partition| partition.activity == Activity::Ended)
    }

    /// The minimum over the partitions that hold the watermark; none where one of them has had no click yet, or where
    /// no partition holds it (then it stays).
    fn candidate(&mut self, reports: &[EpochReport]) -> Option<i64> {
        let mut lowest: Option<i64> = None;
        let mut silent = false;
        for partition in reports.iter().flat_map(|report| &report.partitions) {
            let known = self.max_event_time_ms.get(&partition.partition).copied();
            let newest = known.max(partition.max_event_time_ms);
            if let Some(newest) = newest {
                self.max_event_time_ms.insert(partition.partition, newest);
            }
            match (partition.activity, newest) {
                (Activity::Active, None) => silent = true,
                (Activity::Active, Some(newest)) => lowest = Some(lowest.map_or(newest, |low| low.min(newest))),
                (Activity::Idle | Activity::Ended, _) => {}
            }
        }
        if silent { None } else { lowest.map(|low| low - self.settings.out_of_orderness_ms) }
    }

    fn closed_at(&self, watermark_ms: i64) -> i64 {
        if watermark_ms == END_OF_TIME_MS {
            return END_OF_TIME_MS;
        }
        let reached = watermark_ms - self.settings.allowed_lateness_ms;
        reached.div_euclid(PANE_MS) * PANE_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::PartitionReport;

    const SETTINGS: TimeSettings = TimeSettings {
        out_of_orderness_ms: 10_000,
        allowed_lateness_ms: 600_000,
        idle_timeout_ms: 30_000,
        max_future_skew_ms: 300_000,
        max_partition_lead_ms: 300_000,
    };

    fn clock() -> EventClock {
        EventClock { settings: SETTINGS, watermark_ms: None, closed_until_ms: None, max_event_time_ms: BTreeMap::new() }
    }

    fn report(partitions: &[(u32, Option<i64>, Activity)]) -> Vec<EpochReport> {
        let partitions = partitions
            .iter()
            .map(|(id, max, activity)| PartitionReport {
                partition: PartitionId(*id),
                max_event_time_ms: *max,
                activity: *activity,
            })
            .collect();
        vec![EpochReport { epoch: 1, partitions, checkpoint: false, stop: false, came_up: Vec::new() }]
    }

    #[track_caller]
    fn check(clock: &mut EventClock, partitions: &[(u32, Option<i64>, Activity)], watermark_ms: Option<i64>) {
        assert_eq!(clock.end_epoch(Epoch(1), &report(partitions)).end.watermark_ms, watermark_ms);
    }

    #[test]
    fn the_slowest_active_partition_holds_the_watermark() {
        use Activity::{Active, Ended, Idle};
        let mut clock = clock();
        check(&mut clock, &[(0, Some(100_000), Active), (1, None, Active)], None);
        check(&mut clock, &[(0, Some(100_000), Active), (1, None, Idle)], Some(90_000));
        check(&mut clock, &[(0, Some(200_000), Active), (1, Some(150_000), Active)], Some(140_000));
        check(&mut clock, &[(0, Some(300_000), Active), (1, None, Active)], Some(140_000));
        check(&mut clock, &[(0, Some(300_000), Active), (1, None, Ended)], Some(290_000));
    }

    #[test]
    fn it_never_goes_back() {
        use Activity::{Active, Idle};
        let mut clock = clock();
        check(&mut clock, &[(0, Some(500_000), Active), (1, None, Idle)], Some(490_000));
        check(&mut clock, &[(0, None, Active), (1, Some(100_000), Active)], Some(490_000));
        check(&mut clock, &[(0, None, Idle), (1, None, Idle)], Some(490_000));
    }

    #[test]
    fn all_ended_is_the_end_of_time_and_the_last_epoch() {
        let mut clock = clock();
        let agreement = clock.end_epoch(Epoch(1), &report(&[(0, Some(5), Activity::Ended)]));
        assert!(agreement.last && agreement.checkpoint && agreement.end.ended);
        assert_eq!(agreement.end.closed_until_ms, Some(END_OF_TIME_MS));
    }

    #[test]
    fn windows_close_by_whole_minutes_after_the_lateness() {
        let mut clock = clock();
        let agreement = clock.end_epoch(Epoch(1), &report(&[(0, Some(731_000), Activity::Active)]));
        assert_eq!(agreement.end.watermark_ms, Some(721_000));
        assert_eq!(agreement.end.closed_until_ms, Some(120_000));
        assert!(is_closed(120_000, agreement.end.closed_until_ms));
        assert!(!is_closed(180_000, agreement.end.closed_until_ms));
    }
}
