//! A disk that takes no more, and then does again: a child process under a limit for the size of its files.
//!
//! ```text
//!   parent                                   child (this test again, in a shell that set the limit)
//!   fill partition 0 nearly to the limit ──▶ append: partition 0 fails, the others take everything
//!   lift the limit                       ──▶ within some seconds partition 0 is written again
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weir_connectors::log::{Log, LogError};
use weir_connectors::ndjson::{NdjsonLog, NdjsonLogConfig, NdjsonWriter, WriterConfig};

use crate::harness::{append, group, settled};
use crate::ndjson::read_back;

const FOLDER: &str = "WEIR_TEST_FULL_DISK";
const LIMIT_KIB: usize = 256;

fn log(folder: &Path, partitions: u32) -> NdjsonLog {
    NdjsonLog::open(NdjsonLogConfig { partitions, ..NdjsonLogConfig::new(folder.to_owned()) }).unwrap()
}

fn line(number: usize) -> String {
    format!("{{\"number\":{number},\"filler\":\"{}\"}}", "x".repeat(900))
}

/// Runs the child of this name under the limit, and gives it what it asks for, line by line. What it settled as kept.
fn run_child(name: &str, folder: &Path) -> Vec<usize> {
    let script = format!("trap '' XFSZ; ulimit -S -f {LIMIT_KIB}; exec \"$0\" \"$@\"");
    let mut child = Command::new("bash")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut kept = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(number) = line.strip_prefix("kept ") {
            kept.push(number.parse().unwrap());
        }
        if line.ends_with("lift the limit") {
            let pid = child.id().to_string();
            assert!(Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status().unwrap().success());
            child.stdin.as_mut().unwrap().write_all(b"lifted\n").unwrap();
        }
    }
    assert!(child.wait().unwrap().success());
    kept
}

fn wait_for_the_parent() {
    println!("lift the limit");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

fn check(folder: &Path, kept: &[usize]) {
    let there: BTreeSet<Vec<u8>> = read_back(folder).unwrap().concat().into_iter().collect();
    for number in kept {
        assert!(there.contains(line(*number).as_bytes()), "{number} is gone");
    }
}

#[test]
fn a_partition_that_fails_leaves_the_work_to_the_others() {
    let folder = TempDir::new().unwrap();
    let first = folder.path().join("0");
    let mut writer = NdjsonWriter::open(&first, WriterConfig::default()).unwrap();
    for number in 1_000_000..1_000_000 + LIMIT_KIB - 10 {
        writer.append(0, line(number).as_bytes()).unwrap();
    }
    writer.close().unwrap();
    let kept = run_child("disk::child_with_one_full_partition", folder.path());
    assert!(kept.len() > 100, "{}", kept.len());
    check(folder.path(), &kept);
}

#[test]
#[ignore = "the child of the test above"]
fn child_with_one_full_partition() {
    let folder = std::env::var(FOLDER).unwrap();
    let log = log(folder.as_ref(), 2);
    let length = || fs::metadata(Path::new(&folder).join("0/00000000000000000000.ndjson")).unwrap().len();
    let mut failed = 0;
    let append_one = |number: usize| {
        let outcome = settled(&append(&log, group([("A", line(number).as_bytes())])));
        match &outcome.error {
            None => println!("\nkept {number}"),
            Some(error) => assert!(matches!(error, LogError::Unavailable { .. }), "{error}"),
        }
        outcome.error.is_none()
    };
    for number in 0..150 {
        failed += usize::from(!append_one(number));
    }
    // One batch in hand; opening it again fails too, as there is no room to end the torn line.
    assert!((1..=3).contains(&failed), "{failed} failed");
    log.probe(Duration::from_secs(1)).unwrap();
    let full = length();
    wait_for_the_parent();
    let started = Instant::now();
    for number in 1_000.. {
        assert!(append_one(number));
        if length() > full + 3_000 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "partition 0 was not opened again");
        std::thread::sleep(Duration::from_millis(20));
    }
    log.close(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_log_that_fails_recovers() {
    let folder = TempDir::new().unwrap();
    let kept = run_child("disk::child_with_a_full_disk", folder.path());
    assert!(kept.len() > 200, "{}", kept.len());
    check(folder.path(), &kept);
}

#[test]
#[ignore = "the child of the test above"]
fn child_with_a_full_disk() {
    let folder = std::env::var(FOLDER).unwrap();
    let log = log(folder.as_ref(), 1);
    let mut number = 0;
    let mut append_until = |kept: bool, patience: Duration| {
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < patience, "after {number}");
            number += 1;
            let outcome = settled(&append(&log, group([("A", line(number).as_bytes())])));
            if outcome.error.is_none() {
                println!("\nkept {number}");
            }
            if outcome.error.is_none() == kept {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    append_until(false, Duration::from_secs(20));
    assert!(matches!(log.probe(Duration::from_secs(1)), Err(LogError::Unavailable { .. })));
    assert_eq!(log.load().records, 0);
    // Refused at once, without waiting for the disk.
    let started = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(settled(&append(&log, group([("A", b"x".as_slice())]))).failed, [0]);
    }
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    wait_for_the_parent();
    append_until(true, Duration::from_secs(20));
    log.probe(Duration::from_secs(1)).unwrap();
    for _ in 0..100 {
        append_until(true, Duration::from_secs(1));
    }
    log.close(Duration::from_secs(10)).unwrap();
}
