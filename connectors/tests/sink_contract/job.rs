//! A job around a sink, as the graph would drive it: it writes rows, checkpoints, crashes, and starts again.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use weir_checkpoints::{Attempt, Epoch, Manifest, Names, Offset, OutputPart, PartitionId, Sequence, WorkerIndex};
use weir_dataflow::{Carried, Committer, Cut, RowKind, Sink, SinkError, SinkFactory, WorkerContext};

use crate::contract::Subject;
use crate::rows::{OwnedRow, describe};

/// A job that is running.
pub(crate) struct Job {
    subject: Subject,
    seed: u64,
    random: SmallRng,
    kind: RowKind,
    factory: Box<dyn SinkFactory>,
    committer: Box<dyn Committer>,
    workers: Vec<Worker>,
    attempt: u64,
    epoch: u64,
    /// The rows of the log that were written so far; a crash goes back to what was published.
    written: u64,
    published: Published,
    descriptions: Vec<String>,
}

struct Worker {
    sink: Box<dyn Sink>,
    /// What is held back, as the checkpoint has it.
    carried: Vec<Vec<u8>>,
    offsets: Option<(u64, u64)>,
}

/// A checkpoint that may become the newest.
pub(crate) struct Unpublished {
    manifest: Manifest,
    carried: Vec<Vec<Vec<u8>>>,
    written: u64,
}

/// The newest checkpoint.
#[derive(Default)]
struct Published {
    manifest: Option<Manifest>,
    carried: Vec<Vec<u8>>,
    written: u64,
    /// Rows in outputs of all manifests so far.
    rows_in_outputs: u64,
}

impl Job {
    /// Starts a job's first attempt.
    pub(crate) fn start(subject: Subject, seed: u64, workers: u32) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut published = Published::default();
        let started = restart(&subject, &mut published, &mut random, 1, workers);
        let kinds = [RowKind::Window, RowKind::Archive, RowKind::Late, RowKind::DeadLetter];
        let kind = kinds.into_iter().find(|&kind| started.factory.accepts(kind)).expect("a sink accepts some rows");
        Self {
            subject,
            seed,
            random,
            kind,
            factory: started.factory,
            committer: started.committer,
            workers: started.workers,
            attempt: started.attempt,
            epoch: 0,
            written: 0,
            published,
            descriptions: Vec::new(),
        }
    }

    /// Writes the next rows of the log, each to some worker. Where a write fails, the job crashes.
    pub(crate) fn write(&mut self, rows: u64) {
        for _ in 0..rows {
            let row = self.next_row();
            if self.descriptions.len() as u64 == self.written {
                self.descriptions.push(describe(&row.as_row()));
            }
            let index = self.random.random_range(0..self.workers.len());
            let worker = &mut self.workers[index];
            if worker.sink.write(row.as_row()).is_err() {
                return self.crash_and_restart(2);
            }
            let first = worker.offsets.map_or(self.written, |(first, _)| first);
            worker.offsets = Some((first, self.written + 1));
            self.written += 1;
        }
    }

    fn next_row(&self) -> OwnedRow {
        // No later than any checkpoint, and the same after a crash.
        let epoch = self.written % 2;
        OwnedRow::generate(self.kind, self.seed, self.written, epoch, self.subject.latest_ms)
    }

    /// Stages all that was written, and makes what was staged durable.
    pub(crate) fn stage(&mut self, last: bool) -> Result<Unpublished, SinkError> {
        self.epoch += self.random.random_range(1..4);
        let mut outputs: Vec<OutputPart> = Vec::new();
        let mut stagings = Vec::new();
        for worker in &mut self.workers {
            let offsets = worker.offsets.take();
            let offsets = offsets.map(|(first, next)| (PartitionId(0), Offset(first), Offset(next)));
            let cut = Cut { epoch: Epoch(self.epoch), last, offsets: offsets.into_iter().collect() };
            stagings.push(worker.sink.stage(&cut)?);
        }
        for (worker, staging) in self.workers.iter_mut().zip(stagings) {
            let staged = staging()?;
            match staged.carried {
                Carried::Nothing => worker.carried.clear(),
                Carried::Same => {}
                Carried::More(_) if last => panic!("rows are held back at the last stage, seed {}", self.seed),
                Carried::More(bytes) => worker.carried.push(bytes),
            }
            outputs.extend(staged.outputs);
        }
        let manifest = manifest(self.epoch, self.attempt, outputs);
        let carried = self.workers.iter().map(|worker| worker.carried.clone()).collect();
        Ok(Unpublished { manifest, carried, written: self.written })
    }

    /// Makes a checkpoint the newest: from here on its rows must become visible.
    pub(crate) fn publish(&mut self, checkpoint: Unpublished) {
        let rows: u64 = checkpoint.manifest.outputs.iter().map(|output| output.rows).sum();
        let sequence = self.published.manifest.as_ref().map_or(Sequence(0), |manifest| manifest.sequence.next());
        let manifest = Manifest { sequence, ..checkpoint.manifest };
        store(&self.subject, &manifest);
        self.published = Published {
            manifest: Some(manifest),
            carried: checkpoint.carried.into_iter().flatten().collect(),
            written: checkpoint.written,
            rows_in_outputs: self.published.rows_in_outputs + rows,
        };
    }

    /// Commits the newest manifest.
    pub(crate) fn commit(&mut self) -> Result<(), SinkError> {
        self.published.manifest.as_ref().map_or(Ok(()), |manifest| self.committer.commit(manifest))
    }

    /// A whole checkpoint.
    pub(crate) fn checkpoint(&mut self, last: bool) -> Result<(), SinkError> {
        let checkpoint = self.stage(last)?;
        self.publish(checkpoint);
        self.commit()
    }

    /// Loses everything that was not published, and starts the next attempt.
    pub(crate) fn crash_and_restart(&mut self, workers: u32) {
        let started = restart(&self.subject, &mut self.published, &mut self.random, self.attempt + 1, workers);
        self.factory = started.factory;
        self.committer = started.committer;
        self.workers = started.workers;
        self.attempt = started.attempt;
        self.written = self.published.written;
        self.epoch = self.published.manifest.as_ref().map_or(0, |manifest| manifest.epoch.0);
    }

    /// Something that happens to jobs.
    pub(crate) fn step(&mut self) {
        let workers = self.random.random_range(1..5);
        match self.random.random_range(0..10) {
            0 => self.crash_and_restart(workers),
            1 => {
                let _lost = self.stage(false);
                self.crash_and_restart(workers);
            }
            2 => {
                if let Ok(checkpoint) = self.stage(false) {
                    self.publish(checkpoint);
                }
                self.crash_and_restart(workers);
            }
            3..6 => {
                if self.checkpoint(false).is_err() {
                    self.crash_and_restart(workers);
                }
            }
            _ => {
                let rows = self.random.random_range(0..40);
                self.write(rows);
            }
        }
    }

    /// What a reader sees.
    pub(crate) fn visible(&self) -> Vec<String> {
        let mut visible = (self.subject.visible)();
        visible.sort_unstable();
        visible
    }

    /// What is visible was published, and is there once. Rows may be missing only as long as they are held back, or their
    /// manifest is not committed; after a restart and after a checkpoint it is.
    pub(crate) fn assert_consistent(&self) {
        let visible = self.visible();
        let mut published: BTreeMap<&str, u64> = BTreeMap::new();
        for description in &self.descriptions[..self.published.written as usize] {
            *published.entry(description).or_default() += 1;
        }
        for row in &visible {
            let left = published.get_mut(row.as_str()).filter(|left| **left > 0);
            *left.unwrap_or_else(|| panic!("seed {}: visible twice or never published: {row}", self.seed)) -= 1;
        }
        assert_eq!(
            visible.len() as u64,
            self.published.rows_in_outputs,
            "rows of committed outputs, seed {}",
            self.seed
        );
    }

    /// Everything that was written was published and is visible.
    pub(crate) fn assert_all_visible(&self) {
        let mut expect = self.descriptions[..self.written as usize].to_vec();
        expect.sort_unstable();
        assert_eq!(self.published.written, self.written);
        assert_eq!(self.visible(), expect, "seed {}", self.seed);
    }
}

struct Started {
    factory: Box<dyn SinkFactory>,
    committer: Box<dyn Committer>,
    workers: Vec<Worker>,
    attempt: u64,
}

/// Starts attempts until one comes up: each repeats the newest manifest's commit, then takes back what was carried.
fn restart(subject: &Subject, published: &mut Published, random: &mut SmallRng, attempt: u64, workers: u32) -> Started {
    for retry in 0..200 {
        if let Some(manifest) = &mut published.manifest {
            // An attempt's first act: a manifest that changes nothing else.
            manifest.attempt = Attempt(attempt + retry);
            manifest.sequence = manifest.sequence.next();
            store(subject, manifest);
        }
        match try_restart(subject, published, random, attempt + retry, workers) {
            Ok(started) => return started,
            Err(SinkError::Failed { .. }) => {}
            Err(refused @ SinkError::Refused { .. }) => panic!("{refused}"),
        }
    }
    panic!("the sink does not open");
}

fn try_restart(
    subject: &Subject,
    published: &Published,
    random: &mut SmallRng,
    attempt: u64,
    workers: u32,
) -> Result<Started, SinkError> {
    let factory = (subject.factory)();
    let mut committer = factory.committer()?;
    if let Some(manifest) = &published.manifest {
        committer.commit(manifest)?;
    }
    let open = |worker| {
        let context = WorkerContext { worker: WorkerIndex(worker), workers, attempt: Attempt(attempt) };
        Ok(Worker { sink: factory.open(context)?, carried: Vec::new(), offsets: None })
    };
    let mut opened = (0..workers).map(open).collect::<Result<Vec<Worker>, SinkError>>()?;
    for carried in &published.carried {
        let worker = &mut opened[random.random_range(0..workers as usize)];
        worker.sink.restore(carried)?;
        worker.carried.push(carried.clone());
    }
    Ok(Started { factory, committer, workers: opened, attempt })
}

fn store(subject: &Subject, manifest: &Manifest) {
    if let Some(put) = &subject.store_manifest {
        put(&Names::new("contract").manifest(manifest.sequence), manifest.to_bytes().unwrap());
    }
}

/// A manifest with nothing in it that sinks do not look at.
pub(crate) fn manifest(epoch: u64, attempt: u64, outputs: Vec<OutputPart>) -> Manifest {
    Manifest {
        sequence: Sequence(epoch),
        attempt: Attempt(attempt),
        epoch: Epoch(epoch),
        written_ms: 1_736_952_000_000 + epoch as i64,
        outputs,
        ..Manifest::first("contract")
    }
}
