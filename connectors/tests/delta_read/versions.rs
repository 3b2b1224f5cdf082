//! A table that is written while it is read: a question sees one version, and versions never go back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use weir_connectors::delta::{DeltaReader, DeltaReaderLimits};
use weir_dataflow::{Window, WindowQuery, WindowStats};

use crate::oracle::{DAY_MS, all_of};
use crate::table::{JOB, Place, TableWriter};

/// Ads of each epoch; they are spread over the workers, so over several files of one version.
pub(crate) const ADS: [&str; 5] = ["a", "b", "c", "d", "e"];

pub(crate) fn rows_of(epoch: u64) -> Vec<WindowStats> {
    let row = |ad: &str| WindowStats {
        ad_id: ad.into(),
        region: None,
        window: Window::OneMinute,
        start_ms: DAY_MS + epoch as i64 * 60_000,
        click_count: epoch,
        unique_users: 1,
        user_sketch: Vec::new(),
        is_final: true,
        epoch,
    };
    ADS.map(row).to_vec()
}

#[test]
fn readers_see_whole_epochs_in_their_order_on_a_local_disk() {
    // Beyond the log's first checkpoint.
    check(&Place::local(), 130);
}

#[test]
fn readers_see_whole_epochs_in_their_order_on_s3() {
    check(&Place::s3(), 25);
}

fn check(place: &Place, epochs: u64) {
    let mut writer = TableWriter::open(&place.store());
    let limits = DeltaReaderLimits { refresh_interval: Duration::from_millis(1), ..place.limits() };
    let reader = DeltaReader::open(place.store(), limits);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| watch(&reader, &done, epochs))).collect();
        for epoch in 1..=epochs {
            writer.commit(&rows_of(epoch));
        }
        done.store(true, Ordering::Relaxed);
        for watching in readers {
            assert!(watching.join().unwrap() > 3, "versions were seen between the first and the last");
        }
    });
    // A reader that starts now begins at the checkpoint.
    let late = place.reader();
    assert_eq!(prefix(&late), epochs);
    assert_eq!(late.version().unwrap().epochs.get(JOB), Some(&epochs));
}

/// Asks until all is there; how many versions it saw.
pub(crate) fn watch(reader: &DeltaReader, done: &AtomicBool, epochs: u64) -> u64 {
    let (mut newest, mut seen) = (0, 0);
    loop {
        let was_done = done.load(Ordering::Relaxed);
        let epoch = prefix(reader);
        assert!(epoch >= newest, "after epoch {newest} came {epoch}");
        seen += u64::from(epoch > newest);
        newest = epoch;
        if was_done && epoch == epochs {
            return seen;
        }
    }
}

/// The last epoch of the answer, which must have all rows of it and of those before.
fn prefix(reader: &DeltaReader) -> u64 {
    let mut rows = reader.windows(&all_of(&[], Window::OneMinute)).unwrap();
    let newest = rows.iter().map(|row| row.epoch).max().unwrap_or(0);
    rows.sort_by_key(|row| (row.epoch, row.ad_id.clone()));
    let expect: Vec<WindowStats> = (1..=newest).flat_map(rows_of).collect();
    assert_eq!(rows, expect);
    newest
}

/// What compaction does: the same rows in another file, the old ones removed from the log, later from the store.
fn rewrite(place: &Place, version: u64) {
    let (store, files) = (place.store(), place.files());
    let mut actions = String::new();
    for file in files {
        let bytes = store.get(&format!("clicks_agg/{file}")).unwrap().unwrap();
        let copy = file.replace("part-", "copy-");
        store.put(&format!("clicks_agg/{copy}"), bytes.clone()).unwrap();
        store.delete(&format!("clicks_agg/{file}")).unwrap();
        let partition = json!({ "window": "1m", "date": "2025-01-15" });
        let add = json!({ "path": copy, "partitionValues": partition, "size": bytes.len(), "modificationTime": 1, "dataChange": false });
        let remove = json!({ "path": file, "dataChange": false });
        actions += &format!("{}\n{}\n", json!({ "remove": remove }), json!({ "add": add }));
    }
    store.put(&format!("clicks_agg/_delta_log/{version:020}.json"), actions.into_bytes()).unwrap();
}

#[test]
fn files_that_vanish_under_a_question_are_looked_for_once_more() {
    for place in [Place::local(), Place::s3()] {
        let mut writer = TableWriter::open(&place.store());
        writer.commit(&rows_of(1));
        writer.commit(&rows_of(2));
        let limits = DeltaReaderLimits { refresh_interval: Duration::from_secs(3_600), ..place.limits() };
        let reader = Arc::new(DeltaReader::open(place.store(), limits));
        assert_eq!(reader.version().unwrap().number, Some(2));
        rewrite(&place, 3);
        assert_eq!(prefix(&reader), 2);
        assert_eq!(reader.version().unwrap().number, Some(3));
        let mut rows = 0;
        let query = WindowQuery { end_ms: DAY_MS + 120_000, ..all_of(&[], Window::OneMinute) };
        reader.for_each(&query, None, |_| rows += 1).unwrap();
        assert_eq!(rows, ADS.len());
    }
}

#[test]
fn files_of_a_manifest_are_read_before_the_table_shows_them_and_once_when_it_does() {
    let place = Place::local();
    let mut writer = TableWriter::open(&place.store());
    writer.commit(&rows_of(1));
    let manifest = writer.stage(&rows_of(2));
    let reader = place.reader();
    let epochs = |manifest| {
        let mut epochs = Vec::new();
        reader.for_each(&all_of(&[], Window::OneMinute), manifest, |row| epochs.push(row.epoch.0)).unwrap();
        epochs.sort_unstable();
        epochs
    };
    let both = [[1; ADS.len()], [2; ADS.len()]].concat();
    assert_eq!(epochs(None), [1; ADS.len()]);
    assert_eq!(epochs(Some(&manifest)), both);
    writer.show(&manifest);
    assert_eq!(epochs(None), both);
    assert_eq!(epochs(Some(&manifest)), both);
}
