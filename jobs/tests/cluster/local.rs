//! A job on the files of this host: no service is needed.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use weir_checkpoints::{Manifest, Store};

use crate::support::{RunningJob, expect, manifests, newest, wait_for, weir};

const JOB: &str = "clicks";

/// A log, and its oracle.
pub struct Log {
    folder: tempfile::TempDir,
    records: u64,
}

impl Log {
    pub fn new(clicks: u64, partitions: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clicks, partitions) = (clicks.to_string(), partitions.to_string());
        let mut generate = at(folder.path());
        generate.args(["generate", "--to", "log/", "--oracle", "oracle.ndjson", "--partitions", &partitions]);
        generate.args(["--clicks", &clicks, "--events-per-second", "50", "--ads", "300", "--users", "5000"]);
        expect(&generate.args(["--poison", "0.002", "--bytes", "300"]).output().unwrap(), 0, "generate");
        let oracle = std::fs::read_to_string(folder.path().join("oracle.ndjson")).unwrap();
        let header: serde_json::Value = serde_json::from_str(oracle.lines().next().unwrap()).unwrap();
        Self { records: header["totals"]["read"].as_u64().unwrap(), folder }
    }
}

/// A job that reads a log slowly enough to be disturbed: in small epochs, each of which may be a checkpoint.
pub struct LocalJob {
    folder: tempfile::TempDir,
    log: Arc<Log>,
    pub records: u64,
}

impl LocalJob {
    /// A job with a log of its own, of five partitions.
    pub fn new(clicks: u64) -> Self {
        Self::of(&Arc::new(Log::new(clicks, 5)))
    }

    pub fn of(log: &Arc<Log>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[job]\nname = \"clicks\"\nworkers = 1\n[source]\nkind = \"ndjson\"\nurl = \"{}/log/\"\nfollow = true\n\
             [epoch]\ninterval = \"50ms\"\nmax_records = 500\n[cluster]\npeer_timeout = \"3s\"\n\
             [checkpoint]\nurl = \"checkpoints\"\ninterval = \"50ms\"\n[tables]\nurl = \"tables\"\n",
            log.folder.path().display()
        );
        std::fs::write(folder.path().join("job.toml"), text).unwrap();
        Self { folder, log: Arc::clone(log), records: log.records }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts `weir run` with these arguments, by `through` if something is to start it.
    pub fn run_through(&self, through: &[&str], arguments: &[&str]) -> RunningJob {
        let mut command = match through {
            [] => weir(),
            [program, before @ ..] => {
                let mut command = Command::new(program);
                command.args(before).arg(env!("CARGO_BIN_EXE_weir"));
                command
            }
        };
        command.args(["run", "job.toml"]).args(arguments).current_dir(self.folder());
        RunningJob::spawn(command, self.folder())
    }

    pub fn run(&self, arguments: &[&str]) -> RunningJob {
        self.run_through(&[], arguments)
    }

    /// Starts one process of those in a list of hosts.
    pub fn process(&self, hosts: &str, process: usize, more: &[&str]) -> RunningJob {
        self.run(&[&["--hosts", hosts, "--process", &process.to_string()], more].concat())
    }

    /// Starts all processes of a list of hosts.
    pub fn processes(&self, hosts: &[String]) -> Vec<RunningJob> {
        let list = crate::hosts::write(self.folder(), hosts);
        (0..hosts.len()).map(|process| self.process(&list, process, &[])).collect()
    }

    pub fn manifests(&self) -> Vec<Manifest> {
        manifests(self.checkpoints().as_ref(), JOB)
    }

    pub fn newest(&self) -> Option<Manifest> {
        newest(self.checkpoints().as_ref(), JOB)
    }

    /// Waits until an attempt has committed so many records.
    pub fn wait_for(&self, running: &mut RunningJob, attempt: u64, read: u64) {
        wait_for(running, &format!("{read} records in attempt {attempt}"), || {
            self.newest().filter(|newest| newest.attempt.0 == attempt && newest.totals().read >= read)
        });
    }

    /// Compares what is stored with the rules and with the oracle.
    #[track_caller]
    pub fn verify(&self) {
        let oracle = self.log.folder.path().join("oracle.ndjson");
        let output = at(self.folder()).args(["verify", "job.toml", "--oracle"]).arg(oracle).output().unwrap();
        expect(&output, 0, "verify");
    }

    fn checkpoints(&self) -> Arc<dyn Store> {
        weir_connectors::objects::open(&format!("file://{}/checkpoints", self.folder().display())).unwrap()
    }
}

fn at(folder: &Path) -> Command {
    let mut command = weir();
    command.current_dir(folder);
    command
}
