//! Fills `clicks_agg` again from the Delta table: after a loss, for a new server, or for the time before it was there.
//!
//! ```text
//!   newest manifest ─▶ rows held back, files of the Delta table ─▶ insert, revision = epoch ─▶ weir_progress
//! ```
//!
//! Nothing has to be emptied first, and the job may run meanwhile: a row that is there already is the same row. What is
//! claimed at the end follows from the manifest, see [`claim`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use weir_checkpoints::{Journal, JournalError, Manifest, Names, Store};
use weir_dataflow::{SinkError, Window, WindowQuery, WindowRow};

use super::client::Server;
use super::progress::{self, Coverage, Progress, expired_before_ms, until_ms};
use super::rows::Body;
use super::schema::{self, Features};
use super::{ClickHouseConfig, ClickHouseError};
use crate::delta::{DeltaReader, DeltaReaderLimits, ReadError, held_back};

/// How large an insert is, packed.
const INSERT_BYTES: usize = 16 << 20;

/// How long an insert is tried again.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_secs(1);

/// How often the claim is written, should the job write its own at the same moment, and how long until a look at it.
const CLAIMS: u32 = 10;
const CLAIM_PAUSE: Duration = Duration::from_millis(300);

/// How often a table is read, should its files be compacted and removed meanwhile.
const READS: u32 = 3;

/// Which windows: those that start in `from_ms..to_ms`, unix time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first start.
    pub from_ms: i64,
    /// The first start that is left out.
    pub to_ms: i64,
}

impl Default for Span {
    fn default() -> Self {
        Self { from_ms: 0, to_ms: i64::MAX }
    }
}

/// How far a rebuild is.
#[derive(Debug, Clone, Copy)]
pub struct RebuildProgress {
    /// The windows that are being read; the shortest, which are most, come last.
    pub window: Window,
    /// Rows sent.
    pub rows: u64,
}

/// What a rebuild did.
#[derive(Debug, Clone, Copy)]
pub struct Rebuilt {
    /// Rows that were inserted; they may have been there before.
    pub rows: u64,
    /// Rows whose windows have expired by the retention, or are later than ClickHouse can hold.
    pub left_out: u64,
    /// What is certain to be there now.
    pub coverage: Coverage,
}

/// Why a rebuild stopped. What was inserted stays, and is right; running it again does the rest.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// ClickHouse refused, or did not answer for two minutes.
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
    /// The Delta table cannot be read.
    #[error(transparent)]
    Table(#[from] ReadError),
    /// What was held back for it cannot be read.
    #[error(transparent)]
    HeldBack(#[from] SinkError),
    /// The manifests cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The job has never run.
    #[error("job {job} has no checkpoint: it has never run, or its checkpoints are elsewhere; nothing was done")]
    NoCheckpoint {
        /// The job.
        job: String,
    },
    /// The tables were lost again.
    #[error("ClickHouse lost its tables while they were rebuilt; run it again")]
    Emptied,
    /// No tokio runtime.
    #[error("cannot start tokio: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Inserts all closed windows of a span; `tables` are in a store that has this URL.
pub fn rebuild(
    config: &ClickHouseConfig,
    checkpoints: &Arc<dyn Store>,
    tables: (&Arc<dyn Store>, &str),
    span: Span,
    mut progress: impl FnMut(RebuildProgress),
) -> Result<Rebuilt, RebuildError> {
    let journal = Journal::open(Arc::clone(checkpoints), Names::new(&config.job), "reader".to_owned())?;
    let manifest = journal.newest().ok_or_else(|| RebuildError::NoCheckpoint { job: config.job.clone() })?;
    let (tables, tables_url) = tables;
    let mut rebuild = Rebuild::start(config, span)?;
    let mut outcome = Ok(());
    held_back(checkpoints.as_ref(), manifest, |row| rebuild.add(&row, &mut outcome))?;
    outcome?;
    let reader = DeltaReader::open(Arc::clone(tables), DeltaReaderLimits::for_url(tables_url));
    for window in Window::ALL.into_iter().rev() {
        let query = WindowQuery {
            ads: Vec::new(),
            window,
            start_ms: i64::MIN,
            end_ms: span.to_ms,
            region: None,
            sketches: true,
        };
        let (rows, left_out) = (rebuild.rows, rebuild.left_out);
        let mut reads = 1;
        loop {
            let mut outcome = Ok(());
            let read = reader.for_each(&query, Some(manifest), |row| {
                rebuild.add(&row, &mut outcome);
                progress(RebuildProgress { window, rows: rebuild.rows });
            });
            outcome?;
            match read {
                // Rows that are inserted twice are there once.
                Err(ReadError::Changed) if reads < READS => reads += 1,
                read => break drop(read?),
            }
            (rebuild.rows, rebuild.left_out) = (rows, left_out);
        }
    }
    rebuild.flush()?;
    let coverage = rebuild.claim(manifest)?;
    Ok(Rebuilt { rows: rebuild.rows, left_out: rebuild.left_out, coverage })
}

struct Rebuild<'a> {
    config: &'a ClickHouseConfig,
    server: Server,
    runtime: Runtime,
    features: Features,
    /// What is asked for, less what has expired.
    span: Span,
    body: Body,
    rows: u64,
    left_out: u64,
}

impl<'a> Rebuild<'a> {
    fn start(config: &'a ClickHouseConfig, asked: Span) -> Result<Self, RebuildError> {
        let server = Server::new(config);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let features = runtime.block_on(schema::prepare(&server, config))?;
        let from_ms = asked.from_ms.max(expired_before_ms(config.retention));
        let span = Span { from_ms, ..asked };
        Ok(Self { config, server, runtime, features, span, body: Body::default(), rows: 0, left_out: 0 })
    }

    /// Adds a row, unless adding has failed already.
    fn add(&mut self, row: &WindowRow<'_>, outcome: &mut Result<(), RebuildError>) {
        if outcome.is_err() || row.start_ms >= self.span.to_ms {
            return;
        }
        if row.start_ms < self.span.from_ms || !self.body.push(row, true) {
            self.left_out += 1;
            return;
        }
        self.rows += 1;
        if self.body.packed_bytes() >= INSERT_BYTES {
            *outcome = self.flush();
        }
    }

    /// Inserts what is at hand, and tries again for a while: absolute values may be inserted any number of times.
    fn flush(&mut self) -> Result<(), RebuildError> {
        if self.body.rows() == 0 {
            return Ok(());
        }
        let bytes = Bytes::from(self.body.take());
        let began = Instant::now();
        loop {
            let mut unsent = Some(bytes.clone());
            // No server shall take it for an insert of the past: its table may have been emptied since.
            let features = Features { deduplication_token: false, ..self.features };
            let insert = self.server.insert(features, "", || Ok::<_, ClickHouseError>(unsent.take()));
            match self.runtime.block_on(insert) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_missing() => return Err(RebuildError::Emptied),
                Err(error) if error.is_permanent() || began.elapsed() >= PATIENCE => return Err(error.into()),
                Err(error) => tracing::warn!("{error}; it is tried again"),
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn claim(&self, manifest: &Manifest) -> Result<Coverage, RebuildError> {
        let job = self.config.job.as_str();
        let mut found = self.runtime.block_on(progress::read(&self.server, job))?;
        for _ in 0..CLAIMS {
            let Some(next) = claim(found, self.span, manifest) else { break };
            if found.is_some_and(|row| row.from_ms <= next.from_ms && row.until_ms >= next.until_ms) {
                break;
            }
            self.runtime.block_on(progress::write(&self.server, job, found, next))?;
            std::thread::sleep(CLAIM_PAUSE);
            found = self.runtime.block_on(progress::read(&self.server, job))?;
        }
        Ok(found.map_or_else(Coverage::default, |row| Coverage { from_ms: row.from_ms, until_ms: row.until_ms }))
    }
}

/// What may be claimed once all windows of a span that were closed at a manifest are in. None where it joins nothing.
///
/// - The job's own claim is about windows that start at or after its `from_ms`. A span that reaches up to there extends it.
/// - A span that reaches up to what the manifest has closed extends a claim that began with an epoch up to the manifest's:
///   what closed later came in by the job itself.
fn claim(job: Option<Progress>, span: Span, manifest: &Manifest) -> Option<Progress> {
    let closed_ms = until_ms(manifest.closed_until_ms);
    let complete = span.to_ms >= closed_ms;
    let epoch = manifest.epoch.0;
    match job {
        None => complete.then_some(Progress { epoch, from_ms: span.from_ms, until_ms: closed_ms, revision: 0 }),
        Some(row) => {
            let joins = (complete && row.from_ms <= closed_ms) || span.to_ms >= row.from_ms.max(0) && !complete;
            let until_ms = if complete { row.until_ms.max(closed_ms) } else { row.until_ms };
            let from_ms = row.from_ms.min(span.from_ms);
            joins.then_some(Progress { epoch: epoch.max(row.epoch), from_ms, until_ms, revision: 0 })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(closed_until_ms: i64) -> Manifest {
        serde_json::from_value(json!({
            "format": 1, "job": "clicks", "sequence": 7, "previous": null, "attempt": 1, "owner": "", "workers": 1,
            "epoch": 9, "written_ms": 0, "settings": {}, "watermark_ms": null, "closed_until_ms": closed_until_ms,
            "ended": false, "partitions": {}, "state": [], "outputs": []
        }))
        .unwrap()
    }

    #[test]
    fn only_what_joins_is_claimed() {
        let check = |row: Option<(i64, i64)>, span: (i64, i64), expected: Option<(i64, i64)>| {
            let row = row.map(|(from_ms, until_ms)| Progress { epoch: 3, from_ms, until_ms, revision: 1 });
            let next = claim(row, Span { from_ms: span.0, to_ms: span.1 }, &manifest(600));
            assert_eq!(next.map(|next| (next.from_ms, next.until_ms)), expected, "{row:?} {span:?}");
        };
        let all = (0, i64::MAX);
        check(None, all, Some((0, 600)));
        check(None, (120, i64::MAX), Some((120, 600)));
        check(None, (0, 300), None);
        // A job that has gone on since it was emptied, one that is further, one that was emptied behind the manifest.
        check(Some((480, 600)), all, Some((0, 600)));
        check(Some((600, 900)), all, Some((0, 900)));
        check(Some((660, 900)), all, None);
        // A part that reaches the job's own, and one that does not.
        check(Some((300, 600)), (60, 300), Some((60, 600)));
        check(Some((300, 600)), (60, 240), None);
    }
}
