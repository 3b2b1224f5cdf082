//! Operators `settle` and `collect`: all that is known of an ad on one worker, then all ads on the first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use super::index::{AdTree, DayIndex, SegmentInfo, Several, TREE_CLICKS, TreePart};
use super::merkle::{Node, Tree, hex};
use super::outcome::{AdDay, Correction, DayCount, OffsetRange, Outcome, Reason, root_of_ads};
use super::read::same_number;
use super::tally::AdCells;
use super::{Recount, RecountError, SHARDS};
use crate::{ClusterError, UserSketch};

/// A part of what is known of an ad.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum AdPart {
    /// Its name, and what a worker has seen of it: users, as a sketch, rows of the archive, and what the stream has counted.
    Seen { ad: u64, name: String, users: Vec<u8>, copies: i64, streamed: i64 },
    /// Users that no other part counts.
    Users { ad: u64, users: u64 },
    /// In what its cells differ.
    Cells { ad: u64, cells: AdCells },
    /// A part of the tree over its clicks.
    Tree { ad: u64, part: TreePart },
    /// A leaf of the ad that was asked for.
    Leaf { ad: u64, node: Node },
    /// Where a click stands that a correction is about, and the minute that it is in.
    Finding { ad: u64, minute: u32, reason: Reason, partition: u32, offset: u64 },
    /// A minute in which the stream has counted another copy of a click than the one that is billed.
    OtherCopy { ad: u64, minute: u32 },
    /// Where a copy stands that is not the first of its click, and whether the stream may have counted it again.
    Repeated { ad: u64, partition: u32, offset: u64, counts_again: bool },
    /// A click with several copies, for the index.
    Several(Several),
    /// What a worker has put into the index. For the first worker.
    Indexed { segment: SegmentInfo },
    /// A worker cannot write its part of the index. For the first worker.
    NotIndexed { reason: String },
    /// A worker has read its share to the end. For the first worker.
    Read { worker: usize, rows: u64 },
    /// A worker cannot go on. For the first worker.
    Failed { reason: String },
    /// What a worker has does not fit together, perhaps because another one could not go on. For the first worker.
    Contradicted { what: String },
}

impl AdPart {
    /// Decides on the worker: the ad, or the first one.
    fn target(&self) -> u64 {
        match self {
            Self::Seen { ad, .. }
            | Self::Users { ad, .. }
            | Self::Cells { ad, .. }
            | Self::Tree { ad, .. }
            | Self::Leaf { ad, .. }
            | Self::Finding { ad, .. }
            | Self::OtherCopy { ad, .. }
            | Self::Repeated { ad, .. }
            | Self::Several(Several { ad, .. }) => *ad,
            Self::Indexed { .. }
            | Self::NotIndexed { .. }
            | Self::Read { .. }
            | Self::Failed { .. }
            | Self::Contradicted { .. } => 0,
        }
    }
}

/// For the first worker: an ad, the end of a worker's share, or the reason why there is no result.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Settled {
    Ad(Box<AdDay>),
    Leaves(Vec<Node>),
    Indexed(DayIndex),
    NotIndexed(String),
    Read { rows: u64 },
    Contradiction(String),
    Failed(String),
}

/// Brings the parts of each ad together, and leaves the day with the outcome of the first worker.
pub(super) fn settle(parts: StreamVec<'_, u32, AdPart>, recount: &Arc<Recount>, outcome: &Arc<Outcome>) {
    let workers = parts.scope().worker().peers();
    let (recount, outcome) = (Arc::clone(recount), Arc::clone(outcome));
    let ads = parts.unary_frontier(Exchange::new(AdPart::target), "settle", move |capability, _| {
        let mut held = Some(capability.delayed(&SHARDS));
        let mut settling = Settling::default();
        move |(input, frontier), output| {
            input.for_each(|_, parts| parts.drain(..).for_each(|part| settling.add(part)));
            if frontier.is_empty()
                && let Some(capability) = held.take()
            {
                let settled = std::mem::take(&mut settling).finish(&recount);
                output.session(&capability).give_iterator(settled.into_iter());
            }
        }
    });
    ads.sink_all(workers, outcome);
}

trait Collect {
    fn sink_all(self, workers: usize, outcome: Arc<Outcome>);
}

impl Collect for StreamVec<'_, u32, Settled> {
    fn sink_all(self, workers: usize, outcome: Arc<Outcome>) {
        let mut collected = Collected::default();
        let first = self.scope().worker().index() == 0;
        let mut done = false;
        self.sink(Exchange::new(|_: &Settled| 0), "collect", move |(input, frontier)| {
            input.for_each(|_, settled| settled.drain(..).for_each(|part| collected.add(part)));
            if first && frontier.is_empty() && !done {
                done = true;
                collected.finish(workers, &outcome);
            }
        });
    }
}

#[derive(Default)]
struct Settling {
    ads: HashMap<u64, Settle>,
    read: Vec<u64>,
    leaves: Vec<Node>,
    index: DayIndex,
    not_indexed: Option<String>,
    contradiction: Option<String>,
    failure: Option<String>,
}

/// An ad, on its way.
#[derive(Default)]
struct Settle {
    name: Option<String>,
    sketch: UserSketch,
    users: u64,
    copies: i64,
    repeated: i64,
    streamed: i64,
    cells: AdCells,
    tree: Vec<TreePart>,
    clicks: u64,
    found: BTreeMap<Reason, BTreeMap<u32, OffsetRange>>,
    again: BTreeMap<u32, OffsetRange>,
    minutes: BTreeSet<u32>,
    not_billed: Vec<(u32, u64)>,
}

impl Settling {
    fn add(&mut self, part: AdPart) {
        match part {
            AdPart::Seen { ad, name, users, copies, streamed } => {
                let settle = self.ad(ad);
                settle.copies += copies;
                settle.streamed += streamed;
                self.seen(ad, name, &users);
            }
            AdPart::Users { ad, users } => self.ad(ad).users += users,
            AdPart::Cells { ad, cells } => self.ad(ad).cells = cells,
            AdPart::Tree { ad, part } => {
                let settle = self.ad(ad);
                settle.tree.push(part);
                settle.clicks += u64::from(part.clicks);
            }
            AdPart::Leaf { node, .. } => self.leaves.push(node),
            AdPart::Finding { ad, minute, reason, partition, offset } => {
                let settle = self.ad(ad);
                note(settle.found.entry(reason).or_default(), partition, offset);
                settle.minutes.insert(minute);
                if reason == Reason::InvalidTraffic {
                    settle.not_billed.push((partition, offset));
                }
            }
            AdPart::OtherCopy { ad, minute } => {
                self.ad(ad).minutes.insert(minute);
            }
            AdPart::Repeated { ad, partition, offset, counts_again } => {
                let settle = self.ad(ad);
                settle.repeated += 1;
                settle.not_billed.push((partition, offset));
                if counts_again {
                    note(&mut settle.again, partition, offset);
                }
            }
            AdPart::Several(several) => self.index.several.push(several),
            AdPart::Indexed { segment } => self.index.segments.push(segment),
            AdPart::NotIndexed { reason } => {
                self.not_indexed.get_or_insert(reason);
            }
            AdPart::Read { rows, .. } => self.read.push(rows),
            AdPart::Failed { reason } => {
                self.failure.get_or_insert(reason);
            }
            AdPart::Contradicted { what } => {
                self.contradiction.get_or_insert(what);
            }
        }
    }

    fn ad(&mut self, ad: u64) -> &mut Settle {
        self.ads.entry(ad).or_default()
    }

    fn seen(&mut self, ad: u64, name: String, users: &[u8]) {
        let users = UserSketch::decode(&mut &*users);
        let settle = self.ads.entry(ad).or_default();
        match &settle.name {
            Some(known) if *known != name => {
                self.contradiction.get_or_insert(same_number(known, &name).to_string());
            }
            _ => settle.name = Some(name),
        }
        match users {
            Ok(users) => settle.sketch.merge(&users),
            Err(error) => {
                self.contradiction.get_or_insert(format!("a sketch was damaged between workers: {error}"));
            }
        }
    }

    fn finish(mut self, recount: &Recount) -> Vec<Settled> {
        let mut settled: Vec<Settled> = self.read.iter().map(|&rows| Settled::Read { rows }).collect();
        settled.extend(self.failure.map(Settled::Failed));
        settled.extend(self.contradiction.map(Settled::Contradiction));
        settled.push(Settled::Leaves(self.leaves));
        for (ad, mut settle) in self.ads {
            settle.tree.sort_unstable();
            if recount.index.is_some() && settle.clicks >= TREE_CLICKS {
                self.index.trees.push(AdTree { ad, parts: settle.tree.clone() });
            }
            match settle.finish(recount.exact_users) {
                Ok(Some(ad)) => settled.push(Settled::Ad(Box::new(ad))),
                Ok(None) => {}
                Err(contradiction) => settled.push(Settled::Contradiction(contradiction)),
            }
        }
        settled.extend(self.not_indexed.map(Settled::NotIndexed));
        settled.extend(recount.index.is_some().then_some(Settled::Indexed(self.index)));
        settled
    }
}

impl Settle {
    /// None of an ad without rows in this day.
    fn finish(mut self, exact_users: bool) -> Result<Option<AdDay>, String> {
        let ad_id = self.name.take().ok_or("an ad has clicks, but no name")?;
        let clicks = self.copies - self.repeated + self.delta(Reason::InvalidTraffic);
        if self.copies == 0 && self.streamed == 0 {
            return Ok(None);
        }
        if clicks != self.clicks as i64 {
            return Err(format!("{ad_id}: {clicks} clicks by subtraction, but {} one by one", self.clicks));
        }
        let unique_users = if exact_users { self.users } else { self.sketch.estimate() };
        self.cells.differences.sort_unstable();
        self.minutes.extend(std::mem::take(&mut self.cells.wrong));
        self.not_billed.sort_unstable();
        let root = root_of(&self.tree);
        let corrections = self.corrections();
        let day = AdDay {
            streamed: self.streamed,
            clicks,
            // A sketch may estimate a user more than there are clicks.
            unique_users: unique_users.min(clicks.unsigned_abs()),
            corrections,
            differences: self.cells.differences,
            restated_minutes: self.minutes.into_iter().collect(),
            not_billed: self.not_billed,
            root: root.map(|node| hex(&node.hash)),
            ad_id,
        };
        let explained: i64 = day.corrections.iter().map(|correction| correction.delta).sum();
        if day.streamed + explained != day.clicks {
            return Err(format!("{}: {} streamed and {explained} corrected are not {clicks}", day.ad_id, day.streamed));
        }
        Ok(Some(day))
    }

    fn corrections(&mut self) -> Vec<Correction> {
        let deltas = Reason::ALL.map(|reason| (reason, self.delta(reason)));
        if self.cells.again > 0 {
            let found = self.found.entry(Reason::Duplicate).or_default();
            for (partition, range) in std::mem::take(&mut self.again) {
                let known = found.entry(partition).or_insert(OffsetRange { clicks: 0, ..range });
                *known = OffsetRange {
                    first: known.first.min(range.first),
                    last: known.last.max(range.last),
                    clicks: known.clicks + range.clicks,
                };
            }
        }
        let wanted = deltas.into_iter().filter(|(_, delta)| *delta != 0);
        let correction =
            |(reason, delta)| Correction { reason, delta, offsets: self.found.remove(&reason).unwrap_or_default() };
        wanted.map(correction).collect()
    }

    fn delta(&self, reason: Reason) -> i64 {
        let found = self.found.get(&reason).into_iter().flat_map(BTreeMap::values);
        let found: i64 = found.map(|range| range.clicks as i64).sum();
        match reason {
            Reason::Late | Reason::Future => found,
            Reason::Duplicate => -found - self.cells.again,
            Reason::Uncounted => self.cells.uncounted,
            Reason::Overcounted => -self.cells.overcounted,
            Reason::InvalidTraffic => -found,
        }
    }
}

fn note(ranges: &mut BTreeMap<u32, OffsetRange>, partition: u32, offset: u64) {
    ranges.entry(partition).or_insert(OffsetRange { first: offset, last: offset, clicks: 0 }).add(offset);
}

/// Parts are in the order of keys.
fn root_of(parts: &[TreePart]) -> Option<Node> {
    let mut tree = Tree::default();
    parts.iter().for_each(|part| tree.push(part.node));
    tree.root()
}

/// What has come to the first worker.
#[derive(Default)]
struct Collected {
    ads: Vec<AdDay>,
    leaves: Vec<Node>,
    index: Option<DayIndex>,
    not_indexed: Option<String>,
    workers: usize,
    rows: u64,
    contradiction: Option<String>,
    failure: Option<String>,
}

impl Collected {
    fn add(&mut self, settled: Settled) {
        match settled {
            Settled::Ad(ad) => self.ads.push(*ad),
            Settled::Leaves(leaves) => self.leaves.extend(leaves),
            Settled::NotIndexed(reason) => {
                self.not_indexed.get_or_insert(reason);
            }
            Settled::Indexed(part) => self.index.get_or_insert_default().extend(part),
            Settled::Read { rows } => {
                self.workers += 1;
                self.rows += rows;
            }
            Settled::Failed(reason) => {
                self.failure.get_or_insert(reason);
            }
            Settled::Contradiction(what) => {
                self.contradiction.get_or_insert(what);
            }
        }
    }

    fn finish(&mut self, workers: usize, outcome: &Outcome) {
        if let Some(reason) = self.failure.take() {
            return outcome.fail_elsewhere(reason);
        }
        if let Some(what) = self.contradiction.take() {
            return outcome.fail(RecountError::Contradiction(what));
        }
        if self.workers != workers {
            let missing = workers - self.workers;
            return outcome
                .fail(ClusterError::Timely(format!("{missing} workers did not read their share to the end")));
        }
        let mut ads = std::mem::take(&mut self.ads);
        ads.sort_unstable_by(|a, b| a.ad_id.cmp(&b.ad_id));
        let mut leaves = std::mem::take(&mut self.leaves);
        leaves.sort_unstable();
        let index = match self.not_indexed.take() {
            Some(reason) => Some(Err(reason)),
            None => self.index.take().map(DayIndex::in_order).map(Ok),
        };
        outcome.set(DayCount { rows: self.rows, root: root_of_ads(&ads), ads, leaves, index });
    }
}
