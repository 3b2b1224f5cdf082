//! The chain of manifests, and the right to add to it.
//!
//! ```text
//!   attempt 3:  … ─▶ 40 ─▶ 41 ─▶ (42 exists: fenced, stop)
//!   attempt 4:                └▶ 42 = 41 with attempt 4 ─▶ 43 ─▶ …
//! ```
//!
//! The first act of an attempt is a manifest that changes nothing but the attempt. Whoever wants the same number later
//! finds it taken. Numbers have no gaps, so there is no other number that an older attempt could take instead.

use std::sync::Arc;

use crate::{
    Attempt, Created, FaultPoint, Manifest, ManifestError, Names, Refusal, Sequence, Settings, Store, StoreError,
    check_settings,
};

/// How often [`Journal::begin`] tries against other attempts that start at the same time.
const BEGIN_TRIES: u32 = 16;

/// Adds manifests to a job's chain.
pub struct Journal {
    store: Arc<dyn Store>,
    names: Names,
    owner: String,
    head: Option<Head>,
}

#[derive(Debug, Clone)]
struct Head {
    manifest: Manifest,
    hash: String,
}

impl Journal {
    /// Opens the chain and reads its newest manifest. `owner` is a token that no other process uses.
    pub fn open(store: Arc<dyn Store>, names: Names, owner: String) -> Result<Self, JournalError> {
        let mut journal = Self { store, names, owner, head: None };
        journal.reload()?;
        Ok(journal)
    }

    /// The newest manifest; none before the job's first attempt.
    #[must_use]
    pub fn newest(&self) -> Option<&Manifest> {
        self.head.as_ref().map(|head| &head.manifest)
    }

    /// Starts an attempt: from now on no older one can publish. Refuses where the stored format or the settings do not fit.
    pub fn begin(&mut self, settings: &Settings, workers: u32, written_ms: i64) -> Result<&Manifest, JournalError> {
        for _ in 0..BEGIN_TRIES {
            let next = match self.newest() {
                Some(newest) => {
                    check_settings(&newest.settings, settings)?;
                    let attempt = newest.attempt.next();
                    Manifest { attempt, workers, written_ms, settings: settings.clone(), ..newest.clone() }
                }
                None => {
                    Manifest { workers, written_ms, settings: settings.clone(), ..Manifest::first(self.names.job()) }
                }
            };
            match self.publish(next) {
                Ok(()) => return self.newest().ok_or(JournalError::Contended { tries: BEGIN_TRIES }),
                Err(PublishError::Fenced { .. }) => self.reload()?,
                Err(PublishError::Journal(error)) => return Err(error),
            }
        }
        Err(JournalError::Contended { tries: BEGIN_TRIES })
    }

    /// Adds `manifest` to the chain as its next one: the commit.
    ///
    /// A lost answer is repeated: the name is create-only, and what stands there tells whether it is ours.
    pub fn publish(&mut self, mut manifest: Manifest) -> Result<(), PublishError> {
        manifest.sequence = self.newest().map_or(Sequence(0), |newest| newest.sequence.next());
        manifest.previous = self.head.as_ref().map(|head| head.hash.clone());
        manifest.owner = self.owner.clone();
        let name = self.names.manifest(manifest.sequence);
        let bytes = manifest.to_bytes().map_err(JournalError::from)?;
        FaultPoint::ManifestWriting.pass();
        match self.store.put_if_absent(&name, bytes.clone()) {
            Ok(Created::New) => {}
            Ok(Created::Exists) | Err(StoreError::Unknown { .. }) => self.settle(&name, &bytes)?,
            Err(error) => return Err(JournalError::from(error).into()),
        }
        FaultPoint::ManifestWritten.pass();
        self.head = Some(Head { hash: Manifest::hash(&bytes), manifest });
        Ok(())
    }

    /// Finds out whether a manifest of whose creation nothing is known is there and ours.
    fn settle(&self, name: &str, bytes: &[u8]) -> Result<(), PublishError> {
        let found = match self.store.get(name).map_err(JournalError::from)? {
            Some(found) => found,
            // The unknown write did not happen, or not yet: asking once more is safe, since the name is create-only.
            None => {
                self.store.put_if_absent(name, bytes.to_vec()).map_err(JournalError::from)?;
                self.store.get(name).map_err(JournalError::from)?.unwrap_or_default()
            }
        };
        if found == bytes {
            return Ok(());
        }
        let other = Manifest::parse(name, &found).map_err(JournalError::from)?;
        Err(PublishError::Fenced { sequence: other.sequence, attempt: other.attempt })
    }

    fn reload(&mut self) -> Result<(), JournalError> {
        self.head = None;
        for object in self.store.list(&self.names.manifests())?.iter().rev() {
            if self.names.sequence_of(&object.name).is_none() {
                continue;
            }
            let bytes =
                self.store.get(&object.name)?.ok_or_else(|| StoreError::NotFound { name: object.name.clone() })?;
            let manifest = Manifest::parse(&object.name, &bytes)?;
            self.head = Some(Head { hash: Manifest::hash(&bytes), manifest });
            return Ok(());
        }
        Ok(())
    }
}

/// Why the chain cannot be read or begun.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The stored job does not fit.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A manifest is no manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Other attempts were faster every time.
    #[error("other attempts of this job started {tries} times while this one did; is it started in several places?")]
    Contended {
        /// How often.
        tries: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a manifest was not added.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Another attempt owns the job. This one must stop; nothing of what it did since its last manifest counts.
    #[error("attempt {attempt} took over the job (manifest {sequence} is its); this attempt stops")]
    Fenced {
        /// The manifest that is taken.
        sequence: Sequence,
        /// By whom.
        attempt: Attempt,
    },
    /// The chain cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
}
