//! What is in tables, read without the code that wrote them, and what should be.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// Clicks and users of a window, by its length, its ad (with its region, if it has one) and its start in milliseconds.
pub(crate) type Windows = BTreeMap<(String, String, i64), (u64, u64)>;

/// Where records are in the log: partition and offset, and how often.
pub(crate) type Places = BTreeMap<(i64, i64), u64>;

/// What is in `clicks_agg`, of files up to an epoch. No window may be there twice.
pub(crate) fn windows(tables: &Path, until_epoch: u64) -> Windows {
    let mut windows = Windows::new();
    for file in files(&tables.join("clicks_agg"), until_epoch) {
        let window = file.split("window=").nth(1).and_then(|rest| rest.split('/').next()).unwrap().to_owned();
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(File::open(tables.join("clicks_agg").join(&file)).unwrap());
        for batch in reader.unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let (ads, starts) = (column("ad_id").as_string::<i32>(), column("window_start"));
            let starts = starts.as_primitive::<TimestampMicrosecondType>();
            let clicks = column("click_count").as_primitive::<Int64Type>();
            let users = column("unique_users").as_primitive::<Int64Type>();
            let regions = column("region").as_string::<i32>();
            for row in 0..batch.num_rows() {
                let region = if regions.is_valid(row) { format!(" in {}", regions.value(row)) } else { String::new() };
                let key = (window.clone(), format!("{}{region}", ads.value(row)), starts.value(row) / 1000);
                let value = (clicks.value(row) as u64, users.value(row) as u64);
                assert_eq!(windows.insert(key.clone(), value), None, "{key:?} is there twice");
            }
        }
    }
    windows
}

/// The places of the records in a table of clicks, of files up to an epoch.
pub(crate) fn places(tables: &Path, table: &str, until_epoch: u64) -> Places {
    let mut places = Places::new();
    for file in files(&tables.join(table), until_epoch) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(tables.join(table).join(&file)).unwrap());
        for batch in reader.unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let partitions = batch.column_by_name("partition").unwrap().as_primitive::<Int32Type>();
            let offsets = batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                *places.entry((i64::from(partitions.value(row)), offsets.value(row))).or_default() += 1;
            }
        }
    }
    places
}

/// The files that a table's log names, below its folder, as far as they are of epochs up to one.
fn files(table: &Path, until_epoch: u64) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(table.join("_delta_log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let action: Value = serde_json::from_str(line).unwrap();
            if let Some(name) = action["add"]["path"].as_str() {
                let file = name.rsplit('/').next().unwrap();
                let epoch: u64 = file.split('-').nth(1).unwrap().parse().unwrap();
                if epoch <= until_epoch {
                    files.push(name.to_owned());
                }
            }
        }
    }
    files
}

/// The windows that the generator expects, without those that nothing is certain of.
pub(crate) fn expected(oracle: &Path) -> Windows {
    let text = std::fs::read_to_string(oracle).unwrap();
    let mut windows = Windows::new();
    for line in text.lines().skip(1) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line.get("late").is_none(), "no click of this test is late: {line}");
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        let number = |name: &str| line[name].as_u64().unwrap();
        let key = (text("window"), text("ad_id"), line["start_ms"].as_i64().unwrap());
        windows.insert(key, (number("clicks"), number("users")));
    }
    windows
}

/// What must become of the records.
pub(crate) fn total(oracle: &Path, name: &str) -> u64 {
    let text = std::fs::read_to_string(oracle).unwrap();
    let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    header["totals"][name].as_u64().unwrap()
}

/// Two sets of windows, none of which may be in both.
#[track_caller]
pub(crate) fn both(one: &Windows, other: &Windows) -> Windows {
    let mut all = one.clone();
    for (key, value) in other {
        assert_eq!(all.insert(key.clone(), *value), None, "{key:?} is in both");
    }
    all
}

/// The clicks must be exact, and the users within what a sketch can do.
#[track_caller]
pub(crate) fn compare(found: &Windows, expected: &Windows) {
    let keys = |windows: &Windows| windows.keys().cloned().collect::<Vec<_>>();
    let (found_keys, expected_keys) = (keys(found), keys(expected));
    let missing: Vec<_> = expected_keys.iter().filter(|key| !found.contains_key(key)).take(5).collect();
    let extra: Vec<_> = found_keys.iter().filter(|key| !expected.contains_key(key)).take(5).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:?}, not expected {extra:?}");
    for (key, (clicks, users)) in expected {
        let (found_clicks, found_users) = found[key];
        assert_eq!(found_clicks, *clicks, "{key:?}");
        let slack = if *users < 200 { 1 } else { users / 12 };
        assert!(found_users.abs_diff(*users) <= slack, "{key:?}: {found_users} users, expected {users}");
    }
}
