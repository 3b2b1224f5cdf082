//! Whether what billing reads is what the records of closed days say.
//!
//! ```text
//!   records of a day, a chain ─▶ files of the three tables ─▶ in the tables' logs, these and no others
//!        totals ◀──────────────── sums of the rows: streamed + entries = billed
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use weir_checkpoints::{Day, DayRecord, Names, Store};
use weir_connectors::delta::{BillingTable, billed, corrected};

use super::delta::DeltaTable;
use super::report::{CheckResult, Rule};

/// Checks all closed days.
pub(super) fn days(job: &str, checkpoints: &dyn Store, tables: &dyn Store) -> Result<[CheckResult; 3]> {
    let names = Names::new(job);
    let mut rules = Rules::new();
    let objects = checkpoints.list(&names.days())?;
    let dates: BTreeSet<&str> = objects.iter().filter_map(|object| names.date_of_record(&object.name)).collect();
    let mut listed: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for date in dates.into_iter().filter(|date| *date != "excluded") {
        let day = match Day::read(checkpoints, &names, date) {
            Ok(day) => day,
            Err(error) => {
                rules.chain.check(false, || error.to_string());
                continue;
            }
        };
        rules.chain.check(day.newest().is_some(), || format!("{date} has no first record"));
        for table in BillingTable::ALL {
            let files = files_of(&day, table).into_iter().map(|output| output.name);
            listed.entry(table.name()).or_default().extend(files);
        }
        if let Some(newest) = day.newest() {
            rules.sums(&day, newest, tables);
        }
    }
    for table in BillingTable::ALL {
        rules.shown(tables, table, job, &listed.remove(table.name()).unwrap_or_default())?;
    }
    Ok(rules.done())
}

struct Rules {
    chain: Rule,
    shown: Rule,
    sums: Rule,
}

impl Rules {
    fn new() -> Self {
        Self {
            chain: Rule::new("the records of each closed day form a chain"),
            shown: Rule::new(
                "billing_daily, corrections and clicks_agg_corrected show the files of the newest records, and no others",
            ),
            sums: Rule::new("for each closed day, streamed + corrections = billed, ad by ad and as its record says"),
        }
    }

    fn sums(&mut self, day: &Day, newest: &DayRecord, tables: &dyn Store) {
        let found = sums(day, tables);
        let date = &newest.date;
        match found {
            Err(error) => self.sums.check(false, || format!("{date}: {error:#}")),
            Ok(wrong) => self.sums.check(wrong.is_none(), || format!("{date}: {}", wrong.unwrap_or_default())),
        }
    }

    fn shown(&mut self, store: &dyn Store, table: BillingTable, job: &str, listed: &BTreeSet<String>) -> Result<()> {
        let shown = DeltaTable::open(store, table.name(), job, u64::MAX, &mut self.shown)?;
        let shown: BTreeSet<String> = shown.files.keys().map(|path| format!("{}/{path}", table.name())).collect();
        for name in listed {
            self.shown.check(shown.contains(name), || format!("{name} is not in the table: run weir reconcile again"));
        }
        for name in shown.difference(listed) {
            self.shown.check(false, || format!("{name} is in the table, and in no record"));
        }
        Ok(())
    }

    fn done(self) -> [CheckResult; 3] {
        [self.chain, self.shown, self.sums].map(Rule::done)
    }
}

/// What a table should show of a day: of the ledger all revisions, of the others the newest.
fn files_of(day: &Day, table: BillingTable) -> Vec<weir_checkpoints::OutputPart> {
    let records: Vec<&DayRecord> = match table {
        BillingTable::Corrections => day.records().collect(),
        BillingTable::Daily | BillingTable::Windows => day.newest().into_iter().collect(),
    };
    let outputs = records.into_iter().flat_map(|record| &record.outputs);
    outputs.filter(|output| output.sink == table.name()).cloned().collect()
}

/// What does not add up, if anything.
fn sums(day: &Day, tables: &dyn Store) -> Result<Option<String>> {
    let Some(newest) = day.newest() else { return Ok(None) };
    let mut figures: BTreeMap<Arc<str>, i64> = BTreeMap::new();
    let mut deltas = 0;
    for file in files_of(day, BillingTable::Corrections) {
        for entry in corrected(tables, &file)? {
            let before = figures.insert(entry.ad_id.as_str().into(), entry.recounted);
            if before.is_some_and(|before| before != entry.streamed) {
                let (ad, before) = (&entry.ad_id, before.unwrap_or_default());
                return Ok(Some(format!("an entry of {ad} goes on from {} instead of {before}", entry.streamed)));
            }
            deltas += entry.recounted - entry.streamed;
        }
    }
    let mut total = 0;
    for file in files_of(day, BillingTable::Daily) {
        for row in billed(tables, &file)? {
            total += row.click_count;
            if figures.get(row.ad_id.as_str()).is_some_and(|figure| *figure != row.click_count) {
                return Ok(Some(format!(
                    "{} is billed {} clicks, the ledger ends elsewhere",
                    row.ad_id, row.click_count
                )));
            }
        }
    }
    let totals = newest.totals;
    if total == totals.billed && totals.streamed + deltas == total {
        return Ok(None);
    }
    Ok(Some(format!(
        "{} clicks streamed, {deltas} corrected and {total} billed, the record has {} billed",
        totals.streamed, totals.billed
    )))
}
