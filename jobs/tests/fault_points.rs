//! A job ends at each of the points that have a name, on its way and on the way back. Afterwards its totals and its tables
//! are the same as from an undisturbed run.
//!
//! With `--nocapture` the tests list each point, with how often a process ended there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use weir_checkpoints::{FAULT_VARIABLE, FaultPoint};

#[path = "../../connectors/tests/clickhouse_engines/mod.rs"]
mod clickhouse_engines;
mod support;

use clickhouse_engines::{Engine, Server, wait_until};

/// What a job must have for a point to be passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// A log, and a disk.
    Files,
    /// So many versions of a table that its log is due for a checkpoint.
    ManyVersions,
    ClickHouse,
    /// Dead letters in a topic.
    Topic,
}

/// No point is left out: a new one must be put somewhere here.
const fn needs(point: FaultPoint) -> Needs {
    use FaultPoint as Point;
    match point {
        Point::AttemptBegun
        | Point::CommitsRepeated
        | Point::StartTold
        | Point::DedupRestored
        | Point::WindowsRestored
        | Point::SinksRestored
        | Point::SourceOpened
        | Point::EpochReported
        | Point::EpochAgreed
        | Point::ReadCut
        | Point::DedupCut
        | Point::WindowsCut
        | Point::SealBegun
        | Point::StateWriting
        | Point::StateWritten
        | Point::ObjectWriting
        | Point::ObjectWritten
        | Point::Sealed
        | Point::ReportsComplete
        | Point::ManifestAssembled
        | Point::ManifestWriting
        | Point::ManifestWritten
        | Point::VersionWriting
        | Point::VersionWritten
        | Point::LettersShown
        | Point::Committed
        | Point::GarbageDeleting
        | Point::GarbageDeleted => Needs::Files,
        Point::LogCheckpointWriting => Needs::ManyVersions,
        Point::RowsInserting | Point::RowsInserted => Needs::ClickHouse,
        Point::LettersSending | Point::LettersSent => Needs::Topic,
    }
}

fn points(needed: Needs) -> impl Iterator<Item = FaultPoint> {
    FaultPoint::ALL.iter().copied().filter(move |point| needs(*point) == needed)
}

/// A log on disk with its right answer.
struct Log {
    folder: tempfile::TempDir,
}

impl Log {
    fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn fill(&self, more: &str) {
        let options = "--to log/ --oracle oracle.ndjson --partitions 3 --ads 50 --users 800 --bytes 300 \
                       --events-per-second 50 --duplicates 0.03 --poison 0.01 --future 0.003";
        let mut command = weir(self.folder.path());
        let options = options.split_whitespace().chain(more.split_whitespace());
        expect(&command.arg("generate").args(options).output().unwrap(), "generate");
    }
}

/// For all tests that only read it.
static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::empty();
    log.fill("--clicks 200000");
    log
});

/// A job that seals every epoch and writes out all that it has each time.
struct Job<'l> {
    folder: tempfile::TempDir,
    log: &'l Log,
}

impl<'l> Job<'l> {
    fn new(log: &'l Log, more: &str) -> Self {
        let job = Self { folder: tempfile::tempdir().unwrap(), log };
        let text = format!(
            "[job]\nname = \"faults\"\n[source]\nkind = \"ndjson\"\nurl = \"{}\"\n\
             [epoch]\ninterval = \"10ms\"\nmax_records = 5\n[checkpoint]\nurl = \"checkpoints\"\ninterval = \"10ms\"\n\
             [tables]\nurl = \"tables\"\nroll_interval = \"1s\"\ntarget_file_bytes = 65536\n{more}",
            log.folder.path().join("log").display()
        );
        std::fs::write(job.folder.path().join("job.toml"), text).unwrap();
        job
    }

    fn command(&self, fault: Option<&str>, workers: u64) -> Command {
        let mut command = weir(self.folder.path());
        command.args(["run", "job.toml", "--output", "json", "-D", &format!("job.workers={workers}")]);
        if let Some(fault) = fault {
            command.env(FAULT_VARIABLE, fault);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs to the fault; whether it came to it before the job's end.
    fn dies(&self, fault: &str, workers: u64) -> bool {
        let output = self.command(Some(fault), workers).output().unwrap();
        if is_gone(output.status) {
            return true;
        }
        expect(&output, fault);
        false
    }

    fn ends_as_it_should(&self, after: &str) {
        expect(&self.command(None, 2).output().unwrap(), after);
        let mut verify = weir(self.folder.path());
        verify.args(["verify", "job.toml", "--files", "--oracle"]).arg(self.log.folder.path().join("oracle.ndjson"));
        expect(&verify.output().unwrap(), &format!("verify after {after}"));
    }
}

/// A process that died as one does of a signal that it cannot answer.
fn is_gone(status: ExitStatus) -> bool {
    status.signal().is_some()
}

fn weir(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.current_dir(folder);
    command
}

#[track_caller]
fn expect(output: &Output, what: &str) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{out}\n{err}", output.status);
}

/// A job that has a checkpoint dies at the point, dies there again on its way back or later, and then ends.
fn check(job: &Job<'_>, point: FaultPoint) {
    let (name, workers) = (point.name(), 1 + point as u64 % 3);
    // One worker reads about a thousand records in an epoch, and waits when it is 120 epochs ahead of what is committed. So
    // however slow the disk is, there is more behind the first checkpoint.
    assert!(job.dies("committed:1", 1), "{name}: the job ended with its first checkpoint");
    let mut deaths = 0;
    for pass in [1, 1, 2, 7] {
        let died = job.dies(&format!("{name}:{pass}"), workers);
        deaths += u32::from(died);
        assert!(died || deaths > 0, "{name} was never passed");
        if !died {
            break;
        }
    }
    job.ends_as_it_should(name);
    println!("{name:24} {deaths} ended there");
}

fn check_files(lane: usize) {
    for (_, point) in points(Needs::Files).enumerate().filter(|(number, _)| number % 2 == lane) {
        check(&Job::new(&LOG, ""), point);
    }
}

#[test]
fn ended_at_every_point_of_files_lane_0() {
    check_files(0);
}

#[test]
fn ended_at_every_point_of_files_lane_1() {
    check_files(1);
}

/// A log that is followed for so long that a table has enough versions. The point is passed twice for each checkpoint: for
/// its rows, and for what points readers to them.
#[test]
fn ended_while_a_table_s_log_is_summed_up() {
    for point in points(Needs::ManyVersions) {
        let log = Log::empty();
        let faults = [format!("{}:1", point.name()), format!("{}:2", point.name())];
        let jobs = [Job::new(&log, ""), Job::new(&log, "")];
        log.fill("--clicks 1000");
        let mut running: Vec<_> = jobs
            .iter()
            .zip(&faults)
            .map(|(job, fault)| {
                let mut command = job.command(Some(fault), 1);
                command.args(["-D", "source.follow=true"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
            })
            .collect();
        log.fill("--append --rate 25000 --clicks 400000");
        for ((job, fault), child) in jobs.iter().zip(&faults).zip(&mut running) {
            wait_until(&format!("{fault} is passed"), || child.try_wait().unwrap().is_some_and(is_gone));
            job.ends_as_it_should(fault);
        }
        println!("{:24} 2 ended there", point.name());
    }
}

#[test]
fn ended_around_an_insert() {
    let server = Server::start(Engine::Oldest);
    for point in points(Needs::ClickHouse) {
        let database = point.name().replace('.', "_");
        let settings = format!(
            "[clickhouse]\nurl = \"http://127.0.0.1:{}\"\ndatabase = \"{database}\"\nretention = \"0s\"\n",
            server.port
        );
        let job = Job::new(&LOG, &settings);
        check(&job, point);
        let sums = format!(
            "SELECT toString(window), sum(click_count) FROM {database}.clicks_agg_latest WHERE final = 1 GROUP BY window"
        );
        let counted = counted(&job);
        let found = server.query(&sums);
        assert_eq!(found.lines().count(), 3, "{found}");
        assert!(found.lines().all(|line| line.ends_with(&format!("\t{counted}"))), "{counted} were counted: {found}");
    }
}

/// How many clicks the job's newest manifest says were counted.
fn counted(job: &Job<'_>) -> u64 {
    let mut command = weir(job.folder.path());
    let output = command.args(["verify", "job.toml", "--output", "json"]).output().unwrap();
    expect(&output, "verify");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["totals"]["counted"].as_u64().unwrap_or_else(|| panic!("{report}"))
}

#[test]
fn ended_while_dead_letters_are_sent() {
    for point in points(Needs::Topic) {
        let job = support::TestJob::new(&point.name().replace('.', "-"), 2, &[]);
        let options = "--clicks 20000 --events-per-second 20 --ads 50 --users 800 --bytes 300 --poison 0.01";
        job.generate(2, &options.split(' ').collect::<Vec<_>>());
        let records = job.records();
        for pass in ["1", "1", "2"] {
            let mut running = job.start_in(2, &[(FAULT_VARIABLE, &format!("{}:{pass}", point.name()))]);
            assert!(running.wait_for_signal(), "{} was never passed\n{}", point.name(), running.log());
        }
        let killed = job.newest().map(|manifest| manifest.attempt);
        let mut running = job.start(2);
        job.wait_for(&mut running, "read to the end", |manifest| {
            manifest.totals().read == records && Some(manifest.attempt) > killed
        });
        running.terminate();
        job.verify();
        println!("{:24} 3 ended there", point.name());
    }
}
