//! The command line from outside: exit codes, what is printed where.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output};

/// Runs `weir` without any configuration from the environment.
fn weir(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).current_dir(folder).output().unwrap()
}

/// Expects an exit code, and texts on standard output and standard error.
fn check(folder: &Path, arguments: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = weir(arguments, folder);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "weir {arguments:?}\n{out}\n{err}");
    assert!(out.contains(stdout), "weir {arguments:?}: `{stdout}` is not in\n{out}");
    assert!(err.contains(stderr), "weir {arguments:?}: `{stderr}` is not in\n{err}");
}

fn job_file(folder: &Path, source: &str) -> String {
    let text = format!(
        "[job]\nname = \"clicks\"\n[source]\nkind = \"ndjson\"\nurl = \"{source}\"\n\
         [checkpoint]\nurl = \"checkpoints\"\n[tables]\nurl = \"tables\"\n"
    );
    let path = folder.join("job.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn help_teaches_with_examples() {
    let folder = tempfile::tempdir().unwrap();
    check(folder.path(), &["--help"], 0, "weir check job.toml", "");
    for command in ["check", "generate", "verify"] {
        check(folder.path(), &[command, "--help"], 0, "Examples:", "");
    }
    check(folder.path(), &["checkpoints", "list", "--help"], 0, "Example:", "");
    check(folder.path(), &["topics", "create", "--help"], 0, "weir topics create job.toml --partitions 24", "");
}

#[test]
fn bad_usage_is_2() {
    let folder = tempfile::tempdir().unwrap();
    check(folder.path(), &[], 2, "", "Usage: weir");
    check(folder.path(), &["chek"], 2, "", "similar subcommand");
    check(folder.path(), &["check"], 2, "", "<JOB.toml>");
    check(folder.path(), &["generate", "--to", "x", "--poison", "2"], 2, "", "a share is from 0 to 1");
    check(folder.path(), &["generate", "--to", "x", "--poison", "0.6", "--late", "0.6"], 2, "", "more than 1");
    check(folder.path(), &["generate", "--to", "ftp://x/y"], 2, "", "cannot generate to `ftp://x/y`");
    check(folder.path(), &["generate", "--to", "x", "--batch", "2"], 2, "", "--batch is for --to http://… only");
    check(folder.path(), &["generate", "--to", "https://x"], 2, "", "over plain http only");
    check(folder.path(), &["generate", "--to", "http://x", "--partitions", "2"], 2, "", "the server finds");
    let by_time = ["generate", "--to", "http://x", "--for", "1s", "--oracle", "o"];
    check(folder.path(), &by_time, 2, "", "--oracle needs --clicks or --rate");
}

#[test]
fn bad_configuration_is_2() {
    let folder = tempfile::tempdir().unwrap();
    check(folder.path(), &["check", "nothing.toml"], 2, "", "cannot read job file nothing.toml");
    let job = job_file(folder.path(), "log/");
    let wrong = ["check", job.as_str(), "-D", "checkpoint.intervall=1s"];
    check(folder.path(), &wrong, 2, "", "did you mean `checkpoint.interval`?");
    let out_of_range = ["verify", job.as_str(), "-D", "job.workers=0"];
    check(folder.path(), &out_of_range, 2, "", "a whole number from 1 to 256");
}

#[test]
fn topics_are_for_kafka_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let job = job_file(folder.path(), "log/");
    check(folder.path(), &["topics", "describe", &job], 2, "", "the job reads NDJSON files");
    let too_many = ["topics", "create", job.as_str(), "--replication-factor", "1"];
    check(folder.path(), &too_many, 2, "", "--min-insync-replicas 2 cannot be more than --replication-factor 1");
}

#[test]
fn defaults_are_a_job_file() {
    let folder = tempfile::tempdir().unwrap();
    check(folder.path(), &["check", "--defaults"], 0, "[checkpoint]\n", "");
}

#[test]
fn check_looks_at_the_source_and_the_stores() {
    let folder = tempfile::tempdir().unwrap();
    let generate = ["generate", "--clicks", "1000", "--to", "log/", "--partitions", "3"];
    check(folder.path(), &generate, 0, "1,000", "");
    let job = job_file(folder.path(), "log/");
    check(folder.path(), &["check", &job], 0, "3 partitions", "");
    check(folder.path(), &["check", &job, "--output", "json"], 0, "\"ok\": true", "");
    let left = std::fs::read_dir(folder.path().join("checkpoints").join("clicks")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "the probe is deleted");
    let missing = ["check", job.as_str(), "-D", "source.url=nowhere/"];
    check(folder.path(), &missing, 1, "FAILED", "job clicks cannot run: source");
}

#[test]
fn a_job_that_never_ran_has_nothing_to_show() {
    let folder = tempfile::tempdir().unwrap();
    let job = job_file(folder.path(), "log/");
    check(folder.path(), &["verify", &job], 1, "", "has no checkpoint");
    check(folder.path(), &["checkpoints", "show", &job], 1, "", "has no checkpoint");
    check(folder.path(), &["checkpoints", "list", &job, "--output", "json"], 0, "[]", "has no checkpoint");
}

#[test]
fn generate_prints_json_on_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "generate",
        "--clicks",
        "2000",
        "--to",
        "log/",
        "--oracle",
        "oracle.ndjson",
        "--late",
        "0.1",
        "--output",
        "json",
    ];
    let output = weir(&arguments, folder.path());
    assert_eq!(output.status.code(), Some(0));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["records"], 2000);
    assert_eq!(summary["totals"]["read"], 2000);
    check(folder.path(), &arguments, 1, "", "--append");
    let more = ["generate", "--append", "--clicks", "500", "--late", "1", "--to", "log/", "--oracle", "oracle.ndjson"];
    check(folder.path(), &more, 0, "late", "");
    let header = std::fs::read_to_string(folder.path().join("oracle.ndjson")).unwrap();
    let first: serde_json::Value = serde_json::from_str(header.lines().next().unwrap()).unwrap();
    assert_eq!(first["totals"]["read"], 2500);
    assert!(first["totals"]["late"].as_u64().unwrap() >= 500);
}
