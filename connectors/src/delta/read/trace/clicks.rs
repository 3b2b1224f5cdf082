//! Clicks of one ad, from the archive or the table of late clicks.

use std::sync::Arc;

use weir_checkpoints::{Epoch, Manifest, Offset, PartitionId};
use weir_dataflow::Click;

use super::scan::{Found, FoundColumn, Scan, TracedFile};
use super::wanted::Wanted;
use super::{AdTrace, TraceError};
use crate::delta::live::LiveTable;
use crate::delta::table::Table;

/// Which clicks.
#[derive(Debug, Clone)]
pub struct ClicksOf<'a> {
    /// The ad.
    pub ad_id: &'a str,
    /// Clicks that happened from here on, unix time in milliseconds …
    pub from_ms: i64,
    /// … and before this.
    pub until_ms: i64,
}

/// A table of clicks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClicksTable {
    /// `clicks_raw`: every valid click.
    Archive,
    /// `clicks_late`: clicks that were not counted because of their time.
    Late,
}

impl ClicksTable {
    pub(in crate::delta) const fn table(self) -> Table {
        match self {
            Self::Archive => Table::Raw,
            Self::Late => Table::Late,
        }
    }
}

/// A click as it stands in a table: one record of the log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClickCopy<'a> {
    /// The click. Address and user agent of one that has a `click_id` are not read: they are not part of its identity.
    pub click: Click<'a>,
    /// Why it was not counted, in the table of late clicks.
    pub reason: Option<&'a str>,
    /// The topic it came from; unknown while it is held back.
    pub topic: Option<&'a str>,
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
    /// The epoch it was read in.
    pub epoch: Epoch,
    /// The region it came in, if there is one.
    pub region: Option<&'a str>,
    /// The file it stands in; none while it is held back for one.
    pub file: Option<&'a Arc<TracedFile>>,
}

/// What becomes of some clicks of one file, on the thread that reads them.
pub trait ClickBatch: Send {
    /// Takes a record in.
    fn add(&mut self, copy: &ClickCopy<'_>);

    /// All are there.
    fn end(&mut self) {}
}

const COLUMNS: [&str; 7] = ["user_id", "timestamp", "click_id", "partition", "offset", "epoch", "region"];
const LATE_COLUMNS: [&str; 8] =
    ["user_id", "timestamp", "click_id", "partition", "offset", "epoch", "region", "reason"];

/// A file has the clicks of one topic.
const ONCE: [&str; 1] = ["topic"];

/// The rest of a click's identity where it has no id.
const IDENTITY: [&str; 2] = ["ip_address", "user_agent"];

impl AdTrace {
    /// Hands out every record of a table that is asked for, in any order.
    pub fn clicks(
        &self,
        table: ClicksTable,
        of: &ClicksOf<'_>,
        manifest: Option<&Manifest>,
        mut take: impl FnMut(ClickCopy<'_>),
    ) -> Result<(), TraceError> {
        let live = LiveTable::read(self.store.as_ref(), table.table().name(), manifest)?;
        self.scan(&live, &scan(table, of), |found| each(&found, of.ad_id, &mut take))
    }

    /// Hands out the same records in batches, each of one file, that are made by the threads that read them.
    pub fn clicks_in_batches<B: ClickBatch>(
        &self,
        table: ClicksTable,
        of: &ClicksOf<'_>,
        manifest: Option<&Manifest>,
        begin: impl Fn() -> B + Sync,
        mut take: impl FnMut(B),
    ) -> Result<(), TraceError> {
        let live = LiveTable::read(self.store.as_ref(), table.table().name(), manifest)?;
        let make = |found: Found| {
            let mut batch = begin();
            each(&found, of.ad_id, &mut |copy| batch.add(&copy))?;
            batch.end();
            Ok(batch)
        };
        self.scan_as(&live, &scan(table, of), make, |batch| {
            take(batch);
            Ok(())
        })
    }
}

fn scan<'a>(table: ClicksTable, of: &ClicksOf<'a>) -> Scan<'a> {
    Scan {
        wanted: Wanted {
            ad_id: of.ad_id,
            time_ms: of.from_ms..of.until_ms,
            time_column: Some("event_time"),
            partition: None,
        },
        columns: if table == ClicksTable::Late { &LATE_COLUMNS } else { &COLUMNS },
        once: &ONCE,
        for_nulls: Some(("click_id", &IDENTITY)),
    }
}

fn each(found: &Found, ad_id: &str, take: &mut dyn FnMut(ClickCopy<'_>)) -> Result<(), TraceError> {
    let columns = Columns::of(found);
    for row in 0..found.rows {
        take(columns.copy(ad_id, row)?);
    }
    Ok(())
}

/// The columns of some clicks.
struct Columns<'a> {
    found: &'a Found,
    user_id: FoundColumn<'a>,
    timestamp: FoundColumn<'a>,
    click_id: FoundColumn<'a>,
    ip_address: FoundColumn<'a>,
    user_agent: FoundColumn<'a>,
    reason: FoundColumn<'a>,
    topic: FoundColumn<'a>,
    partition: FoundColumn<'a>,
    offset: FoundColumn<'a>,
    epoch: FoundColumn<'a>,
    region: FoundColumn<'a>,
}

impl<'a> Columns<'a> {
    fn of(found: &'a Found) -> Self {
        Self {
            found,
            user_id: found.column("user_id"),
            timestamp: found.column("timestamp"),
            click_id: found.column("click_id"),
            ip_address: found.column("ip_address"),
            user_agent: found.column("user_agent"),
            reason: found.column("reason"),
            topic: found.column("topic"),
            partition: found.column("partition"),
            offset: found.column("offset"),
            epoch: found.column("epoch"),
            region: found.column("region"),
        }
    }

    fn copy(&self, ad_id: &'a str, row: usize) -> Result<ClickCopy<'a>, TraceError> {
        let impossible = |_| TraceError::damaged(&self.found.file.path, "a partition has no possible number");
        Ok(ClickCopy {
            click: Click {
                ad_id,
                user_id: self.user_id.text(row)?,
                timestamp: self.timestamp.number(row)?,
                click_id: self.click_id.maybe_text(row)?,
                ip_address: self.ip_address.maybe_text(row)?,
                user_agent: self.user_agent.maybe_text(row)?,
            },
            reason: self.reason.maybe_text(row)?,
            topic: self.topic.maybe_text(0)?,
            partition: PartitionId(u32::try_from(self.partition.count(row)?).map_err(impossible)?),
            offset: Offset(self.offset.count(row)?),
            epoch: Epoch(self.epoch.count(row)?),
            region: self.region.maybe_text(row)?,
            file: Some(&self.found.file),
        })
    }
}
