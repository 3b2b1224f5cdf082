//! Closed days in ClickHouse: what the records and their files say, once the tables have it.

use std::sync::Arc;

use anyhow::{Context, Result};
use chrono::NaiveDate;
use weir_checkpoints::{Day, DayRecord, Names, Store};
use weir_connectors::clickhouse::{ClickHouseConfig, ClosedDay, has_day, write_day};
use weir_connectors::delta::{BillingTable, billed, commit_day, corrected, corrected_windows};

use super::of_table;

/// Where closed days are, and where they go.
pub struct DaysToClickHouse<'a> {
    /// Where their records are.
    pub checkpoints: &'a dyn Store,
    /// Where their files are.
    pub tables: &'a Arc<dyn Store>,
    /// ClickHouse.
    pub config: &'a ClickHouseConfig,
}

impl DaysToClickHouse<'_> {
    /// Inserts all days that have a window in `from_ms..until_ms`, whether they are there or not; returns how many.
    pub fn write_all(&self, from_ms: i64, until_ms: i64) -> Result<u64> {
        let names = Names::new(&self.config.job);
        let objects = self.checkpoints.list(&names.days())?;
        let mut dates: Vec<&str> = objects.iter().filter_map(|object| names.date_of_record(&object.name)).collect();
        dates.dedup();
        let mut written = 0;
        for date in dates.into_iter().filter(|date| date.parse::<NaiveDate>().is_ok()) {
            let day = Day::read(self.checkpoints, &names, date)?;
            let in_span = day.newest().is_some_and(|newest| newest.start_ms < until_ms && from_ms < newest.end_ms);
            if let Some(newest) = day.newest().filter(|_| in_span) {
                // Who made the record may have been interrupted: no figure is in ClickHouse before it is in the tables.
                commit_day(self.tables, newest)?;
                self.insert(&day, newest)?;
                written += 1;
            }
        }
        Ok(written)
    }

    /// Inserts a closed day, unless it is there; whether it was not.
    pub fn write(&self, day: &Day) -> Result<bool> {
        let Some(newest) = day.newest() else { return Ok(false) };
        if runtime()?.block_on(has_day(
            self.config,
            date_of(newest)?,
            newest.revision,
            &newest.run,
            newest.totals.ads,
        ))? {
            return Ok(false);
        }
        self.insert(day, newest)?;
        Ok(true)
    }

    fn insert(&self, day: &Day, newest: &DayRecord) -> Result<()> {
        let mut entries = Vec::new();
        for record in day.records() {
            let of_record = self.rows(record, BillingTable::Corrections, corrected)?;
            entries.extend(of_record.into_iter().map(|entry| (record.revision, record.run.clone(), entry)));
        }
        let closed = ClosedDay {
            date: date_of(newest)?,
            revision: newest.revision,
            run: &newest.run,
            manifest_hash: &newest.closed_on.hash,
            epoch: newest.closed_on.epoch.0,
            billed: &self.rows(newest, BillingTable::Daily, billed)?,
            entries: &entries,
            windows: &self.rows(newest, BillingTable::Windows, corrected_windows)?,
        };
        Ok(runtime()?.block_on(write_day(self.config, &closed))?)
    }

    fn rows<T, E>(
        &self,
        record: &DayRecord,
        table: BillingTable,
        read: impl Fn(&dyn Store, &weir_checkpoints::OutputPart) -> Result<Vec<T>, E>,
    ) -> Result<Vec<T>>
    where
        anyhow::Error: From<E>,
    {
        let mut rows = Vec::new();
        for file in of_table(record, table) {
            rows.extend(read(self.tables.as_ref(), &file)?);
        }
        Ok(rows)
    }
}

fn date_of(record: &DayRecord) -> Result<NaiveDate> {
    record.date.parse().with_context(|| format!("`{}` is no date", record.date))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")
}
