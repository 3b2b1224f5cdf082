//! The log of a Delta table, read as any reader would: what it lists, and nothing else.
//!
//! ```text
//!   version   0      1            2            3 (another writer)   4            5
//!   txn              epoch 10     epoch 17                          epoch 25     epoch 31
//!             └───────────────── files ─────────────────────────────────────┘
//!                                                                   ▲ newest manifest: epoch 25
//! ```
//!
//! A running job adds to its tables while they are read. So that everything is of one instant, the table is taken as it was
//! when it had the epoch of the newest manifest, which was read first.
//!
//! This is not the code that writes the tables, on purpose: an error there must not hide itself here.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use weir_checkpoints::Store;

use super::data_file::{AddLine, DataFile};
use super::listed::Listed;
use super::report::Rule;

/// A table's data files, by their paths.
#[derive(Debug, Default)]
pub(super) struct DeltaTable {
    pub(super) name: &'static str,
    /// Those that it had with the newest manifest's epoch.
    pub(super) files: BTreeMap<String, DataFile>,
    /// Those that the job has ever added.
    pub(super) added: BTreeMap<String, DataFile>,
    /// Those that anybody had added by then.
    pub(super) ever: BTreeMap<String, DataFile>,
    /// Those that were compacted by then, and whose rows a compacted file must have.
    pub(super) taken_out: BTreeSet<String>,
    /// The epochs that the job has committed to it.
    pub(super) commits: BTreeSet<u64>,
    /// How many of its files the manifest lists and the log does not have yet.
    pub(super) not_shown_yet: u64,
}

#[derive(Deserialize)]
struct Line {
    add: Option<AddLine>,
    remove: Option<RemoveLine>,
    txn: Option<TxnLine>,
}

#[derive(Deserialize)]
struct RemoveLine {
    path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TxnLine {
    app_id: String,
    version: u64,
}

impl DeltaTable {
    /// Reads the whole log; a table that does not exist has no files. `once` is told of each file that is added.
    pub(super) fn open(
        store: &dyn Store,
        name: &'static str,
        job: &str,
        newest_epoch: u64,
        once: &mut Rule,
    ) -> Result<Self> {
        let mut table = Self { name, ..Self::default() };
        let mut is_later = false;
        for version in 0..versions(store, name)? {
            let object = format!("{name}/_delta_log/{version:020}.json");
            let Some(bytes) = store.get(&object)? else {
                bail!("table {name}: version {version} of the log is missing, there are later ones");
            };
            let lines = parse(&bytes).with_context(|| format!("{object} cannot be read"))?;
            let txns = lines.iter().filter_map(|line| line.txn.as_ref());
            let epoch = txns.filter(|txn| txn.app_id == job).map(|txn| txn.version).max();
            table.commits.extend(epoch);
            is_later |= epoch.is_some_and(|epoch| epoch > newest_epoch);
            if !is_later {
                table.take_out(&lines);
            }
            for line in lines {
                table.apply(line, epoch, is_later, once).with_context(|| object.clone())?;
            }
        }
        Ok(table)
    }

    /// Notes what a version takes out. Of a version without a compacted file nobody knows where the rows went: it is another
    /// engine's, and so is from then on what it has taken.
    fn take_out(&mut self, lines: &[Line]) {
        let compacts = lines.iter().filter_map(|line| line.add.as_ref()).any(AddLine::is_compacted);
        for path in lines.iter().filter_map(|line| Some(&line.remove.as_ref()?.path)) {
            let Some(file) = self.files.get(path) else { continue };
            let sources = file.lineage.iter().flat_map(|lineage| &lineage.sources);
            if !compacts {
                for source in sources {
                    self.taken_out.remove(&source.path);
                }
            } else if file.lineage.is_none() {
                self.taken_out.insert(path.clone());
            }
        }
    }

    /// Adds what the manifests list and the table does not show yet: a job that was stopped between the two shows it when
    /// it starts again.
    pub(super) fn add_not_shown(&mut self, listed: &Listed, newest_epoch: u64) {
        for (path, file) in listed.of_table(self.name) {
            let is_due = file.epoch <= Some(newest_epoch) && file.epoch > self.commits.last().copied();
            if is_due && !self.added.contains_key(path) {
                self.files.insert(path.to_owned(), file.clone());
                self.not_shown_yet += 1;
            }
        }
    }

    fn apply(&mut self, line: Line, epoch: Option<u64>, is_later: bool, once: &mut Rule) -> Result<()> {
        if let Some(add) = line.add {
            self.add(add, epoch, is_later, once)?;
        }
        if let Some(remove) = line.remove.filter(|_| !is_later) {
            self.files.remove(&remove.path);
        }
        Ok(())
    }

    fn add(&mut self, add: AddLine, epoch: Option<u64>, is_later: bool, once: &mut Rule) -> Result<()> {
        let (path, is_change) = (add.path.clone(), add.data_change);
        // What another writer has taken out may come back.
        let is_known = self.files.contains_key(&path) || (is_later && self.added.contains_key(&path));
        once.check(!(is_known && is_change), || format!("{}/{path} is added again", self.name));
        if is_known && !is_change {
            // Another writer says more of a file that is there.
            return Ok(());
        }
        let file = DataFile::of_add(add, epoch)?;
        if epoch.is_some() {
            self.added.insert(path.clone(), file.clone());
        }
        if !is_later {
            // What a file was made of is asked only of those that are there.
            self.ever.insert(path.clone(), DataFile { lineage: None, ..file.clone() });
            self.files.insert(path, file);
        }
        Ok(())
    }
}

/// How many versions there are; those that come while this is read are left out.
fn versions(store: &dyn Store, table: &str) -> Result<u64> {
    let folder = format!("{table}/_delta_log/");
    let objects = store.list(&folder)?;
    let numbers = objects.iter().filter_map(|object| object.name.strip_prefix(&folder)?.strip_suffix(".json"));
    let newest: Option<u64> =
        numbers.filter(|digits| digits.len() == 20).filter_map(|digits| digits.parse().ok()).max();
    Ok(newest.map_or(0, |newest| newest + 1))
}

fn parse(bytes: &[u8]) -> Result<Vec<Line>> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
}
