//! Cells: one minute of one ad, as the archive and the stream have it.

use differential_dataflow::difference::{IsZero, Semigroup};
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::trace::cursor::{Cursor, Navigable};
use differential_dataflow::trace::implementations::ord_neu::{OrdKeySpine, VecOrdKeyBuilder};
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;

use super::outcome::WindowDifference;
use super::settle::AdPart;
use super::sort::{InParts, SortAtOnce};

/// An ad and a minute of the day.
pub(super) type CellKey = (u64, u32);

/// A change to a cell, and the time at which all changes are there.
pub(super) type CellChange = ((CellKey, ()), u32, Cell);

type CellBuilder = VecOrdKeyBuilder<CellKey, u32, Cell>;

/// What is known of a minute of an ad. All fields are sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Cell {
    /// What the stream should have counted, by the archive.
    pub(super) to_be_streamed: i32,
    /// What it has counted.
    pub(super) streamed: i32,
    /// Copies on time that come after the one that counts: if the stream has forgotten the first, it counts them again.
    pub(super) again: i32,
}

// There are as many of them in memory as different minutes of ads.
const _: () = assert!(size_of::<CellChange>() == 32);

impl IsZero for Cell {
    fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl Semigroup for Cell {
    #[inline]
    fn plus_equals(&mut self, other: &Self) {
        self.to_be_streamed += other.to_be_streamed;
        self.streamed += other.streamed;
        self.again += other.again;
    }
}

impl InParts for (CellKey, ()) {
    const PARTS: usize = 1024;

    fn part(&self) -> usize {
        (self.0.0 >> (u64::BITS - Self::PARTS.ilog2())) as usize
    }
}

/// In what an ad's cells differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AdCells {
    /// Counted by the stream once more, for it had forgotten the first copy.
    pub(super) again: i64,
    pub(super) overcounted: i64,
    pub(super) uncounted: i64,
    pub(super) differences: Vec<WindowDifference>,
    /// The minutes in which the stream has not counted what it should have, for whatever reason.
    pub(super) wrong: Vec<u32>,
}

impl AdCells {
    fn add(&mut self, minute: u32, cell: &Cell) {
        let too_many = i64::from(cell.streamed) - i64::from(cell.to_be_streamed);
        let again = too_many.clamp(0, i64::from(cell.again));
        if too_many != 0 {
            self.wrong.push(minute);
        }
        self.again += again;
        self.overcounted += (too_many - again).max(0);
        self.uncounted += (-too_many).max(0);
        if too_many != again {
            let expected = i64::from(cell.to_be_streamed) + again;
            self.differences.push(WindowDifference { minute, expected, streamed: i64::from(cell.streamed) });
        }
    }
}

/// Adds the changes up, and hands on what is not as it should be.
pub(super) fn compare(changes: StreamVec<'_, u32, CellChange>) -> StreamVec<'_, u32, AdPart> {
    let by_ad = Exchange::new(|(((ad, _), ()), _, _): &CellChange| *ad);
    let cells = arrange_core::<_, _, _, OrdKeySpine<CellKey, u32, Cell>>(changes, by_ad, "cells", |_, _| {
        SortAtOnce::<_, _, CellBuilder>::default()
    });
    cells.stream.unary(Pipeline, "compare", |_, _| {
        move |input, output| {
            input.for_each(|time, spans| {
                let mut session = output.session(&time);
                for batch in spans.iter().filter_map(|span| span.inner.as_ref()) {
                    each_ad(batch.as_ref(), |ad, cells| session.give(AdPart::Cells { ad, cells }));
                }
            });
        }
    })
}

/// Cells are sorted by ad. An ad whose cells agree is not handed out.
fn each_ad<B>(batch: &B, mut take: impl FnMut(u64, AdCells))
where
    B: Navigable,
    for<'a> B::Cursor: Cursor<Storage = B, Key<'a> = &'a CellKey, Diff = Cell, DiffGat<'a> = &'a Cell>,
{
    let mut cursor = batch.cursor();
    let mut of_ad: Option<(u64, AdCells)> = None;
    while let Some(&(ad, minute)) = cursor.get_key(batch) {
        let mut sum = Cell::default();
        cursor.map_times(batch, |_, cell| sum.plus_equals(cell));
        if of_ad.as_ref().is_none_or(|(known, _)| *known != ad)
            && let Some((ended, cells)) = of_ad.replace((ad, AdCells::default()))
            && cells != AdCells::default()
        {
            take(ended, cells);
        }
        if let Some((_, cells)) = &mut of_ad {
            cells.add(minute, &sum);
        }
        cursor.step_key(batch);
    }
    if let Some((ad, cells)) = of_ad.filter(|(_, cells)| *cells != AdCells::default()) {
        take(ad, cells);
    }
}
