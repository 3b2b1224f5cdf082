//! One worker's end: lines into a buffer, buffers into staged objects.

use std::sync::Arc;

use weir_checkpoints::{Attempt, OutputPart, Store, WorkerIndex};
use weir_dataflow::{Cut, Row, Sink, SinkError, Staged, Staging, WorkerContext};

use super::commit::Place;
use super::{NAME, failed, lines, refused};
use crate::staging::put_staged;

/// A buffer this large is staged at once, by the worker itself: where nearly every record is rejected, waiting for the
/// store is what keeps memory bounded.
const MAX_BUFFER_BYTES: usize = 32 << 20;

pub(super) struct FileSink {
    topic: String,
    store: Arc<dyn Store>,
    worker: WorkerIndex,
    attempt: Attempt,
    /// Objects staged by this attempt.
    staged: u64,
    buffer: Buffer,
    /// What was staged before its stage came.
    early: Vec<Early>,
}

#[derive(Default)]
struct Buffer {
    lines: Vec<u8>,
    rows: u64,
}

/// A staged object.
struct Early {
    name: String,
    rows: u64,
    size_bytes: u64,
}

impl FileSink {
    pub(super) fn new(topic: &str, store: Arc<dyn Store>, worker: WorkerContext) -> Self {
        Self {
            topic: topic.to_owned(),
            store,
            worker: worker.worker,
            attempt: worker.attempt,
            staged: 0,
            buffer: Buffer::default(),
            early: Vec::new(),
        }
    }

    fn next_name(&mut self) -> String {
        let name = format!("{NAME}/_staged/{}-{}-{}.ndjson", self.attempt, self.worker, self.staged);
        self.staged += 1;
        name
    }
}

impl Buffer {
    /// Writes what is in it.
    fn stage(self, store: &dyn Store, name: String) -> Result<Early, SinkError> {
        let size_bytes = self.lines.len() as u64;
        put_staged(store, &name, self.lines).map_err(|error| failed("write an object", error))?;
        Ok(Early { name, rows: self.rows, size_bytes })
    }
}

impl Sink for FileSink {
    fn write(&mut self, row: Row<'_>) -> Result<(), SinkError> {
        let Row::DeadLetter(letter) = row else {
            return Err(refused("it was given a row of another kind than it accepts".to_owned()));
        };
        let written = lines::append(&mut self.buffer.lines, &self.topic, &letter);
        written.map_err(|error| failed("encode a record", error))?;
        self.buffer.rows += 1;
        if self.buffer.lines.len() >= MAX_BUFFER_BYTES {
            let name = self.next_name();
            self.early.push(std::mem::take(&mut self.buffer).stage(self.store.as_ref(), name)?);
        }
        Ok(())
    }

    fn stage(&mut self, cut: &Cut) -> Result<Staging, SinkError> {
        let (epoch, worker) = (cut.epoch, self.worker);
        let mut staged = std::mem::take(&mut self.early);
        let buffer = std::mem::take(&mut self.buffer);
        let name = (buffer.rows > 0).then(|| self.next_name());
        let store = self.store.clone();
        Ok(Box::new(move || {
            if let Some(name) = name {
                staged.push(buffer.stage(store.as_ref(), name)?);
            }
            let outputs = staged.into_iter().enumerate().map(|(number, object)| OutputPart {
                sink: NAME.to_owned(),
                rows: object.rows,
                size_bytes: object.size_bytes,
                details: Place::new(epoch, worker, number).to_details(),
                name: object.name,
            });
            Ok(Staged { outputs: outputs.collect(), ..Staged::default() })
        }))
    }

    fn restore(&mut self, _carried: &[u8]) -> Result<(), SinkError> {
        Err(refused("it never carries rows over, and was given some back".to_owned()))
    }
}
