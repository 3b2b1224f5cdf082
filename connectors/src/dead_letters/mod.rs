//! Dead letters as files: every record that is no click, with its reason and its original bytes, one JSON object a line.
//!
//! ```text
//!   dead_letters/_staged/<attempt>-<worker>-<n>.ndjson     written at a stage, invisible: readers leave `_…` out
//!   dead_letters/<epoch>-<worker>[-<n>].ndjson             put there once the epoch's manifest exists
//!
//!   {"reason":"invalid_json","detail":"…","topic":"clicks","partition":0,"offset":17,"epoch":3,"payload":"{oops"}
//!   {…,"payload":null,"payload_base64":"/w=="}             where the bytes are no UTF-8
//!   {…,"payload":null}                                     a tombstone
//! ```
//!
//! Committing copies, then deletes. Repeating it puts the same bytes under the same name, or finds that it was done; other
//! bytes under that name are never written over.

mod commit;
mod lines;
mod sink;

use std::sync::Arc;

use weir_checkpoints::Store;
use weir_dataflow::{Committer, RowKind, Sink, SinkError, SinkFactory, WorkerContext};

/// The sink's name, and its folder's.
pub const NAME: &str = "dead_letters";

/// Rejected records as NDJSON files.
pub struct DeadLetters {
    topic: String,
    store: Arc<dyn Store>,
}

impl DeadLetters {
    /// Files under `dead_letters/` in the store, for records from `topic`.
    #[must_use]
    pub fn new(topic: &str, store: Arc<dyn Store>) -> Self {
        Self { topic: topic.to_owned(), store }
    }
}

impl SinkFactory for DeadLetters {
    fn name(&self) -> &str {
        NAME
    }

    fn accepts(&self, kind: RowKind) -> bool {
        kind == RowKind::DeadLetter
    }

    fn open(&self, worker: WorkerContext) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(sink::FileSink::new(&self.topic, self.store.clone(), worker)))
    }

    fn committer(&self) -> Result<Box<dyn Committer>, SinkError> {
        Ok(Box::new(commit::FileCommitter::new(self.store.clone())))
    }
}

fn failed(action: &'static str, reason: impl ToString) -> SinkError {
    SinkError::Failed { sink: NAME.to_owned(), action, reason: reason.to_string() }
}

fn refused(reason: String) -> SinkError {
    SinkError::Refused { sink: NAME.to_owned(), reason }
}
