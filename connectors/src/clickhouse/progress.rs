//! `weir_progress`: how far `clicks_agg` is complete, so that whoever plans a question knows what to ask of it.
//!
//! A row is written by reading the newest and adding one to its revision. Two writers at once, a job and a rebuild, may
//! lose one of two claims; each was true when it was made, and the job's next one follows within a second. The claims
//! only ever say too little.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clickhouse::Row;
use serde::Deserialize;

use super::ClickHouseError;
use super::client::{Server, quoted};
use super::columns::PROGRESS;
use super::rows::LATEST_MS;

/// What is in ClickHouse for certain: every final window that starts at or after `from_ms` and ends at or before
/// `until_ms`, unix time in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Windows that start earlier may be missing.
    pub from_ms: i64,
    /// Windows that end later may be missing.
    pub until_ms: i64,
}

impl Coverage {
    /// Whether no window is certain.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.from_ms >= self.until_ms
    }
}

/// The newest row of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Row, Deserialize)]
pub(super) struct Progress {
    pub(super) epoch: u64,
    pub(super) from_ms: i64,
    pub(super) until_ms: i64,
    pub(super) revision: u64,
}

/// Reads the newest row.
pub(super) async fn read(server: &Server, job: &str) -> Result<Option<Progress>, ClickHouseError> {
    let sql = format!(
        "SELECT epoch, from_ms, until_ms, revision FROM {} WHERE job = {} ORDER BY revision DESC LIMIT 1",
        server.table(PROGRESS),
        quoted(job).replace('?', "??")
    );
    Ok(server.rows("read the progress", server.query(&sql)).await?.into_iter().next())
}

/// Writes a row that takes the place of `before`.
pub(super) async fn write(
    server: &Server,
    job: &str,
    before: Option<Progress>,
    next: Progress,
) -> Result<(), ClickHouseError> {
    let sql = format!(
        "INSERT INTO {} (job, epoch, from_ms, until_ms, revision, written) VALUES ({}, {}, {}, {}, {}, {})",
        server.table(PROGRESS),
        quoted(job),
        next.epoch,
        next.from_ms,
        next.until_ms,
        before.map_or(1, |before| before.revision + 1),
        now_ms() / 1000,
    );
    server.execute("write the progress", &sql).await
}

/// Before this, windows have expired or may at any moment.
pub(super) fn expired_before_ms(retention: Option<Duration>) -> i64 {
    let retention_ms = retention.map(|retention| i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
    retention_ms.map_or(0, |retention_ms| now_ms().saturating_sub(retention_ms).max(0))
}

/// What `until_ms` can be for windows closed until then.
pub(super) fn until_ms(closed_until_ms: Option<i64>) -> i64 {
    closed_until_ms.unwrap_or(0).min(LATEST_MS)
}

/// Unix time in milliseconds.
pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
