//! Operator `dedup`: of all clicks with one id, one counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use columnar::{Columnar, Index};
use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::{Stream, StreamVec};
use weir_checkpoints::{FaultPoint, PartitionId, Settled, group_of, worker_of_group};

use crate::batch::{Batch, Outbox, to_target};
use crate::dedup::{ByGroup, STATE_KIND, SeenClicks, Verdict};
use crate::graph::clock::Timeline;
use crate::graph::seal::{Piece, Sealer, Stage};
use crate::metrics::{JobMetrics, StateFigures};
use crate::records::{KeyedClick, PaneClick};
use crate::time::Agreement;
use crate::worker::Place;

/// Key groups of which expired ids are freed at the end of each epoch: all of a worker's within 64 epochs or fewer.
const SWEPT_GROUPS: usize = 4;

type Clicks = <KeyedClick as Columnar>::Container;
pub(crate) type PaneClicks = <PaneClick as Columnar>::Container;

pub(crate) fn dedup<'scope>(
    clicks: Stream<'scope, u64, Batch<Clicks>>,
    clock: StreamVec<'scope, u64, ()>,
    seen: SeenClicks,
    place: Place,
    timeline: Timeline,
    sealer: Sealer,
    metrics: Arc<JobMetrics>,
) -> Stream<'scope, u64, Batch<PaneClicks>> {
    let mut dedup = Dedup {
        seen,
        waiting: BTreeMap::new(),
        spare: Vec::new(),
        outbox: Outbox::new(place.workers),
        settled: HashMap::new(),
        place,
        sealer,
        metrics,
    };
    clicks.binary_frontier::<_, NoopBuilder<Batch<PaneClicks>>, _, _, _, _>(
        clock,
        to_target(),
        Pipeline,
        "dedup",
        move |mut capability, _info| {
            let mut next = place.first_epoch;
            capability.downgrade(&next);
            let mut held = Some(capability);
            move |(clicks, clicks_frontier), (clock, clock_frontier), output| {
                clicks.for_each(|capability, batch| {
                    if let Some(epoch) = capability.least() {
                        dedup.take(*epoch, batch);
                    }
                });
                clock.for_each(|_capability, _nothing| {});
                while let Some(capability) = &mut held {
                    let complete = !clicks_frontier.less_equal(&next) && !clock_frontier.less_equal(&next);
                    let Some(agreement) = timeline.agreement(next).filter(|_| complete) else { break };
                    dedup.end_epoch(&agreement);
                    output.session_with_builder(capability).give_containers(dedup.outbox.all().iter_mut());
                    dedup.outbox.all().clear();
                    next += 1;
                    capability.downgrade(&next);
                    if agreement.last {
                        held = None;
                    }
                }
            }
        },
    )
}

struct Dedup {
    seen: SeenClicks,
    /// Clicks of epochs that are not complete.
    waiting: BTreeMap<u64, ByGroup>,
    spare: Vec<ByGroup>,
    outbox: Outbox<PaneClicks>,
    /// Since the last checkpoint.
    settled: HashMap<u32, Settled>,
    place: Place,
    sealer: Sealer,
    metrics: Arc<JobMetrics>,
}

impl Dedup {
    fn take(&mut self, epoch: u64, batch: &Batch<Clicks>) {
        let spare = &mut self.spare;
        let groups = self.waiting.entry(epoch).or_insert_with(|| spare.pop().unwrap_or_default());
        for click in batch.borrow().into_index_iter() {
            groups.push(KeyedClick::into_owned(click));
        }
    }

    fn end_epoch(&mut self, agreement: &Agreement) {
        let epoch = agreement.end.epoch;
        if let Some(mut groups) = self.waiting.remove(&epoch.0) {
            for (group, clicks) in groups.iter() {
                self.settle(group, clicks, agreement);
            }
            groups.clear();
            self.spare.push(groups);
        }
        self.seen.sweep(agreement.before_ms, SWEPT_GROUPS);
        self.metrics.set_state(
            self.place.worker,
            STATE_KIND,
            StateFigures { entries: self.seen.len() as u64, bytes: self.seen.memory_bytes() as u64 },
        );
        if agreement.checkpoint {
            self.checkpoint(agreement);
        }
    }

    fn settle(&mut self, group: u16, clicks: &[KeyedClick], agreement: &Agreement) {
        let (outbox, settled, workers) = (&mut self.outbox, &mut self.settled, self.place.workers);
        // Neighbours in a group mostly come from one partition: its counts are at hand.
        let mut run = (u32::MAX, Settled::default());
        self.seen.settle(group, clicks, agreement.before_ms, agreement.end.watermark_ms, |click, verdict| {
            if run.0 != click.partition {
                add(settled, run);
                run = (click.partition, Settled::default());
            }
            match verdict {
                Verdict::Duplicate => run.1.duplicate += 1,
                Verdict::Counted => {
                    run.1.counted += 1;
                    let KeyedClick { ad_high, ad_low, minute, coupon, .. } = *click;
                    let owner = worker_of_group(group_of(ad_high), workers);
                    outbox.push(owner.0, &PaneClick { ad_high, ad_low, minute, coupon });
                }
            }
        });
        add(settled, run);
    }

    fn checkpoint(&mut self, agreement: &Agreement) {
        let settled = std::mem::take(&mut self.settled);
        let settled = settled.into_iter().map(|(partition, settled)| (PartitionId(partition), settled)).collect();
        let mut piece = Piece { settled, ..Piece::default() };
        if let Some((part, expires_ms)) = self.seen.take_added() {
            piece.work.push(self.sealer.part(agreement.end.epoch, STATE_KIND, part, Some(expires_ms)));
        }
        self.sealer.add(Stage::Dedup, agreement, piece);
        FaultPoint::DedupCut.pass();
    }
}

fn add(settled: &mut HashMap<u32, Settled>, (partition, more): (u32, Settled)) {
    if more != Settled::default() {
        let sum = settled.entry(partition).or_default();
        sum.duplicate += more.duplicate;
        sum.counted += more.counted;
    }
}
