//! The writer of NDJSON logs: what it keeps over crashes, and what readers see meanwhile.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use weir_checkpoints::PartitionId;
use weir_connectors::ndjson::{
    NdjsonConfig, NdjsonSourceFactory, NdjsonWriter, SegmentFormat, WriterConfig, WriterError,
};
use weir_dataflow::{Polled, Source, SourceFactory};

const P0: PartitionId = PartitionId(0);

/// A record, copied: offset, log time, payload.
type Given = (u64, i64, String);

fn open(folder: &Path, follow: bool) -> Box<dyn Source> {
    let url = format!("file://{}", folder.display());
    NdjsonSourceFactory::new(NdjsonConfig { url, follow }).unwrap().open(&[(P0, None)]).unwrap()
}

fn drain(source: &mut dyn Source) -> Vec<Given> {
    let mut given = Vec::new();
    loop {
        let polled = source.poll(P0, 1_000, &mut |record| {
            given.push((record.offset.0, record.log_time_ms, String::from_utf8_lossy(record.payload.unwrap()).into()));
        });
        if !matches!(polled.unwrap(), Polled::Records(_)) {
            return given;
        }
    }
}

fn payloads(given: &[Given]) -> Vec<&str> {
    given.iter().map(|(_, _, payload)| payload.as_str()).collect()
}

fn config(format: SegmentFormat, segment_bytes: u64) -> WriterConfig {
    WriterConfig { segment_bytes, format, region: None }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".ndjson"))
        .collect();
    paths.sort();
    paths
}

const FORMATS: [SegmentFormat; 2] = [SegmentFormat::Plain, SegmentFormat::Zstd];

#[test]
fn offsets_and_log_times_come_back() {
    for format in FORMATS {
        let folder = TempDir::new().unwrap();
        let mut writer = NdjsonWriter::open(folder.path(), config(format, 500)).unwrap();
        let mut expected = Vec::new();
        for i in 0..100 {
            let (log_time_ms, line) = (1_736_952_000_000 + i * 300, format!("{{\"n\":{i}}}"));
            let offset = writer.append(log_time_ms, line.as_bytes()).unwrap();
            expected.push((offset.0, log_time_ms, line));
        }
        let end = writer.next_offset().0;
        writer.close().unwrap();
        let mut source = open(folder.path(), false);
        let given = drain(source.as_mut());
        assert_eq!(given.len(), expected.len());
        for (given, expected) in given.iter().zip(&expected) {
            assert_eq!((given.0, &given.2), (expected.0, &expected.2));
            assert!((0..1_000).contains(&(expected.1 - given.1)), "{given:?} {expected:?}");
        }
        assert_eq!(source.position(P0).next_offset.0, end);
        let count = segments(folder.path()).len();
        assert!((3..=6).contains(&count), "{count} segments");
    }
}

#[test]
fn a_reader_sees_what_was_flushed() {
    for format in FORMATS {
        let folder = TempDir::new().unwrap();
        let mut writer = NdjsonWriter::open(folder.path(), config(format, 300)).unwrap();
        let mut reader = open(folder.path(), true);
        let mut given = Vec::new();
        for i in 0..40 {
            writer.append(i, format!("line {i}").as_bytes()).unwrap();
            if i % 3 == 0 {
                writer.sync().unwrap();
                // A new segment is noticed with the next listing.
                while given.len() <= i as usize {
                    given.extend(drain(reader.as_mut()));
                }
            }
            assert!(given.len() <= i as usize + 1);
        }
        let expected: Vec<String> = (0..40).map(|i| format!("line {i}")).collect();
        assert_eq!(payloads(&given), expected);
    }
}

#[test]
fn reopened_it_goes_on() {
    for format in FORMATS {
        let folder = TempDir::new().unwrap();
        let mut expected = Vec::new();
        for round in 0..5 {
            let mut writer = NdjsonWriter::open(folder.path(), config(format, 60)).unwrap();
            for i in 0..round {
                let line = format!("round {round} line {i}");
                writer.append(0, line.as_bytes()).unwrap();
                expected.push(line);
            }
        }
        assert_eq!(payloads(&drain(open(folder.path(), false).as_mut())), expected, "{format:?}");
    }
}

#[test]
fn a_torn_tail_loses_no_whole_line() {
    for format in FORMATS {
        let written = TempDir::new().unwrap();
        let mut writer = NdjsonWriter::open(written.path(), config(format, 1_000)).unwrap();
        for line in ["one", "two", "three"] {
            writer.append(0, line.as_bytes()).unwrap();
            writer.flush().unwrap();
        }
        let segment = segments(written.path())[0].clone();
        let bytes = fs::read(&segment).unwrap();
        for tear in 0..=bytes.len() {
            let folder = TempDir::new().unwrap();
            fs::write(folder.path().join(segment.file_name().unwrap()), &bytes[..tear]).unwrap();
            let mut follower = (format == SegmentFormat::Plain).then(|| open(folder.path(), true));
            let mut before: Vec<Given> = follower.as_mut().map(|follower| drain(follower.as_mut())).unwrap_or_default();
            let mut again = NdjsonWriter::open(folder.path(), config(format, 1_000)).unwrap();
            again.append(0, b"four").unwrap();
            again.close().unwrap();
            let given = drain(open(folder.path(), false).as_mut());
            let lines = payloads(&given);
            let whole = lines.iter().zip(["one", "two", "three"]).take_while(|(line, wanted)| *line == wanted).count();
            // Whole lines, at most one torn one, and the new one.
            assert_eq!(lines.last(), Some(&"four"), "{format:?} torn at {tear}: {lines:?}");
            assert!(lines.len() <= whole + 2, "{format:?} torn at {tear}: {lines:?}");
            if format == SegmentFormat::Plain {
                let flushed = bytes[..tear].iter().filter(|&&byte| byte == b'\n').count().saturating_sub(1);
                assert!(whole >= flushed, "torn at {tear}: {lines:?}");
            }
            // A reader that was there before sees the same log.
            if let Some(follower) = &mut follower {
                before.extend(drain(follower.as_mut()));
                assert_eq!(payloads(&before), lines, "torn at {tear}");
            }
        }
        drop(writer);
    }
}

#[test]
fn lines_that_would_not_come_back_are_refused() {
    let folder = TempDir::new().unwrap();
    let mut writer = NdjsonWriter::open(folder.path(), WriterConfig::default()).unwrap();
    for line in ["a\nb", "\n", "{\"weir_log_time_ms\":5}", "{\"weir_log_time_ms\":5}\r"] {
        assert!(matches!(writer.append(0, line.as_bytes()), Err(WriterError::BadLine)), "{line}");
    }
    writer.append(0, b"").unwrap();
    writer.append(0, b"{\"weir_log_time_ms\":5,\"ad_id\":\"A\"}").unwrap();
    writer.close().unwrap();
    let given = drain(open(folder.path(), false).as_mut());
    assert_eq!(payloads(&given), ["", "{\"weir_log_time_ms\":5,\"ad_id\":\"A\"}"]);
}

#[test]
fn one_writer_at_a_time() {
    let folder = TempDir::new().unwrap();
    let first = NdjsonWriter::open(folder.path(), WriterConfig::default()).unwrap();
    let second = NdjsonWriter::open(folder.path(), WriterConfig::default());
    assert!(matches!(second, Err(WriterError::Locked { .. })), "{second:?}");
    drop(first);
    NdjsonWriter::open(folder.path(), WriterConfig::default()).unwrap();
}

#[test]
fn a_log_of_other_names_is_not_appended_to() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("clicks.ndjson"), "x\n").unwrap();
    let error = NdjsonWriter::open(folder.path(), WriterConfig::default()).unwrap_err().to_string();
    assert!(error.contains("choose an empty folder"), "{error}");
}
