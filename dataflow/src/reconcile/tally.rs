//! Cells: what is known of one minute of one ad, as a difference that adds up.

use differential_dataflow::difference::{IsZero, Semigroup};
use differential_dataflow::{AsCollection, VecCollection};
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::outcome::WindowDifference;
use super::settle::AdPart;

/// A change to a cell: its ad and minute of the day, the pass it belongs to, and what changes.
pub(super) type CellChange = ((u64, u32), u32, Cell);

/// What is known of a minute of an ad. All fields are sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Cell {
    /// Rows in the archive.
    pub(super) copies: i32,
    /// Of these, rows that are not the first of their click.
    pub(super) repeated: i32,
    /// Clicks that no copy of was counted in this minute, for the first came too late.
    pub(super) late: i32,
    /// The same for a first copy too far in the future.
    pub(super) future: i32,
    /// Clicks that the stream counts here, while their first copy lies in another minute or ad.
    pub(super) elsewhere: i32,
    /// Copies on time that come after the one that counts: if the stream has forgotten the first, it counts them again.
    pub(super) again: i32,
    /// Clicks that were taken out.
    pub(super) invalid: i32,
    /// What the stream has counted.
    pub(super) streamed: i32,
}

impl Cell {
    /// Distinct clicks, invalid ones included.
    pub(super) const fn clicks(&self) -> i32 {
        self.copies - self.repeated
    }

    /// What the stream should have counted.
    pub(super) const fn to_be_streamed(&self) -> i32 {
        self.clicks() - self.late - self.future + self.elsewhere
    }
}

impl IsZero for Cell {
    fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl Semigroup for Cell {
    #[inline]
    fn plus_equals(&mut self, other: &Self) {
        self.copies += other.copies;
        self.repeated += other.repeated;
        self.late += other.late;
        self.future += other.future;
        self.elsewhere += other.elsewhere;
        self.again += other.again;
        self.invalid += other.invalid;
        self.streamed += other.streamed;
    }
}

/// The sums of an ad's cells, and the minutes in which the stream is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AdCells {
    pub(super) clicks: i64,
    pub(super) late: i64,
    pub(super) future: i64,
    pub(super) invalid: i64,
    pub(super) streamed: i64,
    /// Counted by the stream, but no click of this minute: counted twice, or elsewhere.
    pub(super) duplicate: i64,
    pub(super) overcounted: i64,
    pub(super) uncounted: i64,
    pub(super) differences: Vec<WindowDifference>,
}

impl AdCells {
    fn add(&mut self, minute: u32, cell: &Cell) {
        self.clicks += i64::from(cell.clicks());
        self.late += i64::from(cell.late);
        self.future += i64::from(cell.future);
        self.invalid += i64::from(cell.invalid);
        self.streamed += i64::from(cell.streamed);
        let too_many = i64::from(cell.streamed) - i64::from(cell.to_be_streamed());
        let again = too_many.clamp(0, i64::from(cell.again));
        self.duplicate += i64::from(cell.elsewhere) + again;
        self.overcounted += (too_many - again).max(0);
        self.uncounted += (-too_many).max(0);
        if too_many - again != 0 {
            let expected = i64::from(cell.to_be_streamed()) + again;
            self.differences.push(WindowDifference { minute, expected, streamed: i64::from(cell.streamed) });
        }
    }
}

/// Adds the changes up, and hands each ad's cells to the worker that settles it.
pub(super) fn consolidate(changes: StreamVec<'_, u32, CellChange>) -> StreamVec<'_, u32, AdPart> {
    let cells: VecCollection<'_, u32, (u64, u32), Cell> = changes.as_collection();
    cells.consolidate().inner.unary(Pipeline, "cells of each ad", |_, _| {
        move |input, output| {
            input.for_each(|time, cells| {
                let mut session = output.session(&time);
                // Sorted by ad within a batch; an ad that two batches share is added up where it is settled.
                for of_ad in cells.chunk_by(|((ad, _), _, _), ((other, _), _, _)| ad == other) {
                    let mut sums = AdCells::default();
                    of_ad.iter().for_each(|((_, minute), _, cell)| sums.add(*minute, cell));
                    if let Some(((ad, _), _, _)) = of_ad.first() {
                        session.give(AdPart::Cells { ad: *ad, sums });
                    }
                }
            });
        }
    })
}

impl Semigroup for AdCells {
    fn plus_equals(&mut self, other: &Self) {
        self.clicks += other.clicks;
        self.late += other.late;
        self.future += other.future;
        self.invalid += other.invalid;
        self.streamed += other.streamed;
        self.duplicate += other.duplicate;
        self.overcounted += other.overcounted;
        self.uncounted += other.uncounted;
        self.differences.extend_from_slice(&other.differences);
    }
}

impl IsZero for AdCells {
    fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}
