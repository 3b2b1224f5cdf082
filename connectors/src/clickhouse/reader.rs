//! Answers questions about windows from `clicks_agg`.
//!
//! Before a merge a window may have several rows, and the one with the largest revision counts. `argMax` over the question's
//! own rows finds it; `FINAL` does the same at 1.5 to 3.5 times the cost on the current engine, most for the top list
//! (9 million rows, three revisions a window, no merge).
//!
//! Values are bound by the client, which escapes them: no ad's name is ever a part of the SQL.

use std::sync::Arc;

use clickhouse::Row;
use clickhouse::query::Query;
use serde::Deserialize;
use weir_dataflow::{TopAd, TopQuery, WindowQuery, WindowStats};

use super::client::Server;
use super::columns::TABLE;
use super::progress::{self, Coverage, expired_before_ms};
use super::rows::LATEST_MS;
use super::schema;
use super::{ClickHouseConfig, ClickHouseError};

/// Reads a job's windows.
#[derive(Clone)]
pub struct ClickHouseReader {
    server: Server,
    config: Arc<ClickHouseConfig>,
}

#[derive(Row, Deserialize)]
struct WindowRow {
    ad_id: String,
    region: String,
    start: u32,
    click_count: u64,
    unique_users: u64,
    is_final: u8,
    epoch: u64,
    /// RowBinary writes a text as it does a list of bytes.
    user_sketch: Vec<u8>,
}

#[derive(Row, Deserialize)]
struct TopRow {
    ad_id: String,
    click_count: u64,
}

impl ClickHouseReader {
    /// A reader; nothing is asked yet.
    #[must_use]
    pub fn new(config: ClickHouseConfig) -> Self {
        Self { server: Server::new(&config), config: Arc::new(config) }
    }

    /// The server's version, which shows that it can be reached.
    pub async fn version(&self) -> Result<String, ClickHouseError> {
        schema::version(&self.server).await
    }

    /// The newest value of each window that is asked for, in no order. Open windows are among them where the job writes
    /// them; their sketches are never there.
    pub async fn windows(&self, query: &WindowQuery) -> Result<Vec<WindowStats>, ClickHouseError> {
        let rows: Vec<WindowRow> = self.server.rows("read windows", self.windows_query(query)).await?;
        let stats = rows.into_iter().map(|row| WindowStats {
            ad_id: row.ad_id.into(),
            region: (!row.region.is_empty()).then(|| row.region.into()),
            window: query.window,
            start_ms: i64::from(row.start) * 1000,
            click_count: row.click_count,
            unique_users: row.unique_users,
            user_sketch: row.user_sketch,
            is_final: row.is_final != 0,
            epoch: row.epoch,
        });
        Ok(stats.collect())
    }

    fn windows_query(&self, query: &WindowQuery) -> Query {
        let sketch = if query.sketches { "argMax(user_sketch, revision)" } else { "''" };
        let mut sql = format!(
            "SELECT ad_id, region, toUInt32(window_start), argMax(click_count, revision), argMax(unique_users, revision), \
             argMax(final, revision), argMax(epoch, revision), {sketch} FROM {} WHERE window = ? AND window_start >= \
             toDateTime(?) AND window_start < toDateTime(?)",
            self.server.table(TABLE)
        );
        if !query.ads.is_empty() {
            sql.push_str(&format!(" AND ad_id IN ({})", vec!["?"; query.ads.len()].join(", ")));
        }
        if query.region.is_some() {
            sql.push_str(" AND region = ?");
        }
        sql.push_str(" GROUP BY ad_id, region, window_start");
        let bound = self.server.query(&sql).bind(query.window.as_str());
        let bound = bound.bind(first_second(query.start_ms)).bind(first_second(query.end_ms));
        let bound = query.ads.iter().fold(bound, |bound, ad| bound.bind(ad.as_ref()));
        query.region.iter().fold(bound, |bound, region| bound.bind(region.as_ref()))
    }

    /// The ads with the most clicks in one window, the first first.
    pub async fn top(&self, query: &TopQuery) -> Result<Vec<TopAd>, ClickHouseError> {
        let region = if query.region.is_some() { " AND region = ?" } else { "" };
        let sql = format!(
            "SELECT ad_id, sum(clicks) AS click_count FROM (SELECT ad_id, region, argMax(click_count, revision) AS clicks \
             FROM {} WHERE window = ? AND window_start = toDateTime(?){region} GROUP BY ad_id, region) GROUP BY ad_id \
             ORDER BY click_count DESC, ad_id LIMIT {}",
            self.server.table(TABLE),
            query.limit
        );
        // A window that cannot be there must not be taken for one at the edge.
        if query.limit == 0 || !(0..LATEST_MS).contains(&query.start_ms) || query.start_ms % 1000 != 0 {
            return Ok(Vec::new());
        }
        let bound = self.server.query(&sql).bind(query.window.as_str()).bind(first_second(query.start_ms));
        let bound = query.region.iter().fold(bound, |bound, region| bound.bind(region.as_ref()));
        let rows: Vec<TopRow> = self.server.rows("read the top ads", bound).await?;
        Ok(rows.into_iter().map(|row| TopAd { ad_id: row.ad_id.into(), click_count: row.click_count }).collect())
    }

    /// Which windows are there for certain.
    pub async fn coverage(&self) -> Result<Coverage, ClickHouseError> {
        let found = match progress::read(&self.server, &self.config.job).await {
            // Nothing was ever written, or it was started anew without its data.
            Err(error) if error.is_missing() => None,
            other => other?,
        };
        Ok(found.map_or_else(Coverage::default, |row| Coverage {
            from_ms: row.from_ms.max(expired_before_ms(self.config.retention)),
            until_ms: row.until_ms,
        }))
    }
}

/// The first whole second at or after an instant, within what a `DateTime` can be.
fn first_second(time_ms: i64) -> i64 {
    (time_ms.clamp(0, LATEST_MS) + 999) / 1000
}
