//! Damaged and missing objects: an error that says which, and never a panic.

use std::fs;
use std::path::PathBuf;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use weir_connectors::delta::ReadError;
use weir_dataflow::{Window, WindowQuery, WindowStats};

use crate::oracle::{DAY_MS, all_of};
use crate::table::{Place, TableWriter};

/// A table with one file of some pages.
fn one_file() -> (Place, PathBuf) {
    let place = Place::local();
    let mut writer = TableWriter::open(&place.store());
    let row = |number: u64| WindowStats {
        ad_id: format!("ad-{}", number / 2 * 2).into(),
        region: [None, Some("eu-1".into())][number as usize % 2].clone(),
        window: Window::OneHour,
        start_ms: DAY_MS + (number % 24) as i64 * 3_600_000,
        click_count: number % 9,
        unique_users: number % 5,
        user_sketch: vec![number as u8; number as usize % 30],
        is_final: true,
        epoch: 1,
    };
    let rows: Vec<WindowStats> =
        (0..60_000).map(row).filter(|row| row.ad_id.bytes().map(u32::from).sum::<u32>() % 2 == 0).collect();
    writer.commit(&rows);
    let files = place.files();
    assert_eq!(files.len(), 1);
    let file = place.folder().join(&files[0]);
    (place, file)
}

fn question() -> WindowQuery {
    WindowQuery { sketches: true, ..all_of(&["ad-1010", "ad-31300"], Window::OneHour) }
}

#[test]
fn a_missing_file_is_named() {
    let (place, file) = one_file();
    let reader = place.reader();
    assert!(!reader.windows(&question()).unwrap().is_empty());
    fs::remove_file(&file).unwrap();
    for reader in [reader, place.reader()] {
        let error = reader.windows(&question()).unwrap_err();
        assert!(matches!(&error, ReadError::Missing { file } if file.ends_with(".zstd.parquet")), "{error}");
        let error = reader.for_each(&question(), None, |_| ()).unwrap_err();
        assert!(matches!(&error, ReadError::Missing { .. }), "{error}");
    }
}

#[test]
fn a_file_that_is_cut_short_is_named() {
    let (place, file) = one_file();
    let bytes = fs::read(&file).unwrap();
    for length in [0, 3, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&file, &bytes[..length]).unwrap();
        let error = place.reader().windows(&question()).unwrap_err().to_string();
        assert!(error.contains("part-") && error.contains("parquet"), "{error}");
    }
    let text = b"this is no Parquet file".repeat(bytes.len() / 23 + 1);
    fs::write(&file, &text[..bytes.len()]).unwrap();
    let error = place.reader().windows(&question()).unwrap_err();
    assert!(matches!(&error, ReadError::Damaged { .. }), "{error}");
}

/// Flips bits and writes bytes within `range` of a file, by seeds; how many questions failed.
fn mutate(seeds: u64, range: impl Fn(usize) -> std::ops::Range<usize>) -> u64 {
    let (place, file) = one_file();
    let whole = fs::read(&file).unwrap();
    let range = range(whole.len());
    let mut failed = 0;
    for seed in 0..seeds {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut damaged = whole.clone();
        for _ in 0..random.random_range(1..5) {
            let at = random.random_range(range.clone());
            damaged[at] = match random.random_range(0..3) {
                0 => damaged[at] ^ 1 << random.random_range(0..8),
                1 => [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
                _ => random.random(),
            };
        }
        fs::write(&file, &damaged).unwrap();
        let answer = std::panic::catch_unwind(|| {
            let reader = place.reader();
            let mut scanned = 0;
            let scan = reader.for_each(&all_of(&[], Window::OneHour), None, |_| scanned += 1);
            (reader.windows(&question()).is_err(), scan.is_err())
        });
        let (point, scan) = answer.unwrap_or_else(|_| panic!("seed {seed}: a panic, not an error"));
        failed += u64::from(point || scan);
    }
    failed
}

/// The page index, the bloom filter and the footer proper lie at the end.
#[test]
fn a_damaged_footer_never_panics() {
    let failed = mutate(1_500, |length| {
        let footer = 8 * 1024;
        length - footer..length
    });
    assert!(failed > 300, "{failed} of 1500 were noticed");
}

#[test]
fn damaged_pages_never_panic() {
    let failed = mutate(600, |length| 0..length);
    assert!(failed > 100, "{failed} of 600 were noticed");
}

#[test]
fn a_damaged_log_is_refused_with_what_is_wrong() {
    let check = |version: &str, because: &str| {
        let (place, _) = one_file();
        let reader = place.reader();
        reader.version().unwrap();
        fs::write(place.folder().join("_delta_log/00000000000000000002.json"), version).unwrap();
        for reader in [reader, place.reader()] {
            let error = reader.windows(&question()).unwrap_err();
            assert!(matches!(&error, ReadError::Refused { .. }), "{error}");
            assert!(error.to_string().contains(because), "{error}");
        }
    };
    let add = |path: &str, window: &str, date: &str| {
        let values = serde_json::json!({ "window": window, "date": date });
        let add = serde_json::json!({ "path": path, "partitionValues": values, "size": 1, "modificationTime": 1, "dataChange": true });
        serde_json::json!({ "add": add }).to_string()
    };
    check("{\"add\":", "00000000000000000002.json");
    check("{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7}}", "reader protocol 3");
    check(&add("../../etc/passwd", "1h", "2025-01-15"), "outside its folder");
    check(&add("s3://elsewhere/file", "1h", "2025-01-15"), "outside its folder");
    check(&add("a%ff", "1h", "2025-01-15"), "no text");
    check(&add("file", "2h", "2025-01-15"), "unknown window");
    check(&add("file", "1h", "yesterday"), "without a date");
}
