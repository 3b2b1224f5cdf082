//! Where ClickHouse is, and how much may wait for it.

use std::fmt;
use std::time::Duration;

use url::Url;

/// How a job writes to ClickHouse, and how it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickHouseConfig {
    /// Its HTTP interface, `http://host:8123` or `https://host:8443`.
    pub url: Url,
    /// The database that holds the tables.
    pub database: String,
    /// Who asks; none is ClickHouse's user `default`.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Password>,
    /// The job's name: it names the progress row and the staged objects.
    pub job: String,
    /// How long windows are kept, from their start; none is for ever.
    pub retention: Option<Duration>,
    /// Whether open windows are written at each checkpoint.
    pub provisional: bool,
    /// How many bytes may be staged and not yet inserted before the job waits. They are in the checkpoint store, not in
    /// memory.
    pub max_backlog_bytes: u64,
    /// How many checkpoints may wait before the job does.
    pub max_backlog_checkpoints: usize,
    /// The shortest time between the beginnings of two inserts.
    pub insert_interval: Duration,
    /// How long a job that ends gives the last inserts. What is left is inserted after the next start.
    pub drain_timeout: Duration,
}

/// A password, which shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl ClickHouseConfig {
    /// The usual settings.
    #[must_use]
    pub fn new(url: Url, database: &str, job: &str) -> Self {
        Self {
            url,
            database: database.to_owned(),
            user: None,
            password: None,
            job: job.to_owned(),
            retention: Some(Duration::from_secs(90 * 86_400)),
            provisional: true,
            max_backlog_bytes: 1 << 30,
            max_backlog_checkpoints: 10_000,
            insert_interval: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(10),
        }
    }
}
