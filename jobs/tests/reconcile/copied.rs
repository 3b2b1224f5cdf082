//! Closed days in ClickHouse: the same rows as in the Delta tables, on the oldest server and on the current engine.

use std::collections::BTreeMap;

use serde_json::json;

use crate::bench::{Bench, Billed, Entry};
use crate::clickhouse_engines::{Engine, Server};
use crate::served::{billed_windows, log};

const START_MS: i64 = 1_736_899_200_000;
const DAY_MS: i64 = 86_400_000;
const DATE: &str = "2025-01-15";

fn lines(server: &Server, sql: &str) -> Vec<Vec<String>> {
    server.query(sql).lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn number(text: &str) -> i64 {
    text.parse().unwrap()
}

/// Compares all of ClickHouse with the Delta tables, and the windows of the day with a plain loop.
#[track_caller]
fn compare(bench: &Bench, server: &Server, without_bots: bool) {
    let mut daily = BTreeMap::new();
    let sql = "SELECT ad_id, click_count, unique_users, status, toString(date), length(manifest_hash) FROM \
               weir.billing_daily_latest";
    for row in lines(server, sql) {
        assert_eq!(row[3..], ["final", DATE, "64"]);
        let billed = Billed { clicks: number(&row[1]), users: number(&row[2]) };
        assert!(daily.insert(row[0].clone(), billed).is_none(), "{row:?} is there twice");
    }
    assert_eq!(daily, bench.billed(DATE));

    let sql =
        "SELECT ad_id, reason, streamed, recounted, run, delta, toString(date), offsets FROM weir.corrections FINAL";
    let entry = |row: Vec<String>| {
        assert_eq!((number(&row[5]), row[6].as_str()), (number(&row[3]) - number(&row[2]), DATE));
        let (before, after) = (number(&row[2]), number(&row[3]));
        Entry { ad: row[0].clone(), reason: row[1].clone(), before, after, run: row[4].clone() }
    };
    let mut entries: Vec<Entry> = lines(server, sql).into_iter().map(entry).collect();
    let mut ledger = bench.ledger(DATE);
    entries.sort();
    ledger.sort();
    assert!(!entries.is_empty() && entries == ledger, "{entries:?} {ledger:?}");

    for (window, length_ms) in [("1m", 60_000), ("5m", 300_000), ("1h", 3_600_000)] {
        let (from, until) = (START_MS / 1000, (START_MS + DAY_MS) / 1000);
        let sql = format!(
            "SELECT ad_id, toUInt32(window_start), click_count, unique_users FROM weir.clicks_agg_latest WHERE window = \
             '{window}' AND toUInt32(window_start) >= {from} AND toUInt32(window_start) < {until} AND click_count > 0"
        );
        let row = |row: Vec<String>| ((row[0].clone(), number(&row[1])), (number(&row[2]), number(&row[3]) as usize));
        let found: BTreeMap<_, _> = lines(server, &sql).into_iter().map(row).collect();
        let mut expected = billed_windows(&log(), length_ms, |click| without_bots && click.user == "bot");
        expected.retain(|(_, start), _| (from..until).contains(start));
        assert_eq!(found, expected, "{window}");
    }
}

fn check(engine: Engine) {
    let mut server = Server::start(engine);
    let bench = Bench::new(&format!("[clickhouse]\nurl = \"http://127.0.0.1:{}\"\nretention = \"0s\"\n", server.port));
    bench.append(0, &log());
    bench.run();
    bench.reconcile(DATE, &[]);
    compare(&bench, &server, false);

    // A restatement while it is away: the day is closed, and that it is not everywhere is said.
    std::fs::write(bench.path().join("bots.ndjson"), "{\"user_id\":\"bot\"}\n").unwrap();
    server.kill();
    let said = bench.refused(DATE, &["--exclude", "bots.ndjson"]);
    assert!(said.contains("not all of it in ClickHouse; run it again"), "{said}");
    server.restart();
    assert_eq!(bench.reconcile(DATE, &[])["status"], "unchanged");
    compare(&bench, &server, true);

    // Lost with all that is in it.
    server.kill_and_empty();
    server.restart();
    let rebuilt = bench.weir(&["clickhouse", "rebuild", "job.toml"]);
    crate::process::succeeds(&rebuilt);
    let summary: serde_json::Value = serde_json::from_slice(&rebuilt.stdout).unwrap();
    assert_eq!(summary["days"], json!(1));
    compare(&bench, &server, true);

    bench.reconcile(DATE, &["--include", "bots"]);
    compare(&bench, &server, false);
    // What is there is not written again: one part more would show.
    let parts = "SELECT count() FROM system.parts WHERE database = 'weir' AND table = 'billing_daily'";
    let before = server.query(parts);
    bench.reconcile(DATE, &[]);
    assert!(number(server.query(parts).trim()) <= number(before.trim()));
    compare(&bench, &server, false);
}

#[test]
fn the_oldest_server_has_closed_days() {
    check(Engine::Oldest);
}

#[test]
fn the_current_engine_has_closed_days() {
    check(Engine::Current);
}
