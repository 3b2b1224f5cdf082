//! Operator `window`: clicks that count into panes, panes that close into rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use columnar::{Columnar, Index};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::{Stream, StreamVec};
use weir_checkpoints::{Epoch, FaultPoint, Replaced, worker_of_group};

use crate::batch::{Batch, to_target};
use crate::graph::clock::Timeline;
use crate::graph::dedup::PaneClicks;
use crate::graph::seal::{Piece, Sealer, Stage};
use crate::job::Outcome;
use crate::metrics::{JobMetrics, StateFigures};
use crate::records::{AdName, PaneClick};
use crate::sinks::Sinks;
use crate::sketch::Coupon;
use crate::time::Agreement;
use crate::windows::{Counted, STATE_KIND, WindowState};
use crate::worker::Place;
use crate::{AdKey, Cut, JobError, Row, RowKind, SinkError, WindowRow};

/// A whole snapshot is written when the changes since the last one have grown to its size, and to this much at least.
const MIN_REWRITE_BYTES: u64 = 16 << 20;

/// What the operator works on.
pub(crate) struct WindowParts {
    pub(crate) windows: WindowState,
    /// The job's own region.
    pub(crate) home: Option<String>,
    pub(crate) sinks: Sinks,
    pub(crate) place: Place,
    pub(crate) timeline: Timeline,
    pub(crate) sealer: Sealer,
    pub(crate) metrics: Arc<JobMetrics>,
    pub(crate) outcome: Arc<Outcome>,
}

/// The output tells the epochs that a checkpoint seals.
pub(crate) fn window<'scope>(
    clicks: Stream<'scope, u64, Batch<PaneClicks>>,
    names: StreamVec<'scope, u64, AdName>,
    parts: WindowParts,
) -> StreamVec<'scope, u64, u64> {
    let (place, timeline, outcome) = (parts.place, parts.timeline.clone(), Arc::clone(&parts.outcome));
    let mut window = Windowing::new(parts);
    let to_owner =
        Exchange::new(move |name: &AdName| u64::from(worker_of_group(AdKey(name.ad).group(), place.workers).0));
    clicks.binary_frontier(names, to_target(), to_owner, "window", move |mut capability, _info| {
        let mut next = place.first_epoch;
        capability.downgrade(&next);
        let mut held = Some(capability);
        move |(clicks, clicks_frontier), (names, names_frontier), output| {
            clicks.for_each(|capability, batch| {
                if let Some(epoch) = capability.least() {
                    window.waiting.entry(*epoch).or_default().clicks.push(std::mem::take(batch));
                }
            });
            names.for_each(|capability, names| {
                if let Some(epoch) = capability.least() {
                    window.waiting.entry(*epoch).or_default().names.append(names);
                }
            });
            while let Some(capability) = &mut held {
                let complete = !clicks_frontier.less_equal(&next) && !names_frontier.less_equal(&next);
                let Some(agreement) = timeline.agreement(next).filter(|_| complete) else { break };
                if let Err(error) = window.end_epoch(&agreement) {
                    outcome.fail(error);
                    break;
                }
                if agreement.checkpoint {
                    output.session(capability).give(next);
                }
                timeline.forget_before(next);
                next += 1;
                capability.downgrade(&next);
                if agreement.last {
                    held = None;
                }
            }
        }
    })
}

/// What came in for an epoch that is not complete.
#[derive(Default)]
struct Waiting {
    clicks: Vec<Batch<PaneClicks>>,
    names: Vec<AdName>,
}

struct Windowing {
    windows: WindowState,
    home: Option<String>,
    sinks: Sinks,
    place: Place,
    sealer: Sealer,
    metrics: Arc<JobMetrics>,
    waiting: BTreeMap<u64, Waiting>,
    /// The clicks of one epoch by key group; kept for its memory.
    groups: Vec<Vec<PaneClick>>,
    closed_until_ms: Option<i64>,
    /// Clicks added to windows since the last checkpoint.
    applied: u64,
    snapshot: Snapshot,
    sketch: Vec<u8>,
}

/// When the next whole snapshot is due.
#[derive(Default)]
struct Snapshot {
    /// The size of the last one, before compression; 0 before this attempt's first.
    whole_bytes: u64,
    /// The size of the changes written since.
    changes_bytes: u64,
}

impl Windowing {
    fn new(parts: WindowParts) -> Self {
        let WindowParts { windows, home, sinks, place, sealer, metrics, .. } = parts;
        windows.begin(place);
        Self {
            windows,
            home,
            sinks,
            place,
            sealer,
            metrics,
            waiting: BTreeMap::new(),
            groups: (0..weir_checkpoints::KEY_GROUPS).map(|_| Vec::new()).collect(),
            closed_until_ms: place.closed_until_ms,
            applied: 0,
            snapshot: Snapshot::default(),
            sketch: Vec::new(),
        }
    }

    fn end_epoch(&mut self, agreement: &Agreement) -> Result<(), JobError> {
        let waiting = self.waiting.remove(&agreement.end.epoch.0).unwrap_or_default();
        waiting.names.into_iter().for_each(|name| self.windows.name(name));
        self.count(&waiting.clicks);
        self.windows.end_epoch(&agreement.end);
        if agreement.end.closed_until_ms != self.closed_until_ms {
            self.closed_until_ms = agreement.end.closed_until_ms;
            self.close(agreement)?;
        }
        if agreement.checkpoint {
            self.checkpoint(agreement)?;
        }
        Ok(())
    }

    /// Adds an epoch's clicks, key group by key group, so that the ads at work stay in the cache.
    fn count(&mut self, batches: &[Batch<PaneClicks>]) {
        for click in batches.iter().flat_map(|batch| batch.borrow().into_index_iter()) {
            let click = PaneClick::into_owned(click);
            if let Some(group) = self.groups.get_mut(usize::from(click.ad().group())) {
                group.push(click);
            }
        }
        for (number, clicks) in (0..).zip(&mut self.groups).filter(|(_, clicks)| !clicks.is_empty()) {
            self.applied += clicks.len() as u64;
            let mut group = self.windows.group(number);
            for click in clicks.drain(..) {
                group.count(click.ad(), click.minute, Coupon(click.coupon));
            }
        }
    }

    fn close(&mut self, agreement: &Agreement) -> Result<(), SinkError> {
        let epoch = agreement.end.epoch;
        let mut rows = Rows::to(&mut self.sinks, self.home.as_deref(), &mut self.sketch, epoch);
        let closed_until_ms = agreement.end.closed_until_ms;
        self.windows.close(epoch, closed_until_ms, |closed| rows.write(closed, State::Closed));
        let written = rows.written()?;
        self.windows.drop_old(|committed| self.sinks.shown(committed));
        self.metrics.add_windows_closed(written);
        Ok(())
    }

    /// Shows open windows as they stand, to sinks that want to know.
    fn write_provisional(&mut self, agreement: &Agreement) -> Result<(), SinkError> {
        if !self.sinks.want(RowKind::Provisional) {
            return Ok(());
        }
        let mut rows = Rows::to(&mut self.sinks, self.home.as_deref(), &mut self.sketch, agreement.end.epoch);
        self.windows.changed(|open| {
            rows.write(open, State::Open);
        });
        rows.written().map(|_| ())
    }

    fn checkpoint(&mut self, agreement: &Agreement) -> Result<(), JobError> {
        self.windows.seal(&agreement.end);
        self.write_provisional(agreement)?;
        let mut piece = Piece { applied: std::mem::take(&mut self.applied), ..Piece::default() };
        self.write_state(agreement, &mut piece);
        let cut = Cut { epoch: agreement.end.epoch, last: agreement.end.ended, offsets: Vec::new() };
        piece.work.extend(self.sinks.stage(&cut, &self.sealer)?);
        self.sealer.add(Stage::Window, agreement, piece);
        FaultPoint::WindowsCut.pass();
        Ok(())
    }

    fn write_state(&mut self, agreement: &Agreement, piece: &mut Piece) {
        let Snapshot { whole_bytes, changes_bytes } = self.snapshot;
        let whole = whole_bytes == 0 || changes_bytes > whole_bytes.max(MIN_REWRITE_BYTES);
        let part = self.windows.write(whole);
        let bytes = part.raw_bytes();
        self.metrics.set_state(
            self.place.worker,
            STATE_KIND,
            StateFigures { entries: self.windows.ads() as u64, bytes: whole_bytes.max(bytes) + changes_bytes },
        );
        self.snapshot = if whole {
            piece.replaced.push(Replaced { kind: STATE_KIND.to_owned(), groups: self.place.groups });
            Snapshot { whole_bytes: bytes.max(1), changes_bytes: 0 }
        } else {
            Snapshot { whole_bytes, changes_bytes: changes_bytes + bytes }
        };
        if !part.is_empty() {
            piece.work.push(self.sealer.part(agreement.end.epoch, STATE_KIND, part, None));
        }
    }
}

/// Whether a window may still change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open,
}

/// Windows on their way to the sinks.
struct Rows<'a> {
    sinks: &'a mut Sinks,
    home: Option<&'a str>,
    sketch: &'a mut Vec<u8>,
    epoch: Epoch,
    written: u64,
    failed: Option<SinkError>,
}

impl<'a> Rows<'a> {
    fn to(sinks: &'a mut Sinks, home: Option<&'a str>, sketch: &'a mut Vec<u8>, epoch: Epoch) -> Self {
        Self { sinks, home, sketch, epoch, written: 0, failed: None }
    }

    /// Returns the distinct users.
    fn write(&mut self, counted: Counted<'_>, state: State) -> u64 {
        let Counted { ad_id, region, window, start_ms, tally } = counted;
        self.sketch.clear();
        // Of a window that changes all the time nobody merges the sketch, and writing it costs more than all the rest.
        if state == State::Closed {
            tally.users.to_datasketches(self.sketch);
        }
        self.written += 1;
        let unique_users = tally.users.estimate();
        let row = WindowRow {
            ad_id,
            region: region.or(self.home),
            window,
            start_ms,
            click_count: tally.clicks,
            unique_users,
            user_sketch: self.sketch,
            epoch: self.epoch,
        };
        let written = self.sinks.write(match state {
            State::Closed => Row::Window(row),
            State::Open => Row::Provisional(row),
        });
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
        unique_users
    }

    fn written(self) -> Result<u64, SinkError> {
        self.failed.map_or(Ok(self.written), Err)
    }
}
