//! The process that writes the log is killed at any point: everything it said was settled is there, and a follower in
//! another process has never seen more than the log has on disk.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use weir_checkpoints::PartitionId;
use weir_connectors::log::{Group, Log};
use weir_connectors::ndjson::{NdjsonConfig, NdjsonLog, NdjsonLogConfig, NdjsonSourceFactory};
use weir_dataflow::{Polled, Source, SourceFactory};

use crate::ndjson::read_back;

const FOLDER: &str = "WEIR_TEST_CRASH";
const SEED: &str = "WEIR_TEST_SEED";
const SEEDS: u64 = 100;
const PARTITIONS: u32 = 2;

fn open(folder: &Path) -> NdjsonLog {
    let config = NdjsonLogConfig {
        partitions: PARTITIONS,
        // Several segments in a run.
        segment_bytes: 100_000,
        ..NdjsonLogConfig::new(folder.join("log"))
    };
    NdjsonLog::open(config).unwrap()
}

#[test]
fn what_was_settled_outlives_a_kill() {
    let (mut kept_in_all, mut runs_that_kept) = (0, 0);
    // Each log lives through several kills.
    for first in (0..SEEDS).step_by(4) {
        let folder = TempDir::new().unwrap();
        drop(open(folder.path()));
        let mut follower = Follower::open(&folder.path().join("log"));
        for seed in first..first + 4 {
            kill_at_random(folder.path(), seed, &mut follower);
            let said: BTreeSet<String> = said(folder.path());
            let there: BTreeSet<String> = lines(read_back(&folder.path().join("log")).unwrap().concat());
            let missing: Vec<&String> = said.difference(&there).collect();
            assert!(missing.is_empty(), "seed {seed}: {missing:?}");
            follower.read();
            let more: Vec<&String> = follower.seen.difference(&there).collect();
            assert!(more.is_empty(), "seed {seed}: {more:?}");
        }
        // Opening mends it: a follower gets all that is there, the same as a reader who starts anew.
        drop(open(folder.path()));
        thread::sleep(Duration::from_millis(120));
        follower.read();
        let there = lines(read_back(&folder.path().join("log")).unwrap().concat());
        assert_eq!(follower.seen, there, "seeds from {first}");
        kept_in_all += said(folder.path()).len();
        runs_that_kept += usize::from(!said(folder.path()).is_empty());
    }
    assert!(kept_in_all > 1_000 && runs_that_kept > 10, "{kept_in_all} settled in {runs_that_kept} logs");
}

fn kill_at_random(folder: &Path, seed: u64, follower: &mut Follower) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut child = spawn(folder, seed);
    let time = Duration::from_micros(random.random_range(2_000..60_000));
    let started = std::time::Instant::now();
    while started.elapsed() < time {
        follower.read();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn spawn(folder: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_is_killed", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(SEED, seed.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// What children have said is settled. Each child has a file of its own, whose last line its end may have torn.
fn said(folder: &Path) -> BTreeSet<String> {
    let texts = (0..SEEDS).filter_map(|seed| std::fs::read_to_string(settled_path(folder, seed)).ok());
    texts.flat_map(|text| whole_lines(&text)).collect()
}

fn whole_lines(text: &str) -> Vec<String> {
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

fn settled_path(folder: &Path, seed: u64) -> PathBuf {
    folder.join(format!("settled-{seed}"))
}

/// Without torn lines, which nobody was told about.
fn lines(values: Vec<Vec<u8>>) -> BTreeSet<String> {
    values.into_iter().map(|value| String::from_utf8(value).unwrap()).filter(|line| line.ends_with('}')).collect()
}

#[test]
#[ignore = "the child of the test above"]
fn child_that_is_killed() {
    let folder = std::env::var(FOLDER).unwrap();
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let mut random = StdRng::seed_from_u64(seed ^ 0xC41D);
    let log = open(folder.as_ref());
    let settled = std::fs::File::create_new(settled_path(folder.as_ref(), seed)).unwrap();
    let settled = std::sync::Arc::new(Mutex::new(settled));
    for number in 0_u64.. {
        let mut group = Group::default();
        let mut values = String::new();
        for record in 0..random.random_range(1..20) {
            let filler = "x".repeat(random.random_range(0..400));
            let value = format!("{{\"seed\":{seed},\"number\":{number},\"record\":{record},\"filler\":\"{filler}\"}}");
            group.push("A", |to| to.extend_from_slice(value.as_bytes()));
            values.push_str(&value);
            values.push('\n');
        }
        let settled = std::sync::Arc::clone(&settled);
        log.append(
            group,
            Box::new(move |outcome| {
                if outcome.error.is_none() {
                    settled.lock().unwrap().write_all(values.as_bytes()).unwrap();
                }
            }),
        );
        if random.random_range(0..4) == 0 {
            thread::sleep(Duration::from_micros(random.random_range(0..2_000)));
        }
    }
}

/// A job that follows the log.
struct Follower {
    source: Box<dyn Source>,
    seen: BTreeSet<String>,
}

impl Follower {
    fn open(log: &Path) -> Self {
        let url = format!("file://{}/", log.display());
        let assigned: Vec<_> = (0..PARTITIONS).map(|partition| (PartitionId(partition), None)).collect();
        let source = NdjsonSourceFactory::new(NdjsonConfig { url, follow: true }).unwrap().open(&assigned).unwrap();
        Self { source, seen: BTreeSet::new() }
    }

    fn read(&mut self) {
        for partition in (0..PARTITIONS).map(PartitionId) {
            let mut values = Vec::new();
            loop {
                let mut visit = |record: weir_dataflow::Record<'_>| values.push(record.payload.unwrap().to_vec());
                let polled = self.source.poll(partition, 1_000, &mut visit);
                if !matches!(polled.unwrap(), Polled::Records(_)) {
                    break;
                }
            }
            self.seen.extend(lines(values));
        }
    }
}
