//! One worker's end: rows into a body, bodies into staged objects.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_checkpoints::{Attempt, Epoch, OutputPart, Store, WorkerIndex};
use weir_dataflow::{Cut, Row, Sink, SinkError, Staged, Staging, WorkerContext};

use super::backlog::object_name;
use super::metrics::ClickHouseMetrics;
use super::rows::Body;
use super::{NAME, failed, refused};
use crate::staging::put_staged;

/// A body this large is staged at once, by the worker itself: waiting for the store is what keeps memory bounded.
const MAX_BODY_BYTES: usize = 32 << 20;

pub(super) struct WindowSink {
    place: Place,
    store: Arc<dyn Store>,
    metrics: Arc<ClickHouseMetrics>,
    body: Body,
    /// The epoch of the body's first row.
    since: Epoch,
    /// What was staged before its stage came.
    early: Vec<OutputPart>,
}

/// Where objects go.
struct Place {
    job: String,
    attempt: Attempt,
    worker: WorkerIndex,
    /// Objects of this attempt so far.
    objects: u64,
}

impl WindowSink {
    pub(super) fn new(
        job: &str,
        store: Arc<dyn Store>,
        metrics: Arc<ClickHouseMetrics>,
        worker: WorkerContext,
    ) -> Self {
        let place = Place { job: job.to_owned(), attempt: worker.attempt, worker: worker.worker, objects: 0 };
        Self { place, store, metrics, body: Body::default(), since: Epoch(0), early: Vec::new() }
    }

    /// What is at hand, as an object under a name that is used once.
    fn take(&mut self) -> Option<(OutputPart, Vec<u8>)> {
        let rows = self.body.rows();
        if rows == 0 {
            return None;
        }
        let bytes = self.body.take();
        let part = OutputPart {
            sink: NAME.to_owned(),
            name: self.place.next_name(self.since),
            rows,
            size_bytes: bytes.len() as u64,
            details: Default::default(),
        };
        Some((part, bytes))
    }
}

impl Place {
    fn next_name(&mut self, since: Epoch) -> String {
        self.objects += 1;
        object_name(&self.job, since, self.attempt, self.worker, self.objects)
    }
}

impl Sink for WindowSink {
    #[inline]
    fn write(&mut self, row: Row<'_>) -> Result<(), SinkError> {
        let (row, is_final) = match row {
            Row::Window(row) => (row, true),
            Row::Provisional(row) => (row, false),
            Row::Archive(_) | Row::Late(..) | Row::DeadLetter(_) => {
                return Err(refused("it was given a row of another kind than it accepts".to_owned()));
            }
        };
        if self.body.rows() == 0 {
            self.since = row.epoch;
        }
        if !self.body.push(&row, is_final) {
            self.metrics.declined_rows.fetch_add(1, Ordering::Relaxed);
        }
        if self.body.packed_bytes() >= MAX_BODY_BYTES
            && let Some((part, bytes)) = self.take()
        {
            put_staged(self.store.as_ref(), &part.name, bytes).map_err(|error| failed("stage rows", error))?;
            self.early.push(part);
        }
        Ok(())
    }

    fn stage(&mut self, _cut: &Cut) -> Result<Staging, SinkError> {
        let mut outputs = std::mem::take(&mut self.early);
        let last = self.take();
        let store = Arc::clone(&self.store);
        Ok(Box::new(move || {
            if let Some((part, bytes)) = last {
                put_staged(store.as_ref(), &part.name, bytes).map_err(|error| failed("stage rows", error))?;
                outputs.push(part);
            }
            Ok(Staged { outputs, ..Staged::default() })
        }))
    }

    fn restore(&mut self, _carried: &[u8]) -> Result<(), SinkError> {
        Err(refused("it never carries rows over, and was given some back".to_owned()))
    }
}
