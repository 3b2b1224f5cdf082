//! What `weir verify` found.

use serde::Serialize;
use weir_checkpoints::{Origin, Totals};

/// How many findings are named one by one.
const NAMED: usize = 20;

/// What was found, where, and when.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The job.
    pub job: String,
    /// Whether nothing is wrong.
    pub ok: bool,
    /// When the check began, RFC 3339.
    pub checked_at: String,
    /// The version of Weir that checked.
    pub weir: &'static str,
    /// Where it looked.
    pub places: Places,
    /// What it was told to look at.
    pub scope: Scope,
    /// The newest manifest's epoch.
    pub epoch: u64,
    /// Its attempt.
    pub attempt: u64,
    /// The checkpoint that the job was forked from; none of a job that began with nothing. What is in the tables of that
    /// job is not looked at.
    pub origin: Option<Origin>,
    /// The SHA-256 of its bytes, in hex: with it, all before it are fixed too.
    pub manifest_hash: String,
    /// The number of the first manifest that is still there.
    pub first_manifest: u64,
    /// The number of the newest one.
    pub last_manifest: u64,
    /// Whether the source had ended, so that everything is in the tables.
    pub ended: bool,
    /// What became of the records.
    pub totals: Totals,
    /// Manifests that were read.
    pub manifests: u64,
    /// Rows of each table.
    pub tables: Vec<TableRows>,
    /// Windows that were compared with the oracle; none without one.
    pub compared: Option<Compared>,
    /// What was checked.
    pub checks: Vec<CheckResult>,
    /// A query to begin with.
    pub query: String,
}

/// Where was looked.
#[derive(Debug, Serialize)]
pub struct Places {
    /// The checkpoints' URL.
    pub checkpoints: String,
    /// The tables' URL.
    pub tables: String,
}

/// What was looked at: everything, unless this says otherwise.
#[derive(Debug, Serialize)]
pub struct Scope {
    /// Whether every data file was read whole.
    pub files: bool,
    /// The first instant of the windows and files, RFC 3339; none without a limit.
    pub from: Option<String>,
    /// The first instant that was left out.
    pub until: Option<String>,
}

/// A table's size at the newest manifest.
#[derive(Debug, Serialize)]
pub struct TableRows {
    /// Its name.
    pub table: &'static str,
    /// Its data files.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Files among them that were compacted of others.
    pub compacted: u64,
    /// Files among them that the manifest lists and the table does not show yet.
    pub not_shown_yet: u64,
    /// Files that were read whole and have no hash to compare with: an older version wrote them, or another writer.
    pub without_hash: u64,
    /// Rows that wait for a file; not counted for `clicks_agg`.
    pub held_back: u64,
}

/// What came of the comparison with an oracle.
#[derive(Debug, Default, Serialize)]
pub struct Compared {
    /// Windows that are in both.
    pub windows: u64,
    /// Windows that the job has not closed yet, or holds back until they fill a file.
    pub not_yet: u64,
    /// Windows that were closed when the job was forked, and are in the other job's tables.
    pub elsewhere: u64,
    /// The mean error of the estimated users, without sign, as a share.
    pub mean_user_error: f64,
    /// The largest one.
    pub max_user_error: f64,
}

/// One rule, on how many things it was checked, and how often it was found broken.
#[derive(Debug, Serialize)]
pub struct CheckResult {
    /// The rule.
    pub rule: &'static str,
    /// What it was checked on, counted; a rule that looked at nothing says nothing.
    pub checked: u64,
    /// How often it is broken.
    pub broken: u64,
    /// The first of these, in words.
    pub examples: Vec<String>,
}

/// Collects what breaks one rule.
#[derive(Debug)]
pub(super) struct Rule {
    result: CheckResult,
}

impl Rule {
    pub(super) fn new(rule: &'static str) -> Self {
        Self { result: CheckResult { rule, checked: 0, broken: 0, examples: Vec::new() } }
    }

    /// Notes a finding unless `holds`.
    #[inline]
    pub(super) fn check(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        self.result.checked += 1;
        if holds {
            return;
        }
        self.result.broken += 1;
        if self.result.examples.len() < NAMED {
            self.result.examples.push(finding());
        }
    }

    /// Counts what was found to be right elsewhere.
    pub(super) fn holds_for(&mut self, things: u64) {
        self.result.checked += things;
    }

    pub(super) fn done(self) -> CheckResult {
        self.result
    }
}
