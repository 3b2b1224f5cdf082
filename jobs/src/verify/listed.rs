//! The data files that the manifests list: what must be in the tables' logs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use weir_checkpoints::Manifest;

use super::data_file::DataFile;
use super::delta::DeltaTable;
use super::report::{CheckResult, Rule};

/// The tables' files by their object names, and the epochs of the manifests.
#[derive(Debug, Default)]
pub(super) struct Listed {
    files: BTreeMap<String, DataFile>,
    epochs: BTreeSet<u64>,
}

impl Listed {
    /// Takes in what a manifest lists for a table. One that begins an attempt repeats what the one before it lists.
    pub(super) fn add(&mut self, manifest: &Manifest) -> Result<()> {
        let is_new = self.epochs.insert(manifest.epoch.0);
        for output in manifest.outputs.iter().filter(|output| is_new && super::TABLES.contains(&output.sink.as_str())) {
            let file = DataFile::of_output(output, manifest.epoch.0)
                .with_context(|| format!("manifest {}: {} is no data file", manifest.sequence, output.name))?;
            self.files.insert(output.name.clone(), file);
        }
        Ok(())
    }

    /// What the manifests say of a file.
    pub(super) fn get(&self, object: &str) -> Option<&DataFile> {
        self.files.get(object)
    }

    /// The paths of a table's files, with what the manifests say of them.
    pub(super) fn of_table<'a>(&'a self, table: &str) -> impl Iterator<Item = (&'a str, &'a DataFile)> {
        let folder = format!("{table}/");
        self.files.range(folder.clone()..).map_while(move |(name, file)| Some((name.strip_prefix(&folder)?, file)))
    }
}

/// Compares the manifests with the tables' logs, in both directions.
pub(super) struct Agreement<'a> {
    listed: &'a Listed,
    /// The newest manifest's epoch when the tables had not been read yet.
    newest: u64,
    committed: Rule,
    agree: Rule,
}

impl<'a> Agreement<'a> {
    pub(super) fn new(listed: &'a Listed, newest: u64) -> Self {
        let committed = Rule::new("no table shows an epoch that no manifest commits");
        let agree = Rule::new("manifests and tables list the same files, with the same sizes, rows and hashes");
        Self { listed, newest, committed, agree }
    }

    /// One table, as far back as there are manifests.
    pub(super) fn table(&mut self, table: &DeltaTable) {
        let name = table.name;
        let Some(&first) = self.listed.epochs.first() else { return };
        for &epoch in table.commits.range(first..) {
            self.committed.check(self.listed.epochs.contains(&epoch), || {
                format!("{name} has epoch {epoch}, which no manifest has; the newest is of epoch {}", self.newest)
            });
        }
        for (path, file) in &table.added {
            let Some(epoch) = file.epoch.filter(|&epoch| epoch >= first) else { continue };
            let listed = self.listed.get(&format!("{name}/{path}"));
            self.agree.check(listed.is_some_and(|listed| listed.agrees(file)), || match listed {
                Some(listed) => format!("{name}/{path}: the table's log says {file}, the manifest {listed}"),
                None => format!("{name}/{path} is in the table's log with epoch {epoch}, but in no manifest"),
            });
        }
        for (path, file) in self.listed.of_table(name).filter(|(path, _)| !table.added.contains_key(*path)) {
            let may_be_missing = self.may_be_missing(table, file);
            self.agree.check(may_be_missing, || {
                format!("{name}/{path} is in a manifest ({file}), but not in the table's log")
            });
        }
    }

    pub(super) fn done(self) -> [CheckResult; 2] {
        [self.committed.done(), self.agree.done()]
    }

    /// A table shows files after their manifest, and before the next one: those of the newest manifest may be missing as
    /// long as nothing of its epoch is there, and those of later ones.
    fn may_be_missing(&self, table: &DeltaTable, file: &DataFile) -> bool {
        file.epoch >= Some(self.newest) && file.epoch > table.commits.last().copied()
    }
}
