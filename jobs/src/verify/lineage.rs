//! Compacted files: whether each is what it says that it was made of, and whether each file that was replaced is in one.
//!
//! ```text
//!   part-1, part-2 ── remove ──▶ ┐
//!   compact-1 ──────── add ────▶ ├─ weir.compacted: part-1, part-2, with their rows and hashes
//!                                └─ live files and the sources of live files: each file that was ever added, once
//! ```
//!
//! It needs no file that was replaced: what a manifest or the log said of it is enough. A version of another engine that
//! takes files out says nothing of where their rows went; of these files nothing is asked here, and their rows are counted
//! elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::data_file::{DataFile, PartitionRows};
use super::delta::DeltaTable;
use super::listed::Listed;
use super::report::{CheckResult, Rule};

/// What a compacted file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Lineage {
    pub(super) sources: Vec<Source>,
    #[serde(default)]
    pub(super) through: Vec<String>,
}

/// A file that it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Source {
    pub(super) path: String,
    rows: u64,
    size: u64,
    sha256: Option<String>,
}

impl Lineage {
    /// The last epoch among its sources, by their names.
    pub(super) fn last_epoch(&self) -> Option<u64> {
        self.sources.iter().filter_map(|source| epoch_in(&source.path)).max()
    }
}

/// The epoch in the name that a job has given a file, which has four numbers; other engines' names have other things behind
/// the first one.
fn epoch_in(path: &str) -> Option<u64> {
    let (_, file) = path.rsplit_once('/')?;
    let (name, _) = file.strip_prefix("part-")?.split_once('.')?;
    let numbers: Option<Vec<u64>> = name.split('-').map(|number| number.parse().ok()).collect();
    numbers.filter(|numbers| numbers.len() == 4)?.first().copied()
}

/// Checks the compacted files of tables.
pub(super) struct Lineages<'a> {
    listed: &'a Listed,
    replaced: Rule,
    sound: Rule,
}

impl<'a> Lineages<'a> {
    pub(super) fn new(listed: &'a Listed) -> Self {
        Self {
            listed,
            replaced: Rule::new(
                "each file that compaction replaced is in one compacted file, and itself no more in the table",
            ),
            sound: Rule::new(
                "each compacted file has the rows of its sources, which log and manifests know as it says",
            ),
        }
    }

    /// A table, as it was with the newest manifest.
    pub(super) fn table(&mut self, table: &DeltaTable) {
        let mut claimed: BTreeMap<&str, &str> = BTreeMap::new();
        for (path, file) in &table.files {
            let Some(lineage) = &file.lineage else { continue };
            for source in &lineage.sources {
                let before = claimed.insert(&source.path, path);
                self.once(table, path, &source.path, before);
                self.source(table, path, source);
            }
            for through in &lineage.through {
                self.replaced.check(!table.files.contains_key(through), || {
                    format!("{}/{through} is in the table, and {path} has its rows", table.name)
                });
            }
            self.rows(table, path, file, &lineage.sources);
        }
        let left: BTreeSet<&str> = table.taken_out.iter().map(String::as_str).collect();
        for path in left.into_iter().filter(|path| !table.files.contains_key(*path)) {
            self.replaced.check(claimed.contains_key(path), || {
                format!("{}/{path} was compacted, and no file in the table says that it has its rows", table.name)
            });
        }
    }

    pub(super) fn done(self) -> [CheckResult; 2] {
        [self.replaced.done(), self.sound.done()]
    }

    fn once(&mut self, table: &DeltaTable, path: &str, source: &str, before: Option<&str>) {
        let name = table.name;
        self.replaced.check(before.is_none(), || match before {
            Some(other) if other != path => format!("{name}/{source} is in {path}, and in {other}"),
            _ => format!("{name}/{path} lists {source} twice"),
        });
        self.replaced.check(!table.files.contains_key(source), || {
            format!("{name}/{source} is in the table, and {path} has its rows")
        });
    }

    /// Whether a source is what log and manifest say.
    fn source(&mut self, table: &DeltaTable, path: &str, source: &Source) {
        let name = table.name;
        let Some(known) = table.ever.get(&source.path) else {
            self.sound.check(false, || {
                format!("{name}/{path} says that it has {}, which was never in the table", source.path)
            });
            return;
        };
        let listed = self.listed.get(&format!("{name}/{}", source.path));
        for known in [Some(known), listed].into_iter().flatten() {
            let fits = known.size == source.size
                && known.rows.is_none_or(|rows| rows == source.rows)
                && (known.sha256.is_none() || known.sha256 == source.sha256);
            self.sound.check(fits, || {
                let (rows, hash) = (source.rows, source.sha256.as_deref().unwrap_or("none"));
                format!(
                    "{name}/{path} says of {}: {} bytes, {rows} rows, SHA-256 {hash}; it was {known}",
                    source.path, source.size
                )
            });
        }
    }

    /// Whether the rows add up, and those of each partition of the source.
    fn rows(&mut self, table: &DeltaTable, path: &str, file: &DataFile, sources: &[Source]) {
        let rows: u64 = sources.iter().map(|source| source.rows).sum();
        self.sound.check(file.rows.is_none_or(|told| told == rows), || {
            format!("{}/{path}: {file}, its sources have {rows} rows", table.name)
        });
        let mut sums = PartitionRows::new();
        for source in sources {
            let Some(of_source) = table.ever.get(&source.path).and_then(|known| known.rows_by_partition.as_ref())
            else {
                return;
            };
            of_source.iter().for_each(|(partition, count)| *sums.entry(*partition).or_default() += count);
        }
        let told = file.rows_by_partition.as_ref();
        self.sound.check(told.is_none_or(|told| *told == sums), || {
            format!("{}/{path}: {file}, its sources have by partition {sums:?}", table.name)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::epoch_in;

    #[test]
    fn names_of_other_engines_have_no_epoch() {
        let check = |path: &str, expected: Option<u64>| assert_eq!(epoch_in(path), expected, "{path}");
        check("date=2025-01-15/hour=3/part-00000000000000000017-2-0-5.zstd.parquet", Some(17));
        check("date=2025-01-15/part-00001-5f9c1e0a-3b1d-4d53-9c3e-1f0e8d3b8f51-c000.zstd.parquet", None);
        check("date=2025-01-15/compact-00000000000000000017-0f.zstd.parquet", None);
    }
}
