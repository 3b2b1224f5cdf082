//! Removing the files that compacted files have replaced.

use std::collections::BTreeSet;

use weir_checkpoints::{FaultPoint, Manifest};
use weir_dataflow::SinkError;

use super::Compactor;
use super::plan::is_asked_for;
use crate::delta::failed;
use crate::delta::live::LiveFile;
use crate::delta::read::plain_path;

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Compactor {
    /// Removes files that compaction has taken out of the table before `before_ms`, and that were written before it, of the
    /// days that are asked for. Which these are say the compacted files that are in the table: what nobody has replaced is
    /// not looked at, nor files that were written and never committed, nor those that the newest manifest lists and the log
    /// does not have yet. With `dry` they are counted, and stay. After an error the compactor is to be opened anew.
    pub fn delete_replaced(
        &mut self,
        before_ms: i64,
        newest: Option<&Manifest>,
        dry: bool,
    ) -> Result<Deleted, SinkError> {
        let table = self.table.name();
        self.live.follow(self.store.as_ref(), table)?;
        let mut replaced = self.replaced_before(before_ms);
        for output in
            newest.filter(|newest| !self.live.has_shown(newest)).into_iter().flat_map(|newest| &newest.outputs)
        {
            replaced.remove(&output.name);
        }
        let mut deleted = Deleted::default();
        if replaced.is_empty() {
            return Ok(deleted);
        }
        let wrong = |action: &'static str| move |error: weir_checkpoints::StoreError| failed(table, action, error);
        let objects = self.store.list(&format!("{table}/")).map_err(wrong("list files"))?;
        for object in objects {
            if !replaced.contains(&object.name) || object.modified_ms >= before_ms {
                continue;
            }
            if !dry {
                FaultPoint::GarbageDeleting.pass();
                self.store.delete(&object.name).map_err(wrong("delete a replaced file"))?;
            }
            deleted = Deleted { files: deleted.files + 1, bytes: deleted.bytes + object.size_bytes };
        }
        FaultPoint::GarbageDeleted.pass();
        Ok(deleted)
    }

    /// The names of the files that were replaced before, without those that are in the table all the same.
    fn replaced_before(&self, before_ms: i64) -> BTreeSet<String> {
        let mut replaced = BTreeSet::new();
        let is_old = |file: &&LiveFile| file.add.modification_time < before_ms;
        let is_wanted = |file: &&LiveFile| is_asked_for(self.table, file, &self.settings);
        for file in self.live.files().filter(is_old).filter(is_wanted) {
            for path in file.lineage().iter().flat_map(|lineage| lineage.replaced()) {
                if let Ok(plain) = plain_path(path) {
                    replaced.insert(format!("{}/{plain}", self.table.name()));
                }
            }
        }
        for file in self.live.files() {
            replaced.remove(file.name.as_ref());
        }
        replaced
    }
}
