//! Rows of one ad and day from a table by day, with whatever columns it has.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate};
use serde_json::Value;

use super::column::Values;
use super::scan::Scan;
use super::wanted::Wanted;
use super::{AdTrace, TraceError};
use crate::delta::live::LiveTable;
use crate::delta::table::DAYS_BEFORE_1970;

/// Which rows.
#[derive(Debug, Clone)]
pub struct LedgerOf<'a> {
    /// The ad.
    pub ad_id: &'a str,
    /// Days from here on, unix time in milliseconds …
    pub from_ms: i64,
    /// … and before this.
    pub until_ms: i64,
}

/// A row, by the names of its columns. Texts that are JSON objects or arrays are that; times are RFC 3339.
pub type LedgerRow = BTreeMap<String, Value>;

impl AdTrace {
    /// The rows that are asked for, in no order; none where there is no such table.
    pub fn ledger(&self, table: &str, of: &LedgerOf<'_>) -> Result<Option<Vec<LedgerRow>>, TraceError> {
        let live = LiveTable::read(self.store.as_ref(), table, None)?;
        if !live.exists() {
            return Ok(None);
        }
        let time_ms = of.from_ms..of.until_ms;
        let wanted = Wanted { ad_id: of.ad_id, time_ms, time_column: None, partition: None };
        let mut rows = Vec::new();
        self.scan(&live, &Scan { wanted, columns: &[], once: &[], for_nulls: None }, |found| {
            rows.extend((0..found.rows).map(|row| -> LedgerRow {
                found.columns().map(|(name, values)| (name.to_owned(), json(values, row))).collect()
            }));
            Ok(())
        })?;
        Ok(Some(rows))
    }
}

fn json(values: &Values, row: usize) -> Value {
    match values {
        Values::Texts(_) => values.text(row).map_or(Value::Null, text),
        Values::Numbers(numbers) => numbers.get(row).copied().flatten().into(),
        Values::Times(times) => times.get(row).copied().flatten().and_then(time).into(),
        Values::Dates(days) => days.get(row).copied().flatten().and_then(date).into(),
        Values::Reals(reals) => reals.get(row).copied().flatten().into(),
        Values::Flags(flags) => flags.get(row).copied().flatten().into(),
    }
}

fn text(text: &str) -> Value {
    let nested = text.starts_with(['{', '[']).then(|| serde_json::from_str(text).ok()).flatten();
    nested.unwrap_or_else(|| text.into())
}

fn time(time_ms: i64) -> Option<String> {
    Some(DateTime::from_timestamp_millis(time_ms)?.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
}

fn date(day: i64) -> Option<String> {
    let day = i32::try_from(day).ok()?.checked_add(DAYS_BEFORE_1970)?;
    Some(NaiveDate::from_num_days_from_ce_opt(day)?.format("%Y-%m-%d").to_string())
}
