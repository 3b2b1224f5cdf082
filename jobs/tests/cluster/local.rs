//! A job on the files of this host: no service is needed.

use std::path::Path;
use std::process::Command;

use weir_checkpoints::Manifest;

use crate::support::{RunningJob, expect, manifests, newest, wait_for, weir};

const JOB: &str = "clicks";

/// A log, its oracle, and a job.
pub struct LocalJob {
    folder: tempfile::TempDir,
    pub records: u64,
}

impl LocalJob {
    /// A log of so many clicks in five partitions, which the job reads slowly enough to be disturbed: in small epochs, each of
    /// which is a checkpoint.
    pub fn new(clicks: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clicks, oracle) = (clicks.to_string(), folder.path().join("oracle.ndjson"));
        let mut generate = at(folder.path());
        generate.args([
            "generate",
            "--to",
            "log/",
            "--oracle",
            "oracle.ndjson",
            "--partitions",
            "5",
            "--clicks",
            &clicks,
        ]);
        generate.args(["--events-per-second", "50", "--ads", "300", "--users", "5000", "--poison", "0.002"]);
        expect(&generate.args(["--bytes", "300"]).output().unwrap(), 0, "generate");
        let text = "[job]\nname = \"clicks\"\nworkers = 1\n[source]\nkind = \"ndjson\"\nurl = \"log/\"\nfollow = true\n\
                    [epoch]\ninterval = \"50ms\"\nmax_records = 500\n[cluster]\npeer_timeout = \"3s\"\n\
                    [checkpoint]\nurl = \"checkpoints\"\ninterval = \"50ms\"\n[tables]\nurl = \"tables\"\n";
        std::fs::write(folder.path().join("job.toml"), text).unwrap();
        let header: serde_json::Value =
            serde_json::from_str(std::fs::read_to_string(oracle).unwrap().lines().next().unwrap()).unwrap();
        Self { records: header["totals"]["read"].as_u64().unwrap(), folder }
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
        let output = at(self.folder()).args(["verify", "job.toml", "--oracle", "oracle.ndjson"]).output().unwrap();
        expect(&output, 0, "verify");
    }

    fn checkpoints(&self) -> std::sync::Arc<dyn weir_checkpoints::Store> {
        weir_connectors::objects::open(&format!("file://{}/checkpoints", self.folder().display())).unwrap()
    }
}

fn at(folder: &Path) -> Command {
    let mut command = weir();
    command.current_dir(folder);
    command
}
