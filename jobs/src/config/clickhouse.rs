//! `[clickhouse]`: where the windows are copied to.

use std::time::Duration;

use url::Url;
use weir_connectors::clickhouse::{ClickHouseConfig, Password};

use super::ConfigError;
use super::layers::Origin;
use super::reader::{DAY_MS, Reader, invalid};

/// Keys that mean nothing without a server.
const DEPENDENT: &[&str] = &["clickhouse.user", "clickhouse.password_env"];

pub(super) fn clickhouse(raw: &Reader<'_>, job: &str) -> Result<Option<ClickHouseConfig>, ConfigError> {
    if !raw.is_set("clickhouse.url") {
        raw.refuse("no clickhouse.url", DEPENDENT)?;
        return Ok(None);
    }
    let database = raw.required_name("clickhouse.database", "name the database, for example database = \"weir\"")?;
    let retention_ms = raw.duration_ms("clickhouse.retention", 0..=5 * 366 * DAY_MS)?;
    if (1..DAY_MS).contains(&retention_ms) {
        return Err(raw.invalid("clickhouse.retention", "at least 1d, or 0s for ever"));
    }
    Ok(Some(ClickHouseConfig {
        user: text(raw, "clickhouse.user")?,
        password: password(raw)?,
        retention: (retention_ms > 0).then(|| Duration::from_millis(retention_ms)),
        provisional: raw.boolean("clickhouse.provisional")?,
        max_backlog_bytes: raw.integer("clickhouse.max_backlog_bytes", 1 << 20..=1 << 50)?,
        max_backlog_checkpoints: raw.size("clickhouse.max_backlog_checkpoints", 1..=1_000_000)?,
        ..ClickHouseConfig::new(server(raw)?, &database, job)
    }))
}

fn server(raw: &Reader<'_>) -> Result<Url, ConfigError> {
    const WANTED: &str = "the HTTP interface of a server, such as \"http://127.0.0.1:8123\" or \"https://host:8443\", \
                          without a user";
    let (text, entry) = raw.text("clickhouse.url", WANTED)?;
    let url = Url::parse(text).ok().filter(|url| {
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && plain
    });
    url.ok_or_else(|| invalid("clickhouse.url", entry, WANTED))
}

fn text(raw: &Reader<'_>, key: &'static str) -> Result<Option<String>, ConfigError> {
    if !raw.is_set(key) {
        return Ok(None);
    }
    let (text, entry) = raw.text(key, "a name")?;
    if text.is_empty() { Err(invalid(key, entry, "a name")) } else { Ok(Some(text.to_owned())) }
}

/// Passwords stand in the environment, not in job files.
fn password(raw: &Reader<'_>) -> Result<Option<Password>, ConfigError> {
    const KEY: &str = "clickhouse.password_env";
    let Some(variable) = text(raw, KEY)? else { return Ok(None) };
    match std::env::var(&variable) {
        Ok(password) => Ok(Some(Password(password))),
        Err(_) => {
            let origin = raw.layers.get(KEY).map_or(Origin::Default, |entry| entry.origin.clone());
            let reason = format!("the environment has no variable {variable} with the password in it");
            Err(ConfigError::Refused { key: KEY.to_owned(), origin, reason })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::path::Path;

    use super::super::JobConfig;
    use super::*;

    fn parse(more: &str) -> Result<Option<ClickHouseConfig>, String> {
        let text = format!(
            "[job]\nname = \"clicks\"\n[source]\nkind = \"ndjson\"\nurl = \"/log/\"\n[checkpoint]\nurl = \"/c\"\n\
             [tables]\nurl = \"/t\"\n[clickhouse]\n{more}"
        );
        let config = JobConfig::parse(&text, Path::new("job.toml"), std::iter::empty(), &[]);
        config.map(|config| config.clickhouse).map_err(|error| error.to_string())
    }

    #[test]
    fn without_an_url_there_is_none() {
        assert_eq!(parse(""), Ok(None));
        assert!(parse("user = \"weir\"").unwrap_err().contains("no clickhouse.url"));
    }

    #[test]
    fn an_url_is_enough() {
        let config = parse("url = \"http://127.0.0.1:8123\"").unwrap().unwrap();
        let url = Url::parse("http://127.0.0.1:8123").unwrap();
        assert_eq!(config, ClickHouseConfig::new(url, "weir", "clicks"));
        let kept = parse("url = \"http://h:8123\"\nretention = \"0s\"").unwrap().unwrap();
        assert_eq!(kept.retention, None);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |more: &str, part: &str| {
            let message = parse(more).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        check("url = \"tcp://127.0.0.1:9000\"", "`clickhouse.url`");
        check("url = \"http://user:secret@h:8123\"", "without a user");
        check("url = \"http://h:8123\"\nretention = \"1h\"", "at least 1d, or 0s for ever");
        check("url = \"http://h:8123\"\ndatabase = \"a b\"", "`clickhouse.database`");
        check("url = \"http://h:8123\"\npassword_env = \"WEIR_TEST_NO_SUCH\"", "no variable WEIR_TEST_NO_SUCH");
    }
}
