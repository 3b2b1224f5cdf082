//! Tables written by the real sink.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use weir_checkpoints::{Attempt, Epoch, Manifest, OutputPart, Sequence, Store, WorkerIndex};
use weir_connectors::delta::{DeltaConfig, DeltaReader, DeltaReaderLimits, DeltaSink};
use weir_connectors::objects;
use weir_dataflow::{Committer, Cut, Row, Sink, SinkFactory, WindowRow, WindowStats, WorkerContext};

pub(crate) const JOB: &str = "reading";

const WORKERS: u32 = 2;

/// A place for tables.
pub(crate) struct Place {
    pub(crate) url: String,
    folder: Option<TempDir>,
}

impl Place {
    pub(crate) fn local() -> Self {
        let folder = TempDir::new().unwrap();
        Self { url: format!("file://{}/tables", folder.path().display()), folder: Some(folder) }
    }

    pub(crate) fn s3() -> Self {
        Self { url: crate::remote::s3("delta-read"), folder: None }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        objects::open(&self.url).unwrap()
    }

    /// The table's folder on the disk.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.as_ref().unwrap().path().join("tables/clicks_agg")
    }

    /// The paths of the data files of version 0 and later, as the log has them.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        for version in 0.. {
            let name = format!("clicks_agg/_delta_log/{version:020}.json");
            let Some(bytes) = self.store().get(&name).unwrap() else { break };
            let lines = String::from_utf8(bytes).unwrap();
            let actions = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            files.extend(actions.filter_map(|action| Some(action["add"]["path"].as_str()?.to_owned())));
        }
        files
    }

    /// A reader that looks at the log for every question.
    pub(crate) fn reader(&self) -> DeltaReader {
        DeltaReader::open(self.store(), self.limits())
    }

    pub(crate) fn limits(&self) -> DeltaReaderLimits {
        DeltaReaderLimits { refresh_interval: Duration::ZERO, ..DeltaReaderLimits::for_url(&self.url) }
    }
}

/// A job that writes the table, a version for each commit.
pub(crate) struct TableWriter {
    workers: Vec<Box<dyn Sink>>,
    committer: Box<dyn Committer>,
    epoch: u64,
}

impl TableWriter {
    pub(crate) fn open(store: &Arc<dyn Store>) -> Self {
        let config = DeltaConfig { target_file_bytes: 0, ..DeltaConfig::new(JOB, "clicks") };
        let factory = DeltaSink::clicks_agg(config, store.clone());
        let open = |worker| {
            let worker = WorkerContext { worker: WorkerIndex(worker), workers: WORKERS, attempt: Attempt(1) };
            factory.open(worker).unwrap()
        };
        Self { workers: (0..WORKERS).map(open).collect(), committer: factory.committer().unwrap(), epoch: 0 }
    }

    /// The epoch of the next commit.
    pub(crate) fn next_epoch(&self) -> u64 {
        self.epoch + 1
    }

    /// Commits rows.
    pub(crate) fn commit(&mut self, rows: &[WindowStats]) {
        let manifest = self.stage(rows);
        self.show(&manifest);
    }

    /// Writes rows that a manifest lists; an ad is always one worker's.
    pub(crate) fn stage(&mut self, rows: &[WindowStats]) -> Manifest {
        self.epoch += 1;
        for row in rows {
            let worker = row.ad_id.bytes().map(usize::from).sum::<usize>() % self.workers.len();
            self.workers[worker].write(Row::Window(window_row(row))).unwrap();
        }
        let cut = Cut { epoch: Epoch(self.epoch), last: false, offsets: Vec::new() };
        let outputs = self.workers.iter_mut().flat_map(|worker| worker.stage(&cut).unwrap()().unwrap().outputs);
        manifest(self.epoch, outputs.collect())
    }

    /// Shows what a manifest lists.
    pub(crate) fn show(&mut self, manifest: &Manifest) {
        self.committer.commit(manifest).unwrap();
    }
}

fn window_row(row: &WindowStats) -> WindowRow<'_> {
    WindowRow {
        ad_id: &row.ad_id,
        region: row.region.as_deref(),
        window: row.window,
        start_ms: row.start_ms,
        click_count: row.click_count,
        unique_users: row.unique_users,
        user_sketch: &row.user_sketch,
        epoch: Epoch(row.epoch),
    }
}

fn manifest(epoch: u64, outputs: Vec<OutputPart>) -> Manifest {
    Manifest {
        sequence: Sequence(epoch),
        workers: WORKERS,
        epoch: Epoch(epoch),
        written_ms: 1_736_952_000_000 + epoch as i64,
        outputs,
        ..Manifest::first(JOB)
    }
}
