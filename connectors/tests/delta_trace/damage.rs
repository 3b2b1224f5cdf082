//! Damaged and missing files: an error that says which, and never a panic.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use weir_connectors::delta::{ClicksOf, ClicksTable, TraceError};

use crate::table::{DAY_MS, Place, click};

const WANTED: ClicksOf<'static> = ClicksOf { ad_id: "ad-7", from_ms: DAY_MS, until_ms: DAY_MS + 3_600_000 };

/// A table, and its file for the hour that is asked about.
fn table() -> (Place, PathBuf) {
    let random = &mut SmallRng::seed_from_u64(5);
    let mut place = Place::new(ClicksTable::Archive);
    let rows = (0..30_000).map(|number| click(random, ClicksTable::Archive, number, 1)).collect();
    place.write(rows, true);
    let hour = fs::read_dir(place.path().join("date=2025-01-15/hour=0")).unwrap();
    let files: Vec<PathBuf> = hour.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    (place, files[0].clone())
}

#[test]
fn a_missing_file_is_named() {
    let (place, file) = table();
    fs::remove_file(&file).unwrap();
    let error = place.find(&WANTED, None).unwrap_err();
    assert!(matches!(&error, TraceError::Missing { file } if file.starts_with("clicks_raw/date=")), "{error}");
    assert!(error.to_string().contains("restore it from a copy"), "{error}");
}

#[test]
fn a_file_that_is_cut_short_is_named() {
    let (place, file) = table();
    let bytes = fs::read(&file).unwrap();
    for length in [0, 3, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&file, &bytes[..length]).unwrap();
        let error = place.find(&WANTED, None).unwrap_err().to_string();
        assert!(error.contains("clicks_raw/date=2025-01-15/hour=0/part-"), "{error}");
    }
}

#[test]
fn a_damaged_log_is_refused() {
    let (place, _) = table();
    let version = place.path().join("_delta_log/00000000000000000002.json");
    for (line, because) in [
        ("{\"add\":", "00000000000000000002.json"),
        ("{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7}}", "reader protocol 3"),
        (
            "{\"add\":{\"path\":\"../x\",\"partitionValues\":{},\"size\":1,\"modificationTime\":1,\"dataChange\":true}}",
            "outside its folder",
        ),
    ] {
        fs::write(&version, line).unwrap();
        let error = place.find(&WANTED, None).unwrap_err();
        assert!(matches!(&error, TraceError::Table { .. }) && error.to_string().contains(because), "{error}");
    }
}

/// Flips bits and writes bytes within `range` of the file, by seeds; how often it was noticed.
fn mutate(seeds: u64, range: impl Fn(usize) -> Range<usize>) -> u64 {
    let (place, file) = table();
    let whole = fs::read(&file).unwrap();
    let range = range(whole.len());
    let mut noticed = 0;
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
        let answer = std::panic::catch_unwind(|| place.find(&WANTED, None).is_err());
        noticed += u64::from(answer.unwrap_or_else(|_| panic!("seed {seed}: a panic, not an error")));
    }
    noticed
}

/// The page index, the bloom filters and the footer proper lie at the end.
#[test]
fn a_damaged_footer_never_panics() {
    let noticed = mutate(1_200, |length| length - 6 * 1024..length);
    assert!(noticed > 200, "{noticed} of 1200 were noticed");
}

#[test]
fn damaged_pages_never_panic() {
    let noticed = mutate(600, |length| 0..length);
    assert!(noticed > 100, "{noticed} of 600 were noticed");
}
