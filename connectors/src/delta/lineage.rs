//! Which files a compacted file was made of: what ties it to the manifests.
//!
//! ```text
//!   log     add     tags: weir.compacted    {"sources":[{"path":…,"rows":…,"size":…,"sha256":…},…],"through":[…]}
//!   file    footer        weir.compacted    the same text
//! ```
//!
//! Sources are files as a job wrote them and a manifest lists them, with their hashes. Where compacted files are compacted
//! again, the sources stay those first ones, and `through` names the compacted files in between. So one look tells what the
//! rows come from, whether or not anything but the newest file still exists.

use serde::{Deserialize, Serialize};

/// The tag in the log, and the entry in the footer.
pub(super) const LINEAGE_KEY: &str = "weir.compacted";

/// What a compacted file was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lineage {
    /// In the order in which their rows came.
    pub(super) sources: Vec<SourceFile>,
    /// Compacted files that it has replaced, by their paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) through: Vec<String>,
}

/// A file that was not compacted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SourceFile {
    /// Its path in the log.
    pub(super) path: String,
    pub(super) rows: u64,
    pub(super) size: u64,
    /// As the log had it; files of older versions and of other writers have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
}

impl Lineage {
    /// Reads the text of a tag or footer; none where it is something else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// What is written.
    pub(super) fn to_text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Takes in what another compacted file was made of.
    pub(super) fn take(&mut self, path: &str, other: Self) {
        self.sources.extend(other.sources);
        self.through.extend(other.through);
        self.through.push(path.to_owned());
    }

    /// All files that it stands for, by their paths.
    pub(super) fn replaced(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|source| source.path.as_str()).chain(self.through.iter().map(String::as_str))
    }
}

/// The epoch at whose end a file was written, by its name: `part-<epoch>-<attempt>-<worker>-<number>.…`. None of one that is
/// compacted, or that another writer has named: other engines begin with `part-` and a number, too.
pub(super) fn epoch_of(path: &str) -> Option<u64> {
    let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
    let (numbers, _) = file.strip_prefix("part-")?.split_once('.')?;
    let mut numbers = numbers.split('-').map(|number| number.parse::<u64>().ok());
    let [epoch, _attempt, _worker, _number] = [numbers.next()??, numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(epoch)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn source(path: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), rows: 1, size: 2, sha256: None }
    }

    #[test]
    fn only_names_of_a_job_have_an_epoch() {
        let check = |path: &str, expected: Option<u64>| assert_eq!(epoch_of(path), expected, "{path}");
        check("date=2025-01-15/part-00000000000000000017-1-0-12.zstd.parquet", Some(17));
        check("part-00001-5f9c1e0a-3b1d-4d53-9c3e-1f0e8d3b8f51-c000.zstd.parquet", None);
        check("part-00001-5f9c1e0a-3b1d-4d53-9c3e-1f0e8d3b8f51.c000.snappy.parquet", None);
        check("compact-00000000000000000017-00.zstd.parquet", None);
        check("part-17.parquet", None);
        check("part-17-1-0-12-3.parquet", None);
    }

    #[test]
    fn what_was_compacted_twice_comes_from_the_first_files() {
        let first =
            Lineage { sources: vec![source("date=a/part-3-1-0-0.x"), source("part-9-1-0-0.x")], through: vec![] };
        let mut second = Lineage { sources: vec![source("other")], through: vec![] };
        second.take("date=a/compact-9-a.x", first);
        assert_eq!(epoch_of(&second.sources[1].path), Some(3));
        let replaced: Vec<&str> = second.replaced().collect();
        assert_eq!(replaced, ["other", "date=a/part-3-1-0-0.x", "part-9-1-0-0.x", "date=a/compact-9-a.x"]);
        assert_eq!(Lineage::parse(&second.to_text().unwrap()), Some(second));
        assert_eq!(Lineage::parse("{}"), None);
    }
}
