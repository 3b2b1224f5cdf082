//! What is stored, against the rules that it must keep, and against a known right answer.
//!
//! ```text
//!   manifests ─▶ chain    conservation, hashes, nothing goes back
//!   tables ────▶ windows  each once, sums of each length = counted     ◀── oracle: every window of every ad
//! ```
//!
//! Everything is read from the stores, as anybody could: no running job is asked.

mod chain;
mod delta;
mod report;
mod windows;

use std::path::Path;

use anyhow::Result;
use weir_checkpoints::{Manifest, Names, Store, Totals};

use chain::Chain;
use delta::{DeltaTable, FileFacts};
use report::Rule;
pub use report::{CheckResult, Compared, Report, TableRows};
use windows::Windows;

use crate::generate::{ExpectedTotals, OracleReader, OverHttp};

/// What to verify.
pub struct Verification<'a> {
    /// The job's name.
    pub job: &'a str,
    /// Where its checkpoints are.
    pub checkpoints: &'a dyn Store,
    /// Where its tables are.
    pub tables: &'a dyn Store,
    /// The tables' location, for the query.
    pub tables_url: &'a str,
    /// Whether there is an archive.
    pub archive: bool,
    /// The right answer.
    pub oracle: Option<&'a Path>,
    /// Whether clicks that the oracle calls late must have been late; else they may be counted.
    pub late_for_certain: bool,
}

/// Reads and compares everything.
pub fn verify(what: &Verification<'_>) -> Result<Report> {
    let Chain { newest, manifests, mut checks } = Chain::read(what.checkpoints, &Names::new(what.job))?;
    let mut tables = Tables::new(&newest);
    let windows = tables.agg(what.tables)?;
    tables.count(what.tables, "clicks_late")?;
    if what.archive {
        tables.count(what.tables, "clicks_raw")?;
    }
    checks.push(tables.committed.done());
    checks.push(row_counts(&tables.sizes, &newest));
    checks.push(windows.sums(&newest));
    let oracle = what.oracle.map(OracleReader::open).transpose()?;
    if let Some(reader) = &oracle {
        checks.push(totals(reader, &newest, what.late_for_certain));
    }
    let (compared, window_checks) = windows.finish(oracle, &newest, what.late_for_certain)?;
    checks.extend(window_checks);
    Ok(Report {
        job: what.job.to_owned(),
        ok: checks.iter().all(|check| check.broken == 0),
        epoch: newest.epoch.0,
        attempt: newest.attempt.0,
        ended: newest.ended,
        totals: newest.totals(),
        manifests,
        tables: tables.sizes,
        compared,
        checks,
        query: query(what.tables_url),
    })
}

/// The tables as they are read, one after the other.
struct Tables<'a> {
    newest: &'a Manifest,
    sizes: Vec<TableRows>,
    committed: Rule,
}

impl<'a> Tables<'a> {
    fn new(newest: &'a Manifest) -> Self {
        let committed = Rule::new("no table shows an epoch that no manifest commits");
        Self { newest, sizes: Vec::new(), committed }
    }

    fn agg(&mut self, store: &dyn Store) -> Result<Windows> {
        let table = DeltaTable::open(store, "clicks_agg")?;
        let newest = self.newest;
        let mut windows = Windows::new();
        let mut size = TableRows { table: "clicks_agg", files: table.files(), rows: 0 };
        table.rows(store, |path, facts| self.see(&mut size, path, &facts), |row| windows.add(row, newest))?;
        self.sizes.push(size);
        Ok(windows)
    }

    fn count(&mut self, store: &dyn Store, name: &'static str) -> Result<()> {
        let table = DeltaTable::open(store, name)?;
        let mut size = TableRows { table: name, files: table.files(), rows: 0 };
        table.scan(store, |path, facts| self.see(&mut size, path, &facts))?;
        self.sizes.push(size);
        Ok(())
    }

    fn see(&mut self, size: &mut TableRows, path: &str, facts: &FileFacts) {
        size.rows += facts.rows;
        let newest = self.newest.epoch.0;
        self.committed.check(facts.epoch.is_some_and(|epoch| epoch <= newest), || {
            format!("{}/{path} has epoch {:?}, the newest manifest {newest}", size.table, facts.epoch)
        });
    }
}

/// Late and future clicks are in the late table; the archive has every click. Until the job has ended, some of them are
/// held back until they fill a file.
fn row_counts(tables: &[TableRows], manifest: &Manifest) -> CheckResult {
    let totals = manifest.totals();
    let mut rule = Rule::new("clicks_late and clicks_raw hold every click that belongs there");
    for table in tables {
        let expected = match table.table {
            "clicks_late" => totals.late + totals.future,
            "clicks_raw" => totals.read - totals.rejected,
            _ => continue,
        };
        let fits = if manifest.ended { table.rows == expected } else { table.rows <= expected };
        rule.check(fits, || format!("{} has {} rows, expected {expected}", table.table, table.rows));
    }
    rule.done()
}

/// What became of the records. A job that has not read them all yet can only be said not to have read too many.
fn totals(oracle: &OracleReader, manifest: &Manifest, late_for_certain: bool) -> CheckResult {
    let expected = oracle.header().totals;
    let found = manifest.totals();
    let mut rule = Rule::new("as many records are rejected, future, late, duplicate and counted as the oracle expects");
    let mut compare = |what: &str, found: u64, least: u64, most: u64| {
        rule.check((least..=most).contains(&found), || format!("{what}: {found}, expected {least} to {most}"));
    };
    if let Some(over_http) = oracle.header().over_http {
        totals_behind_an_edge(&mut compare, over_http, expected, manifest, late_for_certain);
        return rule.done();
    }
    compare("read", found.read, if manifest.ended { expected.read } else { 0 }, expected.read);
    if found.read == expected.read {
        compare("rejected", found.rejected, expected.rejected, expected.rejected);
        compare("duplicate", found.duplicate, expected.duplicate, expected.duplicate);
        compare_clicks(&mut compare, expected, found, late_for_certain);
    }
    rule.done()
}

/// The edge has rejected records and dropped second copies before the log, nobody knows how many of these a job still
/// meets. What the edge has accepted must be there; what was sent again may be there once more.
fn totals_behind_an_edge(
    compare: &mut impl FnMut(&str, u64, u64, u64),
    over_http: OverHttp,
    expected: ExpectedTotals,
    manifest: &Manifest,
    late_for_certain: bool,
) {
    let found = manifest.totals();
    let OverHttp { accepted, resent } = over_http;
    let least = if manifest.ended { accepted } else { 0 };
    compare("read", found.read, least, expected.read + resent);
    compare("rejected", found.rejected, 0, expected.rejected);
    compare("duplicate", found.duplicate, 0, expected.duplicate + resent);
    if manifest.ended || (resent == 0 && found.read >= accepted) {
        compare_clicks(compare, expected, found, late_for_certain);
    }
}

/// Every click that is none of these is in a window.
fn compare_clicks(
    compare: &mut impl FnMut(&str, u64, u64, u64),
    expected: ExpectedTotals,
    found: Totals,
    late_for_certain: bool,
) {
    compare("future", found.future, expected.future, expected.future);
    compare("late", found.late, if late_for_certain { expected.late } else { 0 }, expected.late);
    let counted = expected.counted + expected.late.saturating_sub(found.late);
    compare("counted", found.counted, counted, counted);
}

fn query(tables_url: &str) -> String {
    let root = tables_url.trim_end_matches('/');
    let place = root.strip_prefix("file://").unwrap_or(root);
    format!(
        "duckdb -c \"SELECT ad_id, sum(click_count) AS clicks FROM delta_scan('{place}/clicks_agg') \
         WHERE \\\"window\\\" = '1m' GROUP BY ad_id ORDER BY clicks DESC LIMIT 10\""
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
