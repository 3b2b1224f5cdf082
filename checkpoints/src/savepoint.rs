//! Savepoints: checkpoints that are kept under a name until somebody removes them.
//!
//! ```text
//!   take:     newest manifest ─▶ pin (its bytes) ─▶ still the newest, all parts there? ─▶ <name>.json, created if absent
//!                  ▲                                       │ no: pin again                    │ the commit
//!                  └───────────────────────────────────────┘                                  └▶ the pin goes
//!   sweep:    keeps the state parts of restore points, savepoints and pins
//! ```
//!
//! - A savepoint is one object: the bytes of the manifest. So it is there as a whole, or not at all.
//! - A job deletes state while a savepoint is taken. A sweep that looked for pins before there was this one belongs to the
//!   manifest that is still the newest afterwards: a job publishes nothing while it sweeps. And a sweep always keeps the
//!   state of its newest manifest. Later sweeps see the pin, and then the savepoint.
//! - A pin that was left behind by a crash keeps state for a day, and is then deleted by a sweep. Whoever takes a savepoint
//!   trusts its own pin for minutes only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{Created, Manifest, ManifestError, Names, Sequence, Store, StoreError, owner_token};

/// How often a job may go on while a savepoint of it is taken.
const TRIES: u32 = 64;

/// How long a pin is trusted by whoever made it …
const PIN_TRUSTED: Duration = Duration::from_secs(600);

/// … and after how long a sweep takes it for left behind, by the store's clock and its own.
const PIN_FORGOTTEN_MS: i64 = 86_400_000;

/// A checkpoint with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Savepoint {
    /// Its name.
    pub name: String,
    /// The manifest.
    pub manifest: Manifest,
    /// The SHA-256 of the manifest's bytes, in hex.
    pub hash: String,
}

impl Savepoint {
    fn parse(name: &str, object: &str, bytes: &[u8]) -> Result<Self, SavepointError> {
        Ok(Self { name: name.to_owned(), manifest: Manifest::parse(object, bytes)?, hash: Manifest::hash(bytes) })
    }
}

/// The savepoints of a job.
pub struct Savepoints {
    store: Arc<dyn Store>,
    names: Names,
}

impl Savepoints {
    /// Those of the job with these names.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, names: Names) -> Self {
        Self { store, names }
    }

    /// Keeps the newest checkpoint under a name. Where it is kept under that name already, nothing is done.
    pub fn take(&self, name: &str) -> Result<Savepoint, SavepointError> {
        let token = owner_token();
        for number in 0..TRIES {
            let Some((sequence, bytes)) = self.newest()? else {
                return Err(SavepointError::NoCheckpoint { job: self.names.job().to_owned() });
            };
            if let Some(found) = self.get(name)? {
                return if found.hash == Manifest::hash(&bytes) { Ok(found) } else { Err(taken(found)) };
            }
            let pin = self.names.pin(&format!("{token}-{number}"));
            let pinned = Instant::now();
            self.store.put(&pin, bytes.clone())?;
            let kept = self.keep(name, sequence, &bytes, pinned);
            // A pin that stays is only in the way of a sweep.
            if let Err(error) = self.store.delete(&pin) {
                tracing::warn!("a pin stays for a day: {error}");
            }
            if kept? {
                return self.get(name)?.ok_or_else(|| SavepointError::Removed { name: name.to_owned() });
            }
        }
        Err(SavepointError::Contended { tries: TRIES })
    }

    /// Creates the savepoint, if no sweep can have deleted anything of it. Its state is pinned.
    fn keep(&self, name: &str, sequence: Sequence, bytes: &[u8], pinned: Instant) -> Result<bool, SavepointError> {
        let manifest = Manifest::parse(name, bytes)?;
        let has = |sequence| self.store.get(&self.names.manifest(sequence)).map(|found| found.is_some());
        // Old manifests are deleted, too, the older first: what comes after one that is there was never there.
        if has(sequence.next())? || !has(sequence)? {
            return Ok(false);
        }
        if let Some(part) = missing_part(self.store.as_ref(), &self.names, &manifest)? {
            return Err(SavepointError::Incomplete { sequence, part });
        }
        if pinned.elapsed() > PIN_TRUSTED {
            return Ok(false);
        }
        let object = self.names.savepoint(name);
        match self.store.put_if_absent(&object, bytes.to_vec()) {
            Ok(Created::New) => return Ok(true),
            Ok(Created::Exists) | Err(StoreError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let found = match self.store.get(&object)? {
            Some(found) => found,
            // The unknown write did not happen, or not yet: asking once more is safe, since the name is create-only.
            None => {
                self.store.put_if_absent(&object, bytes.to_vec())?;
                self.store.get(&object)?.unwrap_or_default()
            }
        };
        if found == bytes {
            return Ok(true);
        }
        match self.get(name)? {
            Some(other) => Err(taken(other)),
            None => Err(SavepointError::Removed { name: name.to_owned() }),
        }
    }

    /// The savepoint with this name.
    pub fn get(&self, name: &str) -> Result<Option<Savepoint>, SavepointError> {
        let object = self.names.savepoint(name);
        self.store.get(&object)?.map(|bytes| Savepoint::parse(name, &object, &bytes)).transpose()
    }

    /// All of them, in the order of their names.
    pub fn list(&self) -> Result<Vec<Savepoint>, SavepointError> {
        let mut savepoints = Vec::new();
        for object in self.store.list(&self.names.savepoints())? {
            let Some(name) = self.names.name_of_savepoint(&object.name) else { continue };
            // It may have been removed meanwhile.
            let Some(bytes) = self.store.get(&object.name)? else { continue };
            savepoints.push(Savepoint::parse(name, &object.name, &bytes)?);
        }
        Ok(savepoints)
    }

    /// Removes a savepoint; its state goes with the job's next sweeps. Returns whether it was there.
    pub fn remove(&self, name: &str) -> Result<bool, SavepointError> {
        let object = self.names.savepoint(name);
        let was_there = self.store.get(&object)?.is_some();
        self.store.delete(&object)?;
        Ok(was_there)
    }

    /// The manifests whose state a sweep must keep: of savepoints, and of what is being taken for one. Pins that were left
    /// behind are deleted.
    pub fn pinned(&self, now_ms: i64) -> Result<Vec<Manifest>, SavepointError> {
        for _ in 0..TRIES {
            if let Some(pinned) = self.look(now_ms)? {
                return Ok(pinned);
            }
        }
        Err(StoreError::NotFound { name: self.names.savepoints() }.into())
    }

    /// None where something went while this looked: a pin may have become a savepoint that was not yet listed.
    fn look(&self, now_ms: i64) -> Result<Option<Vec<Manifest>>, SavepointError> {
        let mut pinned = Vec::new();
        // A listing is no snapshot: one that has seen neither a savepoint, which was not there yet, nor its pin, which was
        // not there any more, is followed by one that sees the savepoint.
        let before = self.store.list(&self.names.savepoints())?;
        let mut listed = self.store.list(&self.names.savepoints())?;
        listed.extend(before);
        listed.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        listed.dedup_by(|one, other| one.name == other.name);
        for object in listed {
            let is_pin = self.names.name_of_savepoint(&object.name).is_none();
            if is_pin && object.modified_ms < now_ms.saturating_sub(PIN_FORGOTTEN_MS) {
                self.store.delete(&object.name)?;
                continue;
            }
            let Some(bytes) = self.store.get(&object.name)? else { return Ok(None) };
            pinned.push(Manifest::parse(&object.name, &bytes)?);
        }
        Ok(Some(pinned))
    }

    fn newest(&self) -> Result<Option<(Sequence, Vec<u8>)>, SavepointError> {
        loop {
            let listed = self.store.list(&self.names.manifests())?;
            let Some(sequence) = listed.iter().filter_map(|object| self.names.sequence_of(&object.name)).max() else {
                return Ok(None);
            };
            // It is gone only where there are newer ones.
            if let Some(bytes) = self.store.get(&self.names.manifest(sequence))? {
                return Ok(Some((sequence, bytes)));
            }
        }
    }
}

/// A state part of a manifest that is not there, or not in its size.
pub fn missing_part(store: &dyn Store, names: &Names, manifest: &Manifest) -> Result<Option<String>, StoreError> {
    let listed = store.list(&names.state())?;
    let is_there = |name: &str, size_bytes: u64| {
        listed
            .binary_search_by(|object| object.name.as_str().cmp(name))
            .is_ok_and(|at| listed.get(at).is_some_and(|object| object.size_bytes == size_bytes))
    };
    let missing = manifest.state.iter().find(|part| !is_there(&part.name, part.size_bytes));
    Ok(missing.map(|part| part.name.clone()))
}

fn taken(other: Savepoint) -> SavepointError {
    SavepointError::Taken { name: other.name, sequence: other.manifest.sequence }
}

/// Why a savepoint cannot be taken or read.
#[derive(Debug, thiserror::Error)]
pub enum SavepointError {
    /// There is nothing to keep.
    #[error("job {job} has no checkpoint yet, so there is nothing to keep")]
    NoCheckpoint {
        /// The job.
        job: String,
    },
    /// The name is in use.
    #[error(
        "savepoint {name} is there already, of checkpoint {sequence}: choose another name, or remove it first (`weir checkpoints remove`)"
    )]
    Taken {
        /// The name.
        name: String,
        /// Its checkpoint.
        sequence: Sequence,
    },
    /// The newest checkpoint is damaged.
    #[error("checkpoint {sequence} is not whole: state part `{part}` is missing, or not in the size that was written")]
    Incomplete {
        /// The checkpoint.
        sequence: Sequence,
        /// The part.
        part: String,
    },
    /// Somebody removed it at this moment.
    #[error("savepoint {name} was removed while it was taken")]
    Removed {
        /// The name.
        name: String,
    },
    /// The job went on every time.
    #[error(
        "the job took its next checkpoint {tries} times while a savepoint of it was taken; try again, or give it a longer checkpoint.interval"
    )]
    Contended {
        /// How often.
        tries: u32,
    },
    /// A manifest is no manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
