//! Explanations of all kinds of windows, of a log with duplicates, late and future clicks, and what is no click.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;

use crate::bench::Bench;
use crate::log::{Logged, find, read};

/// 2025-01-15T14:00:00Z.
const START_MS: i64 = 1_736_949_600_000;

const HOUR_MS: i64 = 3_600_000;

fn generated(late: &str) -> (Bench, Vec<Logged>) {
    let bench =
        Bench::new("epoch.max_records = 5000\ntables.roll_interval = \"1s\"\ntables.target_file_bytes = 65536\n");
    let log = ["generate", "--to", "log/", "--clicks", "30000", "--partitions", "3", "--partition-by", "even"];
    let clicks = ["--ads", "60", "--users", "500", "--bytes", "250", "--events-per-second", "50"];
    let odd = ["--duplicates", "0.05", "--future", "0.02", "--poison", "0.02", "--without-click-id", "0.2"];
    let start = ["--late", late, "--start", "2025-01-15T14:00:00Z"];
    bench.weir(&[log.as_slice(), &clicks, &odd, &start].concat());
    bench.run();
    let clicks = read(&bench.path().join("log"));
    (bench, clicks)
}

fn numbers(value: &Value, names: &[&str]) -> Vec<u64> {
    names.iter().map(|name| value[name].as_u64().unwrap_or_else(|| panic!("{name} of {value}"))).collect()
}

/// Compares everything that does not depend on where epochs end.
fn check(bench: &Bench, clicks: &[Logged], ad_id: &str, window: &str, window_ms: Range<i64>) -> Value {
    let explained = bench.explain(ad_id, window, window_ms.start + 1, &["--clicks", "--limit", "1000000"]);
    let found = find(clicks, ad_id, window_ms.clone());
    let archive = &explained["archive"];
    assert_eq!(explained["start_ms"], window_ms.start);
    assert_eq!(explained["end_ms"], window_ms.end);
    assert_eq!(explained["verdict"]["right"], true, "{explained:#}");
    assert_eq!(archive["records"], found.records, "{explained:#}");
    assert_eq!(explained["table"]["click_count"], archive["distinct"]);
    assert_eq!(explained["table"]["unique_users"], archive["unique_users"]);
    let late: u64 =
        explained["late"]["reasons"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(archive["not_on_time"], late);
    let [distinct, duplicates, on_time] = numbers(archive, &["distinct", "duplicate_records", "on_time"])[..] else {
        panic!("three numbers")
    };
    assert_eq!((on_time + late, distinct + duplicates), (found.records, on_time));
    let of_epochs = archive["epochs"].as_array().unwrap().iter().map(|epoch| epoch["clicks"].as_u64().unwrap());
    assert_eq!(of_epochs.sum::<u64>(), distinct);
    let of_files = archive["files"].as_array().unwrap().iter().map(|file| file["rows"].as_u64().unwrap());
    assert_eq!(of_files.sum::<u64>(), found.records);
    let partitions = archive["partitions"].as_array().unwrap().iter();
    let partitions = partitions.map(|range| numbers(range, &["partition", "first_offset", "last_offset", "records"]));
    let expected =
        found.partitions.iter().map(|(partition, (first, last, count))| vec![*partition, *first, *last, *count]);
    assert_eq!(partitions.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert_eq!(explained["clicks"].as_array().unwrap().len() as u64, found.records);
    if late == 0 {
        assert_eq!(distinct, found.copies.len() as u64);
        // Up to here the estimate of users is exact.
        if found.users.len() <= 384 {
            assert_eq!(archive["unique_users"], found.users.len());
        }
        same_duplicates(&explained, &found.copies.values().filter(|copies| copies.len() > 1).cloned().collect());
    }
    explained
}

fn same_duplicates(explained: &Value, expected: &BTreeSet<BTreeSet<(u64, u64)>>) {
    let place = |place: &Value| (place["partition"].as_u64().unwrap(), place["offset"].as_u64().unwrap());
    let duplicates = explained["archive"]["duplicates"].as_array().unwrap().iter().map(|duplicate| {
        let first = std::iter::once(&duplicate["first"]);
        first.chain(duplicate["others"].as_array().unwrap()).map(place).collect::<BTreeSet<_>>()
    });
    assert_eq!(&duplicates.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn windows_of_all_lengths_are_explained_as_a_plain_loop_explains_them() {
    let (bench, clicks) = generated("0");
    let mut records = 0;
    for ad_id in ["ad-00000000", "ad-00000007", "ad-00000059"] {
        for minute in [0, 3, 4, 9] {
            let start_ms = START_MS + minute * 60_000;
            let explained = check(&bench, &clicks, ad_id, "1m", start_ms..start_ms + 60_000);
            records += explained["archive"]["records"].as_u64().unwrap();
        }
        check(&bench, &clicks, ad_id, "5m", START_MS..START_MS + 300_000);
        check(&bench, &clicks, ad_id, "1h", START_MS..START_MS + HOUR_MS);
        // All that is from the future happens an hour after the last click.
        let future = check(&bench, &clicks, ad_id, "1h", START_MS + HOUR_MS..START_MS + 2 * HOUR_MS);
        assert_eq!(future["late"]["reasons"]["future"], future["archive"]["records"]);
        assert_eq!(future["verdict"]["code"], "no_clicks");
        let day_ms = START_MS.div_euclid(24 * HOUR_MS) * 24 * HOUR_MS;
        let day = check(&bench, &clicks, ad_id, "1d", day_ms..day_ms + 24 * HOUR_MS);
        assert_eq!(day["verdict"]["code"], "agrees");
    }
    assert!(records > 1_000, "{records}");
}

#[test]
fn late_clicks_are_told_from_those_that_count() {
    let (bench, clicks) = generated("0.05");
    let mut late = 0;
    for hours in [-3, -2, 0] {
        let start_ms = START_MS + hours * HOUR_MS;
        let explained = check(&bench, &clicks, "ad-00000000", "1h", start_ms..start_ms + HOUR_MS);
        late += explained["late"]["reasons"]["late"].as_u64().unwrap();
        let listed = explained["clicks"].as_array().unwrap().iter().filter(|click| click["status"] == "late").count();
        assert_eq!(explained["late"]["reasons"]["late"], listed);
    }
    assert!(late > 10, "{late}");
    check(&bench, &clicks, "ad-00000000", "1d", START_MS - 14 * HOUR_MS..START_MS + 10 * HOUR_MS);
}

#[test]
fn the_text_says_the_same() {
    let (bench, clicks) = generated("0");
    let found = find(&clicks, "ad-00000000", START_MS..START_MS + 60_000);
    let at = ["--ad", "ad-00000000", "--window", "1m", "--at", "2025-01-15T14:00:30Z", "--clicks"];
    let output = bench.output(&[&["explain", "job.toml"], at.as_slice()].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let expected = [
        "RIGHT  The table's count equals the distinct clicks on time in the archive.".to_owned(),
        format!("{} users, in the table clicks_agg", found.users.len()),
        format!("= distinct clicks on time      {}", found.copies.len()),
        "Clicks that came several times".to_owned(),
        "The clicks, earliest first".to_owned(),
        "clicks_raw/date=2025-01-15/hour=14/part-".to_owned(),
    ];
    expected.iter().for_each(|line| assert!(text.contains(line.as_str()), "{line} is not in\n{text}"));
}
