//! The files that make up a table now: what its log adds, minus what it removes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use weir_checkpoints::{Manifest, Store};
use weir_dataflow::SinkError;

use super::actions::{Action, Add};
use super::commit::add_of;
use super::details::HASH_TAG;
use super::lineage::{LINEAGE_KEY, Lineage, epoch_of};
use super::log::{PROTOCOL, newest_checkpoint};
use super::read::{AHEAD, plain_path, read_versions};
use super::{checkpoint, refused};

/// A data file, as the log describes it.
#[derive(Debug, Clone)]
pub(super) struct LiveFile {
    /// Its whole name in the store.
    pub(super) name: Arc<str>,
    pub(super) size_bytes: u64,
    /// A manifest lists it, and the log does not have it yet.
    pub(super) is_pending: bool,
    pub(super) add: Add,
}

/// The log's statistics. Bounds of texts may be shortened.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Stats {
    num_records: Option<u64>,
    pub(super) min_values: BTreeMap<String, Value>,
    pub(super) max_values: BTreeMap<String, Value>,
}

impl LiveFile {
    /// The value of a partition column.
    pub(super) fn partition(&self, column: &str) -> Option<&str> {
        self.add.partition_values.get(column)?.as_deref()
    }

    /// SHA-256 in hex, if the writer has noted it.
    pub(super) fn sha256(&self) -> Option<&str> {
        self.add.tags.as_ref()?.get(HASH_TAG)?.as_deref()
    }

    /// Its rows; none where the log does not say.
    pub(super) fn rows(&self) -> Option<u64> {
        self.stats().num_records
    }

    /// The epoch at whose end it was written, by its name; none of a file that another writer has named.
    pub(super) fn epoch(&self) -> Option<u64> {
        epoch_of(&self.name)
    }

    /// What it was made of, if it is a compacted file.
    pub(super) fn lineage(&self) -> Option<Lineage> {
        Lineage::parse(self.add.tags.as_ref()?.get(LINEAGE_KEY)?.as_deref()?)
    }

    /// What the log says of its values; what is not understood says nothing.
    pub(super) fn stats(&self) -> Stats {
        self.add.stats.as_deref().and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or_default()
    }
}

/// A table as its log has it.
#[derive(Default)]
pub(super) struct LiveTable {
    /// None before its first version: there is no such table.
    version: Option<u64>,
    /// The last epoch that it has of each job.
    committed: BTreeMap<String, i64>,
    files: BTreeMap<String, LiveFile>,
}

impl LiveTable {
    /// Reads the log to its end; the manifest's files for this table are there in any case.
    pub(super) fn read(store: &dyn Store, table: &str, manifest: Option<&Manifest>) -> Result<Self, SinkError> {
        let mut live = Self::default();
        if let Some(files) = newest_checkpoint(store, table)? {
            let actions = checkpoint::read(store, table, &files, &["protocol", "txn", "add"])?;
            live.apply(table, files.version, actions)?;
        }
        live.follow(store, table)?;
        let outputs = manifest.into_iter().flat_map(|manifest| {
            let outputs = manifest.outputs.iter().filter(|output| output.sink == table);
            outputs.map(|output| add_of(output, manifest.written_ms))
        });
        // What was committed may be gone again: it was compacted.
        let is_due = manifest.is_some_and(|manifest| !live.has_shown(manifest));
        for add in outputs.filter(|_| is_due) {
            live.add(table, add?, true)?;
        }
        Ok(live)
    }

    /// Whether it has, or had, the files that a manifest lists: its log has the epoch.
    pub(super) fn has_shown(&self, manifest: &Manifest) -> bool {
        self.committed.get(&manifest.job).is_some_and(|epoch| *epoch >= manifest.epoch.0 as i64)
    }

    /// Whether there is such a table.
    pub(super) fn exists(&self) -> bool {
        self.version.is_some()
    }

    /// The file of a path in the log.
    pub(super) fn file(&self, path: &str) -> Option<&LiveFile> {
        self.files.get(path)
    }

    /// Its data files, in the order of their names.
    pub(super) fn files(&self) -> impl Iterator<Item = &LiveFile> {
        self.files.values()
    }

    /// All rows, where every file says how many it has.
    pub(super) fn rows(&self) -> Option<u64> {
        self.files().map(LiveFile::rows).sum()
    }

    /// Reads the versions behind the newest known one. After an error nothing of it is to be used any more.
    pub(super) fn follow(&mut self, store: &dyn Store, table: &str) -> Result<(), SinkError> {
        let mut ahead = 1;
        loop {
            let next = self.version.map_or(0, |version| version + 1);
            for (version, actions) in (next..).zip(read_versions(store, table, next, ahead)?) {
                // A gap is the end: versions behind it cannot be there yet.
                let Some(actions) = actions else { return Ok(()) };
                self.apply(table, version, actions)?;
            }
            ahead = AHEAD;
        }
    }

    fn apply(&mut self, table: &str, version: u64, actions: Vec<Action>) -> Result<(), SinkError> {
        for action in actions {
            if let Some(protocol) = action.protocol.filter(|new| new.min_reader_version > PROTOCOL.min_reader_version) {
                let reason = format!(
                    "version {version} of its log asks for reader protocol {}, this reader knows {}; turn the features \
                     off that another writer turned on",
                    protocol.min_reader_version, PROTOCOL.min_reader_version
                );
                return Err(refused(table, reason));
            }
            if let Some(txn) = action.txn {
                let known = self.committed.entry(txn.app_id).or_insert(txn.version);
                *known = txn.version.max(*known);
            }
            if let Some(remove) = action.remove {
                self.files.remove(&remove.path);
            }
            if let Some(add) = action.add {
                self.add(table, add, false)?;
            }
        }
        self.version = Some(version);
        Ok(())
    }

    fn add(&mut self, table: &str, add: Add, is_pending: bool) -> Result<(), SinkError> {
        let unfit = |what: &str| refused(table, format!("its log has a file `{}` {what}; repair the log", add.path));
        let name = format!("{table}/{}", plain_path(&add.path).map_err(unfit)?).into();
        let size_bytes = u64::try_from(add.size).map_err(|_| unfit("of no possible size"))?;
        self.files.insert(add.path.clone(), LiveFile { name, size_bytes, is_pending, add });
        Ok(())
    }
}
