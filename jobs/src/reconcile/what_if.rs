//! What the stream would have counted with other settings of time: the archive, read again with another watermark.
//!
//! ```text
//!   archive ─▶ largest event time by epoch and partition ─▶ watermark(E), closed until(E), with the other settings
//!        └───▶ each click of epoch E: its minute closed by E − 1 ─▶ late ─▶ recount
//! ```
//!
//! The formulas are those of the stream, the code is not. Nothing is written. When a partition counted as idle is not
//! known, and is taken from its silence in epochs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Result, bail};
use chrono::NaiveDate;
use chrono_tz::Tz;
use serde::Serialize;
use weir_checkpoints::{Day, Names};
use weir_dataflow::reconcile::{
    Archive, ArchiveError, ArchiveFactory, ArchiveRow, ArchivedClick, Correction, Reason, Recount, SHARDS, recount,
};
use weir_dataflow::{LateReason, Layout};

use super::{LocalDay, ROW_BYTES, Reconciler, Wanted};

const MINUTE_MS: i64 = 60_000;

/// Other settings of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherTime {
    /// How long a window stays open behind the watermark.
    pub allowed_lateness_ms: u64,
    /// How far the watermark stays behind the latest click.
    pub out_of_orderness_ms: u64,
}

/// What the stream would have counted.
#[derive(Debug, Clone, Serialize)]
pub struct WhatIf {
    /// The day.
    pub date: String,
    /// Its time zone.
    pub timezone: String,
    /// The other lateness, in milliseconds.
    pub allowed_lateness_ms: u64,
    /// The other bound, in milliseconds.
    pub out_of_orderness_ms: u64,
    /// What it has counted.
    pub streamed: i64,
    /// What it would have counted.
    pub would_be: i64,
    /// Clicks that came too late.
    pub late: i64,
    /// Clicks that would have come too late.
    pub would_be_late: i64,
    /// The ads for which that differs, those that differ most first.
    pub ads: Vec<AdWhatIf>,
}

/// An ad for which it differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdWhatIf {
    /// The ad.
    pub ad_id: String,
    /// What the stream has counted.
    pub streamed: i64,
    /// What it would have counted.
    pub would_be: i64,
}

impl Reconciler {
    /// Says what the stream would have counted on a day that is complete.
    pub fn what_if(&self, date: NaiveDate, timezone: Tz, other: OtherTime, idle_epochs: u64) -> Result<WhatIf> {
        let names = Names::new(&self.job);
        let day = LocalDay::of(date, timezone)?;
        let (manifest, hash, missing) = self.stand(&names, &day)?;
        if !missing.is_empty() {
            bail!("{date} is not complete: {}", missing.join("; "));
        }
        let found = self.find(day, Day::default(), manifest, hash, &Wanted::default())?;
        let known = Known::read(&found.archive, (found.day.start_ms, found.day.end_ms))?;
        let closed = known.closed(other, idle_epochs);
        let passes = (found.archive.rows() * ROW_BYTES).div_ceil(self.memory_bytes.max(1)).clamp(1, u64::from(SHARDS));
        let counted = recount(
            Recount {
                index: None,
                start_ms: found.day.start_ms,
                end_ms: found.day.end_ms,
                margin_ms: self.margin_ms,
                passes: passes as u32,
                exact_users: false,
                leaves_of: None,
                archive: Arc::new(OtherwiseLate { archive: Arc::new(found.archive), closed: Arc::new(closed) }),
                progress: Arc::clone(&self.progress),
            },
            Layout::Threads(self.workers),
        )?;
        let count = counted.unwrap_or_default();
        let delta = |corrections: &[Correction], reason| -> i64 {
            corrections.iter().filter(|correction| correction.reason == reason).map(|correction| correction.delta).sum()
        };
        let mut streamed = known.streamed;
        let mut ads = Vec::new();
        let (mut would_be, mut would_be_late) = (0, 0);
        for ad in count.ads {
            // Nothing was said to be streamed, so all that should have been counts as missed.
            let should = delta(&ad.corrections, Reason::Uncounted);
            would_be += should;
            would_be_late += delta(&ad.corrections, Reason::Late);
            let was = streamed.remove(&ad.ad_id).unwrap_or(0);
            if was != should {
                ads.push(AdWhatIf { ad_id: ad.ad_id, streamed: was, would_be: should });
            }
        }
        ads.extend(streamed.into_iter().map(|(ad_id, streamed)| AdWhatIf { ad_id, streamed, would_be: 0 }));
        ads.sort_by_cached_key(|ad| (std::cmp::Reverse((ad.would_be - ad.streamed).abs()), ad.ad_id.clone()));
        Ok(WhatIf {
            date: found.day.text(),
            timezone: found.day.timezone.name().to_owned(),
            allowed_lateness_ms: other.allowed_lateness_ms,
            out_of_orderness_ms: other.out_of_orderness_ms,
            streamed: known.streamed_sum,
            would_be,
            late: known.late,
            would_be_late,
            ads,
        })
    }
}

/// What a first look at the archive tells.
#[derive(Default)]
struct Known {
    /// The largest event time by epoch and partition, future clicks left out.
    seen: BTreeMap<u64, HashMap<u32, i64>>,
    streamed: BTreeMap<String, i64>,
    streamed_sum: i64,
    late: i64,
}

impl Known {
    fn read(archive: &impl ArchiveFactory, (start_ms, end_ms): (i64, i64)) -> Result<Self> {
        let mut known = Self::default();
        let mut future = HashSet::new();
        each_row(archive, |row| match row {
            ArchiveRow::Late(row, LateReason::Future) => {
                future.insert((row.partition, row.offset));
            }
            ArchiveRow::Late(row, LateReason::Late) => {
                known.late += i64::from((start_ms..end_ms).contains(&row.click.event_time_ms()));
            }
            ArchiveRow::Streamed(window) if (start_ms..end_ms).contains(&window.start_ms) => {
                known.streamed_sum += window.clicks;
                match known.streamed.get_mut(window.ad_id) {
                    Some(sum) => *sum += window.clicks,
                    None => {
                        known.streamed.insert(window.ad_id.to_owned(), window.clicks);
                    }
                }
            }
            ArchiveRow::Streamed(_) | ArchiveRow::Click(_) => {}
        })?;
        each_row(archive, |row| {
            let ArchiveRow::Click(row) = row else { return };
            if !future.contains(&(row.partition, row.offset)) {
                let time_ms = row.click.event_time_ms();
                let seen = known.seen.entry(row.epoch).or_default().entry(row.partition).or_insert(time_ms);
                *seen = time_ms.max(*seen);
            }
        })?;
        Ok(known)
    }

    /// Until when windows are closed at the end of each epoch.
    fn closed(&self, other: OtherTime, idle_epochs: u64) -> Vec<(u64, i64)> {
        let signed = |duration_ms: u64| i64::try_from(duration_ms).unwrap_or(i64::MAX);
        let mut partitions: HashMap<u32, (i64, u64)> = HashMap::new();
        let mut closed_until_ms = i64::MIN;
        let mut closed = Vec::new();
        for (&epoch, seen) in &self.seen {
            for (&partition, &time_ms) in seen {
                let known = partitions.entry(partition).or_insert((time_ms, epoch));
                *known = (known.0.max(time_ms), epoch);
            }
            let awake = partitions.values().filter(|(_, last)| epoch - last <= idle_epochs);
            if let Some(least_ms) = awake.map(|(time_ms, _)| *time_ms).min() {
                let watermark_ms = least_ms.saturating_sub(signed(other.out_of_orderness_ms));
                let until_ms = watermark_ms.saturating_sub(signed(other.allowed_lateness_ms));
                closed_until_ms = closed_until_ms.max(until_ms.div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS));
            }
            closed.push((epoch, closed_until_ms));
        }
        closed
    }
}

fn each_row(archive: &impl ArchiveFactory, mut take: impl FnMut(ArchiveRow<'_>)) -> Result<(), ArchiveError> {
    let mut rows = archive.open(0, 1)?;
    while rows.read(&mut take)? {}
    Ok(())
}

/// The archive, where other clicks are late.
struct OtherwiseLate<A> {
    archive: Arc<A>,
    closed: Arc<Vec<(u64, i64)>>,
}

impl<A: ArchiveFactory> ArchiveFactory for OtherwiseLate<A> {
    fn open(&self, worker: usize, workers: usize) -> Result<Box<dyn Archive>, ArchiveError> {
        let archive = self.archive.open(worker, workers)?;
        Ok(Box::new(Share { archive, closed: Arc::clone(&self.closed) }))
    }
}

struct Share {
    archive: Box<dyn Archive>,
    closed: Arc<Vec<(u64, i64)>>,
}

impl Archive for Share {
    fn read(&mut self, take: &mut dyn FnMut(ArchiveRow<'_>)) -> Result<bool, ArchiveError> {
        let closed = &self.closed;
        self.archive.read(&mut |row| match row {
            ArchiveRow::Click(click) => {
                take(row);
                if is_late(closed, &click) {
                    take(ArchiveRow::Late(click, LateReason::Late));
                }
            }
            ArchiveRow::Late(click, LateReason::Future) if !is_late(closed, &click) => take(row),
            ArchiveRow::Late(..) | ArchiveRow::Streamed(_) => {}
        })
    }

    fn rewind(&mut self) {
        self.archive.rewind();
    }
}

/// Whether its minute was closed at the end of the epoch before its own.
fn is_late(closed: &[(u64, i64)], row: &ArchivedClick<'_>) -> bool {
    let before = closed.partition_point(|(epoch, _)| *epoch < row.epoch);
    let minute_ends_ms = (row.click.event_time_ms().div_euclid(MINUTE_MS) + 1) * MINUTE_MS;
    before.checked_sub(1).and_then(|at| closed.get(at)).is_some_and(|(_, until_ms)| minute_ends_ms <= *until_ms)
}
