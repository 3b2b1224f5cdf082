//! The recount of a day against a plain loop over the same rows, for random archives, workers and passes; and its
//! restatement from an index against the recount.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod restated;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use weir_dataflow::Window;
use weir_dataflow::reconcile::{BilledWindow, BilledWindows, DayCount, Reason};

use rows::{DAY_MS, MINUTE_MS, Row, Rows, START_MS, ads, copies, delta, generate, run};

/// What a plain loop makes of the rows.
fn check(rows: &Rows, day: &DayCount, seed: u64) {
    let clicks = copies(rows);
    let found = ads(day);
    for number in 0..5 {
        let ad_id = format!("ad-{number}");
        let firsts: Vec<&Vec<Row>> =
            clicks.iter().filter(|copies| copies[0].ad == ad_id && copies[0].in_day()).collect();
        let invalid = firsts.iter().filter(|copies| copies.iter().any(|row| row.excluded)).count() as i64;
        let users: BTreeSet<&str> = rows
            .clicks
            .iter()
            .filter(|row| row.ad == ad_id && row.in_day() && !row.excluded)
            .map(|row| row.user.as_str())
            .collect();
        let streamed: i64 = rows
            .streamed
            .iter()
            .filter(|((ad, minute), _)| *ad == ad_id && (START_MS..START_MS + DAY_MS).contains(&(minute * MINUTE_MS)))
            .flat_map(|(_, by_region)| by_region.values())
            .sum();
        let Some(ad) = found.get(ad_id.as_str()) else {
            assert_eq!((firsts.len(), streamed), (0, 0), "seed {seed}: {ad_id} is missing");
            continue;
        };
        let billed = firsts.len() as i64 - invalid;
        assert_eq!((ad.clicks, ad.streamed), (billed, streamed), "seed {seed}: {ad_id}");
        assert_eq!(delta(ad, Reason::InvalidTraffic), -invalid, "seed {seed}: {ad_id}");
        assert_eq!(ad.unique_users, (users.len() as u64).min(billed as u64), "seed {seed}: {ad_id}");
        let explained: i64 = ad.corrections.iter().map(|correction| correction.delta).sum();
        assert_eq!(streamed + explained, billed, "seed {seed}: {ad_id}");
        let lost = firsts.iter().filter(|copies| {
            let on_time = copies.iter().find(|row| row.late.is_none());
            on_time.is_none_or(|row| row.cell() != copies[0].cell())
        });
        let late_or_future = delta(ad, Reason::Late) + delta(ad, Reason::Future);
        assert_eq!(late_or_future, lost.count() as i64, "seed {seed}: {ad_id}");
    }
}

#[test]
fn a_day_is_what_a_plain_loop_makes_of_it() {
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let rows = generate(&mut random);
        let day = run(&rows, 1, 1, true).unwrap();
        check(&rows, &day, seed);
        for ad in &day.ads {
            assert!(ad.differences.is_empty(), "seed {seed}: {ad:?}");
            assert_eq!(delta(ad, Reason::Uncounted) + delta(ad, Reason::Overcounted), 0, "seed {seed}: {ad:?}");
        }
        let (workers, passes) = (random.random_range(1..5), random.random_range(1..7));
        let other = run(&rows, workers, passes, true).unwrap();
        assert_eq!((&other.ads, &other.root), (&day.ads, &day.root), "seed {seed}: {workers} workers, {passes} passes");
        assert_eq!(other.rows, rows.clicks.len() as u64);
        let estimated = run(&rows, 2, 1, false).unwrap();
        assert_eq!(estimated.root, day.root);
        for (estimated, exact) in estimated.ads.iter().zip(&day.ads) {
            assert!(estimated.unique_users.abs_diff(exact.unique_users) <= 1, "seed {seed}: {estimated:?} {exact:?}");
        }
    }
}

#[test]
fn what_the_stream_counted_wrong_is_found_where_it_is() {
    for seed in 100..130 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut rows = generate(&mut random);
        let in_day = |minute: i64| (START_MS..START_MS + DAY_MS).contains(&(minute * MINUTE_MS));
        // A minute of copies that were counted again alone is not missed: nobody can say that they should have been.
        let counted = copies(&rows).into_iter().filter_map(|copies| copies.into_iter().find(|row| row.late.is_none()));
        let cells: BTreeSet<(String, i64)> =
            counted.map(|row| row.cell()).filter(|(_, minute)| in_day(*minute)).collect();
        let cells = Vec::from_iter(cells);
        if cells.is_empty() {
            continue;
        }
        let right = run(&rows, 1, 1, true).unwrap();
        let (lost, invented) = (cells[random.random_range(0..cells.len())].clone(), ("ad-9".to_owned(), cells[0].1));
        let clicks: i64 = rows.streamed.remove(&lost).unwrap().values().sum();
        rows.streamed.insert(invented.clone(), [(Some("eu"), 7)].into());
        let day = run(&rows, 2, 2, true).unwrap();
        check(&rows, &day, seed);
        let found = ads(&day);
        assert_eq!(delta(found["ad-9"], Reason::Overcounted), -7, "seed {seed}");
        assert_eq!(found["ad-9"].clicks, 0);
        let minute = (lost.1 * MINUTE_MS - START_MS) / MINUTE_MS;
        let ad = found[lost.0.as_str()];
        let named = ad.differences.iter().find(|difference| i64::from(difference.minute) == minute).unwrap();
        assert_eq!(named.streamed, 0, "seed {seed}: {ad:?}");
        let uncounted = delta(ad, Reason::Uncounted);
        assert!((1..=clicks).contains(&uncounted), "seed {seed}: {uncounted} of {clicks}");
        assert_eq!(day.root, right.root, "seed {seed}: what is billed does not depend on the stream");
    }
}

#[test]
fn a_click_is_proved_and_nothing_else() {
    let mut random = StdRng::seed_from_u64(7);
    let rows = std::iter::repeat_with(|| generate(&mut random)).find(|rows| rows.clicks.len() > 400).unwrap();
    let day = run(&rows, 2, 3, false).unwrap();
    let root = day.root.clone().unwrap();
    let mut proved = 0;
    for copies in copies(&rows) {
        let Some(id) = &copies[0].id else { continue };
        let billed = copies[0].ad == "ad-1" && copies[0].in_day() && !copies.iter().any(|row| row.excluded);
        let proof = day.prove("ad-1", id);
        assert_eq!(proof.is_some(), billed, "{id}");
        if let Some(proof) = proof {
            assert_eq!(proof.root().unwrap(), root);
            proved += 1;
        }
    }
    assert!(proved > 20);
    assert!(day.prove("ad-1", "no such click").is_none());
}

#[test]
fn an_archive_that_contradicts_itself_is_refused() {
    let rows = generate(&mut StdRng::seed_from_u64(3));
    let check = |rows: &Rows, expect: &str| {
        let refusal = run(rows, 2, 2, false).unwrap_err().to_string();
        assert!(refusal.contains(expect), "{refusal}");
    };
    let mut twice = rows.clone();
    twice.clicks.push(rows.clicks.iter().find(|row| row.late.is_none()).unwrap().clone());
    check(&twice, "is there 2 times");
    check(
        &Rows {
            clicks: rows.clicks.clone(),
            streamed: [(("ad-1".to_owned(), START_MS / MINUTE_MS), [(None, i64::MAX)].into())].into(),
        },
        "clicks in one minute",
    );
}

/// A window of an ad in a region.
type Place = (String, Window, i64, Option<&'static str>);

fn in_day(window: Window, start_ms: i64) -> bool {
    start_ms >= START_MS && start_ms + window.length_ms() <= START_MS + DAY_MS
}

/// Clicks by window, and their users.
fn windows_of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> BTreeMap<Place, (i64, BTreeSet<&'a str>)> {
    let mut windows: BTreeMap<Place, (i64, BTreeSet<&str>)> = BTreeMap::new();
    for row in rows {
        for window in Window::ALL {
            let place = (row.ad.clone(), window, window.start_of(row.time_ms), row.region);
            let (clicks, users) = windows.entry(place).or_default();
            *clicks += 1;
            users.insert(&row.user);
        }
    }
    windows.retain(|(_, window, start_ms, _), _| in_day(*window, *start_ms));
    windows
}

fn streamed_windows(rows: &Rows) -> BTreeMap<Place, i64> {
    let mut windows = BTreeMap::new();
    for ((ad, minute), by_region) in &rows.streamed {
        for (region, clicks) in by_region {
            for window in Window::ALL {
                let place = (ad.clone(), window, window.start_of(minute * MINUTE_MS), *region);
                *windows.entry(place).or_default() += clicks;
            }
        }
    }
    windows.retain(|(_, window, start_ms, _), _| in_day(*window, *start_ms));
    windows
}

/// Puts billed windows in the place of streamed ones, and compares the whole with what a plain loop bills.
fn check_windows(rows: &Rows, found: &[BilledWindow], seed: u64) {
    let clicks = copies(rows);
    let billed = clicks.iter().filter(|copies| copies[0].in_day() && !copies.iter().any(|row| row.excluded));
    let expected = windows_of(billed.map(|copies| &copies[0]));
    let mut shown = streamed_windows(rows);
    for window in found {
        let region =
            [None, Some("eu"), Some("us")].into_iter().find(|known| *known == window.region.as_deref()).unwrap();
        let place = (window.ad_id.clone(), window.window, window.start_ms, region);
        let users = expected.get(&place).map_or(0, |(_, users)| users.len());
        assert_eq!(window.unique_users, users as u64, "seed {seed}: {window:?}");
        shown.insert(place, window.click_count as i64);
    }
    shown.retain(|_, clicks| *clicks != 0);
    let expected: BTreeMap<Place, i64> = expected.into_iter().map(|(place, (clicks, _))| (place, clicks)).collect();
    assert_eq!(shown, expected, "seed {seed}");
}

#[test]
fn windows_are_billed_as_a_plain_loop_bills_them() {
    let mut restated = 0;
    for seed in 200..260 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut rows = generate(&mut random);
        if seed % 3 == 0 {
            let wrong = rows.streamed.keys().nth(random.random_range(0..rows.streamed.len().max(1))).cloned();
            wrong.map(|cell| rows.streamed.remove(&cell));
            rows.streamed.insert(("ad-9".to_owned(), START_MS / MINUTE_MS), [(Some("us"), 3)].into());
        }
        let day = run(&rows, 2, 2, false).unwrap();
        let mut windows = BilledWindows::of(&day.ads, START_MS, START_MS + DAY_MS);
        // One that is right as it is, and was restated before.
        let known = rows.streamed.iter().find(|((_, minute), _)| in_day(Window::OneMinute, minute * MINUTE_MS));
        if let Some(((ad, minute), regions)) = known {
            windows.add(ad, *regions.keys().next().unwrap(), Window::OneMinute, minute * MINUTE_MS);
        }
        // One that nothing is left of.
        let gone_ms = START_MS + DAY_MS / 2;
        let ad = day.ads.first().map(|ad| ad.ad_id.clone());
        ad.iter().for_each(|ad| windows.add(ad, Some("us"), Window::FiveMinutes, gone_ms));
        let found = windows.count(&rows, 1).unwrap();
        check_windows(&rows, &found, seed);
        let gone = |window: &&BilledWindow| (window.window, window.start_ms) == (Window::FiveMinutes, gone_ms);
        let gone: Vec<_> = found.iter().filter(gone).map(|window| (&window.ad_id, window.click_count)).collect();
        assert_eq!(gone, ad.iter().map(|ad| (ad, 0)).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(windows.count(&rows, random.random_range(2..5)).unwrap(), found, "seed {seed}");
        restated += found.len();
    }
    assert!(restated > 1_000, "{restated}");
}

#[test]
fn minutes_that_do_not_add_up_to_their_day_are_refused() {
    let rows = generate(&mut StdRng::seed_from_u64(3));
    let day = run(&rows, 1, 1, false).unwrap();
    let windows = BilledWindows::of(&day.ads, START_MS, START_MS + DAY_MS);
    windows.count(&rows, 2).unwrap();
    let mut more = rows.clone();
    let billed = rows
        .clicks
        .iter()
        .find(|row| row.in_day() && windows.hours_ms().contains(&Window::OneHour.start_of(row.time_ms)));
    let copies: Vec<Row> = (0..1_440_i64)
        .map(|minute| Row { time_ms: START_MS + minute * MINUTE_MS, offset: 9_999, ..billed.unwrap().clone() })
        .collect();
    more.clicks.extend(copies);
    let refusal = windows.count(&more, 2).unwrap_err().to_string();
    assert!(refusal.contains("its minutes by"), "{refusal}");
}
