//! The first manifest of a job that goes on from another job's checkpoint.
//!
//! ```text
//!   state parts of the cut ─▶ copied, under names of the fork that nobody reads yet ─▶ manifest 0, created if absent
//! ```
//!
//! The fork has copies: nothing that becomes of the origin's checkpoints matters to it any more. Epochs and attempts go on
//! from the origin's, so that the fork's parts never take the name of a copied one, and rows of both jobs can be told
//! from each other by their epochs.

use std::sync::Arc;

use crate::{
    FORMAT_VERSION, Journal, JournalError, Manifest, Names, Origin, PublishError, Sequence, Settings, Store,
    StoreError, owner_token,
};

/// A job that is to begin from another job's checkpoint.
pub struct Fork<'a> {
    /// Where the origin's checkpoints are.
    pub from: &'a dyn Store,
    /// The checkpoint.
    pub cut: &'a Manifest,
    /// The same in a few words, with what is in the origin's tables.
    pub origin: Origin,
    /// Where the fork's checkpoints go.
    pub into: Arc<dyn Store>,
    /// Their names.
    pub names: Names,
    /// The fork's settings.
    pub settings: Settings,
    /// Unix time in milliseconds.
    pub written_ms: i64,
}

impl Fork<'_> {
    /// Copies the state and publishes the fork's first manifest. Where another process has done that meanwhile, nothing
    /// more is to be done.
    pub fn begin(self) -> Result<Manifest, ForkError> {
        let mut journal = self.journal()?;
        if let Some(newest) = journal.newest() {
            return self.same(newest.clone());
        }
        let mut state = self.cut.state.clone();
        for part in &mut state {
            let gone = || ForkError::PartGone { sequence: self.cut.sequence, part: part.name.clone() };
            let bytes = self.from.get(&part.name)?.ok_or_else(gone)?;
            if bytes.len() as u64 != part.size_bytes {
                return Err(gone());
            }
            let name = self.names.copied_part(&part.name);
            self.into.put(&name, bytes)?;
            part.name = name;
        }
        let first = Manifest {
            format: FORMAT_VERSION,
            job: self.names.job().to_owned(),
            origin: Some(self.origin.clone()),
            written_ms: self.written_ms,
            settings: self.settings.clone(),
            state,
            outputs: Vec::new(),
            ..self.cut.clone()
        };
        match journal.publish(first) {
            Ok(()) => {}
            Err(PublishError::Fenced { .. }) => journal = self.journal()?,
            Err(PublishError::Journal(error)) => return Err(error.into()),
        }
        let newest = journal.newest().cloned();
        self.same(newest.ok_or_else(|| StoreError::NotFound { name: self.names.manifest(Sequence(0)) })?)
    }

    fn journal(&self) -> Result<Journal, JournalError> {
        Journal::open(Arc::clone(&self.into), self.names.clone(), owner_token())
    }

    fn same(&self, newest: Manifest) -> Result<Manifest, ForkError> {
        let origin = newest.origin.as_ref();
        if origin.is_some_and(|origin| origin.job == self.origin.job && origin.hash == self.origin.hash) {
            return Ok(newest);
        }
        Err(ForkError::Begun { job: newest.job, sequence: newest.sequence })
    }
}

/// Why a job is not forked.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// The new job is none.
    #[error(
        "job {job} has checkpoints already (the newest is {sequence}), and they do not come from there: a fork begins with none"
    )]
    Begun {
        /// The job.
        job: String,
        /// Its newest checkpoint.
        sequence: Sequence,
    },
    /// The state is not there any more.
    #[error(
        "state part `{part}` of checkpoint {sequence} is not there any more: only the newest checkpoints keep their state (checkpoint.retain), and savepoints (`weir savepoint`)"
    )]
    PartGone {
        /// The checkpoint.
        sequence: Sequence,
        /// The part.
        part: String,
    },
    /// The chain cannot be read or begun.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
