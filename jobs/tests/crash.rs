//! SIGKILL at random moments, restarts with other numbers of workers, on a real Kafka and a real S3: the totals, the tables
//! and what other engines read are the same as from an undisturbed run.
//!
//! `WEIR_TEST_SCHEDULES=2000` runs so many schedules instead of 200; `WEIR_TEST_FIRST_SCHEDULE=N` begins with another seed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use support::TestJob;
use weir_checkpoints::{FAULT_VARIABLE, FaultPoint};

/// Schedules in all; each has its own job, and up to five kills.
const SCHEDULES: u64 = 200;

/// Schedules that run side by side. They sleep most of the time.
const LANES: u64 = 4;

/// One schedule in this many is read by other engines too, which takes as long as all the rest of it.
const OTHER_ENGINES_EVERY: u64 = 16;

/// Where a process is that finds its way back.
const RECOVERY: [FaultPoint; 7] = [
    FaultPoint::AttemptBegun,
    FaultPoint::CommitsRepeated,
    FaultPoint::StartTold,
    FaultPoint::DedupRestored,
    FaultPoint::WindowsRestored,
    FaultPoint::SinksRestored,
    FaultPoint::SourceOpened,
];

fn check(seed: u64) {
    let rng = &mut StdRng::seed_from_u64(seed);
    let partitions = rng.random_range(1..=6);
    let job = TestJob::new(&format!("crash-{seed}"), partitions, &[]);
    let generator_seed = seed.to_string();
    // An hour and more of event time, so that windows of all lengths close on the way.
    let options = "--clicks 30000 --events-per-second 6 --ads 60 --users 2000 --bytes 300 --duplicates 0.03 \
                   --poison 0.005 --future 0.003 --seed";
    let options: Vec<&str> = options.split_whitespace().chain([generator_seed.as_str()]).collect();
    job.generate(partitions, &options);
    let kills = rng.random_range(1..=5);
    for kill in 0..kills {
        let mut running = job.start(rng.random_range(1..=4));
        std::thread::sleep(Duration::from_millis(rng.random_range(20..1500)));
        running.kill();
        // Killed again while it finds its way back; a job that has no state yet does not come by every point.
        if kill == 0 && seed.is_multiple_of(10) {
            let point = RECOVERY.choose(rng).unwrap();
            let mut recovering = job.start_in(rng.random_range(1..=4), &[(FAULT_VARIABLE, point.name())]);
            recovering.wait_at_most(Duration::from_millis(1500));
            recovering.kill();
        }
    }
    let records = job.records();
    let killed = job.newest().map(|manifest| manifest.attempt);
    let mut running = job.start(rng.random_range(1..=4));
    // The attempts before may have read everything: this one must have begun, or it would not know of signals yet.
    job.wait_for(&mut running, "read to the end", |manifest| {
        manifest.totals().read == records && Some(manifest.attempt) > killed
    });
    running.terminate();
    job.verify();
    if seed.is_multiple_of(OTHER_ENGINES_EVERY) {
        job.verify_with_other_engines(false);
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn killed_at_random_moments_and_restarted() {
    let first = number("WEIR_TEST_FIRST_SCHEDULE", 0);
    let next = AtomicU64::new(first);
    let end = first + number("WEIR_TEST_SCHEDULES", SCHEDULES);
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    // A failure says at once which one it was; the other lanes go on to the end of theirs.
                    let shown = Shown(seed);
                    check(seed);
                    std::mem::forget(shown);
                }
            });
        }
    });
    println!("{} schedules", end - first);
}

/// Names the schedule where it is dropped by a panic.
struct Shown(u64);

impl Drop for Shown {
    fn drop(&mut self) {
        println!("schedule {} failed: WEIR_TEST_FIRST_SCHEDULE={} WEIR_TEST_SCHEDULES=1 runs it alone", self.0, self.0);
    }
}

#[test]
fn a_bounded_log_is_complete_on_s3_however_often_it_was_killed() {
    let log = tempfile::tempdir().unwrap();
    let url = log.path().join("log").display().to_string();
    let job = TestJob::new("bounded", 1, &[("source.kind", "ndjson"), ("source.url", &url)]);
    let options = "--clicks 150000 --events-per-second 30 --ads 100 --users 5000 --bytes 300 --duplicates 0.03 \
                   --poison 0.005 --future 0.003";
    job.generate_to(&url, 5, &options.split_whitespace().collect::<Vec<_>>());
    let rng = &mut StdRng::seed_from_u64(7);
    for _ in 0..4 {
        let mut running = job.start(rng.random_range(1..=4));
        std::thread::sleep(Duration::from_millis(rng.random_range(200..1200)));
        running.kill();
    }
    let mut running = job.start(3);
    assert_eq!(running.wait(), Some(0), "{}", running.log());
    assert!(job.newest().unwrap().ended);
    job.verify();
    job.verify_with_other_engines(true);
}
