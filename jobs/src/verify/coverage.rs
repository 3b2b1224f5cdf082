//! Whether what was read is all in the tables: what has to be so before a day can be billed.

use anyhow::Result;
use weir_checkpoints::{Names, Sequence, Store};

use super::chain::Chain;
use super::conservation::Conservation;
use super::delta::DeltaTable;
use super::files::{FileRules, Files};
use super::lineage::Lineages;
use super::report::{CheckResult, Rule};
use super::span::Span;
use super::stand::Stand;

/// What is missing, too much, or does not fit together, one sentence each: in the chain of manifests from `since` on, and
/// in the rows of `clicks_raw` and `clicks_late`, partition by partition.
pub fn coverage(
    job: &str,
    checkpoints: &dyn Store,
    tables: &dyn Store,
    since: Option<Sequence>,
) -> Result<Vec<String>> {
    let names = Names::new(job);
    let Stand { manifest: newest, mut held, readable, .. } = Stand::read(checkpoints, &names)?;
    let mut chain = Chain::read(checkpoints, &names, since, &newest)?;
    let mut checks = std::mem::take(&mut chain.checks);
    let mut once = Rule::new("no file is in a table's log twice");
    let mut opened = Vec::new();
    for name in ["clicks_raw", "clicks_late"] {
        let mut table = DeltaTable::open(tables, name, job, newest.epoch.0, &mut once)?;
        table.add_not_shown(&chain.listed, newest.epoch.0);
        opened.push(table);
    }
    chain.follow(checkpoints, &names, &newest)?;
    let mut conservation = Conservation::new(&newest);
    let span = Span::default();
    let rules = FileRules::new();
    let mut files = Files { store: tables, listed: &chain.listed, newest: &newest, whole: false, span, rules };
    let mut lineages = Lineages::new(&chain.listed);
    for table in &opened {
        lineages.table(table);
        let held = held.entry(table.name).or_default();
        let (_, rows) = files.clicks(table, held)?;
        conservation.table(table.name, &rows, &held.rows);
    }
    checks.extend([readable, once.done(), conservation.done()]);
    checks.extend(files.rules.done());
    checks.extend(lineages.done());
    Ok(checks.into_iter().flat_map(sentences).collect())
}

fn sentences(check: CheckResult) -> Vec<String> {
    let more = check.broken.saturating_sub(check.examples.len() as u64);
    let rest = (more > 0).then(|| format!("{more} more of that kind"));
    check.examples.into_iter().chain(rest).collect()
}
