//! Logs that were made by hand: copies that count where one would not expect it, windows that are not in the table yet,
//! and everything that can be missing.

use serde_json::{Value, json};

use crate::bench::Bench;

/// 2025-01-15T14:00:00Z, in seconds.
const START_S: i64 = 1_736_949_600;

fn click(click_id: &str, ad_id: &str, second: i64) -> Value {
    json!({ "click_id": click_id, "ad_id": ad_id, "user_id": "u", "timestamp": START_S + second })
}

fn control(second: i64, region: Option<&str>) -> Value {
    // The order of the keys matters; serde_json keeps them in the order of the alphabet, which is this one.
    match region {
        Some(region) => json!({ "weir_log_time_ms": (START_S + second) * 1000, "weir_region": region }),
        None => json!({ "weir_log_time_ms": (START_S + second) * 1000 }),
    }
}

/// Clicks of another ad, one a minute, each taken by the log when it happened.
fn minutes(minutes: std::ops::Range<i64>) -> Vec<Value> {
    let of = |minute: i64| [control(minute * 60, None), click(&format!("other-{minute}"), "other", minute * 60)];
    minutes.flat_map(of).collect()
}

fn explain(bench: &Bench, ad_id: &str, window: &str, second: i64, more: &[&str]) -> Value {
    bench.explain(ad_id, window, (START_S + second) * 1000, more)
}

#[track_caller]
fn check(explained: &Value, code: &str, table: u64, distinct: Option<u64>, reasons: &[(&str, i64)]) {
    assert_eq!(explained["verdict"]["code"], code, "{explained:#}");
    assert_eq!(explained["table"]["click_count"], table, "{explained:#}");
    assert_eq!(explained["archive"]["distinct"].as_u64(), distinct, "{explained:#}");
    let found = explained["verdict"]["reasons"].as_array().unwrap().iter();
    let found: Vec<(&str, i64)> =
        found.map(|reason| (reason["code"].as_str().unwrap(), reason["clicks"].as_i64().unwrap())).collect();
    assert_eq!(found, reasons, "{explained:#}");
}

/// One epoch a record, so that the watermark goes on between any two.
fn by_hand() -> Bench {
    Bench::new("epoch.max_records = 1\ntables.roll_interval = \"1s\"\n")
}

#[test]
fn a_copy_beyond_the_horizon_is_counted_again_and_explained() {
    let bench = by_hand();
    bench.append(0, &minutes(0..1));
    bench.append(0, &[click("twice", "ad", 5), click("once", "ad", 6)]);
    bench.run_for(3);
    bench.append(0, &minutes(1..45));
    bench.run_for(47);
    bench.append(0, &[click("twice", "ad", 44 * 60 + 5)]);
    bench.append(0, &minutes(45..50));
    bench.run();
    check(&explain(&bench, "ad", "1m", 0, &[]), "agrees", 2, Some(2), &[]);
    check(&explain(&bench, "ad", "1m", 44 * 60, &[]), "agrees", 1, Some(1), &[]);
    check(&explain(&bench, "ad", "1h", 0, &[]), "explained", 3, Some(2), &[("counted_again", 1)]);
    check(&explain(&bench, "ad", "1d", 0, &[]), "explained", 3, Some(2), &[("counted_again", 1)]);
}

#[test]
fn a_copy_with_another_time_counts_where_its_first_is() {
    let bench = by_hand();
    bench.append(0, &minutes(0..3));
    bench.append(0, &[click("moved", "ad", 125), click("moved", "ad", 185), click("stays", "ad", 186)]);
    bench.append(0, &minutes(3..8));
    bench.run();
    check(&explain(&bench, "ad", "1m", 120, &[]), "agrees", 1, Some(1), &[]);
    check(&explain(&bench, "ad", "1m", 180, &[]), "explained", 1, Some(2), &[("first_copy_elsewhere", -1)]);
    let hour = explain(&bench, "ad", "1h", 0, &["--clicks"]);
    check(&hour, "agrees", 2, Some(2), &[]);
    let status: Vec<&str> =
        hour["clicks"].as_array().unwrap().iter().map(|click| click["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["counted", "duplicate", "counted"]);
}

/// Within an epoch nothing is forgotten, however much time it spans.
#[test]
fn a_copy_that_came_in_the_same_epoch_is_found_far_away() {
    let bench = Bench::new("");
    bench.append(0, &[click("moved", "ad", 5)]);
    bench.append(0, &minutes(0..100));
    bench.append(0, &[click("moved", "ad", 95 * 60)]);
    bench.run();
    let explained = explain(&bench, "ad", "1m", 95 * 60, &[]);
    check(&explained, "explained", 0, Some(1), &[("first_copy_elsewhere", -1)]);
}

#[test]
fn regions_are_explained_each_and_together() {
    let bench = by_hand();
    bench.append(0, &[control(0, Some("eu-1")), click("a", "ad", 1), click("b", "ad", 2)]);
    bench.append(0, &[control(3, Some("us-1")), click("b", "ad", 2), click("c", "ad", 3)]);
    bench.append(0, &minutes(1..3));
    bench.run();
    check(&explain(&bench, "ad", "1m", 0, &[]), "agrees", 3, Some(3), &[]);
    let eu = explain(&bench, "ad", "1m", 0, &["--region", "eu-1"]);
    check(&eu, "agrees", 2, Some(2), &[]);
    let us = explain(&bench, "ad", "1m", 0, &["--region", "us-1"]);
    check(&us, "agrees", 1, Some(1), &[]);
    assert_eq!(us["archive"]["duplicate_records"], 1);
    check(&explain(&bench, "ad", "1m", 0, &["--region", "ap-1"]), "no_clicks", 0, Some(0), &[]);
}

#[test]
fn windows_that_are_held_back_or_open_are_said_to_be() {
    // No row gets into a file before the job's end.
    let bench = Bench::new("epoch.max_records = 5\ntables.roll_interval = \"1d\"\n");
    bench.append(0, &[control(0, None), click("a", "ad", 1), click("a", "ad", 1), click("b", "ad", 2)]);
    bench.append(0, &minutes(1..20));
    bench.append(0, &[click("c", "ad", 19 * 60)]);
    bench.run_for(23);
    let closed = explain(&bench, "ad", "1m", 0, &[]);
    check(&closed, "explained", 0, Some(2), &[("held_back", -2)]);
    assert_eq!((&closed["state"], &closed["archive"]["held_back"]), (&json!("closed"), &json!(3)));
    let open = explain(&bench, "ad", "1m", 19 * 60, &[]);
    check(&open, "open", 0, Some(1), &[]);
    assert_eq!(open["state"], "open");
    assert!(open["verdict"]["text"].as_str().unwrap().contains("on time so far: 1."), "{open:#}");
    check(&explain(&bench, "ad", "1h", 0, &[]), "open", 0, Some(3), &[]);

    bench.run();
    check(&explain(&bench, "ad", "1m", 0, &[]), "agrees", 2, Some(2), &[]);
    let hour = explain(&bench, "ad", "1h", 0, &[]);
    check(&hour, "agrees", 3, Some(3), &[]);
    assert_eq!(hour["archive"]["held_back"], 0);
}

#[test]
fn a_day_is_compared_as_far_as_its_hours_are_closed() {
    let bench = by_hand();
    bench.append(0, &minutes(0..1));
    bench.append(0, &[click("a", "ad", 10)]);
    bench.append(0, &minutes(1..80));
    bench.append(0, &[click("b", "ad", 79 * 60 + 1)]);
    bench.run_for(82);
    let day = explain(&bench, "ad", "1d", 0, &[]);
    assert_eq!(day["state"], "partly_closed");
    assert_eq!(day["closed_part_end_ms"], (START_S + 3600) * 1000);
    assert_eq!(day["verdict"]["right"], true, "{day:#}");
    assert!(day["verdict"]["text"].as_str().unwrap().starts_with("Of the hours that are closed so far"), "{day:#}");
    assert_eq!(day["archive"]["distinct"], 2);
}

#[test]
fn an_unknown_ad_has_no_clicks() {
    let bench = by_hand();
    bench.append(0, &minutes(0..3));
    bench.run();
    let unknown = explain(&bench, "othr", "1h", 0, &["--clicks"]);
    check(&unknown, "no_clicks", 0, Some(0), &[]);
    assert_eq!(unknown["clicks"], json!([]));
    check(&explain(&bench, "other", "1m", -86_400, &[]), "no_clicks", 0, Some(0), &[]);
}

#[test]
fn without_an_archive_it_is_said_what_cannot_be_shown() {
    let bench = Bench::new("archive.enabled = false\n");
    bench.append(0, &minutes(0..3));
    bench.run();
    let explained = explain(&bench, "other", "1m", 0, &["--clicks"]);
    check(&explained, "archive_off", 1, None, &[]);
    assert_eq!((&explained["archive"], &explained["clicks"]), (&Value::Null, &Value::Null));
    // Switched on later, it is known to lack records.
    let later = explain(&bench, "other", "1m", 0, &["-D", "archive.enabled=true"]);
    check(&later, "archive_incomplete", 1, Some(0), &[("archive_incomplete", 1)]);
}

#[test]
fn a_file_that_is_missing_or_damaged_is_named() {
    let bench = by_hand();
    bench.append(0, &minutes(0..3));
    bench.run();
    let explained = explain(&bench, "other", "1m", 0, &[]);
    let file = explained["archive"]["files"][0]["path"].as_str().unwrap();
    let path = bench.path().join("tables").join(file);
    let bytes = std::fs::read(&path).unwrap();
    let fails = || {
        let at = START_S.to_string();
        let output = bench.output(&["explain", "job.toml", "--ad", "other", "--window", "1m", "--at", &at]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = fails();
    assert!(error.contains(file), "{error}");
    std::fs::remove_file(&path).unwrap();
    let error = fails();
    assert!(error.contains(file) && error.contains("restore it from a copy"), "{error}");
}

#[test]
fn a_job_that_never_ran_has_nothing_to_explain() {
    let bench = by_hand();
    let output = bench.output(&["explain", "job.toml", "--ad", "a", "--window", "1m", "--at", "0"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("job clicks has no checkpoint"), "{error}");
    let usage = bench.output(&["explain", "job.toml", "--ad", "a", "--window", "2m", "--at", "yesterday"]);
    assert_eq!(usage.status.code(), Some(2));
}
