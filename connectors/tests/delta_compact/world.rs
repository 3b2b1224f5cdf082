//! A table that a job writes, and compactors that may fail at any step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use weir_checkpoints::{Attempt, Epoch, Manifest, Offset, OutputPart, PartitionId, Sequence, Store, WorkerIndex};
use weir_connectors::delta::{
    CompactOutcome, CompactSettings, Compacted, Compactor, DeltaConfig, DeltaSink, Merge, Table,
};
use weir_connectors::memory::{Faults, MemoryStore, Unreliable};
use weir_dataflow::{Cut, MAX_EVENT_TIME_MS, RowKind, SinkFactory, WorkerContext};

use crate::delta_reader;
use crate::rows::{OwnedRow, describe};
use crate::stores::Shared;

/// A job, its table, and the rows that it has committed.
pub(crate) struct World {
    pub(crate) table: Table,
    pub(crate) objects: Arc<MemoryStore>,
    seed: u64,
    epoch: u64,
    numbers: u64,
    expected: Vec<String>,
    /// The files of all manifests.
    pub(crate) listed: BTreeSet<String>,
    /// What the newest manifest lists, until it is committed.
    uncommitted: Option<Manifest>,
}

impl World {
    pub(crate) fn new(table: Table, seed: u64) -> Self {
        Self {
            table,
            objects: Arc::new(MemoryStore::new()),
            seed,
            epoch: 0,
            numbers: 0,
            expected: Vec::new(),
            listed: BTreeSet::new(),
            uncommitted: None,
        }
    }

    pub(crate) fn calm(&self) -> Arc<dyn Store> {
        Arc::new(Shared(Arc::clone(&self.objects)))
    }

    pub(crate) fn faulty(&self, seed: u64, faults: Faults) -> Arc<dyn Store> {
        Arc::new(Unreliable::new(Shared(Arc::clone(&self.objects)), seed, faults))
    }

    fn sink(&self, store: Arc<dyn Store>) -> DeltaSink {
        let config = DeltaConfig { extra: true, target_file_bytes: 0, ..DeltaConfig::new("compacting", "clicks") };
        DeltaSink::new(self.table, config, store)
    }

    /// Writes the next rows as the files of a manifest, and commits what was not before.
    pub(crate) fn append(&mut self, rows: u64) {
        self.append_as(rows, |row| row);
    }

    /// The same, with something changed about each row.
    pub(crate) fn append_as(&mut self, rows: u64, change: impl Fn(OwnedRow) -> OwnedRow) {
        self.commit(&self.calm()).unwrap();
        self.epoch += 1;
        let sink = self.sink(self.calm());
        sink.committer().unwrap();
        let worker = WorkerContext { worker: WorkerIndex(0), workers: 1, attempt: Attempt(self.epoch) };
        let mut open = sink.open(worker).unwrap();
        let first = self.numbers;
        for _ in 0..rows {
            let row = OwnedRow::generate(self.kind(), self.seed, self.numbers, self.epoch, MAX_EVENT_TIME_MS);
            let row = change(row);
            open.write(row.as_row()).unwrap();
            self.expected.push(describe(&row.as_row()));
            self.numbers += 1;
        }
        let offsets = vec![(PartitionId(0), Offset(first), Offset(self.numbers))];
        let cut = Cut { epoch: Epoch(self.epoch), last: true, offsets };
        let outputs = open.stage(&cut).unwrap()().unwrap().outputs;
        self.listed.extend(outputs.iter().map(|output| output.name.clone()));
        self.uncommitted = Some(manifest(self.epoch, outputs));
    }

    const fn kind(&self) -> RowKind {
        match self.table {
            Table::Agg => RowKind::Window,
            Table::Late => RowKind::Late,
            Table::Raw => RowKind::Archive,
        }
    }

    /// Shows what the newest manifest lists. It may be there although it failed.
    pub(crate) fn commit(&mut self, store: &Arc<dyn Store>) -> Result<(), weir_dataflow::SinkError> {
        if let Some(manifest) = &self.uncommitted {
            self.sink(Arc::clone(store)).committer()?.commit(manifest)?;
        }
        self.uncommitted = None;
        Ok(())
    }

    /// A manifest of some epoch that lists all files that there ever were.
    pub(crate) fn manifest_of_all(&self, epoch: u64) -> Manifest {
        let output = |name: &String| OutputPart {
            sink: self.table.name().to_owned(),
            name: name.clone(),
            rows: 0,
            size_bytes: 0,
            details: Value::Null,
        };
        // Compacted files are listed by no manifest; they are kept here for the count.
        let compacted = self.objects.list(self.table.name()).unwrap().into_iter().map(|object| object.name);
        let names: BTreeSet<String> = self.listed.iter().cloned().chain(compacted).collect();
        manifest(epoch, names.iter().map(output).collect())
    }

    /// Each row that was committed is there once. Rows of a manifest whose commit is not sure are all there, or none.
    pub(crate) fn check(&self, when: &str) {
        let mut found = delta_reader::rows(self.objects.as_ref(), self.table.name());
        let mut expected = self.expected.clone();
        let unsure: u64 =
            self.uncommitted.iter().flat_map(|manifest| &manifest.outputs).map(|output| output.rows).sum();
        if unsure > 0 && found.len() + unsure as usize == expected.len() {
            expected.truncate(found.len());
        }
        found.sort_unstable();
        expected.sort_unstable();
        assert!(
            found == expected,
            "seed {} {:?}, {when}: {} rows, expected {}",
            self.seed,
            self.table,
            found.len(),
            expected.len()
        );
    }

    /// Each file of a committed manifest is in the table once: itself, or among the sources of one compacted file.
    pub(crate) fn check_lineage(&self) {
        let mut found = BTreeSet::new();
        let mut count = |path: &str| {
            let name = format!("{}/{path}", self.table.name());
            assert!(found.insert(name), "seed {}: {path} is there twice", self.seed);
        };
        for file in delta_reader::files(self.objects.as_ref(), self.table.name()) {
            let Some(text) = file.tags["weir.compacted"].as_str() else {
                count(&file.path);
                continue;
            };
            assert_eq!(file.footer["weir.compacted"], text);
            let lineage: Value = serde_json::from_str(text).unwrap();
            let sources = lineage["sources"].as_array().unwrap();
            sources.iter().for_each(|source| count(source["path"].as_str().unwrap()));
            let rows: u64 = sources.iter().map(|source| source["rows"].as_u64().unwrap()).sum();
            assert_eq!(file.stats["numRecords"], rows);
            assert_eq!(file.tags["weir.sha256"], file.sha256);
        }
        assert_eq!(found, self.listed, "seed {}", self.seed);
    }

    /// The table's files by partition.
    pub(crate) fn files_by_partition(&self) -> BTreeMap<BTreeMap<String, String>, usize> {
        let mut files = BTreeMap::new();
        for file in delta_reader::files(self.objects.as_ref(), self.table.name()) {
            *files.entry(file.partition).or_default() += 1;
        }
        files
    }
}

pub(crate) const fn settings(target_bytes: u64) -> CompactSettings {
    CompactSettings { target_bytes, min_files: 2, settled_until_ms: i64::MAX, dates: None }
}

/// A compactor that goes on step by step.
pub(crate) struct Actor {
    table: Table,
    store: Arc<dyn Store>,
    settings: CompactSettings,
    compactor: Option<Compactor>,
    merges: VecDeque<Merge>,
    written: Option<Compacted>,
    pub(crate) committed: u64,
    pub(crate) dropped: u64,
    pub(crate) failed: u64,
}

impl Actor {
    pub(crate) fn new(table: Table, store: Arc<dyn Store>, settings: CompactSettings) -> Self {
        let (compactor, merges, written) = (None, VecDeque::new(), None);
        Self { table, store, settings, compactor, merges, written, committed: 0, dropped: 0, failed: 0 }
    }

    /// Does the next step; whether there is anything to be done after it.
    pub(crate) fn step(&mut self) -> bool {
        let Some(mut compactor) = self.compactor.take() else {
            match Compactor::open(self.table, Arc::clone(&self.store), self.settings.clone()) {
                Ok(opened) => self.compactor = opened,
                Err(_) => self.failed += 1,
            }
            return true;
        };
        let outcome = if let Some(compacted) = self.written.take() {
            compactor.commit(&compacted).map(|outcome| match outcome {
                CompactOutcome::Committed => self.committed += 1,
                CompactOutcome::Dropped => self.dropped += 1,
            })
        } else if let Some(merge) = self.merges.pop_front() {
            compactor.write(merge).map(|written| {
                self.merges.extend(written.rest);
                self.written = written.compacted;
            })
        } else {
            compactor.plan().map(|merges| self.merges = merges.into())
        };
        match outcome {
            Ok(()) => self.compactor = Some(compactor),
            Err(_) => self.failed += 1,
        }
        self.compactor.is_none() || self.written.is_some() || !self.merges.is_empty()
    }

    /// Removes what was replaced so far.
    pub(crate) fn delete_replaced(&mut self) {
        let Some(mut compactor) = self.compactor.take() else { return };
        if compactor.delete_replaced(i64::MAX, None, false).is_ok() {
            self.compactor = Some(compactor);
        }
    }

    /// Forgets all that it was about to do.
    pub(crate) fn crash(&mut self) {
        (self.compactor, self.merges, self.written) = (None, VecDeque::new(), None);
    }
}

pub(crate) fn random(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}

pub(crate) fn dice(random: &mut SmallRng, sides: u32) -> u32 {
    random.random_range(0..sides)
}

fn manifest(epoch: u64, outputs: Vec<OutputPart>) -> Manifest {
    Manifest {
        sequence: Sequence(epoch),
        attempt: Attempt(epoch),
        epoch: Epoch(epoch),
        written_ms: 1_736_952_000_000 + epoch as i64,
        outputs,
        ..Manifest::first("compacting")
    }
}
