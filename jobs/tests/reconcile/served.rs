//! What is served of closed days: the figures that are billed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::bench::{Bench, Click};
use crate::process::{Process, free_address, get, wait_ready, wait_until};

const DAY_MS: i64 = 86_400_000;
/// 2025-01-15.
const START_MS: i64 = 1_736_899_200_000;
const DATE: &str = "2025-01-15";
const LENGTHS: [(&str, i64); 3] = [("1m", 60_000), ("5m", 300_000), ("1h", 3_600_000)];

/// Two days and some, with all that a stream counts otherwise than it should.
pub fn log() -> Vec<Click> {
    let times = (START_MS - DAY_MS / 8..START_MS + DAY_MS + DAY_MS / 8).step_by(7000).enumerate();
    let mut log: Vec<Click> =
        times.map(|(n, time_ms)| Click::new(format!("c-{n}"), &format!("ad-{}", n % 5), time_ms)).collect();
    log.iter_mut().skip(9).step_by(97).for_each(|click| click.user = "bot".to_owned());
    let middle = log.len() / 2;
    for n in 0..40 {
        let time_ms = START_MS + 61_000 * n;
        // Hours late, one of them for an ad that has nothing else; and sent again for another minute, long forgotten.
        let mut late = Click::new(format!("late-{n}"), &format!("ad-{}", 3 + n % 3), time_ms);
        if n % 6 == 2 {
            // Once it is taken out, nothing is left of its windows.
            late.user = "bot".to_owned();
        }
        log.insert(middle + 3 * n as usize, late);
        let again = log[2_000 + 11 * n as usize].clone();
        log.insert(middle + 3 * n as usize, Click { time_ms: log[middle].time_ms, ..again });
    }
    log
}

/// Clicks and users of each ad and window, by a plain loop: the first copy of each click.
pub fn billed_windows(
    log: &[Click],
    length_ms: i64,
    taken_out: impl Fn(&Click) -> bool,
) -> BTreeMap<(String, i64), (i64, usize)> {
    let mut seen = HashSet::new();
    let mut windows: BTreeMap<(String, i64), (i64, BTreeSet<&str>)> = BTreeMap::new();
    for click in log.iter().filter(|click| seen.insert(&click.id) && !taken_out(click)) {
        let start_ms = click.time_ms.div_euclid(length_ms) * length_ms;
        let (clicks, users) = windows.entry((click.ad.clone(), start_ms / 1000)).or_default();
        *clicks += 1;
        users.insert(&click.user);
    }
    windows.into_iter().map(|(key, (clicks, users))| (key, (clicks, users.len()))).collect()
}

fn serve(bench: &Bench) -> (Process, SocketAddr) {
    let address = free_address();
    let listen = format!("serve.listen={address}");
    let serve = Process::start(bench.path(), &["serve", "job.toml", "-D", &listen]);
    wait_ready(address);
    (serve, address)
}

/// All windows of one length that are served, with whether they are reconciled.
fn served(
    address: SocketAddr,
    window: &str,
    from_ms: i64,
    until_ms: i64,
) -> BTreeMap<(String, i64), (i64, usize, bool)> {
    let ads: String = (0..6).map(|ad| format!("&ad_id=ad-{ad}")).collect();
    let (start, end) = (from_ms / 1000, until_ms / 1000);
    let answer = get(address, &format!("/v1/stats?window={window}&start={start}&end={end}{ads}"));
    let mut windows = BTreeMap::new();
    for series in answer["series"].as_array().unwrap() {
        for point in series["data"].as_array().unwrap() {
            assert_eq!(point["final"], true, "{point}");
            let key = (series["ad_id"].as_str().unwrap().to_owned(), point["timestamp"].as_i64().unwrap());
            let users = point["unique_users"].as_u64().unwrap() as usize;
            windows
                .insert(key, (point["click_count"].as_i64().unwrap(), users, point["reconciled"].as_bool().unwrap()));
        }
    }
    windows
}

#[track_caller]
fn check(bench: &Bench, address: SocketAddr, day: std::ops::Range<i64>, taken_out: impl Fn(&Click) -> bool + Copy) {
    for (window, length_ms) in LENGTHS {
        let inside = |start_ms: i64| day.start <= start_ms && start_ms + length_ms <= day.end;
        let truth = billed_windows(&log(), length_ms, taken_out);
        let truth = truth.into_iter().filter(|((_, start), _)| inside(start * 1000));
        let expected: BTreeMap<_, _> = truth.map(|(key, (clicks, users))| (key, (clicks, users, true))).collect();
        let mut found = served(address, window, day.start - 2 * length_ms, day.end + 2 * length_ms);
        let around: Vec<_> = found.extract_if(.., |(_, start), _| !inside(*start * 1000)).collect();
        assert_eq!(found, expected, "{window} in {}", bench.path().display());
        assert!(around.len() > 10 && around.iter().all(|(_, (.., reconciled))| !reconciled), "{around:?}");
    }
}

#[test]
fn closed_days_are_served_as_they_are_billed() {
    let bench = Bench::new("");
    bench.append(0, &log());
    bench.run();
    let (_serve, address) = serve(&bench);
    let before = served(address, "1m", START_MS, START_MS + DAY_MS);
    assert!(before.values().all(|(.., reconciled)| !reconciled));

    let report = bench.reconcile(DATE, &[]);
    assert_ne!(report["streamed"], report["billed"], "the log has what a stream counts otherwise");
    let day = START_MS..START_MS + DAY_MS;
    let shown =
        |from_ms: i64| served(address, "1m", from_ms, from_ms + 3_600_000).values().all(|(.., reconciled)| *reconciled);
    // Each question is another one: final answers are kept for a minute.
    let mut asked = 0;
    wait_until("the day is served as closed", || {
        asked += 1;
        shown(START_MS + asked * 60_000)
    });
    check(&bench, address, day.clone(), |_| false);

    // The list of a minute that a late click is in, and of one that lost a copy.
    let truth = billed_windows(&log(), 60_000, |_| false);
    for ((_, start), _) in truth.iter().filter(|((ad, _), _)| ad == "ad-5") {
        let top = get(address, &format!("/v1/top?window=1m&at={start}&limit=100"));
        let of_top =
            |entry: &Value| (entry["ad_id"].as_str().unwrap().to_owned(), entry["click_count"].as_i64().unwrap());
        let found: BTreeMap<_, _> = top["data"].as_array().unwrap().iter().map(of_top).collect();
        let expected =
            truth.iter().filter(|((_, of), _)| of == start).map(|((ad, _), (clicks, _))| (ad.clone(), *clicks));
        assert_eq!(found, expected.collect(), "{top}");
        assert_eq!(top["reconciled"], true);
    }
    let start = START_MS / 1000;
    let uniques = get(address, &format!("/v1/uniques?ad_id=ad-5&start={start}&end={}", start + 86_400));
    let users: BTreeSet<String> =
        log().into_iter().filter(|click| click.ad == "ad-5").map(|click| click.user).collect();
    assert_eq!(uniques["unique_users"], users.len());

    // Bots are taken out, and put back.
    std::fs::write(bench.path().join("bots.ndjson"), "{\"user_id\":\"bot\"}\n").unwrap();
    bench.reconcile(DATE, &["--exclude", "bots.ndjson"]);
    let (_serve, address) = serve(&bench);
    check(&bench, address, day.clone(), |click| click.user == "bot");
    bench.reconcile(DATE, &["--include", "bots"]);
    let (_serve, address) = serve(&bench);
    check(&bench, address, day, |_| false);
    let output = bench.weir(&["verify", "job.toml"]);
    crate::process::succeeds(&output);
}

#[test]
fn an_hour_in_two_days_is_served_as_it_was_counted() {
    let bench = Bench::new("[billing]\ntimezone = \"Asia/Kolkata\"\n");
    bench.append(0, &log());
    bench.run();
    assert_eq!(bench.reconcile(DATE, &[])["status"], json!("closed"));
    let (_serve, address) = serve(&bench);
    // Half past six in the evening of the day before, in UTC; the log begins later.
    let start_ms = START_MS - 5 * 3_600_000 - 1_800_000;
    let day = start_ms..start_ms + DAY_MS;
    for (window, length_ms) in LENGTHS {
        let found = served(address, window, day.start, day.end + 7_200_000);
        let (mut inside, mut outside) = (0, 0);
        for ((_, start), (.., reconciled)) in &found {
            let within = day.start <= start * 1000 && start * 1000 + length_ms <= day.end;
            assert_eq!(*reconciled, within, "{window} {start}");
            *(if within { &mut inside } else { &mut outside }) += 1;
        }
        assert!(inside > 50 && outside > 5, "{window}: {inside} inside, {outside} outside");
        let truth = billed_windows(&log(), length_ms, |_| false);
        for (key, (clicks, users, reconciled)) in found {
            assert!(!reconciled || truth[&key] == (clicks, users), "{window} {key:?}");
        }
    }
}
