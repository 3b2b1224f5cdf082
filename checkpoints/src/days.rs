//! Closed days: a chain of records for each day, numbered by revision. A record's creation closes the day, or restates it.
//!
//! ```text
//!   2025-01-15:  1 ─▶ 2 ─▶ (3 exists: somebody else has restated the day)
//!                │    └ late clicks that came since, traffic that was taken out
//!                └ closed on manifest 4711
//! ```
//!
//! As with manifests, files are written first, under names that nobody reads, and readers see them after the record exists.
//! A record is never changed or deleted: it says what was billed, on which manifest, and what was in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Created, Epoch, Manifest, Names, OutputPart, Sequence, Store, StoreError};

/// The version of the stored format. A reconciler refuses any other.
pub const DAY_FORMAT_VERSION: u32 = 2;

/// One revision of a day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DayRecord {
    /// [`DAY_FORMAT_VERSION`] of the writer.
    pub format: u32,
    /// The job.
    pub job: String,
    /// The day, `2025-01-15`.
    pub date: String,
    /// The time zone that it is a day of, by its IANA name.
    pub timezone: String,
    /// Its first millisecond.
    pub start_ms: i64,
    /// The first millisecond after it.
    pub end_ms: i64,
    /// From 1, without gaps.
    pub revision: u32,
    /// The hash of the record before it, SHA-256 in hex; none for the first.
    pub previous: Option<String>,
    /// The run that made it: a hash of what went into it.
    pub run: String,
    /// The manifest that the archive was complete at.
    pub closed_on: ClosedOn,
    /// What it was recounted from: SHA-256 over the names and hashes of all data files that were read, of compacted ones
    /// those of their sources.
    pub inputs: String,
    /// What a restatement is counted from when nothing but the lists has changed; none if no index was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexOfDay>,
    /// Traffic that is taken out, by the name of its list: the SHA-256 of the list.
    pub excluded: BTreeMap<String, String>,
    /// Whether users were counted one by one.
    pub exact_users: bool,
    /// Its figures.
    pub totals: DayTotals,
    /// The root of the tree over the clicks that are billed, in hex; none for a day without clicks.
    pub root: Option<String>,
    /// Unix time of writing in milliseconds, by the writer's clock; information only.
    pub written_ms: i64,
    /// The files that become visible with it.
    pub outputs: Vec<OutputPart>,
    /// The files that stop being visible with it, by their names.
    pub replaced: Vec<String>,
}

/// The manifest that a day was closed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClosedOn {
    /// Its number.
    pub sequence: Sequence,
    /// Its hash.
    pub hash: String,
    /// The last epoch that it covers.
    pub epoch: Epoch,
}

/// An index, and what it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexOfDay {
    /// The object that names all others of it.
    pub name: String,
    /// The SHA-256 of that object.
    pub sha256: String,
    /// [`DayRecord::inputs`] without the lists.
    pub archive: String,
    /// What was taken out when it was made, as [`DayRecord::excluded`].
    pub excluded: BTreeMap<String, String>,
}

/// A day in figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DayTotals {
    /// Ads with clicks.
    pub ads: u64,
    /// What the stream had counted.
    pub streamed: i64,
    /// What is billed.
    pub billed: i64,
    /// Rows of the archive that were read for it, copies around the day among them.
    pub rows: u64,
    /// Corrections in the ledger, over all revisions.
    pub corrections: u64,
}

impl DayRecord {
    /// Reads a stored record; `name` is for the error.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, DayError> {
        let record: Self = serde_json::from_slice(bytes)
            .map_err(|error| DayError::Unreadable { name: name.to_owned(), reason: error.to_string() })?;
        if record.format != DAY_FORMAT_VERSION {
            let reason = format!(
                "it has format {}, this build reads format {DAY_FORMAT_VERSION}: go on with the build that wrote it, or close the \
                 days anew into other tables",
                record.format
            );
            return Err(DayError::Unreadable { name: name.to_owned(), reason });
        }
        Ok(record)
    }

    /// The bytes that are stored, and hashed.
    fn to_bytes(&self) -> Result<Vec<u8>, DayError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| DayError::Unwritable(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// The revisions of one day, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Day {
    records: Vec<(DayRecord, String)>,
}

impl Day {
    /// Reads the revisions of a day, and checks that they form a chain.
    pub fn read(store: &dyn Store, names: &Names, date: &str) -> Result<Self, DayError> {
        let mut day = Self::default();
        loop {
            let revision = day.next_revision();
            let name = names.day(date, revision);
            let Some(bytes) = store.get(&name)? else { return Ok(day) };
            let record = DayRecord::parse(&name, &bytes)?;
            if record.revision != revision || record.previous != day.hash() {
                let reason =
                    format!("it is no successor of revision {}: somebody has changed one of them", revision - 1);
                return Err(DayError::Unreadable { name, reason });
            }
            day.records.push((record, Manifest::hash(&bytes)));
        }
    }

    /// The newest revision.
    #[must_use]
    pub fn newest(&self) -> Option<&DayRecord> {
        self.records.last().map(|(record, _)| record)
    }

    /// All revisions.
    pub fn records(&self) -> impl Iterator<Item = &DayRecord> {
        self.records.iter().map(|(record, _)| record)
    }

    /// The hash of the newest revision.
    #[must_use]
    pub fn hash(&self) -> Option<String> {
        self.records.last().map(|(_, hash)| hash.clone())
    }

    /// The number that the next revision takes.
    #[must_use]
    pub fn next_revision(&self) -> u32 {
        self.records.len() as u32 + 1
    }

    /// Adds `record` as the next revision: the commit. Where it is there already, with the same contents but for the time
    /// of writing and the index, an earlier answer was lost or somebody else has done the same work.
    pub fn publish(&mut self, store: &dyn Store, names: &Names, mut record: DayRecord) -> Result<(), DayError> {
        record.revision = self.next_revision();
        record.previous = self.hash();
        let name = names.day(&record.date, record.revision);
        let bytes = record.to_bytes()?;
        let found = match store.put_if_absent(&name, bytes.clone()) {
            Ok(Created::New) => bytes,
            Ok(Created::Exists) | Err(StoreError::Unknown { .. }) => settle(store, &name, bytes)?,
            Err(error) => return Err(error.into()),
        };
        let there = DayRecord::parse(&name, &found)?;
        let same = DayRecord { written_ms: record.written_ms, index: record.index.clone(), ..there.clone() };
        if same != record {
            return Err(DayError::Taken { date: record.date, revision: record.revision, run: there.run });
        }
        self.records.push((there, Manifest::hash(&found)));
        Ok(())
    }
}

/// What stands under a name of whose creation nothing is known.
fn settle(store: &dyn Store, name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, DayError> {
    if let Some(found) = store.get(name)? {
        return Ok(found);
    }
    // The unknown write did not happen, or not yet: asking once more is safe, since the name is create-only.
    store.put_if_absent(name, bytes)?;
    store.get(name)?.ok_or_else(|| StoreError::NotFound { name: name.to_owned() }.into())
}

/// Why the records of a day cannot be read, or added to.
#[derive(Debug, thiserror::Error)]
pub enum DayError {
    /// It is no record, or not one that can follow the one before.
    #[error("day record `{name}` cannot be used: {reason}")]
    Unreadable {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It has no JSON form.
    #[error("a day record cannot be written: {0}")]
    Unwritable(String),
    /// Somebody else was faster, with another result.
    #[error(
        "revision {revision} of {date} was written by another reconciler meanwhile (run {run}); nothing was changed, run it again to see what is left to do"
    )]
    Taken {
        /// The day.
        date: String,
        /// The revision.
        revision: u32,
        /// Its run.
        run: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
