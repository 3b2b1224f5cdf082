//! Killed while a savepoint is taken, or while a fork begins: there is a whole one, or none.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use weir_checkpoints::{Names, missing_part};

use crate::bench::Bench;
use crate::tables::{both, compare, expected, windows};

const SPREAD: [&str; 4] = ["--events-per-second", "10", "--start", "2025-01-15T09:40:00Z"];
const SEED: u64 = 20_250_115;

/// Starts a command, and kills it after some time. Returns whether it was killed.
fn kill_after(bench: &Bench, arguments: &[&str], time: Duration) -> bool {
    let mut child = bench.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(time);
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    running
}

#[test]
fn a_savepoint_that_was_killed_is_whole_or_not_there_while_the_job_goes_on() {
    let bench = Bench::new();
    bench.generate(20_000, &SPREAD);
    // A checkpoint for each epoch, and only the newest is kept.
    let fast = ["-D", "checkpoint.interval=20ms", "-D", "epoch.interval=20ms", "-D", "checkpoint.retain=1"];
    let mut running = bench.start(&[["run", "job.toml"].as_slice(), &fast].concat());
    bench.wait_for(&mut running, "clicks", |newest| newest.totals().read > 0);
    let random = &mut StdRng::seed_from_u64(SEED);
    let began = Instant::now();
    bench.weir(&["savepoint", "job.toml", "undisturbed"]);
    let takes = began.elapsed();
    let mut killed = 0;
    for number in 0..80 {
        let time = random.random_range(takes / 10..takes * 2);
        killed += u32::from(kill_after(&bench, &["savepoint", "job.toml", &format!("s{number}")], time));
        if number % 8 == 0 {
            bench.generate(2_000, &SPREAD[..2]);
        }
    }
    let newest = bench.newest("clicks").unwrap();
    // Whatever is deleted is deleted now.
    bench.wait_for(&mut running, "clicks", |later| later.sequence.0 > newest.sequence.0 + 40);
    running.kill();
    let found = bench.savepoints("clicks").list().unwrap();
    assert!(killed > 10 && found.len() > 10, "seed {SEED}: {killed} of 80 were killed, {} are there", found.len());
    let (store, names) = (bench.store(), Names::new("clicks"));
    for savepoint in &found {
        let missing = missing_part(store.as_ref(), &names, &savepoint.manifest).unwrap();
        assert_eq!(missing, None, "seed {SEED}: savepoint {} is not whole", savepoint.name);
    }
    let taken = found.first().unwrap();
    bench.weir(&["run", "fork.toml", "--from", &format!("clicks/{}", taken.name), "-D", "source.follow=false"]);
    let of = |tables: &str, epoch| windows(&bench.path().join(tables), epoch);
    let all = both(&of("tables", taken.manifest.epoch.0), &of("fork-tables", u64::MAX));
    compare(&all, &expected(&bench.oracle()));
}

#[test]
fn a_fork_that_is_killed_again_and_again_counts_exactly() {
    let bench = Bench::new();
    bench.generate(20_000, &SPREAD);
    bench.run_until(&["run", "job.toml"], "clicks", 20_000);
    bench.weir(&["savepoint", "job.toml", "cut"]);
    bench.generate(20_000, &SPREAD[..2]);
    let fork = ["run", "fork.toml", "--from", "clicks/cut", "-D", "job.workers=2"];
    let random = &mut StdRng::seed_from_u64(SEED);
    for _ in 0..30 {
        kill_after(&bench, &fork, Duration::from_micros(random.random_range(1_000..120_000)));
    }
    bench.weir(&[fork.as_slice(), &["-D", "source.follow=false"]].concat());
    let of = |tables: &str| windows(&bench.path().join(tables), u64::MAX);
    compare(&both(&of("tables"), &of("fork-tables")), &expected(&bench.oracle()));
    bench.weir(&["verify", "fork.toml", "--oracle", "oracle.ndjson", "--files"]);
}
