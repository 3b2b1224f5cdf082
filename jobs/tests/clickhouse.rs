//! Whole jobs with ClickHouse beside them, from generated clicks to what ClickHouse says, on the oldest server and on the
//! current engine: killed, absent, emptied and filled again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

#[path = "../../connectors/tests/clickhouse_engines/mod.rs"]
mod clickhouse_engines;

use clickhouse_engines::{Engine, Server, service};

const PATIENCE: Duration = Duration::from_secs(120);

struct Bench {
    folder: tempfile::TempDir,
    server: Server,
}

impl Bench {
    /// A log with a known right answer, and a job whose server is not there yet.
    fn new(engine: Engine) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap(), server: Server::absent(engine) };
        let text = format!(
            "[job]\nname = \"clicks\"\nregion = \"eu-1\"\n[source]\nkind = \"ndjson\"\nurl = \"log/\"\n\
             [epoch]\ninterval = \"50ms\"\nmax_records = 2000\n[checkpoint]\nurl = \"checkpoints\"\ninterval = \"100ms\"\n\
             [tables]\nurl = \"tables\"\nroll_interval = \"1s\"\n\
             [clickhouse]\nurl = \"http://127.0.0.1:{}\"\nretention = \"0s\"\n",
            bench.server.port
        );
        std::fs::write(bench.path().join("job.toml"), text).unwrap();
        let stream = ["--ads", "200", "--users", "3000", "--bytes", "300", "--events-per-second", "40"];
        let oracle = ["--to", "log/", "--oracle", "oracle.ndjson", "--clicks", "120000", "--duplicates", "0.03"];
        bench.weir(&[&["generate"], stream.as_slice(), &oracle].concat());
        bench
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).args(["--output", "json"]).current_dir(self.path());
        command
    }

    /// Runs a command that must succeed, and returns what it printed.
    fn weir(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "weir {arguments:?}\n{out}\n{err}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Compares with the oracle, window by window.
    fn compare_with_oracle(&self) {
        let mut found = BTreeMap::new();
        let sql = "SELECT toString(window), ad_id, toUInt32(window_start), click_count, unique_users, final, region FROM \
                   weir.clicks_agg_latest";
        for line in self.server.query(sql).lines() {
            let [window, ad, start, clicks, users, is_final, region] = fields(line);
            assert_eq!((is_final, region), ("1", "eu-1"), "{line}");
            let key = (window.to_owned(), ad.to_owned(), start.parse::<i64>().unwrap() * 1000);
            let value = (clicks.parse::<u64>().unwrap(), users.parse::<u64>().unwrap());
            assert!(found.insert(key, value).is_none(), "twice: {line}");
        }
        let oracle = std::fs::read_to_string(self.path().join("oracle.ndjson")).unwrap();
        let mut windows = 0;
        for line in oracle.lines().skip(1) {
            let right: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| right[name].as_str().unwrap().to_owned();
            let number = |name: &str| right[name].as_u64().unwrap_or(0);
            let key = (text("window"), text("ad_id"), right["start_ms"].as_i64().unwrap());
            let (clicks, late) = (number("clicks"), number("late"));
            let Some((counted, users)) = found.remove(&key) else {
                assert_eq!(clicks, 0, "missing: {line}");
                continue;
            };
            windows += 1;
            assert!((clicks..=clicks + late).contains(&counted), "{counted} clicks: {line}");
            if late == 0 && number("users") <= 100 {
                assert_eq!(users, number("users"), "{line}");
            }
        }
        assert!(found.is_empty(), "not in the oracle: {found:?}");
        assert!(windows > 1000, "{windows} windows only");
    }

    /// Compares with the Delta table, row by row, every column, as another engine reads it.
    fn compare_with_delta(&self) {
        let sql = "SELECT toString(window), hex(ad_id), toUInt32(window_start), toUInt32(window_end), click_count, \
                   unique_users, hex(user_sketch), region, epoch FROM weir.clicks_agg_latest WHERE final = 1";
        let mut found: Vec<String> = self.server.query(sql).lines().map(str::to_owned).collect();
        found.sort_unstable();
        let output = Command::new(service("WEIR_TEST_PYTHON"))
            .args(["-c", DELTA_ROWS])
            .arg(self.path().join("tables/clicks_agg"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut expected: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        expected.sort_unstable();
        assert!(expected.len() > 1000);
        assert!(found == expected, "{} rows in ClickHouse, {} in the Delta table", found.len(), expected.len());
    }

    fn complete(&self) -> (i64, i64) {
        let status = self.weir(&["clickhouse", "status", "job.toml"]);
        (status["complete_from_ms"].as_i64().unwrap(), status["complete_until_ms"].as_i64().unwrap())
    }
}

const DELTA_ROWS: &str = r#"
import sys
from deltalake import DeltaTable
for row in DeltaTable(sys.argv[1]).to_pyarrow_table().to_pylist():
    print(row["window"], row["ad_id"].encode().hex().upper(), int(row["window_start"].timestamp()),
          int(row["window_end"].timestamp()), row["click_count"], row["unique_users"], row["user_sketch"].hex().upper(),
          row["region"] or "", row["epoch"], sep="\t")
"#;

fn fields<const N: usize>(line: &str) -> [&str; N] {
    line.split('\t').collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn a_job_ends_with_everything_in_the_oldest_server() {
    from_clicks_to_tables(Engine::Oldest);
}

#[test]
fn a_job_ends_with_everything_in_the_current_engine() {
    from_clicks_to_tables(Engine::Current);
}

fn from_clicks_to_tables(engine: Engine) {
    let mut bench = Bench::new(engine);
    // ClickHouse comes late, and is killed again and again; the job is killed once, too.
    let start = || bench.command(&["run", "job.toml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut job = start();
    std::thread::sleep(Duration::from_millis(700));
    job.kill().unwrap();
    job.wait().unwrap();
    let mut job = start();
    let began = Instant::now();
    let mut kills = 0;
    let status = loop {
        bench.server.restart();
        std::thread::sleep(Duration::from_millis(300));
        if let Some(status) = job.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < PATIENCE, "the job does not end");
        if kills < 4 {
            kills += 1;
            bench.server.kill();
        } else {
            break job.wait().unwrap();
        }
    };
    assert!(status.success());
    bench.compare_with_oracle();
    bench.compare_with_delta();
    let complete = bench.complete();
    assert!(complete.0 == 0 && complete.1 > 1_736_952_000_000, "{complete:?}");

    bench.server.kill_and_empty();
    bench.server.restart();
    assert_eq!(bench.complete(), (0, 0));
    // A part that joins nothing claims nothing; all of it is what there was.
    let part = bench.weir(&["clickhouse", "rebuild", "job.toml", "--to", "2025-01-15T15:00:00Z"]);
    assert_eq!(part["complete_until_ms"], 0, "{part}");
    let all = bench.weir(&["clickhouse", "rebuild", "job.toml"]);
    assert!(all["rows"].as_u64().unwrap() > part["rows"].as_u64().unwrap(), "{all} {part}");
    bench.compare_with_oracle();
    bench.compare_with_delta();
    assert_eq!(bench.complete(), complete);
    // Once more changes nothing.
    bench.weir(&["clickhouse", "rebuild", "job.toml"]);
    bench.compare_with_delta();
}

#[test]
fn rows_that_wait_for_a_delta_file_are_rebuilt_too() {
    let mut bench = Bench::new(Engine::Oldest);
    bench.server.restart();
    // Nothing is written to the Delta table for an hour; the log is followed, so that the job does not end.
    let mut job = bench
        .command(&["run", "job.toml", "-D", "source.follow=true", "-D", "tables.roll_interval=1h"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while bench.complete().1 < 1_736_953_000_000 {
        assert!(began.elapsed() < PATIENCE, "{:?}", bench.complete());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(Command::new("kill").args(["-TERM", &job.id().to_string()]).status().unwrap().success());
    assert!(job.wait().unwrap().success());
    let rows = |bench: &Bench| {
        let sql = "SELECT count(), sum(click_count), sum(cityHash64(user_sketch)) FROM weir.clicks_agg_latest WHERE final = 1";
        bench.server.query(sql)
    };
    let (before, complete) = (rows(&bench), bench.complete());
    bench.server.kill_and_empty();
    bench.server.restart();
    bench.weir(&["clickhouse", "rebuild", "job.toml"]);
    assert_eq!((rows(&bench), bench.complete()), (before, complete));
}
