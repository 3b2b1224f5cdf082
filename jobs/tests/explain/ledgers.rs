//! Corrections and billed days, as whoever wrote those tables has them.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::bench::Bench;

const DAY: &str = "2025-01-15";

/// 2025-01-15T14:00:00Z.
const START_MS: i64 = 1_736_949_600_000;

fn numbers(numbers: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(numbers.to_vec()))
}

fn texts(texts: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

/// Writes a file of a day; returns its `add`.
fn write(table: &Path, day: &str, file: &str, columns: Vec<(&str, ArrayRef)>) -> Value {
    let path = format!("date={day}/{file}");
    let whole = table.join(&path);
    fs::create_dir_all(whole.parent().unwrap()).unwrap();
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(&whole).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let size = fs::metadata(whole).unwrap().len();
    let values = json!({ "date": day });
    json!({ "add": { "path": path, "partitionValues": values, "size": size, "modificationTime": 1, "dataChange": true } })
}

fn commit(table: &Path, version: u64, actions: &[Value]) {
    fs::create_dir_all(table.join("_delta_log")).unwrap();
    let lines: String = actions.iter().map(|action| format!("{action}\n")).collect();
    fs::write(table.join(format!("_delta_log/{version:020}.json")), lines).unwrap();
}

fn corrections(table: &Path) {
    let file = |day: &str, name: &str, delta: i64| {
        let columns = vec![
            ("ad_id", texts(&["ad", "another"])),
            ("streamed", numbers(&[10, 1])),
            ("delta", numbers(&[delta, 1])),
            ("reason", texts(&["late", "late"])),
            ("offsets", texts(&["{\"0\":[[3,9]]}", "{}"])),
        ];
        write(table, day, name, columns)
    };
    let protocol = json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 2 } });
    commit(table, 0, &[protocol, file(DAY, "removed.parquet", 99), file("2025-01-16", "other.parquet", 5)]);
    let remove = json!({ "remove": { "path": format!("date={DAY}/removed.parquet"), "dataChange": true } });
    commit(table, 1, &[remove, file(DAY, "kept.parquet", 2)]);
}

#[test]
fn the_ledgers_of_the_day_are_shown_where_there_are_some() {
    let bench = Bench::new("");
    bench.append(0, &[json!({ "click_id": "a", "ad_id": "ad", "user_id": "u", "timestamp": START_MS })]);
    bench.run();
    let without = bench.explain("ad", "1m", START_MS, &[]);
    assert_eq!((&without["corrections"], &without["billing"]), (&Value::Null, &Value::Null));

    corrections(&bench.path().join("tables/corrections"));
    let billing = bench.path().join("tables/billing_daily");
    let billed = |ad_id: &str, clicks: i64, revision: i64| {
        let columns = vec![
            ("ad_id", texts(&[ad_id])),
            ("click_count", numbers(&[clicks])),
            ("status", texts(&["final"])),
            ("revision", numbers(&[revision])),
        ];
        write(&billing, DAY, &format!("{ad_id}-{revision}.parquet"), columns)
    };
    commit(&billing, 0, &[billed("another", 7, 1)]);
    assert_eq!(bench.explain("ad", "1m", START_MS, &[])["billing"], Value::Null);
    commit(&billing, 1, &[billed("ad", 12, 2), billed("ad", 10, 1)]);
    let explained = bench.explain("ad", "1m", START_MS, &[]);
    assert_eq!(
        explained["corrections"],
        json!([{ "ad_id": "ad", "streamed": 10, "delta": 2, "reason": "late", "offsets": { "0": [[3, 9]] } }])
    );
    assert_eq!(explained["billing"], json!({ "ad_id": "ad", "click_count": 12, "status": "final", "revision": 2 }));
    let at = START_MS.to_string();
    let output = bench.output(&["explain", "job.toml", "--ad", "ad", "--window", "1d", "--at", &at]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("Corrections of that day")
            && text.contains("Billed that day")
            && text.contains("{\"0\":[[3,9]]}"),
        "{text}"
    );
}
