//! The tables: made where they are missing, brought up to date where they are older, left alone where they are not ours.
//!
//! - `clicks_agg`: `ReplacingMergeTree(revision)`. Partitioned by week: a retention of years makes a few hundred
//!   partitions, and one that has expired is dropped as a whole, without rewriting a part.
//! - `clicks_agg_latest`: the view for people. `FINAL` merges as it reads, within what the question's keys leave over.
//! - `weir_progress`: how far `clicks_agg` is complete, one row for each job.
//!
//! A table that is a `Distributed` or a replicated one, made beforehand, is used as it is, if it has our columns.

use std::time::Duration;

use clickhouse::Row;
use serde::Deserialize;

use super::client::{Server, quoted};
use super::columns::{self, Column, LATEST, PROGRESS, TABLE};
use super::{ClickHouseConfig, ClickHouseError};

/// What a server knows, by its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Features {
    pub(super) codecs: bool,
    pub(super) low_cardinality: bool,
    pub(super) ttl: bool,
    pub(super) partitions_limit: bool,
    pub(super) deduplication_token: bool,
}

impl Features {
    /// Of a version such as `26.9.2.1`. One that cannot be read is taken for the oldest: all that costs is comfort.
    pub(super) fn of(version: &str) -> Self {
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Self {
            codecs: version >= (20, 1),
            low_cardinality: version >= (20, 1),
            ttl: version >= (20, 1),
            partitions_limit: version >= (20, 1),
            deduplication_token: version >= (22, 2),
        }
    }
}

#[derive(Row, Deserialize)]
struct Text {
    text: String,
}

#[derive(Row, Deserialize)]
struct TableRow {
    name: String,
    engine: String,
}

#[derive(Row, Deserialize)]
struct ColumnRow {
    name: String,
    kind: String,
}

/// The server's version.
pub(super) async fn version(server: &Server) -> Result<String, ClickHouseError> {
    let found: Vec<Text> = server.rows("tell its version", server.query("SELECT version()")).await?;
    Ok(found.into_iter().next().map(|row| row.text).unwrap_or_default())
}

/// Makes what is missing, and adds what an earlier version of ours did not have.
pub(super) async fn prepare(server: &Server, config: &ClickHouseConfig) -> Result<Features, ClickHouseError> {
    let features = Features::of(&version(server).await?);
    let database = quoted(&config.database);
    let databases = server.query(&format!("SELECT name FROM system.databases WHERE name = {database}"));
    if server.rows::<Text>("list databases", databases).await?.is_empty() {
        server.execute("create the database", &format!("CREATE DATABASE IF NOT EXISTS {}", server.database())).await?;
    }
    let tables = server.query(&format!("SELECT name, engine FROM system.tables WHERE database = {database}"));
    let tables: Vec<TableRow> = server.rows("list tables", tables).await?;
    let engine_of = |name: &str| tables.iter().find(|table| table.name == name).map(|table| table.engine.as_str());
    match engine_of(TABLE) {
        None => server.execute("create a table", &create_table(server, features, config.retention)).await?,
        Some(engine) => {
            let own = engine.ends_with("MergeTree");
            migrate(server, &database, features, own).await?;
            if features.ttl && own {
                keep_retention(server, &database, config.retention).await?;
            }
        }
    }
    if engine_of(PROGRESS).is_none() {
        server.execute("create a table", &create_progress(server)).await?;
    }
    if engine_of(LATEST).is_none() {
        server.execute("create a view", &create_latest(server)).await?;
    }
    Ok(features)
}

/// Whether there is a table or a view of this name.
pub(super) async fn has_table(server: &Server, config: &ClickHouseConfig, name: &str) -> Result<bool, ClickHouseError> {
    let (database, name) = (quoted(&config.database), quoted(name));
    let sql = format!("SELECT name AS text FROM system.tables WHERE database = {database} AND name = {name}");
    Ok(!server.rows::<Text>("list tables", server.query(&sql)).await?.is_empty())
}

fn create_table(server: &Server, features: Features, retention: Option<Duration>) -> String {
    let columns: Vec<String> = columns::all().map(|column| definition(&column, features)).collect();
    let mut sql = format!(
        "CREATE TABLE IF NOT EXISTS {} ({}) ENGINE = ReplacingMergeTree(revision) PARTITION BY toMonday(window_start) \
         ORDER BY (window, ad_id, window_start, region)",
        server.table(TABLE),
        columns.join(", "),
    );
    if let Some(retention) = retention.filter(|_| features.ttl) {
        sql.push_str(&format!(" TTL {}", ttl(retention)));
    }
    let mut settings = Vec::new();
    if features.ttl {
        settings.push("ttl_only_drop_parts = 1");
    }
    if features.deduplication_token {
        settings.push("non_replicated_deduplication_window = 1000");
    }
    if !settings.is_empty() {
        sql.push_str(&format!(" SETTINGS {}", settings.join(", ")));
    }
    sql
}

fn definition(column: &Column, features: Features) -> String {
    let kind = column.better_kind.filter(|_| features.low_cardinality).unwrap_or(column.kind);
    if features.codecs {
        format!("{} {kind} CODEC({})", column.name, column.codec)
    } else {
        format!("{} {kind}", column.name)
    }
}

fn ttl(retention: Duration) -> String {
    format!("{TTL_OF}{})", retention.as_secs())
}

/// What a retention of ours begins with.
const TTL_OF: &str = "window_start + toIntervalSecond(";

fn create_progress(server: &Server) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (job String, epoch UInt64, from_ms Int64, until_ms Int64, revision UInt64, \
         written DateTime('UTC')) ENGINE = ReplacingMergeTree(revision) ORDER BY job",
        server.table(PROGRESS)
    )
}

fn create_latest(server: &Server) -> String {
    let names: Vec<&str> = columns::all().map(|column| column.name).collect();
    let (view, table) = (server.table(LATEST), server.table(TABLE));
    format!("CREATE VIEW IF NOT EXISTS {view} AS SELECT {} FROM {table} FINAL", names.join(", "))
}

/// Adds columns that are missing; refuses those of a type that our rows do not fit. A table that only stands in front of
/// others is not changed: they would have to be changed first.
async fn migrate(server: &Server, database: &str, features: Features, own: bool) -> Result<(), ClickHouseError> {
    let sql = format!("SELECT name, type FROM system.columns WHERE database = {database} AND table = '{TABLE}'");
    let there: Vec<ColumnRow> = server.rows("list columns", server.query(&sql)).await?;
    for column in columns::all() {
        match there.iter().find(|found| found.name == column.name) {
            Some(found) if fits(&found.kind, &column) => {}
            Some(found) => {
                let reason = format!(
                    "column {} is {}, not {}; change it, or move the table away and rebuild it with `weir clickhouse \
                     rebuild`",
                    column.name,
                    found.kind,
                    column.plain_kind()
                );
                return Err(ClickHouseError::Schema { table: TABLE.to_owned(), reason });
            }
            None if !own => {
                let reason = format!("it has no column {}; add it there and to the tables behind it", column.name);
                return Err(ClickHouseError::Schema { table: TABLE.to_owned(), reason });
            }
            None => {
                let definition = definition(&column, features);
                let sql = format!("ALTER TABLE {} ADD COLUMN {definition}", server.table(TABLE));
                server.execute("add a column", &sql).await?;
            }
        }
    }
    Ok(())
}

/// Whether RowBinary of our type is RowBinary of the type that is there.
fn fits(found: &str, column: &Column) -> bool {
    // The client and the servers put quotes and spaces in their own ways.
    let plain = |kind: &str| kind.replace([' ', '\\'], "");
    let found = plain(found);
    let wanted = [Some(column.plain_kind()), column.better_kind];
    let same = wanted.into_iter().flatten().any(|kind| plain(kind) == found);
    let text = column.plain_kind() == "String" && found == "LowCardinality(String)";
    same || text || (column.kind.starts_with("DateTime") && found.starts_with("DateTime("))
}

/// Gives the table the retention that is configured, unless somebody gave it a rule of their own.
async fn keep_retention(server: &Server, database: &str, retention: Option<Duration>) -> Result<(), ClickHouseError> {
    let sql = format!("SELECT create_table_query FROM system.tables WHERE database = {database} AND name = '{TABLE}'");
    let found: Vec<Text> = server.rows("read a table's definition", server.query(&sql)).await?;
    let definition = found.into_iter().next().map(|row| row.text).unwrap_or_default();
    let rule = definition.split_once(" TTL ").map(|(_, rule)| rule);
    let ours = rule.is_some_and(|rule| rule.starts_with(TTL_OF));
    let wanted = retention.map(ttl);
    let table = server.table(TABLE);
    match (rule, wanted) {
        (Some(rule), Some(wanted)) if ours && !rule.starts_with(&wanted) => {
            server.execute("change the retention", &format!("ALTER TABLE {table} MODIFY TTL {wanted}")).await
        }
        (None, Some(wanted)) => {
            server.execute("set the retention", &format!("ALTER TABLE {table} MODIFY TTL {wanted}")).await
        }
        (Some(_), None) if ours => {
            server.execute("remove the retention", &format!("ALTER TABLE {table} REMOVE TTL")).await
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_only_for_what_it_knows() {
        let old = Features::of("18.16.1");
        assert_eq!(old, Features::of("no version"));
        assert!(!old.ttl && !old.codecs && !old.deduplication_token);
        assert!(Features::of("21.8.3").ttl && !Features::of("21.8.3").deduplication_token);
        assert!(Features::of("26.9.2.1").deduplication_token);
    }

    #[test]
    fn types_fit_however_they_are_written() {
        let check = |name: &str, found: &str, fit: bool| {
            let column = columns::all().find(|column| column.name == name);
            assert_eq!(column.map(|column| fits(found, &column)), Some(fit), "{name} {found}");
        };
        check("window", "Enum8(\\'1m\\' = 1, \\'5m\\' = 5, \\'1h\\' = 60)", true);
        check("window", "String", false);
        check("region", "LowCardinality(String)", true);
        check("ad_id", "LowCardinality(String)", true);
        check("window_start", "DateTime('UTC')", true);
        check("window_start", "DateTime64(3, 'UTC')", false);
        check("revision", "UInt64", true);
        check("click_count", "Int64", false);
    }
}
