//! `weir topics` and the warning of `weir check`, against a real cluster of one broker.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

/// Runs `weir` on the job file of a folder, and expects an exit code and texts on its two outputs.
fn check(folder: &Path, arguments: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).args(arguments).current_dir(folder).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "weir {arguments:?}\n{out}\n{err}");
    assert!(out.contains(stdout), "weir {arguments:?}: `{stdout}` is not in\n{out}");
    assert!(err.contains(stderr), "weir {arguments:?}: `{stderr}` is not in\n{err}");
}

#[test]
fn topics_are_made_once_and_what_they_lack_is_said() {
    let brokers = std::env::var("WEIR_TEST_KAFKA")
        .expect("WEIR_TEST_KAFKA is not set: it must name a Kafka broker; `scripts/test` starts one and sets it");
    let started_ns = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let topic = format!("test-topics-{}-{started_ns}", std::process::id());
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    let text = format!(
        "[job]\nname = \"clicks\"\n[source]\nkind = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"{topic}\"\n\
         [checkpoint]\nurl = \"checkpoints\"\n[tables]\nurl = \"tables\"\n"
    );
    std::fs::write(folder.join("job.toml"), text).unwrap();

    check(folder, &["topics", "describe", "job.toml"], 1, "missing", "`weir topics create` makes it");
    let create = ["topics", "create", "job.toml"];
    check(folder, &create, 1, "", "choose --replication-factor 1 --min-insync-replicas 1");
    let alone = |more: &[&'static str]| {
        let mut arguments = create.to_vec();
        arguments.extend(["--replication-factor", "1", "--min-insync-replicas", "1"]);
        arguments.extend(more);
        arguments
    };
    check(folder, &alone(&["--partitions", "3", "--retention", "1d"]), 0, "created", "");
    check(folder, &alone(&["--partitions", "3", "--retention", "1d"]), 0, "exists", "");
    check(folder, &alone(&["--partitions", "3"]), 1, "retention.ms is 86400000, not 604800000", "change it by hand");
    check(folder, &alone(&["--partitions", "4", "--retention", "1d"]), 1, "is 3, not 4", &topic);
    check(folder, &["topics", "describe", "job.toml"], 0, "its min.insync.replicas is 1, not 2", "");
    let lost = "a click answered as accepted can be lost when one broker is lost: its replication factor is 1, not 3";
    check(folder, &["topics", "describe", "job.toml", "--output", "json"], 0, "\"min_insync_replicas\": 1", "");
    check(folder, &["check", "job.toml"], 0, lost, "");
    check(folder, &["check", "job.toml", "--output", "json"], 0, "\"warning\": true", "");
}
