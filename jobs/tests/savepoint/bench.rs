//! A folder with an NDJSON log, job files, checkpoints and tables, and the command that is tested.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_checkpoints::{Manifest, Names, Savepoints, Store};

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// A folder with `job.toml`, job `clicks`, and `fork.toml`, which differs in its name and tables. Both follow the log.
    /// Epochs are short, so that there are many of them.
    pub(crate) fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        bench.job_file("job.toml", "clicks", "tables");
        bench.job_file("fork.toml", "fork", "fork-tables");
        bench
    }

    pub(crate) fn job_file(&self, file: &str, name: &str, tables: &str) {
        let text = format!(
            "[job]\nname = \"{name}\"\n[source]\nkind = \"ndjson\"\nurl = \"log/\"\nfollow = true\n\
             [epoch]\ninterval = \"50ms\"\nmax_records = 5000\n\
             [checkpoint]\nurl = \"checkpoints\"\ninterval = \"100ms\"\nretain = 2\n\
             [tables]\nurl = \"{tables}\"\nroll_interval = \"1s\"\n"
        );
        std::fs::write(self.path().join(file), text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn oracle(&self) -> PathBuf {
        self.path().join("oracle.ndjson")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).args(["--output", "json"]).current_dir(self.path());
        command
    }

    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed, and returns what it printed.
    #[track_caller]
    pub(crate) fn weir(&self, arguments: &[&str]) -> Value {
        let output = self.output(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "weir {arguments:?}\n{out}\n{err}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must fail with an exit code and these words.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let output = self.output(arguments);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "weir {arguments:?}\n{err}");
        words.iter().for_each(|word| assert!(err.contains(word), "weir {arguments:?}: `{word}` is not in\n{err}"));
    }

    /// Adds clicks to the log, and to what is expected of it.
    pub(crate) fn generate(&self, clicks: u32, more: &[&str]) {
        let stream = ["--ads", "60", "--users", "2000", "--bytes", "250", "--poison", "0.01", "--future", "0.01"];
        let append = if self.path().join("log").exists() { ["--append"].as_slice() } else { &[] };
        let duplicates = if more.contains(&"--duplicates") { [].as_slice() } else { &["--duplicates", "0.05"] };
        self.generate_few(clicks, &[stream.as_slice(), duplicates, append, more].concat());
    }

    /// Adds clicks to the log as told, and to what is expected of it.
    pub(crate) fn generate_few(&self, clicks: u32, options: &[&str]) {
        let clicks = clicks.to_string();
        let common =
            ["generate", "--to", "log/", "--oracle", "oracle.ndjson", "--clicks", &clicks, "--partitions", "2"];
        self.weir(&[&common, options].concat());
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let log = std::fs::File::options().create(true).append(true).open(self.path().join("stderr.log")).unwrap();
        Running { child: self.command(arguments).stdout(Stdio::null()).stderr(log).spawn().unwrap() }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        weir_connectors::objects::open(&format!("file://{}", self.path().join("checkpoints").display())).unwrap()
    }

    pub(crate) fn savepoints(&self, job: &str) -> Savepoints {
        Savepoints::new(self.store(), Names::new(job))
    }

    /// The newest manifest; none before the first.
    pub(crate) fn newest(&self, job: &str) -> Option<Manifest> {
        weir_checkpoints::Follower::new(self.store(), job).newest().unwrap().cloned()
    }

    /// Waits until the newest manifest of a job is as it should be.
    #[track_caller]
    pub(crate) fn wait_for(&self, running: &mut Running, job: &str, reached: impl Fn(&Manifest) -> bool) -> Manifest {
        let started = Instant::now();
        loop {
            if let Some(newest) = self.newest(job).filter(&reached) {
                return newest;
            }
            let log = || std::fs::read_to_string(self.path().join("stderr.log")).unwrap_or_default();
            assert!(running.child.try_wait().unwrap().is_none(), "job {job} has ended\n{}", log());
            assert!(started.elapsed() < PATIENCE, "job {job} does not get there\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a job until all that is in the log is committed, and tells it to stop.
    #[track_caller]
    pub(crate) fn run_until(&self, arguments: &[&str], job: &str, records: u64) {
        let attempt = self.newest(job).map_or(0, |newest| newest.attempt.0);
        let mut running = self.start(arguments);
        self.wait_for(&mut running, job, |newest| newest.attempt.0 > attempt && newest.totals().read >= records);
        running.terminate();
    }
}

/// A job that is ended with the test, however that ends.
pub(crate) struct Running {
    pub(crate) child: Child,
}

impl Running {
    /// Tells it to stop, and waits until it has.
    #[track_caller]
    pub(crate) fn terminate(mut self) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
