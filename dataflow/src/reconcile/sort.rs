//! Puts updates in order: gathers them by time, and sorts those of a time when they are asked for.
//!
//! The usual batcher of differential dataflow keeps sorted runs and merges them as they come, which pays when batches are
//! small and many. Here nothing looks at an update before all of its time are there, and each would be copied a dozen
//! times.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use differential_dataflow::batcher::{Batcher, Extract};
use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::difference::Semigroup;
use differential_dataflow::trace::Builder;
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;

/// Updates are kept in pieces of this many, so that taking more moves nothing.
const PIECE: usize = 2048;

/// Some updates.
type Updates<D, R> = Vec<(D, u32, R)>;

/// What can be sorted part by part.
pub(super) trait InParts {
    /// How many parts there are: so many that one is sorted within the cache.
    const PARTS: usize;

    /// The part that it belongs to, below [`Self::PARTS`]; parts are in the order of what is in them.
    fn part(&self) -> usize;
}

/// Gathers updates until they are asked for.
pub(super) struct SortAtOnce<D, R, B> {
    /// Pieces by time.
    times: BTreeMap<u32, Vec<Updates<D, R>>>,
    frontier: Antichain<u32>,
    builder: PhantomData<B>,
}

impl<D, R, B> Default for SortAtOnce<D, R, B> {
    fn default() -> Self {
        Self { times: BTreeMap::new(), frontier: Antichain::new(), builder: PhantomData }
    }
}

impl<D: Ord + InParts, R: Semigroup, B: Builder<Input = Updates<D, R>>> Batcher<Updates<D, R>> for SortAtOnce<D, R, B> {
    fn insert(&mut self, container: &mut Updates<D, R>) {
        for update in container.drain(..) {
            let pieces = self.times.entry(update.1).or_default();
            match pieces.last_mut().filter(|piece| piece.len() < PIECE) {
                Some(piece) => piece.push(update),
                None => {
                    let mut piece = Vec::with_capacity(PIECE);
                    piece.push(update);
                    pieces.push(piece);
                }
            }
        }
    }
}

impl<D: Ord + InParts, R: Semigroup, B: Builder<Input = Updates<D, R>>> Extract for SortAtOnce<D, R, B> {
    type Time = u32;
    type Output = B::Output;

    fn extract<'a>(&'a mut self, upper: AntichainRef<'_, u32>) -> (Option<B::Output>, AntichainRef<'a, u32>) {
        let mut ready = Vec::new();
        while let Some(time) = self.times.first_entry().filter(|time| !upper.less_equal(time.key())) {
            ready.extend(time.remove());
        }
        self.frontier.clear();
        self.frontier.extend(self.times.keys().copied());
        let mut builder = B::default();
        for mut part in parts(ready) {
            consolidate_updates(&mut part);
            builder.push(&mut part);
        }
        (builder.done(), self.frontier.borrow())
    }
}

fn parts<D: InParts, R>(pieces: Vec<Updates<D, R>>) -> Vec<Updates<D, R>> {
    let mut sizes = vec![0_usize; D::PARTS];
    for (data, _, _) in pieces.iter().flatten() {
        if let Some(size) = sizes.get_mut(data.part()) {
            *size += 1;
        }
    }
    let mut parts: Vec<Updates<D, R>> = sizes.into_iter().map(Vec::with_capacity).collect();
    for update in pieces.into_iter().flatten() {
        if let Some(part) = parts.get_mut(update.0.part()) {
            part.push(update);
        }
    }
    parts
}
