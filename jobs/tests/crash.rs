//! SIGKILL at random moments, restarts with other numbers of workers, on a real Kafka and a real S3: the totals, the tables
//! and what other engines read are the same as from an undisturbed run.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::TestJob;

/// Schedules in all; each has its own job, and up to five kills.
const SCHEDULES: u64 = 24;

/// Schedules that run side by side.
const LANES: u64 = 4;

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
    for _ in 0..kills {
        let mut running = job.start(rng.random_range(1..=3));
        std::thread::sleep(Duration::from_millis(rng.random_range(20..1500)));
        running.kill();
    }
    let records = job.records();
    let killed = job.newest().map(|manifest| manifest.attempt);
    let mut running = job.start(rng.random_range(1..=3));
    // The attempts before may have read everything: this one must have begun, or it would not know of signals yet.
    job.wait_for(&mut running, "read to the end", |manifest| {
        manifest.totals().read == records && Some(manifest.attempt) > killed
    });
    running.terminate();
    job.verify();
    if seed.is_multiple_of(LANES) {
        job.verify_with_other_engines(false);
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

fn check_lane(lane: u64) {
    for seed in (0..SCHEDULES).filter(|seed| seed % LANES == lane) {
        println!("schedule {seed}");
        check(seed);
    }
}

#[test]
fn killed_and_restarted_lane_0() {
    check_lane(0);
}

#[test]
fn killed_and_restarted_lane_1() {
    check_lane(1);
}

#[test]
fn killed_and_restarted_lane_2() {
    check_lane(2);
}

#[test]
fn killed_and_restarted_lane_3() {
    check_lane(3);
}
