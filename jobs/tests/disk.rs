//! A disk that is full, and one that cannot be written any more: the job ends and says so, and goes on where it was once
//! the disk is well.
//!
//! The disk is a tmpfs, so this needs the right to mount; where there is none, the tests say so and do nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use support::{RunningJob, expect, newest, wait_for, weir};

const PATIENCE: Duration = Duration::from_secs(60);

/// A disk of its own, with a job on it. Its log is elsewhere.
struct Disk {
    folder: tempfile::TempDir,
    log: tempfile::TempDir,
}

impl Disk {
    /// None where nothing can be mounted.
    fn new(kib: u32, settings: &str) -> Option<Self> {
        let disk = Self { folder: tempfile::tempdir().unwrap(), log: tempfile::tempdir().unwrap() };
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "weir-test"])
            .arg(disk.folder.path())
            .output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            println!("skipped: nothing can be mounted here");
            return None;
        }
        let mut generate = weir();
        generate.current_dir(disk.log.path()).args(["generate", "--to", "log/", "--oracle", "oracle.ndjson"]);
        generate.args(["--clicks", "60000", "--partitions", "3", "--ads", "300", "--users", "5000", "--bytes", "300"]);
        generate.args(["--events-per-second", "50", "--duplicates", "0.02", "--poison", "0.002"]);
        expect(&generate.output().unwrap(), 0, "generate");
        let text = format!(
            "[job]\nname = \"clicks\"\nworkers = 2\n[source]\nkind = \"ndjson\"\nurl = \"{}/log/\"\n\
             [epoch]\ninterval = \"20ms\"\nmax_records = 500\n[checkpoint]\nurl = \"checkpoints\"\ninterval = \"20ms\"\n\
             [tables]\nurl = \"tables\"\nroll_interval = \"1s\"\n{settings}",
            disk.log.path().display()
        );
        std::fs::write(disk.path().join("job.toml"), text).unwrap();
        Some(disk)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Changes how it is mounted; whether that worked.
    fn remount(&self, options: &str) -> bool {
        let mut remount = Command::new("mount");
        remount.args(["-o", &format!("remount,{options}")]).arg(self.path());
        remount.output().unwrap().status.success()
    }

    fn run(&self) -> Output {
        weir().current_dir(self.path()).args(["run", "job.toml"]).output().unwrap()
    }

    fn verify(&self) {
        let mut verify = weir();
        verify.current_dir(self.path()).args(["verify", "job.toml", "--oracle"]);
        expect(&verify.arg(self.log.path().join("oracle.ndjson")).output().unwrap(), 0, "verify");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

/// What was said, of a run that must have failed.
#[track_caller]
fn refused(output: &Output) -> String {
    expect(output, 1, "run");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_full_disk_ends_the_job_and_it_goes_on_once_there_is_room() {
    // So small that not even the first checkpoint fits, and then larger and larger.
    let mut kib = 64;
    let Some(disk) = Disk::new(kib, "") else { return };
    let mut ends = 0;
    loop {
        let output = disk.run();
        if output.status.success() {
            break;
        }
        let said = refused(&output);
        assert!(said.contains("No space left on device") || said.contains("os error 28"), "{kib} KiB: {said}");
        ends += 1;
        kib = kib * 3 / 2;
        assert!(kib < 1 << 20, "a gigabyte is not enough: {said}");
        assert!(disk.remount(&format!("size={kib}k")));
    }
    println!("the disk was full {ends} times, {kib} KiB were enough");
    assert!(ends > 5, "{ends} times full, {kib} KiB were enough");
    disk.verify();
}

#[test]
fn a_disk_that_cannot_be_written_any_more_ends_the_job_and_it_goes_on_once_it_can() {
    let Some(disk) = Disk::new(1 << 20, "") else { return };
    let store = weir_connectors::objects::open(&format!("file://{}/checkpoints", disk.path().display())).unwrap();
    // What it says goes elsewhere, for that is a file, too.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = weir();
    // Slow enough that it is still at it then.
    let slowly = ["run", "job.toml", "-D", "source.follow=true", "-D", "epoch.max_records=100"];
    command.current_dir(disk.path()).args(slowly);
    let mut running = RunningJob::spawn(command, elsewhere.path());
    wait_for(&mut running, "some records", || {
        newest(store.as_ref(), "clicks").filter(|newest| newest.totals().read > 5_000)
    });
    let began = Instant::now();
    // It is busy while a file is being written.
    while !disk.remount("ro") {
        assert!(began.elapsed() < PATIENCE, "it is always busy");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(running.wait(), Some(1), "{}", running.log());
    let said = running.log();
    assert!(said.contains("Read-only file system") || said.contains("os error 30"), "{said}");

    let said = refused(&disk.run());
    assert!(said.contains("Read-only file system") || said.contains("os error 30"), "{said}");
    assert!(disk.remount("rw"));
    expect(&disk.run(), 0, "run");
    disk.verify();
}
