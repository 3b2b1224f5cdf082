//! One generated day, and the same numbers wherever they are looked up: each tier alone, all together, SQL of ClickHouse,
//! and DuckDB over the Delta table.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::clickhouse_engines::{Engine, Server, service};
use crate::process::{Process, free_address, get, succeeds, wait_until, weir};
use crate::tiers::{ENDED, check_top_and_uniques, serve};
use crate::truth::{Demand, Truth};

const CLICKHOUSE_ROWS: &str = "SELECT toString(window), ad_id, toUInt32(window_start), click_count, unique_users FROM \
                               weir.clicks_agg_latest WHERE final = 1";

const DUCKDB_ROWS: &str = r#"
import sys, duckdb
from deltalake import DeltaTable
files = DeltaTable(sys.argv[1]).file_uris()
for row in duckdb.sql(f'SELECT "window", ad_id, epoch_ms(window_start) // 1000, click_count, unique_users '
                      f'FROM read_parquet({files}, hive_partitioning = true)').fetchall():
    print(*row, sep="\t")
"#;

fn write_job(folder: &Path, more: &str) {
    let text = format!(
        "[job]\nname = \"clicks\"\nworkers = 2\n[source]\nkind = \"ndjson\"\nurl = \"log/\"\n\
         [time]\nallowed_lateness = \"2m\"\n[epoch]\ninterval = \"100ms\"\nmax_records = 3000\n\
         [checkpoint]\nurl = \"checkpoints/\"\ninterval = \"200ms\"\n[tables]\nurl = \"tables/\"\nroll_interval = \"1s\"\n\
         [hot]\nretention = \"48h\"\n{more}"
    );
    std::fs::write(folder.join("job.toml"), text).unwrap();
}

/// Window, ad, start, clicks and users, one row a line.
fn rows(text: &str) -> BTreeMap<(String, String, i64), (u64, u64)> {
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let [window, ad, start, clicks, users]: [&str; 5] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{line}"));
        let key = (window.to_owned(), ad.to_owned(), start.parse().unwrap());
        assert!(rows.insert(key, (clicks.parse().unwrap(), users.parse().unwrap())).is_none(), "twice: {line}");
    }
    rows
}

fn check(engine: Engine) {
    let server = Server::start(engine);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let clickhouse = format!("[clickhouse]\nurl = \"http://127.0.0.1:{}\"\nretention = \"0s\"\n", server.port);
    write_job(folder, &clickhouse);
    // A day begins and ends in other hours than the log.
    let generate = ["generate", "--to", "log/", "--oracle", "oracle.ndjson", "--partitions", "3", "--clicks", "110000"];
    let stream = ["--ads", "60", "--users", "3000", "--start", "2025-01-14T23:30:00Z", "--events-per-second", "1.25"];
    let more = ["--duplicates", "0.02", "--bytes", "300"];
    succeeds(&weir(folder, &[generate.as_slice(), &stream, &more].concat()).output().unwrap());
    let truth = Truth::read(&folder.join("oracle.ndjson"));
    assert!(truth.end - truth.start > 86_400, "{} s", truth.end - truth.start);

    // Hot alone: the job has read the log, and waits for more of it; the tables that the service looks into are empty.
    let metrics = free_address();
    let listen = format!("metrics.listen={metrics}");
    let job = Process::start(folder, &["run", "job.toml", "-D", "source.follow=true", "-D", &listen]);
    let elsewhere = tempfile::tempdir().unwrap();
    write_job(elsewhere.path(), "");
    let (hot_alone, hot) = serve(elsewhere.path(), &[metrics]);
    wait_until("everything is counted", || truth.is_served(hot));
    truth.check(hot, Demand { partial: false, all_final: false });
    check_top_and_uniques(&truth, hot);
    drop(hot_alone);
    // All three tiers at once.
    let (all, together) = serve(folder, &[metrics]);
    truth.check(together, Demand { partial: false, all_final: false });
    assert_eq!(get(together, "/v1/status")["tiers"][1]["state"], "ok");
    drop(all);
    job.terminate();

    // The log's end closes the rest.
    succeeds(&weir(folder, &["run", "job.toml"]).output().unwrap());
    let (warm_first, warm) = serve(folder, &[]);
    truth.check(warm, ENDED);
    check_top_and_uniques(&truth, warm);
    let covered = &get(warm, "/v1/status")["tiers"][1];
    assert_eq!((&covered["state"], covered["from"].is_null()), (&"ok".into(), true), "{covered}");
    drop(warm_first);
    write_job(folder, "");
    let (_cold_alone, cold) = serve(folder, &[]);
    truth.check(cold, ENDED);
    check_top_and_uniques(&truth, cold);

    truth.check_rows(&rows(&server.query(CLICKHOUSE_ROWS)));
    let duckdb = Command::new(service("WEIR_TEST_PYTHON"))
        .args(["-c", DUCKDB_ROWS])
        .arg(folder.join("tables/clicks_agg"))
        .output()
        .unwrap();
    succeeds(&duckdb);
    truth.check_rows(&rows(&String::from_utf8(duckdb.stdout).unwrap()));
}

#[test]
fn a_day_is_the_same_everywhere_with_the_oldest_server() {
    check(Engine::Oldest);
}

#[test]
fn a_day_is_the_same_everywhere_with_the_current_engine() {
    check(Engine::Current);
}
