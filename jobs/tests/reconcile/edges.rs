//! Clicks at the edges of days, of days that are longer or shorter than others, and copies on both sides of midnight.

use crate::bench::{Bench, Click, expected};

const HOUR_MS: i64 = 3_600_000;

fn unix_ms(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
}

#[test]
fn a_day_begins_and_ends_where_its_time_zone_says() {
    let check = |zone: &str, date: &str, start: &str, hours: i64, minutes: i64| {
        let (start_ms, length_ms) = (unix_ms(start), hours * HOUR_MS + minutes * 60_000);
        let end_ms = start_ms + length_ms;
        let bench = Bench::new(&format!("[billing]\ntimezone = \"{zone}\"\n"));
        let mut log = Vec::new();
        let mut time_ms = start_ms - 3 * HOUR_MS;
        while time_ms < end_ms + 3 * HOUR_MS {
            log.push(Click::new(format!("c-{time_ms}"), &format!("ad-{}", log.len() % 3), time_ms));
            time_ms += 20 * 60_000;
        }
        // The first and the last millisecond, and those outside.
        for (edge, ad) in [(start_ms - 1, "before"), (start_ms, "first"), (end_ms - 1, "last"), (end_ms, "after")] {
            log.push(Click::new(format!("edge-{edge}"), ad, edge));
        }
        log.sort_by_key(|click| click.time_ms);
        bench.append(0, &log);
        bench.run();
        bench.reconcile(date, &[]);
        let billed = bench.billed(date);
        assert_eq!(billed, expected(&log, start_ms, end_ms), "{zone} {date}");
        let has = |ad: &str| billed.contains_key(ad);
        assert_eq!(
            (has("before"), has("first"), has("last"), has("after")),
            (false, true, true, false),
            "{zone} {date}"
        );
    };
    check("UTC", "2025-03-30", "2025-03-30T00:00:00Z", 24, 0);
    check("Europe/Berlin", "2025-03-30", "2025-03-29T23:00:00Z", 23, 0);
    check("Europe/Berlin", "2025-10-26", "2025-10-25T22:00:00Z", 25, 0);
    check("Asia/Kolkata", "2025-01-15", "2025-01-14T18:30:00Z", 24, 0);
    check("Australia/Lord_Howe", "2025-04-06", "2025-04-05T13:00:00Z", 24, 30);
}

#[test]
fn a_day_stays_a_day_of_its_time_zone() {
    let bench = Bench::new("");
    let start_ms = unix_ms("2025-01-15T00:00:00Z");
    bench.append(0, &[Click::new("c", "ad", start_ms)]);
    bench.run();
    bench.reconcile("2025-01-15", &[]);
    let said = bench.refused("2025-01-15", &["--timezone", "Asia/Tokyo"]);
    assert!(said.contains("was closed as a day of UTC"), "{said}");
    // The day after, there: nine hours of it are billed already.
    let said = bench.refused("2025-01-16", &["--timezone", "Asia/Tokyo"]);
    assert!(said.contains("2025-01-15 was closed as a day of UTC"), "{said}");
    let said = bench.refused("2011-12-30", &["--timezone", "Pacific/Apia"]);
    assert!(said.contains("there is no 2011-12-30"), "{said}");
}

#[test]
fn a_click_with_copies_on_both_sides_of_midnight_is_billed_once() {
    let bench = Bench::new("");
    let midnight_ms = unix_ms("2025-01-16T00:00:00Z");
    let minutes = |n: i64| n * 60_000;
    let mut log = Vec::new();
    for n in -4 * 3600..4 * 3600 {
        log.push(Click::new(format!("c-{n}"), "ad-0", midnight_ms + n * 1000));
    }
    // The second copy has another time, and another ad. The first one is near midnight, far from it, and late.
    let mut put = |id: &str, first: i64, second: i64| {
        for (minute, ad) in [(first, "ad-1"), (second, "ad-2")] {
            let at = log.iter().position(|click| click.time_ms >= midnight_ms + minutes(minute)).unwrap();
            log.insert(at, Click::new(id, ad, midnight_ms + minutes(minute)));
        }
    };
    put("near", -1, 1);
    put("beyond the horizon", -45, 50);
    put("after midnight only", 2, 30);
    bench.append(0, &log);
    bench.run();
    for (date, from_hours, until_hours) in [("2025-01-15", -24, 0), ("2025-01-16", 0, 24)] {
        bench.reconcile(date, &[]);
        let truth = expected(&log, midnight_ms + from_hours * HOUR_MS, midnight_ms + until_hours * HOUR_MS);
        let mut counts = bench.counts(date);
        // An ad that the stream has counted for is there, with nothing to be billed.
        counts.retain(|_, clicks| *clicks > 0);
        let truth = truth.into_iter().map(|(ad, billed)| (ad, billed.clicks)).collect();
        assert_eq!(counts, truth, "{date}");
    }
    let ledger = bench.ledger("2025-01-16");
    assert!(ledger.iter().any(|entry| entry.ad == "ad-2" && entry.reason == "duplicate"), "{ledger:?}");
}
