//! A click's region, all the way: from the ingest that took it, through the log, into the tables.
//!
//! ```text
//!   weir ingest eu-1 ─┐
//!   weir ingest us-1 ─┼─▶ one log ─▶ weir run, job.region = home-1 ─▶ clicks_agg, clicks_raw
//!   weir ingest …    ─┘
//! ```

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use weir_connectors::kafka::{KafkaConfig, KafkaTopics, TopicSpec};

const PATIENCE: Duration = Duration::from_secs(60);

/// (region, ad) → clicks.
type Counts = BTreeMap<(Option<String>, String), i64>;

struct Bench {
    folder: tempfile::TempDir,
    /// What tells ingest where the log is, without the job file.
    source: Vec<String>,
}

impl Bench {
    fn new(source: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys: String = source.iter().map(|(key, value)| format!("{key} = \"{value}\"\n")).collect();
        let text = format!(
            "[job]\nname = \"regions\"\nregion = \"home-1\"\n[source]\n{keys}\
             [epoch]\ninterval = \"50ms\"\n[checkpoint]\nurl = \"checkpoints\"\ninterval = \"100ms\"\n\
             [tables]\nurl = \"tables\"\nroll_interval = \"1s\"\n[archive]\nenabled = true\n"
        );
        std::fs::write(folder.path().join("job.toml"), text).unwrap();
        let source = source.iter().map(|(key, value)| format!("source.{key}={value}")).collect();
        Self { folder, source }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg(name).current_dir(self.folder.path());
        command
    }

    /// Takes clicks at an ingest of its own, which has ended when this returns.
    fn take(&self, command: &mut Command, clicks: &[Value]) {
        let child = command.args(["-D", "ingest.listen=127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut ingest = Running(child);
        let mut lines = BufReader::new(ingest.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        let told = lines.by_ref().find(|line| line.contains("clicks are taken")).expect("where clicks are taken");
        let port: u16 = told
            .split("127.0.0.1:")
            .nth(1)
            .unwrap()
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap()
            .parse()
            .unwrap();
        // Nobody may be kept from writing to a pipe that is full.
        std::thread::spawn(move || lines.for_each(drop));
        let body = serde_json::to_vec(clicks).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let head = "POST /v1/clicks HTTP/1.1\r\nhost: weir\r\nconnection: close\r\ncontent-type: application/json\r\n";
        stream.write_all(format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(&format!("\"accepted\":{}", clicks.len())), "{answer}");
        ingest.terminate();
    }

    /// Clicks from everywhere, all in one minute two hours ago: one of them twice, from two regions.
    fn take_all(&self) {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let time_s = now_s / 60 * 60 - 7200;
        let click = |id: &str, ad: &str| json!({"click_id": id, "ad_id": ad, "user_id": id, "timestamp": time_s});
        let with_job = |region: &[&str]| {
            let mut command = self.command("ingest");
            command.arg("job.toml").args(region);
            command
        };
        let twice = click("x", "ad-a");
        let eu = [click("e1", "ad-a"), click("e2", "ad-a"), twice.clone()];
        self.take(&mut with_job(&["-D", "ingest.region=eu-1"]), &eu);
        self.take(&mut with_job(&["-D", "ingest.region=us-1"]), &[click("u1", "ad-a"), twice, click("u2", "ad-b")]);
        self.take(&mut with_job(&[]), &[click("h1", "ad-a")]);
        // An ingest that knows nothing of the job's region writes no label.
        let mut alone = self.command("ingest");
        for key in &self.source {
            alone.args(["-D", key]);
        }
        self.take(&mut alone, &[click("h2", "ad-a")]);
        // The log goes on: all windows of that minute are over.
        self.take(&mut with_job(&[]), &[json!({"click_id": "z", "ad_id": "ad-z", "user_id": "z", "timestamp": now_s})]);
    }

    /// The rows of a table that its log lists, added up; of `clicks_agg` the minutes.
    fn counts(&self, table: &str, value: Option<&str>) -> Counts {
        let folder = self.folder.path().join("tables").join(table);
        let mut counts = Counts::new();
        for path in listed(&folder).iter().filter(|path| value.is_none() || path.starts_with("window=1m/")) {
            let file = std::fs::File::open(folder.join(path)).unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
                let rows = batch.unwrap();
                let [ads, regions] =
                    ["ad_id", "region"].map(|name| rows.column_by_name(name).unwrap().as_string::<i32>());
                let values = value.map(|name| rows.column_by_name(name).unwrap().as_primitive::<Int64Type>());
                for row in 0..rows.num_rows() {
                    let region = regions.is_valid(row).then(|| regions.value(row).to_owned());
                    let count = values.map_or(1, |values| values.value(row));
                    let seen = counts.entry((region, ads.value(row).to_owned())).or_default();
                    assert!(*seen == 0 || value.is_none(), "a window twice");
                    *seen += count;
                }
            }
        }
        counts.retain(|(_, ad), _| ad != "ad-z");
        counts
    }

    fn check(&self) {
        let counts = |rows: &[(&str, &str, i64)]| -> Counts {
            rows.iter().map(|(region, ad, count)| ((Some((*region).to_owned()), (*ad).to_owned()), *count)).collect()
        };
        let agg = counts(&[("eu-1", "ad-a", 3), ("home-1", "ad-a", 2), ("us-1", "ad-a", 1), ("us-1", "ad-b", 1)]);
        let raw = counts(&[("eu-1", "ad-a", 3), ("home-1", "ad-a", 2), ("us-1", "ad-a", 2), ("us-1", "ad-b", 1)]);
        let started = Instant::now();
        let found = || (self.counts("clicks_agg", Some("click_count")), self.counts("clicks_raw", None));
        while found() != (agg.clone(), raw.clone()) && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(found(), (agg, raw));
    }
}

/// The files that a table's log lists.
fn listed(table: &Path) -> Vec<String> {
    let versions = std::fs::read_dir(table.join("_delta_log")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let logs = versions.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let texts: Vec<String> = logs.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let actions = texts.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str::<Value>(line).unwrap());
    actions.filter_map(|action| action["add"]["path"].as_str().map(str::to_owned)).collect()
}

/// A process that ends with the test, however that ends.
struct Running(Child);

impl Running {
    fn terminate(&mut self) {
        assert!(Command::new("kill").arg(self.0.id().to_string()).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn regions_come_through_the_embedded_log() {
    let bench = Bench::new(&[("kind", "ndjson"), ("url", "log")]);
    bench.take_all();
    assert!(bench.command("run").args(["job.toml", "-D", "job.workers=2"]).status().unwrap().success());
    bench.check();
    assert!(bench.command("verify").arg("job.toml").status().unwrap().success());
}

#[test]
fn regions_come_through_kafka() {
    let brokers =
        std::env::var("WEIR_TEST_KAFKA").expect("WEIR_TEST_KAFKA is not set: run the tests with scripts/test");
    let topic = format!("regions-{}", std::process::id());
    let topics = KafkaTopics::new(&KafkaConfig::new(&brokers, &topic, "regions")).unwrap();
    for name in [topic.clone(), format!("{topic}.dlq")] {
        topics.create(&TopicSpec { name: &name, partitions: 1, replicas: None, settings: &[] }).unwrap();
    }
    let bench = Bench::new(&[("kind", "kafka"), ("brokers", &brokers), ("topic", &topic)]);
    bench.take_all();
    let mut running = Running(bench.command("run").args(["job.toml", "-D", "job.workers=2"]).spawn().unwrap());
    bench.check();
    running.terminate();
    assert!(bench.command("verify").arg("job.toml").status().unwrap().success());
}
