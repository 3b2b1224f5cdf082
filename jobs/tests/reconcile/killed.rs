//! Reconciliation that is killed at any moment, while the stream goes on; and two that do the same day.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::bench::{Bench, Click, expected, live};
use crate::process::{Process, wait_until, weir};

const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 1_736_899_200_000;

/// Days, each of which is closed by runs that are killed until one gets through.
const DAYS: i64 = 110;

fn date(day: i64) -> String {
    chrono::DateTime::from_timestamp_millis(START_MS + day * DAY_MS).unwrap().format("%Y-%m-%d").to_string()
}

/// How many days later in the log a late click stands: some epochs.
const LATE_DAYS: i64 = 70;

/// A day of clicks with a copy, and one of a day long ago.
fn clicks_of(day: i64) -> Vec<Click> {
    let mut clicks: Vec<Click> = (0..60)
        .map(|n| {
            Click::new(format!("c-{day}-{n}"), &format!("ad-{}", n % 3), START_MS + day * DAY_MS + n * DAY_MS / 60)
        })
        .collect();
    let copy = clicks[20].clone();
    clicks.insert(50, copy);
    let of_old = day - LATE_DAYS;
    if of_old >= 0 {
        clicks.insert(40, Click::new(format!("late-{of_old}"), "ad-1", START_MS + of_old * DAY_MS + 1000));
    }
    clicks
}

#[test]
fn a_run_that_is_killed_again_and_again_leaves_what_an_undisturbed_one_does() {
    let bench = Bench::new("");
    let log: Vec<Click> = (0..=DAYS + LATE_DAYS).flat_map(clicks_of).collect();
    bench.append(0, &log);
    let job = Process::start(bench.path(), &["run", "job.toml", "-D", "source.follow=true"]);
    wait_until("the days are complete", || {
        bench.weir(&["reconcile", "job.toml", "--date", &date(DAYS + LATE_DAYS - 1)]).status.success()
    });
    let seed = 20_250_115;
    let mut random = StdRng::seed_from_u64(seed);
    let mut kills = 0;
    for day in 0..DAYS {
        let date = date(day);
        // The stream goes on meanwhile.
        bench.append(0, &clicks_of(DAYS + LATE_DAYS + 1 + day)[..30]);
        for _ in 0..random.random_range(1..4) {
            let mut run = weir(bench.path(), &["reconcile", "job.toml", "--date", &date]);
            let mut child = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_micros(random.random_range(500..40_000)));
            kills += i64::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let report = bench.reconcile(&date, &[]);
        assert_eq!(report["revision"], 1, "seed {seed}, {date}");
    }
    assert!(kills > DAYS, "seed {seed}: only {kills} runs were killed");
    for day in 0..DAYS {
        let (date, start_ms) = (date(day), START_MS + day * DAY_MS);
        assert_eq!(bench.billed(&date), expected(&log, start_ms, start_ms + DAY_MS), "seed {seed}, {date}");
        let entries: BTreeMap<(String, String), i64> = bench
            .ledger(&date)
            .into_iter()
            .map(|entry| ((entry.ad, entry.reason), entry.after - entry.before))
            .collect();
        let expect = BTreeMap::from([(("ad-1".to_owned(), "late".to_owned()), 1)]);
        assert_eq!(entries, expect, "seed {seed}, {date}");
    }
    for table in ["billing_daily", "corrections"] {
        assert_eq!(
            live(&bench.path().join("tables").join(table)).len() as i64,
            DAYS + i64::from(table == "billing_daily"),
            "seed {seed}: {table}"
        );
    }
    job.terminate();
}

#[test]
fn of_two_reconcilers_one_wins() {
    let bench = Bench::new("");
    let log: Vec<Click> = (0..=12).flat_map(clicks_of).collect();
    bench.append(0, &log);
    // Each of them sees another newest manifest.
    let job = Process::start(bench.path(), &["run", "job.toml", "-D", "source.follow=true"]);
    wait_until("the days are complete", || {
        bench.weir(&["reconcile", "job.toml", "--date", &date(11)]).status.success()
    });
    for day in 0..11 {
        let date = date(day);
        bench.append(0, &clicks_of(13 + day));
        let start = || {
            let mut run = weir(bench.path(), &["reconcile", "job.toml", "--date", &date]);
            run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        for child in [start(), start(), start()] {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() || said.contains("by another reconciler"), "{said}");
        }
        let start_ms = START_MS + day * DAY_MS;
        assert_eq!(bench.billed(&date), expected(&log, start_ms, start_ms + DAY_MS), "{date}");
        assert_eq!(bench.reconcile(&date, &[])["revision"], 1);
    }
    job.terminate();
    // What was written is what the records say, byte by byte.
    crate::process::succeeds(&bench.weir(&["verify", "job.toml"]));
}
