//! Which worker reads which partition, of a log that may grow while it is read.
//!
//! ```text
//!   start     worker 0 asks the source and tells all workers: 0 1 2         dealt in turn: the n-th to worker n mod workers
//!   epoch 7   a source has seen 0 1 2 3 4 ─▶ report ─▶ every worker         agreed at the end of the epoch: 3 and 4
//!   epoch 8   3 and 4 are read from offset 0 on, each by the worker that its place in 0 1 2 3 4 names
//! ```
//!
//! - All workers know the same partitions in each epoch, so each partition has exactly one reader.
//! - A partition that came up since the last checkpoint is read from offset 0 on, whether it came up while the job ran or
//!   while it was down: whatever its log has lost by then is missing, and the source says so.
//! - A partition that has a reader keeps it until the job starts again.

use weir_checkpoints::{Manifest, Offset, PartitionId, Position, WorkerIndex};

use crate::SourceError;

/// The partitions that all workers know of, and this worker's place among them.
#[derive(Debug, Clone)]
pub(crate) struct Partitions {
    known: Vec<PartitionId>,
    worker: WorkerIndex,
    workers: u32,
}

impl Partitions {
    /// The partitions at the start, as all workers were told.
    pub(crate) fn new(mut known: Vec<PartitionId>, worker: WorkerIndex, workers: u32) -> Self {
        known.sort_unstable();
        known.dedup();
        Self { known, worker, workers }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// This worker's, with the positions to resume at. `topic` is for the error.
    pub(crate) fn assigned(
        &self,
        topic: &str,
        manifest: &Manifest,
    ) -> Result<Vec<(PartitionId, Option<Position>)>, SourceError> {
        if let Some(lost) = manifest.partitions.keys().find(|partition| !self.known.contains(partition)) {
            let reason = format!(
                "partition {lost}, which this job has read so far, is no longer there; nothing was skipped. Was the log \
                 deleted and made again? Restore it, or start a new job under another name"
            );
            return Err(SourceError::Invalid { location: topic.to_owned(), reason });
        }
        // Only a job that has read nothing yet may begin where the log begins.
        let unread = (!manifest.partitions.is_empty()).then_some(Position { next_offset: Offset(0), cursor: None });
        let position = |partition: &PartitionId| match manifest.partitions.get(partition) {
            Some(cut) => Some(cut.position.clone()),
            None => unread.clone(),
        };
        Ok(self.of_this_worker(|_| true).map(|partition| (partition, position(&partition))).collect())
    }

    /// Those of `now` that nobody knows of yet.
    pub(crate) fn unknown(&self, now: Vec<PartitionId>) -> Vec<PartitionId> {
        now.into_iter().filter(|partition| !self.known.contains(partition)).collect()
    }

    /// Takes in what all workers agreed on; returns those that this worker is to read.
    pub(crate) fn grow(&mut self, added: &[PartitionId]) -> Vec<PartitionId> {
        let added = self.unknown(added.to_vec());
        self.known.extend(&added);
        self.known.sort_unstable();
        self.known.dedup();
        self.of_this_worker(|partition| added.contains(&partition)).collect()
    }

    fn of_this_worker(&self, wanted: impl Fn(PartitionId) -> bool) -> impl Iterator<Item = PartitionId> {
        let mine = move |at: usize| at as u32 % self.workers == self.worker.0;
        self.known.iter().enumerate().filter(move |(at, partition)| mine(*at) && wanted(**partition)).map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u32]) -> Vec<PartitionId> {
        numbers.iter().copied().map(PartitionId).collect()
    }

    fn all(known: &[u32], workers: u32) -> Vec<Partitions> {
        (0..workers).map(|worker| Partitions::new(ids(known), WorkerIndex(worker), workers)).collect()
    }

    #[test]
    fn every_partition_has_one_reader_however_it_came_up() {
        for workers in 1..6 {
            for (before, added) in [(&[0, 1, 2][..], &[3, 4][..]), (&[0], &[1]), (&[2, 7], &[0, 5, 9]), (&[0], &[])] {
                let mut read = Vec::new();
                for mut partitions in all(before, workers) {
                    let mine = partitions.of_this_worker(|_| true).collect::<Vec<_>>();
                    read.extend(mine);
                    read.extend(partitions.grow(&ids(added)));
                    assert_eq!(partitions.unknown(ids(added)), []);
                    assert_eq!(partitions.grow(&ids(added)), [], "each is taken over once");
                    assert_eq!(partitions.len(), before.len() + added.len());
                }
                read.sort_unstable();
                let mut expected = ids(&[before, added].concat());
                expected.sort_unstable();
                assert_eq!(read, expected, "{workers} workers");
            }
        }
    }

    #[test]
    fn what_grew_at_the_end_is_read_where_the_next_start_would_read_it() {
        for workers in 1..6 {
            let grown = all(&[0, 1, 2], workers).into_iter().map(|mut one| one.grow(&ids(&[3, 4, 5])));
            let started = all(&[0, 1, 2, 3, 4, 5], workers);
            let started = started.iter().map(|one| one.of_this_worker(|partition| partition.0 > 2).collect());
            assert!(grown.eq(started.collect::<Vec<Vec<_>>>()), "{workers} workers");
        }
    }
}
