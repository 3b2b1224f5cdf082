//! Mistakes that are planted in what the stream has counted: all of them are found, named and corrected.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;

use crate::bench::{Bench, Click, actions, expected, live};

const START_MS: i64 = 1_736_899_200_000;
const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;
const DATE: &str = "2025-01-15";

/// Clicks by ad and minute.
type Cells = BTreeMap<(String, i64), i64>;

fn log() -> Vec<Click> {
    (0..30_000).map(|n| Click::new(format!("c-{n}"), &format!("ad-{}", n % 4), START_MS + n * 2500)).collect()
}

/// One of the epochs, and its clicks by ad and minute.
fn of_epoch(bench: &Bench, number: usize) -> (i64, Cells) {
    let mut epochs: BTreeMap<i64, Cells> = BTreeMap::new();
    let folder = bench.path().join("tables/clicks_raw");
    for batch in live(&folder).iter().flat_map(|path| batches(&folder.join(path))) {
        let ads = batch.column_by_name("ad_id").unwrap().as_string::<i32>();
        let times = batch.column_by_name("event_time").unwrap().as_primitive::<TimestampMicrosecondType>();
        let epoch_column = batch.column_by_name("epoch").unwrap().as_primitive::<Int64Type>();
        for at in 0..batch.num_rows() {
            let minute = times.value(at) / 1000 / MINUTE_MS;
            let cells = epochs.entry(epoch_column.value(at)).or_default();
            *cells.entry((ads.value(at).to_owned(), minute)).or_default() += 1;
        }
    }
    assert!(epochs.len() > 5, "{} epochs", epochs.len());
    epochs.into_iter().nth(number).unwrap()
}

fn batches(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    reader.map(Result::unwrap).collect()
}

/// Changes the counts of one-minute windows, as a stream would have written them that counts wrong.
fn plant(bench: &Bench, change: &Cells) {
    let table = bench.path().join("tables/clicks_agg");
    let mut left: HashMap<(String, i64), i64> = change.iter().map(|(cell, delta)| (cell.clone(), *delta)).collect();
    for path in live(&table).into_iter().filter(|path| path.starts_with("window=1m/")) {
        let file = table.join(&path);
        let rows: Vec<RecordBatch> = batches(&file);
        let changed: Vec<RecordBatch> = rows.iter().map(|batch| changed(batch, &mut left)).collect();
        let mut writer = ArrowWriter::try_new(File::create(&file).unwrap(), changed[0].schema(), None).unwrap();
        changed.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.close().unwrap();
        let bytes = std::fs::read(&file).unwrap();
        for (version, mut action) in actions(&table).into_iter().filter(|(_, action)| action["add"]["path"] == *path) {
            let before = action.clone();
            action["add"]["size"] = json!(bytes.len());
            action["add"]["tags"]["weir.sha256"] = json!(weir_checkpoints::content_hash(&bytes));
            let text = std::fs::read_to_string(&version).unwrap();
            let lines: String = text
                .lines()
                .map(|line| {
                    let same = serde_json::from_str::<serde_json::Value>(line).unwrap() == before;
                    if same { format!("{action}\n") } else { format!("{line}\n") }
                })
                .collect();
            std::fs::write(version, lines).unwrap();
        }
    }
    assert!(left.values().all(|delta| *delta == 0), "{left:?}");
}

fn changed(batch: &RecordBatch, left: &mut HashMap<(String, i64), i64>) -> RecordBatch {
    let ads = batch.column_by_name("ad_id").unwrap().as_string::<i32>();
    let starts = batch.column_by_name("window_start").unwrap().as_primitive::<TimestampMicrosecondType>();
    let at = batch.schema().index_of("click_count").unwrap();
    let counts = batch.column(at).as_primitive::<Int64Type>();
    let new = (0..batch.num_rows()).map(|row| {
        let cell = (ads.value(row).to_owned(), starts.value(row) / 1000 / MINUTE_MS);
        counts.value(row) + left.get_mut(&cell).map_or(0, std::mem::take)
    });
    let mut columns = batch.columns().to_vec();
    columns[at] = Arc::new(Int64Array::from_iter_values(new));
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

/// What is planted by ad and minute, and the epoch and mistake that should be named.
fn check(name: &str, change: impl Fn(&Bench) -> (Cells, Option<(i64, &'static str)>)) {
    let bench = Bench::new("");
    let log = log();
    bench.append(0, &log);
    bench.run();
    let (change, mistake) = change(&bench);
    assert!(!change.is_empty(), "{name}");
    plant(&bench, &change);

    let report = bench.reconcile(DATE, &[]);
    assert_eq!(bench.billed(DATE), expected(&log, START_MS, START_MS + DAY_MS), "{name}");
    assert_eq!(report["wrong_windows_count"], change.len(), "{name}: {report}");
    for wrong in report["wrong_windows"].as_array().unwrap() {
        let cell = (wrong["ad_id"].as_str().unwrap().to_owned(), wrong["timestamp"].as_i64().unwrap() / 60);
        let delta = wrong["streamed"].as_i64().unwrap() - wrong["expected"].as_i64().unwrap();
        assert_eq!(change.get(&cell), Some(&delta), "{name}: {wrong}");
    }
    let epochs = report["wrong_epochs"].as_array().unwrap();
    let named: Vec<_> = epochs.iter().map(|epoch| (&epoch["epoch"], &epoch["mistake"], &epoch["explained"])).collect();
    let expect: Vec<_> =
        mistake.iter().map(|(epoch, mistake)| (json!(epoch), json!(mistake), json!(change.len()))).collect();
    assert_eq!(
        named,
        expect.iter().map(|(epoch, mistake, minutes)| (epoch, mistake, minutes)).collect::<Vec<_>>(),
        "{name}"
    );
    let mut corrected: BTreeMap<(String, String), i64> = BTreeMap::new();
    for entry in bench.ledger(DATE) {
        *corrected.entry((entry.ad, entry.reason)).or_default() += entry.after - entry.before;
    }
    let mut expect: BTreeMap<(String, String), i64> = BTreeMap::new();
    for ((ad, _), delta) in &change {
        let reason = if *delta < 0 { "uncounted" } else { "overcounted" };
        *expect.entry((ad.clone(), reason.to_owned())).or_default() -= delta;
    }
    assert_eq!(corrected, expect, "{name}");
}

#[test]
fn a_lost_epoch_a_doubled_epoch_and_a_wrong_ad_are_found() {
    check("a lost epoch", |bench| {
        let (epoch, cells) = of_epoch(bench, 1);
        (cells.into_iter().map(|(cell, clicks)| (cell, -clicks)).collect(), Some((epoch, "lost")))
    });
    check("a doubled epoch", |bench| {
        let (epoch, cells) = of_epoch(bench, 3);
        (cells, Some((epoch, "doubled")))
    });
    check("a wrong ad", |bench| {
        // A minute in which both ads have clicks.
        let (_, cells) = of_epoch(bench, 4);
        let both = cells.keys().find(|(ad, minute)| ad == "ad-1" && cells.contains_key(&("ad-2".to_owned(), *minute)));
        let minute = both.unwrap().1;
        (Cells::from([(("ad-1".to_owned(), minute), -1), (("ad-2".to_owned(), minute), 1)]), None)
    });
}
