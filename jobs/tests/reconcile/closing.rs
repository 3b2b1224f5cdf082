//! A day with everything in it, and what comes after it was closed.

use serde_json::json;

use crate::bench::{Bench, Click, expected};

const DAY_MS: i64 = 86_400_000;
/// 2025-01-15.
const START_MS: i64 = 1_736_899_200_000;
const DATE: &str = "2025-01-15";

/// Clicks on some ads, one every five seconds, all through a stretch of time.
fn clicks(name: &str, from_ms: i64, until_ms: i64) -> Vec<Click> {
    let times = (from_ms..until_ms).step_by(5000);
    times.enumerate().map(|(n, time_ms)| Click::new(format!("{name}-{n}"), &format!("ad-{}", n % 5), time_ms)).collect()
}

#[test]
fn a_day_is_closed_with_every_click_once() {
    let bench = Bench::new("");
    let mut log = clicks("c", START_MS - DAY_MS / 8, START_MS + DAY_MS + DAY_MS / 8);
    // Sent again at once, and hours later.
    let middle = log.len() / 2;
    let copies = [log[middle].clone(), log[middle - 1].clone(), log[middle - 6000].clone()];
    copies.into_iter().for_each(|copy| log.insert(middle + 1, copy));
    // Hours late.
    log.insert(middle, Click::new("late", "ad-1", START_MS + 60_000));
    // Hours later the stream has forgotten the id, and where the copy has another time it knows no better.
    for at in [middle + 100, middle + 7000] {
        log.insert(at, Click { id: "again".to_owned(), ..log[at].clone() });
    }
    bench.append(0, &log);
    bench.run();

    let report = bench.reconcile(DATE, &[]);
    let truth = expected(&log, START_MS, START_MS + DAY_MS);
    assert_eq!(bench.billed(DATE), truth);
    assert_eq!((&report["status"], &report["revision"]), (&json!("closed"), &json!(1)));
    let sum: i64 = truth.values().map(|billed| billed.clicks).sum();
    assert_eq!(report["billed"], sum);
    assert_eq!(report["wrong_windows_count"], 0);
    let ledger = bench.ledger(DATE);
    let of = |reason: &str| -> i64 {
        ledger.iter().filter(|entry| entry.reason == reason).map(|entry| entry.after - entry.before).sum()
    };
    assert!(of("late") >= 1 && of("duplicate") == -1, "{ledger:?}");
    assert_eq!(report["streamed"].as_i64().unwrap() + of("late") + of("duplicate"), sum, "{ledger:?}");

    // Nothing new: nothing is written.
    let versions = crate::bench::actions(&bench.path().join("tables/billing_daily")).len();
    let again = bench.reconcile(DATE, &[]);
    assert_eq!((&again["status"], &again["run"]), (&json!("unchanged"), &report["run"]));
    assert_eq!(crate::bench::actions(&bench.path().join("tables/billing_daily")).len(), versions);
    // One by one instead of by sketch: so few are exact either way, but from now on it is so.
    let exact = bench.reconcile(DATE, &["--exact-users"]);
    assert_eq!((&exact["status"], &exact["corrections"]), (&json!("restated"), &json!([])));
    assert_eq!(bench.reconcile(DATE, &[])["status"], "unchanged");
    assert_eq!(bench.billed(DATE), truth);
}

#[test]
fn what_comes_after_a_day_was_closed_restates_it() {
    let bench = Bench::new("");
    let mut log = clicks("c", START_MS, START_MS + DAY_MS + DAY_MS / 8);
    bench.append(0, &log);
    let follow = ["-D", "source.follow=true"];
    let job = crate::process::Process::start(bench.path(), &[&["run", "job.toml"], follow.as_slice()].concat());
    // The last window of the day is closed while the job goes on.
    crate::process::wait_until("the day is complete", || {
        bench.weir(&["reconcile", "job.toml", "--date", DATE]).status.success()
    });
    assert_eq!(bench.billed(DATE), expected(&log, START_MS, START_MS + DAY_MS));
    let first = bench.reconcile(DATE, &[]);
    assert_eq!(first["revision"], 1);

    let late = [Click::new("late-1", "ad-2", START_MS + 5), Click::new("late-2", "ad-new", START_MS + 6)];
    bench.append(0, &late);
    log.extend(late);
    crate::process::wait_until("the late clicks are in the archive", || {
        // A day that is closed stays so while rows wait for their file.
        let report = bench.reconcile(DATE, &[]);
        assert_ne!(report["status"], "open");
        report["status"] == "restated"
    });
    assert_eq!(bench.billed(DATE), expected(&log, START_MS, START_MS + DAY_MS));
    let ledger = bench.ledger(DATE);
    let second: Vec<_> = ledger.iter().filter(|entry| Some(entry.run.as_str()) != first["run"].as_str()).collect();
    assert_eq!(second.iter().map(|entry| entry.after - entry.before).sum::<i64>(), 2, "{ledger:?}");
    assert!(second.iter().all(|entry| entry.reason == "late"), "{ledger:?}");
    job.terminate();
}

#[test]
fn a_day_that_is_not_over_stays_open_and_says_why() {
    let bench = Bench::new("");
    bench.append(0, &clicks("a", START_MS, START_MS + DAY_MS + 2 * 3_600_000));
    bench.append(1, &clicks("b", START_MS, START_MS + DAY_MS / 2));
    let job = crate::process::Process::start(
        bench.path(),
        &[
            "run",
            "job.toml",
            "-D",
            "source.follow=true",
            "-D",
            "time.idle_timeout=1h",
            "-D",
            "time.max_partition_lead=1d",
        ],
    );
    let said = || bench.refused(DATE, &[]);
    crate::process::wait_until("both partitions are read", || {
        let said = said();
        said.contains("partition 1 is read up to") && !said.contains("partition 0 ")
    });
    assert!(bench.billed(DATE).is_empty());
    bench.append(1, &clicks("c", START_MS + DAY_MS / 2, START_MS + DAY_MS + 2 * 3_600_000));
    crate::process::wait_until("the day is complete", || {
        bench.weir(&["reconcile", "job.toml", "--date", DATE]).status.success()
    });
    job.terminate();
}

#[test]
fn a_job_without_an_archive_or_without_checkpoints_is_told_so() {
    let bench = Bench::new("");
    assert!(bench.refused(DATE, &[]).contains("has no checkpoint"));
    let output = bench.weir(&["reconcile", "job.toml", "--date", DATE, "-D", "archive.enabled=false"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = bench.weir(&["reconcile", "job.toml", "--date", DATE, "-D", "billing.timezone=Berlin"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("IANA"), "{output:?}");
}

#[test]
fn days_are_closed_by_themselves() {
    let bench = Bench::new("");
    let now_ms = chrono::Utc::now().timestamp_millis();
    let today_ms = now_ms.div_euclid(DAY_MS) * DAY_MS;
    let log = clicks("c", today_ms - DAY_MS, today_ms + 1);
    bench.append(0, &log);
    bench.run();
    let watching = crate::process::Process::start(bench.path(), &["reconcile", "job.toml", "--watch"]);
    let yesterday = chrono::DateTime::from_timestamp_millis(today_ms - DAY_MS).unwrap().format("%Y-%m-%d").to_string();
    crate::process::wait_until("yesterday is closed", || !bench.billed(&yesterday).is_empty());
    watching.terminate();
    assert_eq!(bench.billed(&yesterday), expected(&log, today_ms - DAY_MS, today_ms));
}
