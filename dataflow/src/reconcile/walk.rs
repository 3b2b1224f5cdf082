//! Operators `arrange` and `walk`: the copies of each click side by side, in the order of the log.

use std::sync::Arc;

use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::trace::cursor::{Cursor, Navigable};
use differential_dataflow::trace::implementations::ord_neu::{OrdValSpine, VecOrdValBuilder};
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::index::{ELSEWHERE, PART_CLICKS, Several, TreePart};
use super::merkle::{Node, Tree, click_leaf};
use super::outcome::{Outcome, Reason};
use super::read::ad_number;
use super::settle::AdPart;
use super::sort::{InParts, SortAtOnce};
use super::tally::{Cell, CellChange, CellKey};
use super::{ArchivedClick, Recount, RecountError, SHARDS};

/// The key of a click, see `merkle`.
pub(super) type Key = (u64, u64);

/// A copy of a click, and the round in which it is walked.
pub(super) type CopyUpdate = ((Key, Copy), u32, i32);

type Spine = OrdValSpine<Key, Copy, u32, i32>;

/// Where a copy stands, and what it adds to. The order is that of the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Copy {
    epoch: u64,
    partition: u32,
    offset: u64,
    /// Kind, whether it is excluded, and the minute of the day: two bits, one, and the rest.
    about: u32,
    ad: u64,
}

// There are as many of them in memory as clicks in a day.
const _: () = assert!(size_of::<CopyUpdate>() == 56);

/// Which table a row comes from.
#[derive(Debug, Clone, std::marker::Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Archived,
    Late,
    Future,
}

const KIND_SHIFT: u32 = 30;
const EXCLUDED: u32 = 1 << 29;
const MINUTE: u32 = EXCLUDED - 1;

/// The minute of a copy outside of the day.
const ANOTHER_DAY: u32 = MINUTE;

impl Copy {
    #[inline]
    pub(super) fn new(row: &ArchivedClick<'_>, ad: u64, minute: Option<u32>, kind: Kind) -> Self {
        let excluded = if row.excluded { EXCLUDED } else { 0 };
        let minute = minute.unwrap_or(ANOTHER_DAY) & MINUTE;
        let about = (kind as u32) << KIND_SHIFT | excluded | minute;
        Self { epoch: row.epoch, partition: row.partition, offset: row.offset, about, ad }
    }

    fn place(&self) -> (u64, u32, u64) {
        (self.epoch, self.partition, self.offset)
    }

    fn kind(&self) -> Kind {
        match self.about >> KIND_SHIFT {
            0 => Kind::Archived,
            1 => Kind::Late,
            _ => Kind::Future,
        }
    }

    fn is_excluded(&self) -> bool {
        self.about & EXCLUDED != 0
    }

    fn cell(&self) -> Option<(u64, u32)> {
        let minute = self.about & MINUTE;
        (minute != ANOTHER_DAY).then_some((self.ad, minute))
    }
}

impl InParts for (Key, Copy) {
    const PARTS: usize = 1024;

    fn part(&self) -> usize {
        (self.0.0 >> (u64::BITS - Self::PARTS.ilog2())) as usize
    }
}

/// The range of keys that a click belongs to.
#[inline]
pub(super) const fn shard_of(key: Key) -> u32 {
    (key.0 >> (u64::BITS - SHARDS.ilog2())) as u32
}

/// Brings the copies of each click together, sorted. Nothing of it is kept once it has been walked.
pub(super) fn arrange<'scope>(copies: StreamVec<'scope, u32, CopyUpdate>) -> Arranged<'scope, TraceAgent<Spine>> {
    let by_shard = Exchange::new(|((key, _), _, _): &CopyUpdate| u64::from(shard_of(*key)));
    arrange_core(copies, by_shard, "copies of clicks", |_, _| {
        SortAtOnce::<_, _, VecOrdValBuilder<Key, Copy, u32, i32>>::default()
    })
}

/// What the walk finds.
pub(super) struct Walked<'scope> {
    pub(super) cells: StreamVec<'scope, u32, CellChange>,
    pub(super) parts: StreamVec<'scope, u32, AdPart>,
}

/// Walks along the copies of each click.
pub(super) fn walk<'scope>(
    copies: Arranged<'scope, TraceAgent<Spine>>,
    recount: &Arc<Recount>,
    outcome: &Arc<Outcome>,
) -> Walked<'scope> {
    let stream = copies.stream;
    let mut builder = OperatorBuilder::new("walk".to_owned(), stream.scope());
    let mut input = builder.new_input(stream, Pipeline);
    let (cells, cells_stream) = builder.new_output();
    let (parts, parts_stream) = builder.new_output();
    let mut cells = OutputBuilder::<u32, CapacityContainerBuilder<Vec<CellChange>>>::from(cells);
    let mut parts = OutputBuilder::<u32, CapacityContainerBuilder<Vec<AdPart>>>::from(parts);
    let leaves_of = recount.leaves_of.as_deref().map(ad_number);
    let for_index = recount.index.is_some();
    let outcome = Arc::clone(outcome);
    builder.build(move |_capabilities| {
        let mut walker = Walker { end: SHARDS, leaves_of, for_index, ..Walker::default() };
        move |_frontiers| {
            let (mut cells, mut parts) = (cells.activate(), parts.activate());
            input.for_each(|time, spans| {
                let (Some(for_cells), Some(for_parts)) = (time.retain_least(0), time.retain_least(1)) else { return };
                for batch in spans.iter().filter_map(|span| span.inner.as_ref()) {
                    walker.batch(batch.as_ref());
                    if let Some(error) = walker.failure.take() {
                        walker.parts.push(AdPart::Contradicted { what: error.to_string() });
                        outcome.fail(error);
                    }
                }
                walker.end_shard();
                cells.session(&for_cells).give_iterator(walker.cells.drain(..));
                parts.session(&for_parts).give_iterator(walker.parts.drain(..));
            });
        }
    });
    Walked { cells: cells_stream, parts: parts_stream }
}

#[derive(Default)]
struct Walker {
    end: u32,
    leaves_of: Option<u64>,
    /// Whether what an index needs is handed out, too.
    for_index: bool,
    shard: u32,
    /// The clicks of the shard that count, with their ads.
    billed: Vec<(u64, Key)>,
    cells: Vec<CellChange>,
    parts: Vec<AdPart>,
    failure: Option<RecountError>,
}

impl Walker {
    fn batch<B>(&mut self, batch: &B)
    where
        B: Navigable,
        for<'a> B::Cursor: Cursor<Storage = B, Key<'a> = &'a Key, Val<'a> = &'a Copy, DiffGat<'a> = &'a i32>,
    {
        let mut cursor = batch.cursor();
        let mut copies: Vec<Copy> = Vec::new();
        while let Some(key) = cursor.get_key(batch).copied() {
            copies.clear();
            while let Some(copy) = cursor.get_val(batch) {
                let copy = copy.clone();
                let mut times = 0;
                cursor.map_times(batch, |_, many| times += many);
                if times != 1 {
                    self.contradicted(&copy, format!("is there {times} times"));
                }
                copies.push(copy);
                cursor.step_val(batch);
            }
            let shard = shard_of(key);
            if shard != self.shard {
                self.end_shard();
                self.shard = shard;
            }
            self.click(key, &copies);
            cursor.step_key(batch);
        }
    }

    /// One click. Its copies are in the order of the log; that a copy was late is said by a second one in the same place.
    fn click(&mut self, key: Key, copies: &[Copy]) {
        let Some(first) = copies.first() else { return };
        let on_time = self.on_time(copies);
        if let Some(cell) = first.cell() {
            if copies.iter().any(Copy::is_excluded) {
                self.finding(first, cell, Reason::InvalidTraffic);
            } else {
                self.billed.push((first.ad, key));
            }
            let counted_here = on_time.is_some_and(|copy| copy.cell() == first.cell());
            if !counted_here {
                self.not_on_time(first, cell, copies);
            } else if on_time.is_some_and(|copy| copy.place() != first.place()) {
                // Its region and user may be others than those of the copy that is billed.
                self.parts.push(AdPart::OtherCopy { ad: cell.0, minute: cell.1 });
            }
        }
        if let Some(counted) = on_time
            && let Some(cell) = counted.cell()
            && counted.cell() != first.cell()
        {
            self.change(cell, Cell { to_be_streamed: 1, ..Cell::default() });
            self.finding(counted, cell, Reason::Duplicate);
        }
        self.later_copies(first, on_time, copies);
        if self.for_index && copies.iter().any(|copy| copy.place() != first.place()) {
            let &Copy { ad, partition, offset, .. } = first;
            let minute = first.cell().and_then(|(_, minute)| u16::try_from(minute).ok()).unwrap_or(ELSEWHERE);
            self.parts.push(AdPart::Several(Several { key, ad, minute, partition, offset }));
        }
    }

    /// The copy that the stream has counted, if it is right.
    fn on_time<'a>(&mut self, copies: &'a [Copy]) -> Option<&'a Copy> {
        let mut found = None;
        for in_place in copies.chunk_by(|a, b| a.place() == b.place()) {
            match in_place {
                [copy] if copy.kind() == Kind::Archived => found = found.or(Some(copy)),
                [archived, ..] if archived.kind() == Kind::Archived => {}
                [copy, ..] => self.contradicted(copy, "is in clicks_late, but not in clicks_raw".to_owned()),
                [] => {}
            }
        }
        found
    }

    fn not_on_time(&mut self, first: &Copy, cell: (u64, u32), copies: &[Copy]) {
        let future = copies.iter().any(|copy| copy.place() == first.place() && copy.kind() == Kind::Future);
        self.change(cell, Cell { to_be_streamed: -1, ..Cell::default() });
        self.finding(first, cell, if future { Reason::Future } else { Reason::Late });
    }

    fn later_copies(&mut self, first: &Copy, on_time: Option<&Copy>, copies: &[Copy]) {
        for in_place in copies.chunk_by(|a, b| a.place() == b.place()) {
            let [copy, others @ ..] = in_place else { continue };
            let Some(cell) = copy.cell().filter(|_| copy.place() != first.place()) else { continue };
            let counts_again = others.is_empty() && on_time.is_some_and(|counted| counted.epoch < copy.epoch);
            self.change(cell, Cell { to_be_streamed: -1, again: i32::from(counts_again), ..Cell::default() });
            let &Copy { ad, partition, offset, .. } = copy;
            self.parts.push(AdPart::Repeated { ad, partition, offset, counts_again });
        }
    }

    fn change(&mut self, cell: (u64, u32), change: Cell) {
        self.cells.push(((cell, ()), self.end, change));
    }

    fn finding(&mut self, copy: &Copy, (ad, minute): CellKey, reason: Reason) {
        let &Copy { partition, offset, .. } = copy;
        self.parts.push(AdPart::Finding { ad, minute, reason, partition, offset });
    }

    fn contradicted(&mut self, copy: &Copy, what: String) {
        let &Copy { partition, offset, .. } = copy;
        let what = format!("the click at offset {offset} of partition {partition} {what}");
        self.failure.get_or_insert(RecountError::Contradiction(what));
    }

    /// Puts the clicks of each ad into the tree over it.
    fn end_shard(&mut self) {
        self.billed.sort_unstable();
        for of_ad in self.billed.chunk_by(|(ad, _), (other, _)| ad == other) {
            let bits = if self.for_index { part_bits(of_ad.len()) } else { SHARDS.ilog2() };
            for part in of_ad.chunk_by(|(_, key), (_, other)| (key.0 ^ other.0) >> (u64::BITS - bits) == 0) {
                let mut tree = Tree::default();
                for &(ad, key) in part {
                    let node = Node { key, hash: click_leaf(key) };
                    tree.push(node);
                    if self.leaves_of == Some(ad) {
                        self.parts.push(AdPart::Leaf { ad, node });
                    }
                }
                if let (Some((ad, _)), Some(node)) = (part.first(), tree.root()) {
                    let part = TreePart { node, clicks: part.len() as u32, bits: bits as u8 };
                    self.parts.push(AdPart::Tree { ad: *ad, part });
                }
            }
        }
        self.billed.clear();
    }
}

/// The first bits of a key that decide on its part of the tree, where so many clicks of an ad are in a shard.
fn part_bits(clicks: usize) -> u32 {
    SHARDS.ilog2() + (clicks / PART_CLICKS).max(1).next_power_of_two().ilog2()
}
