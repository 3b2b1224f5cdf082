//! The data files: whether each is there, is what was written, and holds what the log says.
//!
//! ```text
//!   a listing of the store ─▶ there, full size       every file
//!   bytes, read whole ──────▶ SHA-256                every file of clicks_agg; with `--files` every file
//!         └─▶ Parquet ──────▶ rows, epoch, offsets   unless the hash says that the bytes are others
//! ```
//!
//! What is wrong with a file is a finding, and the next one is looked at. Where a store fails, nothing can be said.

use std::collections::HashMap;

use anyhow::Result;
use sha2::{Digest, Sha256};
use weir_checkpoints::{Manifest, PartitionId, Store};

use super::data_file::{Contents, DataFile, PartitionRows};
use super::delta::DeltaTable;
use super::listed::Listed;
use super::report::{CheckResult, Rule, TableRows};
use super::span::Span;
use super::stand::HeldClicks;
use super::windows::Windows;

/// Looks at data files.
pub(super) struct Files<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) listed: &'a Listed,
    pub(super) newest: &'a Manifest,
    /// Whether every file in the span is read whole.
    pub(super) whole: bool,
    pub(super) span: Span,
    pub(super) rules: FileRules,
}

/// The rules about data files.
pub(super) struct FileRules {
    present: Rule,
    intact: Rule,
    contents: Rule,
    places: Rule,
}

impl FileRules {
    pub(super) fn new() -> Self {
        Self {
            present: Rule::new("every data file is there, in the size that the table's log says"),
            intact: Rule::new("every data file that was read has the SHA-256 that log and manifest say"),
            contents: Rule::new("every data file that was read holds the rows and the epoch that the log says"),
            places: Rule::new("no record is in clicks_raw or in clicks_late twice, or from beyond what has been read"),
        }
    }

    pub(super) fn done(self) -> [CheckResult; 4] {
        [self.present, self.intact, self.contents, self.places].map(Rule::done)
    }
}

impl Files<'_> {
    /// Reads all of `clicks_agg`.
    pub(super) fn windows(&mut self, table: &DeltaTable, windows: &mut Windows) -> Result<TableRows> {
        let mut size = self.start(table)?;
        for (path, file) in &table.files {
            let Some(contents) = self.open(table, path, file, &mut size)? else { continue };
            size.rows += contents.rows();
            let window = file.partition.get("window").and_then(Option::as_deref).unwrap_or("unknown");
            let (newest, span) = (self.newest, self.span);
            let read = if span.may_contain(&file.partition) {
                contents.windows(window, |row| windows.add(row, newest, span))
            } else {
                contents.click_counts(|clicks| windows.add_clicks(window, clicks))
            };
            self.note(table, path, read);
        }
        Ok(size)
    }

    /// Finds the rows of a table of clicks by partition: in the log where it says so, else in the files.
    pub(super) fn clicks(&mut self, table: &DeltaTable, held: &mut HeldClicks) -> Result<(TableRows, PartitionRows)> {
        let mut size = self.start(table)?;
        let mut rows = PartitionRows::new();
        for finding in &held.twice {
            self.rules.places.check(false, || format!("{}: {finding}", table.name));
        }
        for (path, file) in &table.files {
            let is_looked_at = self.whole && self.span.may_contain(&file.partition);
            let counted = if is_looked_at || file.rows_by_partition.is_none() {
                self.count(table, path, file, held, is_looked_at, &mut size)?
            } else {
                None
            };
            for (partition, count) in file.rows_by_partition.as_ref().or(counted.as_ref()).into_iter().flatten() {
                *rows.entry(*partition).or_default() += count;
            }
        }
        size.rows = rows.values().sum();
        size.held_back = held.rows.values().sum();
        Ok((size, rows))
    }

    fn start(&mut self, table: &DeltaTable) -> Result<TableRows> {
        self.find(table)?;
        Ok(TableRows {
            table: table.name,
            files: table.files.len() as u64,
            rows: 0,
            compacted: table.files.values().filter(|file| file.lineage.is_some()).count() as u64,
            not_shown_yet: table.not_shown_yet,
            without_hash: 0,
            held_back: 0,
        })
    }

    /// Looks for every file in one listing.
    fn find(&mut self, table: &DeltaTable) -> Result<()> {
        let objects = self.store.list(&format!("{}/", table.name))?;
        let sizes: HashMap<String, u64> = objects.into_iter().map(|object| (object.name, object.size_bytes)).collect();
        for (path, file) in &table.files {
            let name = object_name(table, path);
            let found = sizes.get(&name);
            self.rules.present.check(found == Some(&file.size), || match found {
                None => format!("{name} is missing"),
                Some(bytes) => format!("{name} has {bytes} bytes instead of {}", file.size),
            });
        }
        Ok(())
    }

    fn count(
        &mut self,
        table: &DeltaTable,
        path: &str,
        file: &DataFile,
        held: &mut HeldClicks,
        with_offsets: bool,
        size: &mut TableRows,
    ) -> Result<Option<PartitionRows>> {
        let Some(contents) = self.open(table, path, file, size)? else { return Ok(None) };
        let mut rows = PartitionRows::new();
        let read = if with_offsets {
            let (newest, places) = (self.newest, &mut self.rules.places);
            contents.places(|partition, offset| {
                *rows.entry(partition).or_default() += 1;
                let is_read = next_offset(newest, partition).is_some_and(|next| offset < next);
                let is_new = held.offsets.insert(partition, offset);
                places.check(is_read && is_new, || {
                    let what = if is_new { "was not read yet" } else { "is there before, too" };
                    format!("{}: partition {partition}, offset {offset} {what}", object_name(table, path))
                });
            })
        } else {
            contents.partitions(|partition| *rows.entry(partition).or_default() += 1)
        };
        let is_whole = read.is_ok();
        self.note(table, path, read);
        if let Some(told) = file.rows_by_partition.as_ref().filter(|_| is_whole) {
            self.rules.contents.check(*told == rows, || {
                format!("{}: rows by partition {rows:?}, the log says {told:?}", object_name(table, path))
            });
        }
        Ok(is_whole.then_some(rows))
    }

    /// Reads a file whole. Bytes that are not those that were written are not looked into.
    fn open(
        &mut self,
        table: &DeltaTable,
        path: &str,
        file: &DataFile,
        size: &mut TableRows,
    ) -> Result<Option<Contents>> {
        let name = object_name(table, path);
        // What is missing has been named.
        let Some(bytes) = self.store.get(&name)? else { return Ok(None) };
        let listed = self.listed.get(&name).and_then(|listed| listed.sha256.as_deref());
        let told = [("the log", file.sha256.as_deref()), ("the manifest", listed)];
        if told.iter().all(|(_, hash)| hash.is_none()) {
            size.without_hash += 1;
            if bytes.len() as u64 != file.size {
                return Ok(None);
            }
        } else {
            let found = hash_of(&bytes);
            let other = told.iter().find(|(_, hash)| hash.is_some_and(|hash| hash != found));
            self.rules.intact.check(other.is_none(), || {
                let (who, hash) = other.copied().unwrap_or_default();
                format!("{name} has been changed: SHA-256 {found}, {who} says {}", hash.unwrap_or_default())
            });
            if other.is_some() {
                return Ok(None);
            }
        }
        let contents = Contents::open(bytes);
        Ok(match contents {
            Ok(contents) => {
                self.compare(&name, file, &contents);
                Some(contents)
            }
            Err(error) => {
                self.note(table, path, Err(error));
                None
            }
        })
    }

    fn compare(&mut self, name: &str, file: &DataFile, contents: &Contents) {
        let (rows, epoch) = (contents.rows(), contents.epoch());
        let fits = file.rows.is_none_or(|told| told == rows) && file.epoch.is_none_or(|told| Some(told) == epoch);
        self.rules.contents.check(fits, || format!("{name} has {rows} rows and epoch {epoch:?}, the log says {file}"));
        if let Some(lineage) = &file.lineage {
            let fits = contents.lineage().as_ref() == Some(lineage) && lineage.last_epoch() == epoch;
            self.rules.contents.check(fits, || {
                format!(
                    "{name} says that it was made of other files than the log says, or names epoch {epoch:?} of them"
                )
            });
        }
    }

    fn note(&mut self, table: &DeltaTable, path: &str, read: Result<()>) {
        if let Err(error) = read {
            self.rules.contents.check(false, || format!("{} cannot be read: {error:#}", object_name(table, path)));
        }
    }
}

fn object_name(table: &DeltaTable, path: &str) -> String {
    format!("{}/{path}", table.name)
}

fn next_offset(manifest: &Manifest, partition: u32) -> Option<u64> {
    manifest.partitions.get(&PartitionId(partition)).map(|cut| cut.position.next_offset.0)
}

/// Computed here, not with what the writer uses.
fn hash_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
