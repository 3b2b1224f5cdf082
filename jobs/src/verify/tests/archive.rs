//! A small job with an archive, run by hand: the tables are written by their own sinks, the manifests by the journal.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::Value;
use weir_checkpoints::{
    Attempt, Epoch, GroupRange, GroupSet, Journal, Manifest, Names, Offset, OutputPart, PartWriter, PartitionCut,
    PartitionId, Position, StatePart, Store, Totals, WorkerIndex,
};
use weir_connectors::delta::{DeltaConfig, DeltaSink};
use weir_dataflow::{
    Carried, Click, ClickRow, Committer, Cut, LateReason, Row, RowKind, Sink, SinkFactory, WorkerContext, carried_kind,
};

use crate::verify::{Report, Span, Verification, verify};

/// Event time of offset 0: the 15th of January 2025, 14:00.
pub(super) const START_MS: i64 = 1_736_949_600_000;

/// Rows wait for a file this long.
const ROLL_MS: i64 = 1000;

pub(super) struct Archive {
    folder: tempfile::TempDir,
    pub(super) checkpoints: Arc<dyn Store>,
    pub(super) tables: Arc<dyn Store>,
    sinks: Vec<Open>,
    journal: Journal,
    clock: Arc<AtomicI64>,
    partitions: BTreeMap<PartitionId, PartitionCut>,
    /// Whether the job is of a version that noted nothing of its files.
    is_old: bool,
}

struct Open {
    name: &'static str,
    kind: RowKind,
    sink: Box<dyn Sink>,
    committer: Box<dyn Committer>,
}

impl Archive {
    pub(super) fn new(is_old: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            weir_connectors::objects::open(&format!("file://{}", folder.path().join(name).display())).unwrap()
        };
        let (checkpoints, tables) = (open("checkpoints"), open("tables"));
        let clock = Arc::new(AtomicI64::new(0));
        let time = Arc::clone(&clock);
        let config = DeltaConfig {
            roll_interval_ms: ROLL_MS,
            clock: Arc::new(move || time.load(Ordering::SeqCst)),
            ..DeltaConfig::new("clicks", "clicks")
        };
        let agg = DeltaSink::clicks_agg(config.clone(), Arc::clone(&tables));
        let late = DeltaSink::clicks_late(config.clone(), Arc::clone(&tables));
        let raw = DeltaSink::clicks_raw(config, Arc::clone(&tables));
        let sinks = [(agg, "clicks_agg", RowKind::Window), (late, "clicks_late", RowKind::Late)];
        let sinks = sinks.into_iter().chain([(raw, "clicks_raw", RowKind::Archive)]).map(|(factory, name, kind)| {
            let worker = WorkerContext { worker: WorkerIndex(0), workers: 1, attempt: Attempt(1) };
            Open { name, kind, sink: factory.open(worker).unwrap(), committer: factory.committer().unwrap() }
        });
        let names = Names::new("clicks");
        let mut journal = Journal::open(Arc::clone(&checkpoints), names, "test".to_owned()).unwrap();
        journal.begin(&BTreeMap::new(), 1, 0).unwrap();
        let sinks = sinks.collect();
        Self { folder, checkpoints, tables, sinks, journal, clock, partitions: BTreeMap::new(), is_old }
    }

    /// Two commits of files, and rows that are held back behind them.
    pub(super) fn with_rows(is_old: bool) -> Self {
        let mut archive = Self::new(is_old);
        archive.read(0, 100, 3);
        archive.read(1, 50, 2);
        archive.checkpoint(5, true);
        archive.read(0, 40, 0);
        archive.checkpoint(9, false);
        archive.read(1, 30, 1);
        archive.checkpoint(12, true);
        archive.read(0, 10, 1);
        archive.read(1, 5, 0);
        archive.checkpoint(15, false);
        archive
    }

    /// Reads so many records of a partition; the first of them are late. A record is a minute later than the one before.
    pub(super) fn read(&mut self, partition: u32, records: u64, late: u64) {
        let cut = self.partitions.entry(PartitionId(partition)).or_default();
        let first = cut.position.next_offset.0;
        cut.position = Position { next_offset: Offset(first + records), cursor: None };
        let read = Totals { read: records, late, counted: records - late, ..Totals::default() };
        cut.totals = cut.totals.plus(&read);
        for offset in first..first + records {
            self.write(partition, offset, offset < first + late);
        }
    }

    /// Writes a click to the tables, whether or not it was read.
    pub(super) fn write(&mut self, partition: u32, offset: u64, is_late: bool) {
        let click = Click {
            ad_id: "ad",
            user_id: "user",
            timestamp: START_MS + offset as i64 * 60_000,
            click_id: None,
            ip_address: None,
            user_agent: None,
        };
        let (partition, offset, epoch) = (PartitionId(partition), Offset(offset), Epoch(1));
        let row = ClickRow { click, extra: None, region: None, partition, offset, epoch };
        for open in &mut self.sinks {
            match open.kind {
                RowKind::Archive => open.sink.write(Row::Archive(row)).unwrap(),
                RowKind::Late if is_late => open.sink.write(Row::Late(row, LateReason::Late)).unwrap(),
                _ => {}
            }
        }
    }

    /// A whole checkpoint: all rows at hand become files, or wait.
    pub(super) fn checkpoint(&mut self, epoch: u64, is_due: bool) {
        self.publish(epoch, is_due);
        self.commit();
    }

    /// A checkpoint that no table shows yet.
    pub(super) fn publish(&mut self, epoch: u64, is_due: bool) {
        if is_due {
            self.clock.fetch_add(ROLL_MS, Ordering::SeqCst);
        }
        let mut manifest = self.manifest().clone();
        manifest.epoch = Epoch(epoch);
        manifest.partitions = self.partitions.clone();
        manifest.outputs.clear();
        for open in &mut self.sinks {
            let cut = Cut { epoch: Epoch(epoch), last: false, offsets: Vec::new() };
            let staged = open.sink.stage(&cut).unwrap()().unwrap();
            manifest.outputs.extend(staged.outputs);
            let kind = carried_kind(open.name);
            match staged.carried {
                Carried::Same => {}
                Carried::Nothing => manifest.state.retain(|part| part.kind != kind),
                Carried::More(rows) => manifest.state.push(store_part(&self.checkpoints, epoch, &kind, rows)),
            }
        }
        if self.is_old {
            manifest.outputs.iter_mut().for_each(forget);
        }
        self.journal.publish(manifest).unwrap();
    }

    pub(super) fn commit(&mut self) {
        let newest = self.manifest().clone();
        self.sinks.iter_mut().for_each(|open| open.committer.commit(&newest).unwrap());
    }

    pub(super) fn manifest(&self) -> &Manifest {
        self.journal.newest().unwrap()
    }

    pub(super) fn verify(&self, files: bool) -> Report {
        self.verify_span(files, Span::default())
    }

    pub(super) fn verify_span(&self, files: bool, span: Span) -> Report {
        verify_stores(self.checkpoints.as_ref(), self.tables.as_ref(), files, span)
    }

    /// The objects of a table's data files.
    pub(super) fn files(&self, table: &str) -> Vec<String> {
        let objects = self.tables.list(&format!("{table}/")).unwrap();
        objects.into_iter().map(|object| object.name).filter(|name| name.ends_with(".parquet")).collect()
    }

    /// Changes the text of one version of a table's log.
    pub(super) fn edit_log(&self, table: &str, version: u64, edit: impl FnOnce(String) -> String) {
        let name = format!("{table}/_delta_log/{version:020}.json");
        let text = String::from_utf8(self.tables.get(&name).unwrap().unwrap()).unwrap();
        self.tables.put(&name, edit(text).into_bytes()).unwrap();
    }

    /// Where an object lies on the disk.
    pub(super) fn path(&self, object: &str) -> PathBuf {
        self.folder.path().join("tables").join(object)
    }
}

pub(super) fn verify_stores(checkpoints: &dyn Store, tables: &dyn Store, files: bool, span: Span) -> Report {
    verify(&Verification {
        job: "clicks",
        checkpoints,
        tables,
        checkpoints_url: "file:///checkpoints",
        tables_url: "file:///tables",
        archive: true,
        files,
        span,
        oracle: None,
        late_for_certain: false,
    })
    .unwrap()
}

fn store_part(checkpoints: &Arc<dyn Store>, epoch: u64, kind: &str, rows: Vec<u8>) -> StatePart {
    let (epoch, attempt, worker, groups) = (Epoch(epoch), Attempt(1), WorkerIndex(0), GroupRange::ALL);
    let mut part = PartWriter::new(groups);
    *part.group(groups.start).unwrap() = rows;
    let bytes = part.finish().unwrap();
    let name = Names::new("clicks").part(epoch, attempt, worker, kind);
    let size_bytes = bytes.len() as u64;
    checkpoints.put(&name, bytes).unwrap();
    let groups = GroupSet::of(groups);
    StatePart { name, kind: kind.to_owned(), epoch, attempt, worker, size_bytes, groups, expires_ms: None }
}

fn forget(output: &mut OutputPart) {
    if let Value::Object(details) = &mut output.details {
        details.remove("sha256");
        details.remove("rows_by_partition");
    }
}
