//! `weir up`: clicks over HTTP to verified tables in one process, undisturbed and killed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

#[path = "serve/process.rs"]
mod process;

use process::{PATIENCE, free_address, succeeds, weir};

/// Windows close soon, and epochs are short.
const SETTINGS: &str = "\
[job]\nname = \"clicks\"\n[source]\nkind = \"ndjson\"\nurl = \"weir-data/log/\"\n\
[epoch]\ninterval = \"50ms\"\n[checkpoint]\nurl = \"weir-data/checkpoints/\"\ninterval = \"200ms\"\n\
[tables]\nurl = \"weir-data/tables/\"\nroll_interval = \"1s\"\n";

struct Up {
    child: Child,
    address: SocketAddr,
}

impl Up {
    fn start(folder: &Path, listen: SocketAddr, more: &[&str]) -> Self {
        let listen = format!("ingest.listen={listen}");
        let fixed = ["up", "job.toml", "-D", "source.follow=true", "-D", &listen, "--output", "json"];
        let mut child = weir(folder, &[&fixed, more].concat()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        while !text.trim_end().ends_with('}') {
            assert!(lines.read_line(&mut text).unwrap() > 0, "weir up ended: {text}");
        }
        let started: Value = serde_json::from_str(&text).unwrap();
        let address = started["metrics"].as_str().unwrap().strip_prefix("http://").unwrap();
        Self { child, address: address.trim_end_matches("/metrics").parse().unwrap() }
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Waits until a figure has this value at least.
    fn wait_for(&self, figure: &str, least: f64) {
        let started = Instant::now();
        let value = |text: String| -> Option<f64> {
            let line = text.lines().find(|line| line.starts_with(figure))?.to_owned();
            line.rsplit(' ').next()?.parse().ok()
        };
        while self.get("/metrics").and_then(value).is_none_or(|value| value < least) {
            assert!(started.elapsed() < PATIENCE, "{figure} did not come to {least}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn terminate(mut self) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)
            .unwrap();
        let started = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "weir up does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Posts clicks with a known right answer.
fn generator(folder: &Path, address: SocketAddr, more: &[&str]) -> Command {
    let to = format!("http://{address}");
    let fixed =
        ["generate", "--to", &to, "--oracle", "oracle.ndjson", "--ads", "200", "--users", "3000", "--bytes", "300"];
    let stream = ["--events-per-second", "400", "--duplicates", "0.03", "--poison", "0.01", "--retry", "100s"];
    weir(folder, &[&fixed, stream.as_slice(), more].concat())
}

/// Reads the log to its end, so that all windows close, and compares the tables with the right answer.
fn finish_and_verify(folder: &Path) {
    succeeds(&weir(folder, &["run", "job.toml"]).output().unwrap());
    succeeds(&weir(folder, &["verify", "job.toml", "--oracle", "oracle.ndjson"]).output().unwrap());
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("job.toml"), SETTINGS).unwrap();
    folder
}

#[test]
fn clicks_over_http_are_counted_once() {
    let folder = folder();
    let up = Up::start(folder.path(), "127.0.0.1:0".parse().unwrap(), &[]);
    up.wait_for("weir_ready{", 1.0);
    assert!(up.get("/readyz").unwrap().starts_with("HTTP/1.1 200"));
    succeeds(&generator(folder.path(), up.address, &["--clicks", "20000"]).output().unwrap());
    // What came before is in the tables soon, without anybody stopping anything.
    up.wait_for("weir_committed_records_total{job=\"clicks\",outcome=\"counted\"}", 15_000.0);
    up.terminate();
    finish_and_verify(folder.path());
}

#[test]
fn a_crash_in_between_changes_no_count() {
    let folder = folder();
    let address = free_address();
    let mut up = Up::start(folder.path(), address, &[]);
    let mut clients = generator(folder.path(), address, &["--clicks", "12000", "--rate", "3000"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(700));
        up.child.kill().unwrap();
        up.child.wait().unwrap();
        up = Up::start(folder.path(), address, &[]);
    }
    assert!(clients.wait().unwrap().success(), "the clients were not all answered");
    up.terminate();
    finish_and_verify(folder.path());
}

#[test]
fn the_demo_posts_clicks_by_itself() {
    let folder = folder();
    let up = Up::start(folder.path(), "127.0.0.1:0".parse().unwrap(), &["--demo"]);
    up.wait_for("weir_committed_records_total{job=\"clicks\",outcome=\"counted\"}", 200.0);
    up.terminate();
}

#[test]
fn grafana_asks_for_figures_that_there_are() {
    let folder = folder();
    let up = Up::start(folder.path(), "127.0.0.1:0".parse().unwrap(), &["--demo"]);
    up.wait_for("weir_committed_records_total{job=\"clicks\",outcome=\"counted\"}", 1.0);
    let exposition = up.get("/metrics").unwrap();
    let dashboard = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/grafana.json")).unwrap();
    let mut asked = Vec::new();
    expressions(&serde_json::from_str(&dashboard).unwrap(), &mut asked);
    let names: std::collections::BTreeSet<_> = asked.iter().flat_map(|expression| figures(expression)).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let is_there = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        assert!(
            exposition.lines().any(is_there),
            "scripts/grafana.json asks for {name}, which is not in\n{exposition}"
        );
    }
    up.terminate();
}

/// The PromQL in a Grafana dashboard.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if ["expr", "query", "definition"].contains(&name.as_str()) => {
                        found.push(text.to_owned())
                    }
                    _ => expressions(value, found),
                }
            }
        }
        _ => {}
    }
}

/// The names of figures in a PromQL expression.
fn figures(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.filter(|word| word.starts_with("weir_"))
}

#[test]
fn old_segments_go_once_the_job_has_them() {
    let folder = folder();
    let small = ["-D", "log.segment_bytes=65536", "-D", "log.retention=1s"];
    let any = "127.0.0.1:0".parse().unwrap();
    let up = Up::start(folder.path(), any, &small);
    succeeds(&generator(folder.path(), up.address, &["--clicks", "5000"]).output().unwrap());
    let kept = [&small[..2], &["-D", "log.retention=0s"]].concat();
    up.terminate();
    assert!(segments(folder.path()) > 10, "{} segments", segments(folder.path()));
    // Without the rule nothing goes.
    Up::start(folder.path(), any, &kept).terminate();
    assert!(segments(folder.path()) > 10);
    std::thread::sleep(Duration::from_millis(1100));
    let up = Up::start(folder.path(), any, &small);
    let started = Instant::now();
    while segments(folder.path()) > 2 {
        assert!(started.elapsed() < PATIENCE, "{} segments are left", segments(folder.path()));
        std::thread::sleep(Duration::from_millis(50));
    }
    up.terminate();
    finish_and_verify(folder.path());
}

fn segments(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder.join("weir-data/log/0")).unwrap();
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "ndjson")).count()
}
