//! The tables: made, brought up to date, refused, expired.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_connectors::clickhouse::ClickHouseConfig;
use weir_dataflow::SinkError;

use crate::clickhouse_engines::{Engine, Server};
use crate::job::Job;
use crate::on_both;

const OLDER: &str = "CREATE TABLE weir.clicks_agg (window Enum8('1m' = 1, '5m' = 5, '1h' = 60), ad_id String, window_start \
    DateTime('UTC'), window_end DateTime('UTC'), click_count UInt64, unique_users UInt64, region String, epoch UInt64, final \
    UInt8, revision UInt64 DEFAULT epoch) ENGINE = ReplacingMergeTree(revision) PARTITION BY toMonday(window_start) ORDER BY \
    (window, ad_id, window_start, region)";

#[test]
fn a_column_that_is_missing_is_added() {
    on_both(|engine| {
        let server = Server::start(engine);
        server.query("CREATE DATABASE weir");
        server.query(OLDER);
        let mut job = Job::start(server.config("weir", "clicks"), 91);
        job.steps(5);
        job.assert_all_there(&server);
    });
}

#[test]
fn a_column_of_another_type_is_refused() {
    on_both(|engine| {
        let server = Server::start(engine);
        let mut job = Job::start(server.config("other", "clicks"), 92);
        server.query("CREATE DATABASE weir");
        server.query(&OLDER.replace("click_count UInt64", "click_count Int32"));
        job.config = server.config("weir", "clicks");
        let refusal = job.restart().expect_err("the column does not fit");
        assert!(
            matches!(&refusal, SinkError::Refused { reason, .. } if reason.contains("click_count is Int32, not UInt64")),
            "{refusal}"
        );
    });
}

#[test]
fn the_retention_follows_the_configuration() {
    let server = Server::start(Engine::Current);
    let mut job = Job::start(server.config("weir", "clicks"), 93);
    let rule = || {
        let text = server.query("SELECT create_table_query FROM system.tables WHERE name = 'clicks_agg'");
        text.split_once(" TTL ").map(|(_, rule)| rule.split(" SETTINGS").next().unwrap().to_owned())
    };
    assert_eq!(rule(), None);
    let day = Duration::from_secs(86_400);
    for (retention, expected) in [
        (Some(30 * day), Some("window_start + toIntervalSecond(2592000)")),
        (Some(40 * day), Some("window_start + toIntervalSecond(3456000)")),
        (None, None),
    ] {
        job.config = ClickHouseConfig { retention, ..job.config.clone() };
        job.restart().unwrap();
        assert_eq!(rule().as_deref(), expected);
    }
    // Somebody's own rule stays.
    server.query("ALTER TABLE weir.clicks_agg MODIFY TTL window_end + toIntervalDay(7)");
    job.config = ClickHouseConfig { retention: Some(30 * day), ..job.config.clone() };
    job.restart().unwrap();
    assert_eq!(rule().as_deref(), Some("window_end + toIntervalDay(7)"));
}

#[test]
fn what_has_expired_is_not_claimed() {
    on_both(|engine| {
        let server = Server::start(engine);
        let retention = Duration::from_secs(86_400);
        let expiring = ClickHouseConfig { retention: Some(retention), ..server.config("weir", "clicks") };
        let mut job = Job::start(expiring, 94);
        job.steps(5);
        job.wait_until_inserted();
        let yesterday = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - retention;
        let claimed = job.coverage();
        assert!(claimed.is_empty(), "the clicks are of 2025");
        assert!((yesterday.as_millis() as i64 - claimed.from_ms).abs() < 60_000, "{claimed:?}");
    });
}
