//! What is stored, against the rules that it must keep, and against a known right answer.
//!
//! ```text
//!   newest manifest ─▶ stand         where the job stands, and what it holds back
//!   manifests ───────▶ chain         conservation, hashes, nothing goes back ─▶ listed: the files of each manifest
//!                        └─ forked       of a fork: the checkpoint that it comes from
//!   tables' logs ────▶ delta         the tables as they were with the newest manifest
//!                        ├─ listed         the same files as in the manifests
//!                        ├─ lineage        compacted files have the rows of those that they replaced
//!                        ├─ files          there, unchanged, with the rows they should have
//!                        ├─ conservation   clicks in files + held back = clicks read, in each partition
//!                        ├─ days           billed = streamed + corrections, as the records of closed days say
//!                        └─ windows        each once, sums of each length = counted   ◀── oracle: every window of every ad
//! ```
//!
//! Everything is read from the stores, as anybody could: no running job is asked, and none disturbs. A job commits a
//! manifest first and shows its files then. So the newest manifest is read before the tables, and the tables are
//! taken as they were at its epoch: later files are left out, and those that are not shown yet are added.

mod chain;
mod conservation;
mod coverage;
mod data_file;
mod days;
mod delta;
mod files;
mod forked;
mod lineage;
mod listed;
mod offsets;
mod report;
mod span;
mod stand;
mod windows;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use chrono::Utc;
use weir_checkpoints::{Manifest, Names, Store, Totals};

use chain::Chain;
use conservation::Conservation;
pub use coverage::coverage;
use delta::DeltaTable;
use files::{FileRules, Files};
use forked::forked;
use lineage::Lineages;
use listed::{Agreement, Listed};
use report::Rule;
pub use report::{CheckResult, Compared, Places, Report, Scope, TableRows};
pub use span::Span;
use stand::{HeldClicks, Stand};
use windows::Windows;

use crate::generate::{ExpectedTotals, OracleReader, OverHttp};
use crate::output::instant;

/// The tables that a job writes.
const TABLES: [&str; 3] = ["clicks_agg", "clicks_late", "clicks_raw"];

/// What to verify.
pub struct Verification<'a> {
    /// The job's name.
    pub job: &'a str,
    /// Where its checkpoints are.
    pub checkpoints: &'a dyn Store,
    /// Where its tables are.
    pub tables: &'a dyn Store,
    /// The checkpoints' location, for the report.
    pub checkpoints_url: &'a str,
    /// The tables' location, for the report and the query.
    pub tables_url: &'a str,
    /// Whether there is an archive.
    pub archive: bool,
    /// Whether every data file is read whole.
    pub files: bool,
    /// The windows and files that are looked at. Sums and conservation are always of everything.
    pub span: Span,
    /// The right answer.
    pub oracle: Option<&'a Path>,
    /// Whether clicks that the oracle calls late must have been late; else they may be counted.
    pub late_for_certain: bool,
}

/// Reads and compares everything.
pub fn verify(what: &Verification<'_>) -> Result<Report> {
    let checked_at = instant(Utc::now().timestamp_millis());
    let names = Names::new(what.job);
    let Stand { manifest: newest, hash, held, readable } = Stand::read(what.checkpoints, &names)?;
    let mut chain = Chain::read(what.checkpoints, &names, None, &newest)?;
    let origin = forked(what.checkpoints, &newest)?;
    let logs = Logs::read(what, &newest, &chain)?;
    // Everything that the logs have by now is in manifests by now.
    chain.follow(what.checkpoints, &names, &newest)?;
    let agreement = logs.compare(&chain.listed, &newest);
    let contents = look_into(what, &newest, &chain, &logs.tables, held)?;

    let mut checks = std::mem::take(&mut chain.checks);
    checks.extend([origin, readable]);
    checks.extend(agreement);
    checks.push(logs.once.done());
    checks.extend(contents.checks);
    checks.push(contents.windows.sums(&newest));
    checks.extend(days::days(what.job, what.checkpoints, what.tables)?);
    let oracle = what.oracle.map(OracleReader::open).transpose()?;
    if let Some(reader) = &oracle {
        checks.push(totals(reader, &newest, what.late_for_certain));
    }
    let (compared, window_checks) = contents.windows.finish(oracle, &newest, what.late_for_certain, what.span)?;
    checks.extend(window_checks);
    Ok(Report {
        job: what.job.to_owned(),
        ok: checks.iter().all(|check| check.broken == 0),
        checked_at,
        weir: env!("CARGO_PKG_VERSION"),
        places: Places { checkpoints: what.checkpoints_url.to_owned(), tables: what.tables_url.to_owned() },
        scope: scope(what),
        epoch: newest.epoch.0,
        attempt: newest.attempt.0,
        origin: newest.origin.clone(),
        manifest_hash: hash,
        first_manifest: chain.first.0,
        last_manifest: newest.sequence.0,
        ended: newest.ended,
        totals: newest.totals(),
        manifests: chain.manifests,
        tables: contents.sizes,
        compared,
        checks,
        query: query(what.tables_url),
    })
}

/// The tables' logs.
struct Logs {
    tables: Vec<DeltaTable>,
    once: Rule,
}

impl Logs {
    /// Reads them, after all manifests that have been read.
    fn read(what: &Verification<'_>, newest: &Manifest, chain: &Chain) -> Result<Self> {
        let mut logs = Self { tables: Vec::new(), once: Rule::new("no file is in a table's log twice") };
        for name in TABLES.into_iter().filter(|name| what.archive || *name != "clicks_raw") {
            let mut table = DeltaTable::open(what.tables, name, what.job, newest.epoch.0, &mut logs.once)?;
            table.add_not_shown(&chain.listed, newest.epoch.0);
            logs.tables.push(table);
        }
        Ok(logs)
    }

    fn compare(&self, listed: &Listed, newest: &Manifest) -> Vec<CheckResult> {
        let (mut agreement, mut lineages) = (Agreement::new(listed, newest.epoch.0), Lineages::new(listed));
        for table in &self.tables {
            agreement.table(table);
            lineages.table(table);
        }
        agreement.done().into_iter().chain(lineages.done()).collect()
    }
}

/// What is in the tables' files.
struct InTables {
    sizes: Vec<TableRows>,
    windows: Windows,
    checks: Vec<CheckResult>,
}

fn look_into(
    what: &Verification<'_>,
    newest: &Manifest,
    chain: &Chain,
    tables: &[DeltaTable],
    mut held: BTreeMap<&'static str, HeldClicks>,
) -> Result<InTables> {
    let mut conservation = Conservation::new(newest);
    let mut files = Files {
        store: what.tables,
        listed: &chain.listed,
        newest,
        whole: what.files,
        span: what.span,
        rules: FileRules::new(),
    };
    let mut found = InTables { sizes: Vec::new(), windows: Windows::new(), checks: Vec::new() };
    for table in tables {
        if table.name == "clicks_agg" {
            found.sizes.push(files.windows(table, &mut found.windows)?);
            continue;
        }
        let waiting = held.entry(table.name).or_default();
        let (size, rows) = files.clicks(table, waiting)?;
        conservation.table(table.name, &rows, &waiting.rows);
        found.sizes.push(size);
    }
    found.checks.extend(files.rules.done());
    found.checks.push(conservation.done());
    Ok(found)
}

fn scope(what: &Verification<'_>) -> Scope {
    let Span { from_ms, until_ms } = what.span;
    Scope { files: what.files, from: from_ms.map(instant), until: until_ms.map(instant) }
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
