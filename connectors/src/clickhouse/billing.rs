//! Closed days: `billing_daily`, `corrections`, and the windows of `clicks_agg` as they are billed.
//!
//! ```text
//!   day's newest record ─▶ all of its rows there? ─yes─▶ nothing to do
//!                              │ no
//!                              ▼
//!            windows into clicks_agg ─▶ corrections ─▶ billing_daily: its rows say that the others are there
//! ```
//!
//! Rows have absolute values and the number of their revision, so inserting them again, in any order, changes nothing. A
//! window's corrected row has a revision beyond all epochs: whatever the job or a rebuild inserts later, it stays the newest.

use bytes::Bytes;
use chrono::NaiveDate;
use clickhouse::Row;
use serde::Deserialize;
use weir_dataflow::WindowRow;
use weir_dataflow::reconcile::BilledWindow;

use super::client::{Server, quoted};
use super::columns::{REVISION, TABLE, inserted_names};
use super::rows::{Body, Packed, push_text};
use super::schema::{self, Features};
use super::{ClickHouseConfig, ClickHouseError};
use crate::delta::{BilledAd, CorrectedAd};

/// What is billed.
const DAILY: &str = "billing_daily";

/// Why.
const CORRECTIONS: &str = "corrections";

/// One row for each ad and day: the newest.
const DAILY_LATEST: &str = "billing_daily_latest";

const DAILY_COLUMNS: &str = "date, ad_id, click_count, unique_users, status, run, manifest_hash, revision, clicks_root";
const CORRECTIONS_COLUMNS: &str = "date, ad_id, streamed, recounted, delta, reason, run, offsets, revision";

/// Corrected rows have this and the day's revision as theirs. Epochs stay below it.
const CORRECTED: u64 = 1 << 63;

/// How large an insert is, packed.
const INSERT_BYTES: usize = 16 << 20;

/// A closed day at its newest revision.
pub struct ClosedDay<'a> {
    /// The day.
    pub date: NaiveDate,
    /// The revision.
    pub revision: u32,
    /// The run that made it.
    pub run: &'a str,
    /// The manifest that it was closed on.
    pub manifest_hash: &'a str,
    /// The last epoch that it was closed on.
    pub epoch: u64,
    /// Its rows of `billing_daily`.
    pub billed: &'a [BilledAd],
    /// Its ledger, each entry with the revision and the run that added it.
    pub entries: &'a [(u32, String, CorrectedAd)],
    /// Its rows of `clicks_agg_corrected`.
    pub windows: &'a [BilledWindow],
}

/// Whether ClickHouse has the revision of a day that a run has made, and that bills this many ads. The other tables are not
/// looked at: their rows were inserted before.
pub async fn has_day(
    config: &ClickHouseConfig,
    date: NaiveDate,
    revision: u32,
    run: &str,
    ads: u64,
) -> Result<bool, ClickHouseError> {
    if ads == 0 {
        return Ok(true);
    }
    let server = Server::new(config);
    let sql = format!(
        "SELECT count() AS rows FROM (SELECT ad_id, max(revision) AS newest, argMax(run, revision) AS made_by FROM {} \
         WHERE date = {} GROUP BY ad_id) WHERE newest = {revision} AND made_by = {}",
        server.table(DAILY),
        quoted(&date.to_string()),
        quoted(run)
    );
    match server.rows::<Count>("look for a closed day", server.query(&sql)).await {
        Ok(found) => Ok(found.first().is_some_and(|found| found.rows == ads)),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the tables where they are missing, and inserts a day.
pub async fn write_day(config: &ClickHouseConfig, day: &ClosedDay<'_>) -> Result<(), ClickHouseError> {
    let server = Server::new(config);
    let features = schema::prepare(&server, config).await?;
    for (name, sql) in definitions(&server) {
        // Who may only insert is not asked to create what is there.
        if !schema::has_table(&server, config, name).await? {
            server.execute("create a table", &sql).await?;
        }
    }
    // No server shall take an insert for one of the past: its table may have been emptied since.
    Writer { server, features: Features { deduplication_token: false, ..features }, day }.write().await
}

#[derive(Row, Deserialize)]
struct Count {
    rows: u64,
}

fn definitions(server: &Server) -> [(&'static str, String); 3] {
    let (daily, corrections, latest) = (server.table(DAILY), server.table(CORRECTIONS), server.table(DAILY_LATEST));
    [
        (
            DAILY,
            format!(
                "CREATE TABLE IF NOT EXISTS {daily} (date Date, ad_id String, click_count UInt64, unique_users UInt64, \
                 status String, run String, manifest_hash String, revision UInt32, clicks_root String) \
                 ENGINE = ReplacingMergeTree(revision) PARTITION BY toYYYYMM(date) ORDER BY (date, ad_id)"
            ),
        ),
        (
            CORRECTIONS,
            format!(
                "CREATE TABLE IF NOT EXISTS {corrections} (date Date, ad_id String, streamed Int64, recounted Int64, \
                 delta Int64, reason String, run String, offsets String, revision UInt32) ENGINE = ReplacingMergeTree \
                 PARTITION BY toYYYYMM(date) ORDER BY (date, ad_id, revision, reason)"
            ),
        ),
        (DAILY_LATEST, format!("CREATE VIEW IF NOT EXISTS {latest} AS SELECT {DAILY_COLUMNS} FROM {daily} FINAL")),
    ]
}

struct Writer<'a> {
    server: Server,
    features: Features,
    day: &'a ClosedDay<'a>,
}

impl Writer<'_> {
    async fn write(&self) -> Result<(), ClickHouseError> {
        self.windows().await?;
        // What a `Date` cannot hold is not in ClickHouse.
        let Ok(days) = u16::try_from(self.day.date.signed_duration_since(NaiveDate::default()).num_days()) else {
            return Ok(());
        };
        self.rows(CORRECTIONS, CORRECTIONS_COLUMNS, self.day.entries, |out, (revision, run, entry)| {
            out.extend_from_slice(&days.to_le_bytes());
            push_text(out, entry.ad_id.as_bytes());
            for number in [entry.streamed, entry.recounted, entry.recounted - entry.streamed] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            [&entry.reason, run, &entry.offsets].into_iter().for_each(|text| push_text(out, text.as_bytes()));
            out.extend_from_slice(&revision.to_le_bytes());
        })
        .await?;
        self.rows(DAILY, DAILY_COLUMNS, self.day.billed, |out, row| {
            out.extend_from_slice(&days.to_le_bytes());
            push_text(out, row.ad_id.as_bytes());
            out.extend_from_slice(&row.click_count.to_le_bytes());
            out.extend_from_slice(&row.unique_users.to_le_bytes());
            ["final", self.day.run, self.day.manifest_hash]
                .into_iter()
                .for_each(|text| push_text(out, text.as_bytes()));
            out.extend_from_slice(&self.day.revision.to_le_bytes());
            push_text(out, row.clicks_root.as_deref().unwrap_or_default().as_bytes());
        })
        .await
    }

    /// What a `DateTime` cannot hold is not in ClickHouse.
    async fn windows(&self) -> Result<(), ClickHouseError> {
        let columns = format!("{}, {}", inserted_names(), REVISION.name);
        let revision = CORRECTED | u64::from(self.day.revision);
        let mut body = Body::default();
        for window in self.day.windows {
            let row = WindowRow {
                ad_id: &window.ad_id,
                region: window.region.as_deref(),
                window: window.window,
                start_ms: window.start_ms,
                click_count: window.click_count,
                unique_users: window.unique_users,
                user_sketch: &window.user_sketch,
                epoch: weir_checkpoints::Epoch(self.day.epoch),
            };
            body.push_revised(&row, revision);
            if body.packed_bytes() >= INSERT_BYTES {
                self.insert(TABLE, &columns, body.take()).await?;
            }
        }
        self.insert(TABLE, &columns, body.take()).await
    }

    async fn rows<T>(
        &self,
        table: &str,
        columns: &str,
        rows: &[T],
        encode: impl Fn(&mut Vec<u8>, &T),
    ) -> Result<(), ClickHouseError> {
        let mut packed = Packed::default();
        for row in rows {
            packed.push(|out| encode(out, row));
            if packed.bytes() >= INSERT_BYTES {
                self.insert(table, columns, packed.take()).await?;
            }
        }
        self.insert(table, columns, packed.take()).await
    }

    async fn insert(&self, table: &str, columns: &str, body: Vec<u8>) -> Result<(), ClickHouseError> {
        let mut unsent = Some(Bytes::from(body)).filter(|body| !body.is_empty());
        if unsent.is_none() {
            return Ok(());
        }
        self.server.insert_into((table, columns), self.features, "", || Ok::<_, ClickHouseError>(unsent.take())).await
    }
}
