//! Whole jobs, from generated clicks to verified tables: undisturbed, killed again and again, and told to stop.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// An empty folder with a job file. Epochs are short, so that there are many of them.
    fn new(follow: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[job]\nname = \"clicks\"\n[source]\nkind = \"ndjson\"\nurl = \"log/\"\nfollow = {follow}\n\
             [epoch]\ninterval = \"50ms\"\nmax_records = 5000\n\
             [checkpoint]\nurl = \"checkpoints\"\ninterval = \"100ms\"\n\
             [tables]\nurl = \"tables\"\nroll_interval = \"1s\"\n"
        );
        std::fs::write(folder.path().join("job.toml"), text).unwrap();
        Self { folder }
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

    fn generate(&self, more: &[&str]) -> Value {
        let common = ["generate", "--to", "log/", "--oracle", "oracle.ndjson", "--ads", "200", "--users", "3000"];
        let stream = ["--bytes", "300", "--events-per-second", "400", "--poison", "0.01", "--future", "0.01"];
        self.weir(&[&common, stream.as_slice(), &["--duplicates", "0.03"], more].concat())
    }

    fn start(&self, more: &[&str]) -> Running {
        let child = self.command(&[&["run", "job.toml"], more].concat()).stdout(Stdio::piped()).spawn().unwrap();
        Running { child }
    }

    /// The records that the newest checkpoint covers; none before the first.
    fn committed(&self) -> Option<u64> {
        let output = self.command(&["checkpoints", "list", "job.toml", "--limit", "1"]).output().unwrap();
        // A manifest may be deleted between the listing and the reading.
        let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        list[0]["read"].as_u64()
    }

    /// Waits until a job has committed at least so many records.
    fn wait_for(&self, running: &mut Running, records: u64) -> bool {
        let started = Instant::now();
        while self.committed().unwrap_or(0) < records {
            if running.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(started.elapsed() < PATIENCE, "{records} records are not committed");
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

/// A job that is ended with the test, however that ends.
struct Running {
    child: Child,
}

impl Running {
    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_is_counted_exactly_by_any_number_of_workers() {
    for workers in ["1", "2", "5"] {
        let bench = Bench::new(false);
        bench.generate(&["--clicks", "60000", "--late", "0.01", "--partitions", "3"]);
        let ran = bench.weir(&["run", "job.toml", "-D", &format!("job.workers={workers}")]);
        assert_eq!(ran["ended"], true);
        let report = bench.weir(&["verify", "job.toml", "--oracle", "oracle.ndjson"]);
        assert_eq!(report["totals"]["read"], 60_000, "{workers} workers");
    }
}

#[test]
fn a_job_that_is_killed_again_and_again_counts_exactly() {
    // The log is followed: an attempt does not end by itself, however fast it reads, so that each one is killed.
    let bench = Bench::new(true);
    let attempts = ["2", "3", "1", "4"];
    for workers in attempts {
        let append = if bench.path().join("log").exists() { ["--append"].as_slice() } else { &[] };
        bench.generate(&[&["--clicks", "100000", "--late", "0.01"], append].concat());
        let before = bench.committed().unwrap_or(0);
        let mut running = bench.start(&["-D", &format!("job.workers={workers}")]);
        assert!(bench.wait_for(&mut running, before + 20_000), "an attempt with {workers} workers ended");
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }
    let ran = bench.weir(&["run", "job.toml", "-D", "source.follow=false"]);
    assert_eq!(ran["ended"], true);
    let report = bench.weir(&["verify", "job.toml", "--oracle", "oracle.ndjson"]);
    assert_eq!(report["totals"]["read"], 400_000);
    assert!(report["attempt"].as_u64().unwrap() > attempts.len() as u64);
}

/// Whoever restarts a job need not wait for the interval to see that it goes on.
#[test]
fn an_attempt_commits_its_first_epoch_however_long_the_interval_is() {
    let bench = Bench::new(true);
    bench.generate(&["--clicks", "200000"]);
    let mut before = 0;
    for attempt in 0..3 {
        let mut running = bench.start(&["-D", "checkpoint.interval=1h"]);
        assert!(bench.wait_for(&mut running, before + 1), "attempt {attempt} ended");
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        before = bench.committed().unwrap();
        assert!(before < 200_000, "attempt {attempt} has committed more than its first epoch: {before} records");
    }
}

#[test]
fn what_comes_too_late_is_late_and_a_job_that_is_told_to_stop_goes_on_later() {
    let bench = Bench::new(true);
    bench.generate(&["--clicks", "30000", "--partitions", "2"]);
    let mut running = bench.start(&["-D", "job.workers=2"]);
    assert!(bench.wait_for(&mut running, 30_000));
    bench.generate(&["--append", "--late", "0.5", "--clicks", "2000", "--partitions", "2"]);
    assert!(bench.wait_for(&mut running, 32_000));
    running.signal("-TERM");
    assert!(running.child.wait().unwrap().success());
    let report = bench.weir(&["verify", "job.toml", "--oracle", "oracle.ndjson", "--late-for-certain"]);
    assert_eq!(report["ended"], false);
    assert!(report["totals"]["late"].as_u64().unwrap() > 800);

    // The same log, but now it ends where it ends.
    let ran = bench.weir(&["run", "job.toml", "-D", "source.follow=false"]);
    assert_eq!(ran["ended"], true);
    assert_eq!(ran["read_here"], 0);
    let report = bench.weir(&["verify", "job.toml", "--oracle", "oracle.ndjson", "--late-for-certain"]);
    assert_eq!(report["ended"], true);
}

/// The tables are ahead of the manifest that was read first, or behind it; rows wait for files; state is deleted.
#[test]
fn what_is_stored_is_right_at_any_moment_of_a_running_job() {
    let bench = Bench::new(true);
    bench.generate(&["--clicks", "30000", "--partitions", "3", "--late", "0.01"]);
    let mut running = bench.start(&["-D", "job.workers=2"]);
    assert!(bench.wait_for(&mut running, 1_000));
    for _ in 0..6 {
        bench.generate(&["--append", "--clicks", "30000", "--partitions", "3", "--late", "0.01"]);
        bench.weir(&["verify", "job.toml"]);
        bench.weir(&["verify", "job.toml", "--files"]);
    }
    assert!(running.child.try_wait().unwrap().is_none());
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    let report = bench.weir(&["verify", "job.toml", "--files", "--report", "audit.json"]);
    let written: Value = serde_json::from_slice(&std::fs::read(bench.path().join("audit.json")).unwrap()).unwrap();
    assert_eq!(written, report);
    let tables = report["tables"].as_array().unwrap();
    let clicks = tables.iter().find(|table| table["table"] == "clicks_raw").unwrap();
    let stored = clicks["rows"].as_u64().unwrap() + clicks["held_back"].as_u64().unwrap();
    let total = |name: &str| report["totals"][name].as_u64().unwrap();
    assert_eq!(stored, total("read") - total("rejected"));
    assert!(report["checks"].as_array().unwrap().iter().all(|check| check["checked"].is_u64()));
    assert!(tables.iter().all(|table| table["without_hash"] == 0));
}

#[test]
fn a_file_that_is_not_what_was_written_is_in_the_report_and_the_exit_code() {
    let bench = Bench::new(false);
    bench.generate(&["--clicks", "20000"]);
    bench.weir(&["run", "job.toml"]);
    let archive = bench.path().join("tables/clicks_raw");
    let file = files_below(&archive).into_iter().find(|path| path.extension().is_some_and(|end| end == "parquet"));
    let file = file.unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    bench.weir(&["verify", "job.toml"]);
    let arguments = ["verify", "job.toml", "--files", "--report", "audit.json"];
    let output = bench.command(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&std::fs::read(bench.path().join("audit.json")).unwrap()).unwrap();
    assert_eq!(report["ok"], false);
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(report["checks"].to_string().contains(&format!("{name} has been changed")), "{report:#}");
    // No other file is named.
    let broken = report["checks"].as_array().unwrap().iter().map(|check| check["broken"].as_u64().unwrap());
    assert_eq!(broken.sum::<u64>(), 1);
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
