//! What `weir verify` found.

use serde::Serialize;
use weir_checkpoints::Totals;

/// How many findings are named one by one.
const NAMED: usize = 20;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The job.
    pub job: String,
    /// Whether nothing is wrong.
    pub ok: bool,
    /// The newest manifest's epoch.
    pub epoch: u64,
    /// Its attempt.
    pub attempt: u64,
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

/// A table's size.
#[derive(Debug, Serialize)]
pub struct TableRows {
    /// Its name.
    pub table: &'static str,
    /// Its data files.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
}

/// What came of the comparison with an oracle.
#[derive(Debug, Default, Serialize)]
pub struct Compared {
    /// Windows that are in both.
    pub windows: u64,
    /// Windows that the job has not closed yet, or holds back until they fill a file.
    pub not_yet: u64,
    /// The mean error of the estimated users, without sign, as a share.
    pub mean_user_error: f64,
    /// The largest one.
    pub max_user_error: f64,
}

/// One rule, and how often it was found broken.
#[derive(Debug, Serialize)]
pub struct CheckResult {
    /// The rule.
    pub rule: &'static str,
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
        Self { result: CheckResult { rule, broken: 0, examples: Vec::new() } }
    }

    /// Notes a finding unless `holds`.
    pub(super) fn check(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if holds {
            return;
        }
        self.result.broken += 1;
        if self.result.examples.len() < NAMED {
            self.result.examples.push(finding());
        }
    }

    pub(super) fn done(self) -> CheckResult {
        self.result
    }
}
