//! Other engines on the same table: delta-rs rewrites it, DuckDB sees the same rows.

use std::env;
use std::process::Command;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::Value;
use weir_connectors::delta::{DeltaReader, DeltaReaderLimits};
use weir_dataflow::{MAX_EVENT_TIME_MS, Window, WindowQuery};

use crate::oracle::{Oracle, all_of};
use crate::table::{Place, TableWriter};

fn python(action: &str, place: &Place) -> String {
    let python = env::var("WEIR_TEST_PYTHON")
        .unwrap_or_else(|_| panic!("this test needs WEIR_TEST_PYTHON: set it, or run scripts/test, which does"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/delta_read/engines.py");
    let output = Command::new(python).arg(script).arg(action).arg(place.folder()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All rows as DuckDB's script prints them, in some order.
fn rows(reader: &DeltaReader) -> Vec<String> {
    let mut rows = Vec::new();
    for window in Window::ALL {
        let query = WindowQuery { sketches: true, ..all_of(&[], window) };
        for row in reader.windows(&query).unwrap() {
            let sketch: String = row.user_sketch.iter().map(|byte| format!("{byte:02X}")).collect();
            rows.push(format!(
                "{}",
                serde_json::json!([
                    &*row.ad_id,
                    window.as_str(),
                    row.start_ms,
                    row.click_count,
                    row.unique_users,
                    row.region.as_deref(),
                    row.epoch,
                    sketch
                ])
            ));
        }
    }
    rows.sort_unstable();
    rows
}

fn duckdb_rows(place: &Place) -> Vec<String> {
    let lines = python("rows", place);
    let mut rows: Vec<String> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap().to_string()).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_compacted_and_vacuumed_table_gives_the_same_answers_as_before_and_as_duckdb() {
    let place = Place::local();
    let mut writer = TableWriter::open(&place.store());
    let mut oracle = Oracle::default();
    for epoch in 1..20 {
        let mut random = SmallRng::seed_from_u64(epoch);
        let mut rows = oracle.add(&mut random, 60, epoch);
        // DuckDB's calendar and Python's agree with ours before the year 9999.
        rows.retain(|row| row.start_ms < MAX_EVENT_TIME_MS - 86_400_000);
        writer.commit(&rows);
    }
    oracle.rows.retain(|row| row.start_ms < MAX_EVENT_TIME_MS - 86_400_000);
    let limits = DeltaReaderLimits { refresh_interval: Duration::from_secs(3_600), ..place.limits() };
    let long_open = DeltaReader::open(place.store(), limits);
    let before = rows(&long_open);
    assert_eq!(before.len(), oracle.rows.len());
    assert_eq!(before, duckdb_rows(&place));

    python("compact", &place);
    // Its files are gone; it notices by itself.
    let query = WindowQuery { sketches: true, ..all_of(&["ad-1", "ad-2"], Window::OneMinute) };
    assert_eq!(long_open.windows(&query).unwrap(), oracle.windows(&query));
    for reader in [long_open, place.reader()] {
        assert_eq!(rows(&reader), before);
    }
    assert_eq!(duckdb_rows(&place), before);

    let mut random = SmallRng::seed_from_u64(99);
    let more = oracle.add(&mut random, 60, writer.next_epoch());
    writer.commit(&more);
    let query = all_of(&[], Window::OneHour);
    assert_eq!(place.reader().windows(&query).unwrap(), oracle.windows(&query));
}
