//! ClickHouse: windows as they close, and open ones as they stand, in a table that dashboards and analysts query.
//!
//! ```text
//!   worker:   write ─▶ RowBinary ─▶ LZ4 frames ─▶ stage ─▶ object in the checkpoint store, in no manifest yet
//!   worker 0: manifest ─▶ commit ─▶ Queue (bounded) ─▶ thread: insert ─▶ weir_progress ─▶ delete the objects
//!   restart:  objects that are still there, in the manifests that list them ─▶ Queue
//! ```
//!
//! Invariants
//! - Rows are inserted only once the manifest that lists them exists.
//! - Rows hold absolute values, and the newest revision of a window counts. Inserting a row again, at any time and in any
//!   order, changes nothing; that is why everything whose outcome is not known is simply done again.
//! - A staged object is deleted only after its rows are in. So what is still there after a crash is what may be missing.
//! - `weir_progress` claims a window only after its row is in; see [`Coverage`].
//! - The job waits for ClickHouse in one case: the backlog is full.
//!
//! The client is the official crate, with its checks of types turned off: they need `RowBinaryWithNamesAndTypes`, which the
//! oldest servers do not know. An insert's body is what the workers staged, byte by byte, so the crate's own compression
//! is off as well.

mod backlog;
mod billing;
mod client;
mod columns;
mod commit;
mod config;
mod error;
mod insert;
mod metrics;
mod progress;
mod queue;
mod reader;
mod rebuild;
mod rows;
mod schema;
mod sink;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use weir_checkpoints::Store;
use weir_dataflow::{Committer, RowKind, Sink, SinkError, SinkFactory, WorkerContext};

pub use self::billing::{ClosedDay, has_day, write_day};
pub use self::config::{ClickHouseConfig, Password};
pub use self::error::ClickHouseError;
pub use self::metrics::ClickHouseMetrics;
pub use self::progress::Coverage;
pub use self::reader::ClickHouseReader;
pub use self::rebuild::{RebuildError, RebuildProgress, Rebuilt, Span, rebuild};
pub use self::rows::LATEST_MS;

/// The sink's name in manifests and settings.
const NAME: &str = "clickhouse";

/// The table of windows, as a sink.
pub struct ClickHouseSink {
    config: Arc<ClickHouseConfig>,
    /// The job's checkpoint store: staged rows are part of a checkpoint.
    store: Arc<dyn Store>,
    metrics: Arc<ClickHouseMetrics>,
    stop: Arc<AtomicBool>,
}

impl ClickHouseSink {
    /// A sink that stages in the job's checkpoint store. Once `stop` is set, the job is to end: nothing waits for
    /// ClickHouse any more, and what is not inserted is so after the next start.
    #[must_use]
    pub fn new(config: ClickHouseConfig, store: Arc<dyn Store>, stop: Arc<AtomicBool>) -> Self {
        Self { config: Arc::new(config), store, metrics: Arc::default(), stop }
    }

    /// Its figures, kept up to date while the job runs.
    #[must_use]
    pub fn metrics(&self) -> Arc<ClickHouseMetrics> {
        Arc::clone(&self.metrics)
    }
}

impl SinkFactory for ClickHouseSink {
    fn name(&self) -> &str {
        NAME
    }

    fn accepts(&self, kind: RowKind) -> bool {
        match kind {
            RowKind::Window => true,
            RowKind::Provisional => self.config.provisional,
            RowKind::Archive | RowKind::Late | RowKind::DeadLetter => false,
        }
    }

    fn open(&self, worker: WorkerContext) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(sink::WindowSink::new(
            &self.config.job,
            Arc::clone(&self.store),
            Arc::clone(&self.metrics),
            worker,
        )))
    }

    fn committer(&self) -> Result<Box<dyn Committer>, SinkError> {
        let (config, store) = (Arc::clone(&self.config), Arc::clone(&self.store));
        let (metrics, stop) = (Arc::clone(&self.metrics), Arc::clone(&self.stop));
        Ok(Box::new(commit::Handover::start(config, store, metrics, stop)?))
    }
}

fn failed(action: &'static str, reason: impl ToString) -> SinkError {
    SinkError::Failed { sink: NAME.to_owned(), action, reason: reason.to_string() }
}

fn refused(reason: String) -> SinkError {
    SinkError::Refused { sink: NAME.to_owned(), reason }
}
