//! A job in a folder of its own.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// An empty folder with a job file. Epochs are short, so that there are many of them.
    pub(crate) fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "tables.url = \"tables\"\njob.name = \"clicks\"\nsource.kind = \"ndjson\"\nsource.url = \"log/\"\n\
             epoch.interval = \"50ms\"\ncheckpoint.url = \"checkpoints\"\ncheckpoint.interval = \"100ms\"\n{more}"
        );
        std::fs::write(folder.path().join("job.toml"), text).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub(crate) fn weir(&self, arguments: &[&str]) -> Value {
        let output = self.output(&[arguments, &["--output", "json"]].concat());
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "weir {arguments:?}\n{out}\n{err}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn explain(&self, ad_id: &str, window: &str, at_ms: i64, more: &[&str]) -> Value {
        let at = at_ms.to_string();
        self.weir(&[&["explain", "job.toml", "--ad", ad_id, "--window", window, "--at", &at], more].concat())
    }

    /// Appends clicks to a partition of the log.
    pub(crate) fn append(&self, partition: u32, clicks: &[Value]) {
        let folder = self.path().join(format!("log/{partition}"));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("00000000000000000000.ndjson");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        clicks.iter().for_each(|click| writeln!(file, "{click}").unwrap());
    }

    pub(crate) fn run(&self) {
        let ran = self.weir(&["run", "job.toml", "-D", "job.workers=2"]);
        assert_eq!(ran["ended"], true);
    }

    /// Runs the job until it has committed so many records, and stops it.
    pub(crate) fn run_for(&self, records: u64) {
        let arguments = ["run", "job.toml", "-D", "job.workers=2", "-D", "source.follow=true"];
        let mut job = Running(self.command(&arguments).stdout(Stdio::null()).spawn().unwrap());
        let started = Instant::now();
        while self.committed() < records {
            assert!(job.0.try_wait().unwrap().is_none(), "the job ended");
            assert!(started.elapsed() < PATIENCE, "{records} records are not committed");
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = job.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(job.0.wait().unwrap().success());
    }

    fn committed(&self) -> u64 {
        let output = self.output(&["checkpoints", "list", "job.toml", "--limit", "1", "--output", "json"]);
        // A manifest may be deleted between the listing and the reading.
        let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        list[0]["read"].as_u64().unwrap_or(0)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).current_dir(self.path());
        command
    }
}

/// A job that is ended with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
