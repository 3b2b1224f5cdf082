//! The HTTP client: statements, questions, inserts of bodies; every call has an end.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use clickhouse::error::Error;
use clickhouse::query::Query;
use clickhouse::{Client, Row, RowOwned, RowRead};

use super::columns::{TABLE, inserted_names};
use super::schema::Features;
use super::{ClickHouseConfig, ClickHouseError};

/// A statement or a question takes no longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const INSERT: &str = "insert";
/// An insert may wait for merges.
const INSERT_TIMEOUT: Duration = Duration::from_secs(300);

/// A ClickHouse, as a user sees it.
#[derive(Clone)]
pub(super) struct Server {
    client: Client,
    url: String,
    database: String,
}

impl Server {
    pub(super) fn new(config: &ClickHouseConfig) -> Self {
        let url = config.url.to_string();
        let mut client = Client::default().with_url(&url).with_validation(false);
        if let Some(user) = &config.user {
            client = client.with_user(user);
        }
        if let Some(password) = &config.password {
            client = client.with_password(&password.0);
        }
        Self { client, url, database: quoted_name(&config.database) }
    }

    /// A table of ours, as SQL names it.
    pub(super) fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.database)
    }

    /// The database, as SQL names it.
    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// A question with a `?` for each value that is bound later.
    pub(super) fn query(&self, sql: &str) -> Query {
        self.client.query(sql)
    }

    /// Runs a statement, as it is.
    pub(super) async fn execute(&self, action: &'static str, sql: &str) -> Result<(), ClickHouseError> {
        self.within(CALL_TIMEOUT, action, self.client.query_raw(sql).execute()).await
    }

    /// All rows of an answer.
    pub(super) async fn rows<T>(&self, action: &'static str, query: Query) -> Result<Vec<T>, ClickHouseError>
    where
        T: Row + RowOwned + RowRead,
    {
        self.within(CALL_TIMEOUT, action, query.fetch_all::<T>()).await
    }

    /// Sends bodies as one insert into `clicks_agg`, see [`Server::insert_into`].
    pub(super) async fn insert<E: From<ClickHouseError>>(
        &self,
        features: Features,
        token: &str,
        next: impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<(), E> {
        self.insert_into((TABLE, &inserted_names()), features, token, next).await
    }

    /// Sends bodies as one insert into some columns of a table. `token` names their contents: a server that remembers it
    /// from a try whose answer was lost spares itself the work. It is no guarantee and needs to be none.
    ///
    /// Where `next` fails, the request is broken off in its middle, which the server notices: a token must never stand for
    /// a part of its contents.
    pub(super) async fn insert_into<E: From<ClickHouseError>>(
        &self,
        (table, columns): (&str, &str),
        features: Features,
        token: &str,
        mut next: impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<(), E> {
        let sql = format!("INSERT INTO {} ({columns}) FORMAT RowBinary", self.table(table));
        let mut insert = self
            .client
            .insert_formatted_with(sql)
            // The body is compressed already.
            .with_setting("decompress", "1")
            // Into a Distributed table: acknowledged means on the shards.
            .with_setting("insert_distributed_sync", "1")
            .with_timeouts(Some(CALL_TIMEOUT), Some(INSERT_TIMEOUT));
        if features.partitions_limit {
            insert = insert.with_setting("max_partitions_per_insert_block", "0");
        }
        if features.deduplication_token {
            insert = insert.with_setting("insert_deduplication_token", token);
        }
        while let Some(body) = next()? {
            self.within(INSERT_TIMEOUT, INSERT, insert.send(body)).await?;
        }
        Ok(self.within(INSERT_TIMEOUT, INSERT, insert.end()).await?)
    }

    async fn within<T>(
        &self,
        limit: Duration,
        action: &'static str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, ClickHouseError> {
        let done = tokio::time::timeout(limit, work).await.unwrap_or(Err(Error::TimedOut));
        done.map_err(|error| ClickHouseError::of(&self.url, action, &error))
    }
}

/// A name in backticks.
fn quoted_name(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

/// A text in quotes, for statements that bind nothing.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
