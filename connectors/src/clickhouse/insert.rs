//! The thread that inserts: checkpoint after checkpoint, several at once when behind, and each for as long as it takes.
//!
//! ```text
//!   next batch ─▶ progress? ─▶ insert ─▶ progress! ─▶ delete objects ─▶ done
//!        ▲            └────────── failed, or nobody knows: a pause, and all of it again ─┐
//!        └───────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Repeating is always safe, whatever became of the try before: rows hold absolute values and a revision.
//!
//! A refusal that no repetition cures is repeated like any other, and logged as an error: counting is worth more than
//! ClickHouse, what waits is safe, and whoever mends the user or the table need not restart the job. Once the backlog is
//! full, the job waits.
//!
//! ClickHouse may be started anew without its data between any two requests. The progress row is gone then, too: it is looked
//! for before the insert and after it, and where it has vanished in between, the insert is done again.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use weir_checkpoints::{FaultPoint, Store, StoreError};
use xxhash_rust::xxh3::Xxh3;

use super::client::Server;
use super::metrics::ClickHouseMetrics;
use super::progress::{self, Progress, expired_before_ms, until_ms};
use super::queue::{Object, Pending, Queue};
use super::schema::{self, Features};
use super::{ClickHouseConfig, ClickHouseError};

/// As much goes into one insert, unless one checkpoint has more.
const BATCH_BYTES: u64 = 32 << 20;

/// How long the start of a job waits for ClickHouse's first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(3);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Inserter {
    config: Arc<ClickHouseConfig>,
    store: Arc<dyn Store>,
    queue: Arc<Queue>,
    metrics: Arc<ClickHouseMetrics>,
    server: Server,
    runtime: Runtime,
    /// What the server knows; none until its tables are known to be there.
    features: Option<Features>,
    /// Makes tokens this process's own: what was remembered of an earlier one must not hide a row of a table that was
    /// emptied meanwhile.
    salt: u64,
}

/// Why a batch is not in.
#[derive(Debug, thiserror::Error)]
enum InsertError {
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
    #[error("staged rows cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error("ClickHouse lost its tables between two requests")]
    Emptied,
    #[error(
        "`{name}` is gone from the checkpoint store before its rows were in ClickHouse; run `weir clickhouse rebuild`, then \
         start the job again"
    )]
    Lost { name: String },
}

impl Inserter {
    pub(super) fn new(
        config: Arc<ClickHouseConfig>,
        store: Arc<dyn Store>,
        queue: Arc<Queue>,
        metrics: Arc<ClickHouseMetrics>,
    ) -> std::io::Result<Self> {
        let server = Server::new(&config);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let salt = RandomState::new().hash_one(std::process::id());
        Ok(Self { config, store, queue, metrics, server, runtime, features: None, salt })
    }

    /// Makes the tables, if ClickHouse answers soon.
    pub(super) fn try_prepare(&mut self) -> Result<(), ClickHouseError> {
        let prepare = async {
            let prepared = tokio::time::timeout(FIRST_ANSWER, schema::prepare(&self.server, &self.config)).await;
            prepared.unwrap_or_else(|_| {
                let reason = format!("no answer within {} s", FIRST_ANSWER.as_secs());
                Err(ClickHouseError::NoAnswer { url: self.config.url.to_string(), action: "make its tables", reason })
            })
        };
        self.features = Some(self.runtime.block_on(prepare)?);
        Ok(())
    }

    /// Works until the queue is closed and empty, or out of time.
    pub(super) fn run(mut self) {
        while let Some(batch) = self.queue.next(BATCH_BYTES) {
            let began = Instant::now();
            if !self.insert_for_certain(&batch) {
                return;
            }
            self.delete(&batch);
            self.queue.done(batch.len());
            self.metrics.last_success_ms.store(progress::now_ms(), Ordering::Relaxed);
            self.queue.pause(self.config.insert_interval.saturating_sub(began.elapsed()));
        }
    }

    /// Tries until the batch is in; false where there is no time left, or no way.
    fn insert_for_certain(&mut self, batch: &[Pending]) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.insert(batch) {
                Ok(()) => return true,
                Err(lost @ InsertError::Lost { .. }) => {
                    self.queue.fail(lost.to_string());
                    return false;
                }
                Err(error) => self.note(&error),
            }
            if !self.queue.pause(pause) {
                return false;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn note(&mut self, error: &InsertError) {
        self.metrics.failures.fetch_add(1, Ordering::Relaxed);
        match error {
            InsertError::ClickHouse(refusal) if refusal.is_permanent() => {
                tracing::error!("{refusal}; it has to be mended there, the rows wait");
            }
            _ => tracing::warn!("{error}; it is tried again"),
        }
        let gone = matches!(error, InsertError::ClickHouse(missing) if missing.is_missing());
        if gone || matches!(error, InsertError::Emptied) {
            self.features = None;
        }
    }

    fn insert(&mut self, batch: &[Pending]) -> Result<(), InsertError> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(()) };
        let features = match self.features {
            Some(features) => features,
            None => self.runtime.block_on(schema::prepare(&self.server, &self.config))?,
        };
        self.features = Some(features);
        let before = self.progress()?;
        self.send(features, batch)?;
        let current = self.progress()?;
        if before.is_some() && current.is_none() {
            return Err(InsertError::Emptied);
        }
        let next = next_progress(current, first, last, expired_before_ms(self.config.retention));
        let written = progress::write(&self.server, &self.config.job, current, next);
        Ok(self.runtime.block_on(written)?)
    }

    fn progress(&self) -> Result<Option<Progress>, ClickHouseError> {
        self.runtime.block_on(progress::read(&self.server, &self.config.job))
    }

    fn send(&self, features: Features, batch: &[Pending]) -> Result<(), InsertError> {
        let objects: Vec<(&Object, bool)> =
            batch.iter().flat_map(|pending| pending.objects.iter().map(|object| (object, pending.inherited))).collect();
        if objects.is_empty() {
            return Ok(());
        }
        let token = self.token(objects.iter().map(|(object, _)| object.name.as_str()));
        let mut unread = objects.iter();
        let bodies = || -> Result<Option<Bytes>, InsertError> {
            for (object, inherited) in unread.by_ref() {
                match self.store.get(&object.name)? {
                    Some(bytes) => return Ok(Some(bytes.into())),
                    // The thread of the attempt that staged it was still at work: it is in.
                    None if *inherited => {}
                    None => return Err(InsertError::Lost { name: object.name.clone() }),
                }
            }
            Ok(None)
        };
        FaultPoint::RowsInserting.pass();
        self.runtime.block_on(self.server.insert(features, &token, bodies))?;
        FaultPoint::RowsInserted.pass();
        self.metrics.inserts.fetch_add(1, Ordering::Relaxed);
        let rows = batch.iter().map(Pending::rows).sum();
        self.metrics.inserted_rows.fetch_add(rows, Ordering::Relaxed);
        Ok(())
    }

    fn token<'a>(&self, names: impl Iterator<Item = &'a str>) -> String {
        let mut hash = Xxh3::with_seed(self.salt);
        names.for_each(|name| hash.update(name.as_bytes()));
        format!("weir-{:032x}", hash.digest128())
    }

    /// What stays is inserted once more after a restart, which changes nothing.
    fn delete(&self, batch: &[Pending]) {
        for object in batch.iter().flat_map(|pending| &pending.objects) {
            if let Err(error) = self.store.delete(&object.name) {
                tracing::warn!("staged rows that are no longer needed stay where they are: {error}");
            }
        }
    }
}

/// What may be claimed once a batch is in.
fn next_progress(current: Option<Progress>, first: &Pending, last: &Pending, expired_before_ms: i64) -> Progress {
    // Without a row nothing of what was closed earlier is known to be there.
    let from_ms = current.map_or(first.before_ms.unwrap_or(0), |row| row.from_ms);
    Progress {
        epoch: last.epoch.max(current.map_or(0, |row| row.epoch)),
        from_ms: from_ms.max(expired_before_ms),
        until_ms: until_ms(last.closed_until_ms).max(current.map_or(0, |row| row.until_ms)),
        revision: 0,
    }
}

#[cfg(test)]
mod tests {
    use weir_checkpoints::Sequence;

    use super::*;

    fn pending(before_ms: Option<i64>, closed_until_ms: Option<i64>) -> Pending {
        let (sequence, objects) = (Sequence(0), Vec::new());
        Pending { sequence, epoch: 5, before_ms, closed_until_ms, objects, inherited: false }
    }

    #[test]
    fn progress_claims_what_is_in_and_no_more() {
        let check = |current: Option<(i64, i64)>, before_ms, closed_ms, expired_ms, expected| {
            let current = current.map(|(from_ms, until_ms)| Progress { epoch: 4, from_ms, until_ms, revision: 9 });
            let batch = pending(before_ms, closed_ms);
            let next = next_progress(current, &batch, &batch, expired_ms);
            assert_eq!((next.from_ms, next.until_ms), expected);
        };
        // A job's first windows, one that had closed some before, one whose ClickHouse is known.
        check(None, None, Some(60), 0, (0, 60));
        check(None, Some(120), Some(180), 0, (120, 180));
        check(Some((60, 120)), Some(120), Some(180), 0, (60, 180));
        // What expires is no longer claimed; what was claimed is never taken back at the other end.
        check(Some((60, 120)), Some(120), Some(180), 100, (100, 180));
        check(Some((60, 240)), Some(120), Some(180), 0, (60, 240));
        check(None, None, Some(i64::MAX), 0, (0, super::super::LATEST_MS));
    }
}
