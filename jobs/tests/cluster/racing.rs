//! Two attempts of one job that race, a hundred times: each epoch is committed by exactly one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::local::{LocalJob, Log};
use crate::support::RunningJob;

const RACES: u64 = 100;

/// Races at a time.
const LANES: u64 = 2;

/// How a process may end: it has come to the log's end, or the other one has taken over.
fn ended_in_order(process: &mut RunningJob) -> bool {
    match process.wait() {
        Some(0) => true,
        Some(1) => {
            let log = process.log();
            assert!(log.contains("took over the job"), "{log}");
            false
        }
        code => panic!("it ended with {code:?}\n{}", process.log()),
    }
}

fn race(log: &Arc<Log>, seed: u64) -> &'static str {
    let rng = &mut StdRng::seed_from_u64(seed);
    let job = LocalJob::of(log);
    let start = || {
        job.run(&[
            "-D",
            "source.follow=false",
            "-D",
            "epoch.max_records=150",
            "-D",
            "checkpoint.interval=10ms",
            "-D",
            "epoch.interval=10ms",
        ])
    };
    let mut first = start();
    // Half of them begin together, half somewhere on the way of the other one.
    let most_ms = if seed.is_multiple_of(2) { 10 } else { 300 };
    std::thread::sleep(Duration::from_millis(rng.random_range(0..most_ms)));
    let mut second = start();
    let ended = [ended_in_order(&mut first), ended_in_order(&mut second)];

    let manifests = job.manifests();
    assert!(manifests.last().unwrap().ended, "race {seed}: one of them comes to the end");
    // The first manifest of an attempt repeats its predecessor's epoch and commits nothing.
    let mut committed = BTreeMap::new();
    for (before, manifest) in manifests.iter().zip(&manifests[1..]) {
        assert_eq!(before.sequence.next(), manifest.sequence, "race {seed}");
        assert!(before.attempt <= manifest.attempt, "race {seed}: attempts take turns");
        if manifest.epoch != before.epoch {
            let earlier = committed.insert(manifest.epoch, manifest.attempt);
            assert_eq!(earlier, None, "race {seed}: epoch {} is committed twice", manifest.epoch);
        }
    }
    job.verify();
    let by: BTreeSet<_> = committed.values().collect();
    match (ended, by.len()) {
        ([true, true], _) => "one after the other",
        (_, 1) => "taken over before a commit",
        _ => "taken over between commits",
    }
}

#[test]
fn of_two_attempts_that_race_a_hundred_times_exactly_one_commits_each_epoch() {
    // Of one partition, so that an epoch is what is polled at a time.
    let log = Arc::new(Log::new(120_000, 1));
    let lane = |lane: u64| (lane..RACES).step_by(LANES as usize).map(|seed| race(&log, seed)).collect::<Vec<_>>();
    let outcomes: Vec<&str> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|number| scope.spawn(move || lane(number))).collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    outcomes.into_iter().for_each(|outcome| *counted.entry(outcome).or_default() += 1);
    println!("{RACES} races: {counted:?}");
    assert!(counted.keys().any(|outcome| outcome.starts_with("taken over")), "there was no race: {counted:?}");
}
