//! The job over a log that was written in all of this: each click of the book must be counted once.
//!
//! The right answer comes from the book alone. `weir verify` compares the tables with it, window by window.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir::generate::{ExpectedTotals, ExpectedWindow, Header};

use crate::PATIENCE;
use crate::posts::Sent;
use crate::process::weir;

const WINDOWS: [(&str, i64); 3] = [("1m", 60_000), ("5m", 300_000), ("1h", 3_600_000)];

/// What the job must come to.
pub struct Expected<'a> {
    pub clicks: &'a BTreeMap<String, Sent>,
    /// Clicks behind them, which close their windows and whose own stay open.
    pub closing: &'a [Sent],
    /// Records in the log, and those of them that are no clicks.
    pub records: u64,
    pub torn: u64,
}

/// Writes a job file; nothing comes too late for this job.
fn write_job(folder: &Path, source: &str) {
    let text = format!(
        "[job]\nname = \"clicks\"\nworkers = 1\n[source]\n{source}\n[time]\nout_of_orderness = \"30m\"\n\
         allowed_lateness = \"1m\"\nmax_partition_lead = \"1d\"\n[dedup]\nhorizon = \"2h\"\n[epoch]\n\
         interval = \"100ms\"\n[checkpoint]\nurl = \"checkpoints\"\ninterval = \"200ms\"\n\
         [tables]\nurl = \"tables\"\nroll_interval = \"1s\"\n"
    );
    fs::write(folder.join("job.toml"), text).unwrap();
}

/// Counts an embedded log to its end.
#[track_caller]
pub fn count_folder(name: &str, folder: &Path, log: &Path, expected: &Expected<'_>) {
    write_job(folder, &format!("kind = \"ndjson\"\nurl = \"{}/\"", log.display()));
    let windows = expected.write_oracle(folder);
    let ran = weir().args(["run", "job.toml"]).current_dir(folder).output().unwrap();
    assert!(ran.status.success(), "{name}: {}", String::from_utf8_lossy(&ran.stderr));
    let report = verify(folder).unwrap_or_else(|| panic!("{name}: there is nothing to verify"));
    expected.check(name, &report);
    assert_eq!(report["ended"], true, "{name}: {report:#}");
    assert_eq!(report["compared"]["windows"], windows, "{name}: {report:#}");
}

/// Counts a topic, until the windows of all clicks are in the table.
#[track_caller]
pub fn count_topic(name: &str, folder: &Path, brokers: &str, topic: &str, expected: &Expected<'_>) {
    write_job(folder, &format!("kind = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"{topic}\""));
    let windows = expected.write_oracle(folder);
    let log = File::create(folder.join("run.log")).unwrap();
    let mut command = weir();
    command.args(["run", "job.toml"]).current_dir(folder).stdout(Stdio::null()).stderr(log);
    let mut job = Running(command.spawn().unwrap());
    let began = Instant::now();
    loop {
        let report = verify(folder);
        let done = report.is_some_and(|report| {
            report["totals"]["read"] == expected.records && report["compared"]["windows"] == windows
        });
        let waited = began.elapsed() > PATIENCE || job.0.try_wait().unwrap().is_some();
        if done || waited {
            break;
        }
        sleep(Duration::from_millis(200));
    }
    assert!(std::process::Command::new("kill").arg(job.0.id().to_string()).status().unwrap().success());
    let status = job.0.wait().unwrap();
    assert!(status.success(), "{name}: {status} {}", fs::read_to_string(folder.join("run.log")).unwrap());
    let report = verify(folder).unwrap();
    expected.check(name, &report);
    assert_eq!(report["compared"]["windows"], windows, "{name}: {report:#}");
}

/// What `weir verify` reports; nothing before the first checkpoint.
fn verify(folder: &Path) -> Option<Value> {
    let arguments = ["verify", "job.toml", "--oracle", "oracle.ndjson", "--output", "json"];
    let output = weir().args(arguments).current_dir(folder).output().unwrap();
    serde_json::from_slice(&output.stdout).ok()
}

impl Expected<'_> {
    fn counted(&self) -> u64 {
        (self.clicks.len() + self.closing.len()) as u64
    }

    #[track_caller]
    fn check(&self, name: &str, report: &Value) {
        assert_eq!(report["ok"], true, "{name}: {report:#}");
        let total = |name: &str| report["totals"][name].as_u64().unwrap();
        let found = ["read", "counted", "duplicate", "rejected", "late", "future"].map(total);
        let twice = self.records - self.torn - self.counted();
        assert_eq!(found, [self.records, self.counted(), twice, self.torn, 0, 0], "{name}: {report:#}");
    }

    /// Writes what `weir verify` compares with; how many windows of clicks there are.
    fn write_oracle(&self, folder: &Path) -> usize {
        let (read, counted, rejected) = (self.records, self.counted(), self.torn);
        let duplicate = read - counted - rejected;
        let totals = ExpectedTotals { read, rejected, future: 0, late: 0, duplicate, counted };
        let header = Header { weir_oracle: 1, totals, parts: Vec::new(), over_http: None };
        let mut out = BufWriter::new(File::create(folder.join("oracle.ndjson")).unwrap());
        writeln!(out, "{}", serde_json::to_string(&header).unwrap()).unwrap();
        let rows = windows(self.clicks.values());
        for row in rows.iter().chain(&windows(self.closing)) {
            writeln!(out, "{}", serde_json::to_string(row).unwrap()).unwrap();
        }
        out.flush().unwrap();
        rows.len()
    }
}

fn windows<'a>(clicks: impl IntoIterator<Item = &'a Sent>) -> Vec<ExpectedWindow> {
    let mut windows: BTreeMap<(usize, i64, &str), (u64, BTreeSet<&str>)> = BTreeMap::new();
    for click in clicks {
        for (number, (_, length_ms)) in WINDOWS.iter().enumerate() {
            let start_ms = click.time_ms.div_euclid(*length_ms) * length_ms;
            let window = windows.entry((number, start_ms, &click.ad_id)).or_default();
            window.0 += 1;
            window.1.insert(&click.user_id);
        }
    }
    let row = |((number, start_ms, ad_id), (clicks, users)): ((usize, i64, &str), (u64, BTreeSet<&str>))| {
        let (window, users) = (WINDOWS[number].0.to_owned(), users.len() as u64);
        ExpectedWindow { window, ad_id: ad_id.to_owned(), start_ms, clicks, users, late: 0 }
    };
    windows.into_iter().map(row).collect()
}

/// Ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
