//! The mark of how far a log is on disk: readers never pass it, and nothing that is there is lost behind it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weir_checkpoints::{PartitionId, Position};
use weir_connectors::ndjson::{NdjsonConfig, NdjsonSourceFactory, NdjsonWriter, Region, SegmentFormat, WriterConfig};
use weir_dataflow::{Polled, Source, SourceFactory};

const P0: PartitionId = PartitionId(0);
const FORMATS: [SegmentFormat; 2] = [SegmentFormat::Plain, SegmentFormat::Zstd];

fn config(format: SegmentFormat) -> WriterConfig {
    WriterConfig { format, ..WriterConfig::default() }
}

fn open_at(folder: &Path, follow: bool, position: Option<Position>) -> Box<dyn Source> {
    let url = format!("file://{}", folder.display());
    NdjsonSourceFactory::new(NdjsonConfig { url, follow }).unwrap().open(&[(P0, position)]).unwrap()
}

fn open(folder: &Path, follow: bool) -> Box<dyn Source> {
    open_at(folder, follow, None)
}

fn drain(source: &mut dyn Source) -> Vec<String> {
    let mut given = Vec::new();
    loop {
        let mut visit = |record: weir_dataflow::Record<'_>| {
            given.push(String::from_utf8_lossy(record.payload.unwrap()).into_owned());
        };
        if !matches!(source.poll(P0, 1_000, &mut visit).unwrap(), Polled::Records(_)) {
            return given;
        }
    }
}

fn bounded(folder: &Path) -> Vec<String> {
    drain(open(folder, false).as_mut())
}

/// Copies the files whose names hold one of these words.
fn copy(from: &Path, to: &Path, words: &[&str]) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if words.iter().any(|word| name.contains(word)) {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[test]
fn what_is_not_synced_is_not_given() {
    for format in FORMATS {
        let folder = TempDir::new().unwrap();
        let mut writer = NdjsonWriter::open(folder.path(), config(format)).unwrap();
        let mut early = open(folder.path(), true);
        let mut given = Vec::new();
        for (round, lines) in [["a", "b"], ["c", "d"], ["e", "f"]].iter().enumerate() {
            for line in lines {
                writer.append(0, line.as_bytes()).unwrap();
                writer.flush().unwrap();
            }
            // Also while the reader has them in its buffer already.
            for _ in 0..3 {
                assert_eq!(drain(early.as_mut()), [""; 0]);
            }
            assert_eq!(drain(open(folder.path(), true).as_mut()), given, "{format:?} {round}");
            assert_eq!(bounded(folder.path()), given, "{format:?} {round}");
            let mut before = open(folder.path(), false);
            writer.sync().unwrap();
            assert_eq!(drain(early.as_mut()), *lines, "{format:?} {round}");
            // A bounded log ends where the mark was when it was opened.
            assert_eq!(drain(before.as_mut()), given, "{format:?} {round}");
            given.extend(lines.iter().map(|line| (*line).to_owned()));
            assert_eq!(bounded(folder.path()), given, "{format:?} {round}");
        }
    }
}

/// The segments are newer than the mark, as after a kill between a sync and the mark, or a power cut.
#[test]
fn a_mark_that_stayed_behind_hides_nothing_for_long() {
    for (format, lock) in FORMATS.into_iter().flat_map(|format| [(format, true), (format, false)]) {
        let (written, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut writer = NdjsonWriter::open(written.path(), config(format)).unwrap();
        writer.append(0, b"one").unwrap();
        writer.sync().unwrap();
        copy(written.path(), folder.path(), if lock { &["_synced", "_lock"] } else { &["_synced"] });
        writer.append(0, b"two").unwrap();
        writer.flush().unwrap();
        copy(written.path(), folder.path(), &[".ndjson"]);
        let mut follower = open(folder.path(), true);
        assert_eq!(drain(follower.as_mut()), ["one"]);
        if format == SegmentFormat::Plain {
            assert_eq!(bounded(folder.path()), ["one", "two"], "nobody writes, so what is there is all there is");
            // Being written again, and mended by that.
            let again = NdjsonWriter::open(folder.path(), config(format)).unwrap();
            assert_eq!(drain(follower.as_mut()), ["two"]);
            assert_eq!(bounded(folder.path()), ["one", "two"]);
            drop(again);
        } else {
            drop(NdjsonWriter::open(folder.path(), config(format)).unwrap());
            assert_eq!(bounded(folder.path()), ["one", "two"]);
        }
    }
}

#[test]
fn a_log_without_a_mark_is_read_to_its_end() {
    for follow in [false, true] {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("00000000000000000000.ndjson"), "a\nb\n").unwrap();
        assert_eq!(drain(open(folder.path(), follow).as_mut()), ["a", "b"]);
    }
}

#[test]
fn a_mark_that_appears_counts() {
    // It is found with the next line, or with a listing before.
    for idle_ms in [0, 150] {
        mark_appears_behind_a_reader(Duration::from_millis(idle_ms));
    }
}

fn mark_appears_behind_a_reader(idle: Duration) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("00000000000000000000.ndjson"), "a\nb\n").unwrap();
    let mut follower = open(folder.path(), true);
    assert_eq!(drain(follower.as_mut()), ["a", "b"]);
    let mut writer = NdjsonWriter::open(folder.path(), WriterConfig::default()).unwrap();
    std::thread::sleep(idle);
    assert_eq!(drain(follower.as_mut()), [""; 0]);
    writer.append(0, b"c").unwrap();
    writer.flush().unwrap();
    assert_eq!(drain(follower.as_mut()), [""; 0]);
    writer.sync().unwrap();
    assert_eq!(drain(follower.as_mut()), ["c"]);
}

#[test]
fn a_segment_is_left_once_its_end_is_marked() {
    for format in FORMATS {
        let folder = TempDir::new().unwrap();
        let small = WriterConfig { segment_bytes: 50, ..config(format) };
        let mut writer = NdjsonWriter::open(folder.path(), small).unwrap();
        let mut follower = open(folder.path(), true);
        let mut given = Vec::new();
        for number in 0..30 {
            writer.append(0, format!("line {number}").as_bytes()).unwrap();
            given.extend(drain(follower.as_mut()));
        }
        writer.sync().unwrap();
        let started = Instant::now();
        while given.len() < 30 && started.elapsed() < Duration::from_secs(20) {
            given.extend(drain(follower.as_mut()));
        }
        let expected: Vec<String> = (0..30).map(|number| format!("line {number}")).collect();
        assert_eq!(given, expected, "{format:?}");
    }
}

#[test]
fn a_damaged_mark_is_an_error_until_it_is_mended() {
    let folder = TempDir::new().unwrap();
    let mut writer = NdjsonWriter::open(folder.path(), WriterConfig::default()).unwrap();
    writer.append(0, b"one").unwrap();
    writer.close().unwrap();
    fs::write(folder.path().join("_synced"), "00000000000").unwrap();
    let url = format!("file://{}", folder.path().display());
    let factory = NdjsonSourceFactory::new(NdjsonConfig { url, follow: true }).unwrap();
    let error = factory.open(&[(P0, None)]).err().unwrap().to_string();
    assert!(error.contains("is damaged"), "{error}");
    drop(NdjsonWriter::open(folder.path(), WriterConfig::default()).unwrap());
    assert_eq!(bounded(folder.path()), ["one"]);
}

#[test]
fn the_region_travels_and_is_remembered() {
    let folder = TempDir::new().unwrap();
    let region = Some(Region::new("eu-1").unwrap());
    let mut writer = NdjsonWriter::open(folder.path(), WriterConfig { region, ..WriterConfig::default() }).unwrap();
    for line in ["a", "b"] {
        writer.append(7, line.as_bytes()).unwrap();
    }
    writer.close().unwrap();
    let says = |source: &dyn Source, region: bool| {
        let cursor = source.position(P0).cursor.unwrap();
        assert_eq!(cursor.contains(r#""log_time_ms":7,"region":"eu-1""#), region, "{cursor}");
    };
    let mut source = open(folder.path(), false);
    says(source.as_ref(), false);
    assert_eq!(source.poll(P0, 1, &mut |_| {}).unwrap(), Polled::Records(1));
    says(source.as_ref(), true);
    let mut resumed = open_at(folder.path(), false, Some(source.position(P0)));
    says(resumed.as_ref(), true);
    assert_eq!(drain(resumed.as_mut()), ["b"]);
    says(resumed.as_ref(), true);
}
