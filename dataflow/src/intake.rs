//! From records to where they belong: the part of reading that touches every click.

use std::time::{Duration, Instant};

use columnar::Columnar;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use weir_checkpoints::{Epoch, Manifest, Offset, PartitionId, Position, ReadReport, Totals, worker_of_group};

use crate::batch::Outbox;
use crate::graph::seal::{Sealer, Work};
use crate::records::{Activity, AdName, KeyedClick, PartitionReport, split};
use crate::region::{Region, Regions};
use crate::sinks::Sinks;
use crate::sketch::Coupon;
use crate::time::{PANE_MS, TimeSettings, is_closed, minute_of};
use crate::worker::Place;
use crate::{
    AdKey, Click, ClickRow, Cut, DeadLetterRow, Decoder, Job, JobError, LateReason, Record, Rejection, Row, RowKind,
    SinkError, extra_fields,
};

pub(crate) type Clicks = <KeyedClick as Columnar>::Container;

/// What one worker reads, and where it goes.
pub(crate) struct Intake {
    pub(crate) lanes: Vec<Lane>,
    pub(crate) outbox: Outbox<Clicks>,
    pub(crate) names: Vec<AdName>,
    /// Records read in this epoch.
    pub(crate) records: u64,
    /// Bytes given to the archive since the last checkpoint.
    pub(crate) archive_bytes: u64,
    decoder: Decoder,
    route: Route,
    /// The lane that is being read.
    current: usize,
    /// What of the lanes' counts was told to the metrics.
    figures: Totals,
    idle_timeout: Duration,
    failed: Option<SinkError>,
}

/// A partition under way.
pub(crate) struct Lane {
    pub(crate) id: PartitionId,
    /// Where the last checkpoint ends.
    pub(crate) from: Offset,
    max_event_time_ms: Option<i64>,
    caught_up: Option<Instant>,
    /// Its last poll gave records.
    flowing: bool,
    ended: bool,
    /// Since the last checkpoint.
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    read: u64,
    rejected: u64,
    future: u64,
    late: u64,
}

impl Lane {
    /// The partition as the manifest left it.
    pub(crate) fn resume(id: PartitionId, manifest: &Manifest, from: Offset) -> Self {
        let max_event_time_ms = manifest.partitions.get(&id).and_then(|cut| cut.max_event_time_ms);
        Self { max_event_time_ms, ..Self::new(id, from) }
    }

    /// A partition that nothing was read of yet.
    pub(crate) fn new(id: PartitionId, from: Offset) -> Self {
        let counts = Counts::default();
        Self { id, from, max_event_time_ms: None, caught_up: None, flowing: false, ended: false, counts }
    }

    /// What was read since the last cut; the next one begins at `position`.
    pub(crate) fn cut(&mut self, position: Position) -> ReadReport {
        let Counts { read, rejected, future, late } = std::mem::take(&mut self.counts);
        let from = std::mem::replace(&mut self.from, position.next_offset);
        ReadReport { from, position, max_event_time_ms: self.max_event_time_ms, read, rejected, future, late }
    }

    fn is_ahead(&self, limit_ms: Option<i64>) -> bool {
        self.max_event_time_ms.zip(limit_ms).is_some_and(|(newest, limit)| newest > limit)
    }
}

impl Intake {
    pub(crate) fn new(job: &Job, place: Place, sinks: Sinks, lanes: Vec<Lane>, closed_until_ms: Option<i64>) -> Self {
        Self {
            lanes,
            outbox: Outbox::new(place.workers),
            names: Vec::new(),
            records: 0,
            archive_bytes: 0,
            decoder: Decoder::new(),
            route: Route {
                time: job.time,
                closed_until_ms,
                epoch: Epoch(place.first_epoch),
                workers: place.workers,
                regions: Regions::new(job.region.as_deref()),
                named: HashTable::new(),
                archive: sinks.want(RowKind::Archive),
                extra: job.extra_fields,
                sinks,
            },
            current: 0,
            figures: Totals::default(),
            idle_timeout: Duration::from_millis(job.time.idle_timeout_ms.unsigned_abs()),
            failed: None,
        }
    }

    /// The partition of a lane, if it may be read now: it has not ended and is not ahead of the others.
    pub(crate) fn readable(&self, lane: usize, limit_ms: Option<i64>) -> Option<PartitionId> {
        self.lanes.get(lane).filter(|lane| !lane.ended && !lane.is_ahead(limit_ms)).map(|lane| lane.id)
    }

    /// The records that follow are this lane's.
    pub(crate) fn turn_to(&mut self, lane: usize) {
        self.current = lane;
    }

    /// Takes one record. A sink that fails shows in [`Self::check`].
    #[inline]
    pub(crate) fn take(&mut self, record: &Record<'_>) {
        let Some(lane) = self.lanes.get_mut(self.current) else { return };
        self.records += 1;
        lane.counts.read += 1;
        let taken = match self.decoder.decode(record.payload) {
            Ok(click) => {
                let taken = self.route.click(lane, record, &click, &mut self.outbox, &mut self.names);
                if self.route.archive {
                    self.archive_bytes += record.payload.map_or(0, <[u8]>::len) as u64;
                }
                taken
            }
            Err(rejection) => self.route.reject(lane, record, &rejection),
        };
        if let Err(error) = taken {
            self.failed = self.failed.take().or(Some(error));
        }
    }

    /// Whether all records so far were taken.
    pub(crate) fn check(&mut self) -> Result<(), SinkError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Notes whether a lane is at its log's end for now.
    pub(crate) fn caught_up(&mut self, lane: usize, caught_up: bool) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.caught_up = if caught_up { lane.caught_up.or_else(|| Some(Instant::now())) } else { None };
            lane.flowing = !caught_up;
        }
    }

    /// Notes that a lane has more, but not at hand.
    pub(crate) fn pending(&mut self, lane: usize) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.flowing = false;
        }
    }

    /// The event time of the lane that is furthest behind, of those that have records at hand.
    pub(crate) fn slowest_flowing_ms(&self) -> Option<i64> {
        self.lanes.iter().filter(|lane| lane.flowing).filter_map(|lane| lane.max_event_time_ms).min()
    }

    /// Notes that a lane is at its log's end for good.
    pub(crate) fn end(&mut self, lane: usize) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.ended = true;
            lane.flowing = false;
        }
    }

    pub(crate) fn all_ended(&self) -> bool {
        !self.lanes.is_empty() && self.lanes.iter().all(|lane| lane.ended)
    }

    /// Whether every lane that has not ended is ahead of the others.
    pub(crate) fn all_ahead(&self, limit_ms: Option<i64>) -> bool {
        !self.lanes.is_empty() && self.lanes.iter().all(|lane| lane.ended || lane.is_ahead(limit_ms))
    }

    /// What to tell the others about this worker's partitions.
    pub(crate) fn partition_reports(&self) -> Vec<PartitionReport> {
        let idle = |since: Instant| since.elapsed() >= self.idle_timeout;
        let report = |lane: &Lane| PartitionReport {
            partition: lane.id,
            max_event_time_ms: lane.max_event_time_ms,
            activity: match lane {
                Lane { ended: true, .. } => Activity::Ended,
                Lane { caught_up: Some(since), .. } if idle(*since) => Activity::Idle,
                _ => Activity::Active,
            },
        };
        self.lanes.iter().map(report).collect()
    }

    /// Goes over to the next epoch.
    pub(crate) fn end_epoch(&mut self, closed_until_ms: Option<i64>) {
        self.records = 0;
        self.route.closed_until_ms = closed_until_ms;
        self.route.epoch = self.route.epoch.next();
    }

    /// Ends a checkpoint interval.
    pub(crate) fn stage(&mut self, cut: &Cut, sealer: &Sealer) -> Result<Vec<Work>, JobError> {
        self.archive_bytes = 0;
        self.figures = Totals::default();
        // The windows forget the names of ads without windows at each checkpoint: they are told anew.
        self.route.named.clear();
        Ok(self.route.sinks.stage(cut, sealer)?)
    }

    /// What was read since the last call.
    pub(crate) fn take_figures(&mut self) -> Totals {
        let mut sum = Totals::default();
        for Counts { read, rejected, future, late } in self.lanes.iter().map(|lane| &lane.counts) {
            sum = sum.plus(&Totals {
                read: *read,
                rejected: *rejected,
                future: *future,
                late: *late,
                ..Totals::default()
            });
        }
        let known = std::mem::replace(&mut self.figures, sum);
        Totals {
            read: sum.read - known.read,
            rejected: sum.rejected - known.rejected,
            future: sum.future - known.future,
            late: sum.late - known.late,
            ..Totals::default()
        }
    }
}

/// Where a decoded click goes.
struct Route {
    time: TimeSettings,
    closed_until_ms: Option<i64>,
    epoch: Epoch,
    workers: u32,
    regions: Regions,
    /// Ads whose names were sent since the last checkpoint.
    named: HashTable<AdKey>,
    archive: bool,
    extra: bool,
    sinks: Sinks,
}

impl Route {
    #[inline]
    fn click(
        &mut self,
        lane: &mut Lane,
        record: &Record<'_>,
        click: &Click<'_>,
        outbox: &mut Outbox<Clicks>,
        names: &mut Vec<AdName>,
    ) -> Result<(), SinkError> {
        let event_time_ms = click.event_time_ms();
        let minute = minute_of(event_time_ms);
        let region = self.regions.of(record.region);
        if self.archive {
            self.archive(lane, record, click, region)?;
        }
        if event_time_ms.saturating_sub(record.log_time_ms) > self.time.max_future_skew_ms {
            lane.counts.future += 1;
            return self.late(lane, record, click, region, LateReason::Future);
        }
        lane.max_event_time_ms = lane.max_event_time_ms.max(Some(event_time_ms));
        if is_closed((i64::from(minute) + 1) * PANE_MS, self.closed_until_ms) {
            lane.counts.late += 1;
            return self.late(lane, record, click, region, LateReason::Late);
        }
        let (key, ad) = (click.key(), click.ad_key().in_region(region));
        self.name(ad, click.ad_id, region, record.region, names);
        let ((key_high, key_low), (ad_high, ad_low)) = (split(key.0), split(ad.0));
        let keyed = KeyedClick {
            key_high,
            key_low,
            ad_high,
            ad_low,
            offset: record.offset.0,
            partition: lane.id.0,
            minute,
            coupon: Coupon::of_user(click.user_id).0,
        };
        outbox.push(worker_of_group(key.group(), self.workers).0, &keyed);
        Ok(())
    }

    /// Tells the worker that counts an ad its name, before the first click of a checkpoint interval.
    #[inline]
    fn name(&mut self, ad: AdKey, ad_id: &str, region: Region, label: Option<&str>, names: &mut Vec<AdName>) {
        let hash = |key: &AdKey| key.0 as u64;
        if let Entry::Vacant(vacant) = self.named.entry(hash(&ad), |known| *known == ad, hash) {
            vacant.insert(ad);
            let label = label.filter(|_| region != Region::HOME).map(str::to_owned);
            names.push(AdName { ad: ad.0, name: ad_id.to_owned(), region: label });
        }
    }

    fn archive(
        &mut self,
        lane: &Lane,
        record: &Record<'_>,
        click: &Click<'_>,
        region: Region,
    ) -> Result<(), SinkError> {
        let extra = self.extra_of(record);
        let region = self.regions.name(region, record.region);
        self.sinks.write(Row::Archive(row(lane, record, click, extra.as_deref(), region, self.epoch)))
    }

    #[cold]
    fn late(
        &mut self,
        lane: &Lane,
        record: &Record<'_>,
        click: &Click<'_>,
        region: Region,
        reason: LateReason,
    ) -> Result<(), SinkError> {
        let extra = self.extra_of(record);
        let region = self.regions.name(region, record.region);
        self.sinks.write(Row::Late(row(lane, record, click, extra.as_deref(), region, self.epoch), reason))
    }

    fn extra_of(&self, record: &Record<'_>) -> Option<String> {
        record.payload.filter(|_| self.extra).and_then(extra_fields)
    }

    #[cold]
    fn reject(&mut self, lane: &mut Lane, record: &Record<'_>, rejection: &Rejection) -> Result<(), SinkError> {
        lane.counts.rejected += 1;
        self.sinks.write(Row::DeadLetter(DeadLetterRow {
            reason: rejection.reason.as_str(),
            detail: &rejection.detail,
            partition: lane.id,
            offset: record.offset,
            epoch: self.epoch,
            payload: record.payload,
        }))
    }
}

fn row<'a>(
    lane: &Lane,
    record: &Record<'_>,
    click: &Click<'a>,
    extra: Option<&'a str>,
    region: Option<&'a str>,
    epoch: Epoch,
) -> ClickRow<'a> {
    ClickRow { click: *click, extra, region, partition: lane.id, offset: record.offset, epoch }
}
