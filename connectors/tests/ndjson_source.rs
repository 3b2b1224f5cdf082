//! What NDJSON logs alone can do wrong: torn lines, control lines, files that shrink, folders that do not fit.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod remote;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::TempDir;
use weir_checkpoints::{PartitionId, Position};
use weir_connectors::ndjson::{NdjsonConfig, NdjsonSourceFactory};
use weir_connectors::objects;
use weir_dataflow::{Polled, Source, SourceError, SourceFactory};

const P0: PartitionId = PartitionId(0);
const PATIENCE: Duration = Duration::from_secs(60);

/// A record, copied: offset, log time, payload.
type Given = (u64, i64, String);

fn url_of(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn factory(url: &str, follow: bool) -> Result<NdjsonSourceFactory, SourceError> {
    NdjsonSourceFactory::new(NdjsonConfig { url: url.to_owned(), follow })
}

fn open(path: &Path, follow: bool, position: Option<&Position>) -> Box<dyn Source> {
    try_open(path, follow, position).unwrap()
}

fn try_open(path: &Path, follow: bool, position: Option<&Position>) -> Result<Box<dyn Source>, SourceError> {
    factory(&url_of(path), follow)?.open(&[(P0, position.cloned())])
}

/// Reads until there is nothing more, or an error.
fn drain(source: &mut dyn Source) -> Result<Vec<Given>, SourceError> {
    let mut given = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let polled = source.poll(P0, 100, &mut |record| {
            let payload = String::from_utf8_lossy(record.payload.unwrap()).into_owned();
            given.push((record.offset.0, record.log_time_ms, payload));
        })?;
        match polled {
            Polled::Records(_) => {}
            Polled::CaughtUp | Polled::Ended => return Ok(given),
            Polled::Pending => {
                assert!(Instant::now() < deadline);
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Polls until the source notices what was done to its log.
fn until_error(source: &mut dyn Source) -> SourceError {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match source.poll(P0, 100, &mut |record| panic!("{:?} was given", record.offset)) {
            Ok(_) => assert!(Instant::now() < deadline),
            Err(error) => return error,
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Polls until so many records came.
fn until_records(source: &mut dyn Source, count: usize) -> Vec<Given> {
    let mut given = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while given.len() < count {
        given.extend(drain(source).unwrap());
        assert!(Instant::now() < deadline, "{given:?}");
        thread::sleep(Duration::from_millis(1));
    }
    given
}

fn payloads(given: &[Given]) -> Vec<&str> {
    given.iter().map(|(_, _, payload)| payload.as_str()).collect()
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
}

fn compress(name: &str, bytes: &[u8]) -> Vec<u8> {
    if name.ends_with(".zst") {
        return zstd::encode_all(bytes, 1).unwrap();
    }
    if name.ends_with(".gz") {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        return encoder.finish().unwrap();
    }
    bytes.to_vec()
}

#[test]
fn lines_and_their_offsets() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.ndjson"), "one\r\n\ntwo\n").unwrap();
    fs::write(folder.path().join("b.json"), "three\n\r\nfour").unwrap();
    for ignored in ["c.txt", "_d.ndjson", ".e.ndjson"] {
        fs::write(folder.path().join(ignored), "ignored\n").unwrap();
    }
    fs::create_dir(folder.path().join("old")).unwrap();
    let given = drain(open(folder.path(), false, None).as_mut()).unwrap();
    let lines: Vec<(u64, &str)> = given.iter().map(|(offset, _, payload)| (*offset, payload.as_str())).collect();
    assert_eq!(lines, [(0, "one"), (5, ""), (6, "two"), (10, "three"), (16, ""), (18, "four")]);
}

#[test]
fn a_torn_last_line_is_waited_for() {
    let text = b"{\"n\":1}\n{\"n\":2}\r\n\n{\"n\":3}\n";
    for tear in 0..=text.len() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("a.ndjson");
        fs::write(&file, &text[..tear]).unwrap();
        let mut source = open(folder.path(), true, None);
        let before = drain(source.as_mut()).unwrap();
        let position = source.position(P0);
        append(&file, &text[tear..]);
        let after = drain(source.as_mut()).unwrap();
        let together: Vec<&str> = payloads(&before).into_iter().chain(payloads(&after)).collect();
        assert_eq!(together, [r#"{"n":1}"#, r#"{"n":2}"#, "", r#"{"n":3}"#], "torn at {tear}");
        let resumed = drain(open(folder.path(), true, Some(&position)).as_mut()).unwrap();
        assert_eq!(
            resumed,
            after.iter().map(|g| (g.0, resumed[0].1, g.2.clone())).collect::<Vec<_>>(),
            "torn at {tear}"
        );
    }
}

#[test]
fn a_torn_last_line_is_a_record_once_it_is_final() {
    let folder = TempDir::new().unwrap();
    append(&folder.path().join("a.ndjson"), b"one\ntor");
    let bounded = drain(open(folder.path(), false, None).as_mut()).unwrap();
    assert_eq!(payloads(&bounded), ["one", "tor"]);
    let mut source = open(folder.path(), true, None);
    assert_eq!(payloads(&drain(source.as_mut()).unwrap()), ["one"]);
    append(&folder.path().join("b.ndjson"), b"two\n");
    let rest = until_records(source.as_mut(), 2);
    assert_eq!(rest.iter().map(|g| (g.0, g.2.as_str())).collect::<Vec<_>>(), [(4, "tor"), (7, "two")]);
}

#[test]
fn what_is_appended_before_the_next_segment_is_not_missed() {
    let folder = TempDir::new().unwrap();
    append(&folder.path().join("a.ndjson"), b"1\n");
    let mut source = open(folder.path(), true, None);
    assert_eq!(payloads(&drain(source.as_mut()).unwrap()), ["1"]);
    append(&folder.path().join("a.ndjson"), b"2\n");
    append(&folder.path().join("b.ndjson"), b"3\n");
    assert_eq!(payloads(&until_records(source.as_mut(), 2)), ["2", "3"]);
}

#[test]
fn control_lines_set_the_log_time() {
    for ending in ["ndjson", "ndjson.gz", "ndjson.zst"] {
        let folder = TempDir::new().unwrap();
        let text =
            "before\n{\"weir_log_time_ms\":1000}\na\nb\n{\"weir_log_time_ms\":2000}\r\nc\n{\"weir_log_time_ms\":x}\n";
        let name = format!("a.{ending}");
        fs::write(folder.path().join(&name), compress(&name, text.as_bytes())).unwrap();
        fs::write(folder.path().join(format!("b.{ending}")), compress(&name, b"next\n")).unwrap();
        let mut source = open(folder.path(), false, None);
        let mut positions = vec![source.position(P0)];
        let mut given: Vec<Given> = Vec::new();
        while given.len() < 6 {
            source
                .poll(P0, 1, &mut |record| {
                    let payload = String::from_utf8_lossy(record.payload.unwrap()).into_owned();
                    given.push((record.offset.0, record.log_time_ms, payload));
                })
                .unwrap();
            positions.push(source.position(P0));
        }
        let modified_ms = given[0].1;
        assert!((chrono::Utc::now().timestamp_millis() - modified_ms).abs() < 60_000, "{modified_ms}");
        let expected: Vec<(u64, i64, &str)> = vec![
            (0, modified_ms, "before"),
            (33, 1000, "a"),
            (35, 1000, "b"),
            (64, 2000, "c"),
            (66, 2000, "{\"weir_log_time_ms\":x}"),
            (89, given[5].1, "next"),
        ];
        assert_eq!(given.iter().map(|g| (g.0, g.1, g.2.as_str())).collect::<Vec<_>>(), expected, "{ending}");
        assert!(given[5].1 >= modified_ms, "the next segment has its own time");
        for (index, position) in positions.iter().enumerate() {
            let resumed = drain(open(folder.path(), false, Some(position)).as_mut()).unwrap();
            assert_eq!(resumed, given[index..], "{ending} from {position:?}");
        }
    }
}

#[test]
fn huge_lines_do_not_stop_the_log() {
    let folder = TempDir::new().unwrap();
    let mut text = b"a\n".to_vec();
    text.resize(text.len() + (20 << 20), b'x');
    text.extend_from_slice(b"\nb\n");
    for name in ["a.ndjson", "a.ndjson.zst"] {
        let folder = folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(name), compress(name, &text)).unwrap();
        let given = drain(open(&folder, false, None).as_mut()).unwrap();
        let lines: Vec<(u64, usize)> = given.iter().map(|(offset, _, payload)| (*offset, payload.len())).collect();
        assert_eq!(lines, [(0, 1), (2, (64 << 10) + 1), (3 + (20 << 20), 1)], "{name}");
    }
}

#[test]
fn a_log_may_be_one_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("clicks.ndjson");
    append(&file, b"1\n");
    append(&folder.path().join("other.ndjson"), b"other\n");
    let log = factory(&url_of(&file), true).unwrap();
    assert_eq!((log.topic(), log.partitions().unwrap()), ("clicks.ndjson", vec![P0]));
    let mut source = log.open(&[(P0, None)]).unwrap();
    assert_eq!(payloads(&drain(source.as_mut()).unwrap()), ["1"]);
    append(&file, b"2\n");
    assert_eq!(payloads(&drain(source.as_mut()).unwrap()), ["2"]);
    assert_eq!(payloads(&drain(open(&file, false, None).as_mut()).unwrap()), ["1", "2"]);
}

#[test]
fn folders_that_do_not_fit_are_refused_with_advice() {
    let check = |files: &[&str], words: &str| {
        let folder = TempDir::new().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x\n").unwrap();
        }
        let error = factory(&url_of(folder.path()), false).unwrap().partitions().unwrap_err().to_string();
        assert!(error.contains(words), "{files:?}: {error}");
    };
    check(&["0/a.ndjson", "b.ndjson"], "Move the files into `0/`");
    check(&["0/a.ndjson", "00/b.ndjson"], "are the same partition");
    check(&["date=2026-01-01/a.ndjson"], "name one of them");
    let missing = factory("file:///no/such/folder", false).unwrap_err().to_string();
    assert!(missing.contains("no such file or folder"), "{missing}");
    let no_url = factory("data/clicks", false).unwrap_err().to_string();
    assert!(no_url.contains("file:///path"), "{no_url}");
}

#[test]
fn partitions_that_appear_beside_an_empty_log_are_not_missed() {
    let folder = TempDir::new().unwrap();
    let mut source = open(folder.path(), true, None);
    assert_eq!(drain(source.as_mut()).unwrap(), []);
    fs::create_dir(folder.path().join("0")).unwrap();
    let error = until_error(source.as_mut()).to_string();
    assert!(error.contains("start the job again"), "{error}");
}

#[test]
fn a_segment_that_shrinks_is_an_error() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.ndjson");
    append(&file, b"one\ntwo\nthree\n");
    let mut source = open(folder.path(), true, None);
    drain(source.as_mut()).unwrap();
    let position = source.position(P0);
    OpenOptions::new().write(true).open(&file).unwrap().set_len(4).unwrap();
    for error in [until_error(source.as_mut()), try_open(folder.path(), true, Some(&position)).err().unwrap()] {
        assert!(error.to_string().contains("4 bytes left, 14 were read"), "{error}");
    }
}

#[test]
fn a_compressed_segment_that_shrinks_is_an_error() {
    for name in ["a.ndjson.gz", "a.ndjson.zst"] {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join(name), compress(name, b"one\ntwo\nthree\n")).unwrap();
        let mut source = open(folder.path(), false, None);
        drain(source.as_mut()).unwrap();
        let position = source.position(P0);
        fs::write(folder.path().join(name), compress(name, b"one\n")).unwrap();
        let error = drain(open(folder.path(), false, Some(&position)).as_mut()).unwrap_err().to_string();
        assert!(error.contains("4 bytes left, 14 were read"), "{error}");
    }
}

#[test]
fn a_replaced_file_is_an_error() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("clicks.ndjson");
    append(&file, b"one\n");
    let mut source = open(&file, true, None);
    drain(source.as_mut()).unwrap();
    fs::rename(&file, folder.path().join("clicks.ndjson.1")).unwrap();
    append(&file, b"another\n");
    let error = until_error(source.as_mut()).to_string();
    assert!(error.contains("was replaced by another"), "{error}");
}

#[test]
fn a_segment_behind_the_reader_is_an_error() {
    let folder = TempDir::new().unwrap();
    append(&folder.path().join("b.ndjson"), b"one\n");
    let mut source = open(folder.path(), true, None);
    drain(source.as_mut()).unwrap();
    let position = source.position(P0);
    append(&folder.path().join("a.ndjson"), b"two\n");
    for error in [until_error(source.as_mut()), try_open(folder.path(), true, Some(&position)).err().unwrap()] {
        assert!(error.to_string().contains("sorts before `b.ndjson`"), "{error}");
    }
}

#[test]
fn what_came_after_a_bounded_log_was_opened_is_not_taken_for_read() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.ndjson");
    append(&file, b"one\n");
    let mut source = open(folder.path(), false, None);
    append(&file, b"two\n");
    assert_eq!(payloads(&drain(source.as_mut()).unwrap()), ["one"]);
    let position = source.position(P0);
    let next = drain(open(folder.path(), false, Some(&position)).as_mut()).unwrap();
    assert_eq!(payloads(&next), ["two"]);
    fs::remove_file(file).unwrap();
    append(&folder.path().join("b.ndjson"), b"three\n");
    let error = try_open(folder.path(), false, Some(&position)).err().unwrap().to_string();
    assert!(error.contains("segment `a.ndjson` is gone"), "{error}");
}

#[test]
fn a_gap_between_segments_is_an_error() {
    let folder = TempDir::new().unwrap();
    append(&folder.path().join("00000000000000000000.ndjson"), b"one\n");
    append(&folder.path().join("00000000000000000009.ndjson"), b"three\n");
    let mut source = open(folder.path(), false, None);
    let mut given = Vec::new();
    let error = loop {
        match source.poll(P0, 1, &mut |record| given.push(record.offset.0)) {
            Ok(polled) => assert!(polled != Polled::Ended),
            Err(error) => break error,
        }
    };
    assert_eq!(given, [0]);
    assert!(
        error.to_string().contains("offsets 4 to 8 are missing: the job must go on at 4, and the log now starts at 9"),
        "{error}"
    );
}

#[test]
fn a_segment_that_was_compressed_since_is_read_on() {
    let folder = TempDir::new().unwrap();
    let plain = folder.path().join("00000000000000000000.ndjson");
    append(&plain, b"one\ntwo\nthree\n");
    append(&folder.path().join("00000000000000000014.ndjson"), b"four\n");
    let mut source = open(folder.path(), false, None);
    source.poll(P0, 1, &mut |_| {}).unwrap();
    let position = source.position(P0);
    let name = "00000000000000000000.ndjson.zst";
    fs::write(folder.path().join(name), compress(name, &fs::read(&plain).unwrap())).unwrap();
    fs::remove_file(plain).unwrap();
    let given = drain(open(folder.path(), false, Some(&position)).as_mut()).unwrap();
    assert_eq!(payloads(&given), ["two", "three", "four"]);
}

#[test]
fn broken_compression_is_an_error_behind_what_is_whole() {
    for name in ["a.ndjson.gz", "a.ndjson.zst"] {
        let folder = TempDir::new().unwrap();
        let lines: String = (0..100_000u32).map(|i| format!("{}\n", i.wrapping_mul(0x9E37_79B9))).collect();
        let bytes = compress(name, lines.as_bytes());
        fs::write(folder.path().join(name), &bytes[..bytes.len() / 2]).unwrap();
        let mut source = open(folder.path(), false, None);
        let mut given = Vec::new();
        let error = loop {
            match source.poll(P0, 1_000, &mut |record| given.extend_from_slice(record.payload.unwrap())) {
                Ok(polled) => assert!(polled != Polled::Ended),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("breaks off"), "{error}");
        assert!(lines.replace('\n', "").as_bytes().starts_with(&given) && !given.is_empty(), "{name}");
    }
}

#[test]
fn several_frames_in_a_file_are_one_segment() {
    for name in ["a.ndjson.gz", "a.ndjson.zst"] {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join(name);
        append(&file, &compress(name, b"one\ntw"));
        append(&file, &compress(name, b""));
        append(&file, &compress(name, b"o\nthree\n"));
        assert_eq!(payloads(&drain(open(folder.path(), false, None).as_mut()).unwrap()), ["one", "two", "three"]);
        // And frames may be added while the file is followed, torn at every byte.
        let mut source = open(folder.path(), true, None);
        assert_eq!(payloads(&drain(source.as_mut()).unwrap()), ["one", "two", "three"], "{name}");
        let mut given = Vec::new();
        for byte in compress(name, b"four\n") {
            append(&file, &[byte]);
            given.extend(drain(source.as_mut()).unwrap());
        }
        assert_eq!(payloads(&given), ["four"], "{name}");
    }
}

#[test]
fn an_object_of_many_blocks_comes_whole() {
    let url = remote::s3("blocks");
    let store = objects::open(&url).unwrap();
    let lines: Vec<String> = (0..100_000).map(|i| format!("{i:0200}")).collect();
    store.put("only.ndjson", (lines.join("\n") + "\n").into_bytes()).unwrap();
    store.put("other.txt", b"x".to_vec()).unwrap();
    for one_file in [false, true] {
        let url = if one_file { format!("{url}/only.ndjson") } else { url.clone() };
        let log = factory(&url, false).unwrap();
        let mut source = log.open(&[(P0, None)]).unwrap();
        assert_eq!(source.lag(P0), Some(100_000 * 201));
        let given = drain(source.as_mut()).unwrap();
        assert!(payloads(&given) == lines, "{url}");
        assert_eq!(source.lag(P0), Some(0));
        let mut positions = Vec::new();
        let mut again = log.open(&[(P0, None)]).unwrap();
        while again.position(P0).next_offset.0 < 100_000 * 201 {
            if let Polled::Records(_) = again.poll(P0, 33_333, &mut |_| {}).unwrap() {
                positions.push(again.position(P0));
            }
        }
        for position in positions {
            let rest = drain(log.open(&[(P0, Some(position.clone()))]).unwrap().as_mut()).unwrap();
            let first = (position.next_offset.0 / 201) as usize;
            assert!(payloads(&rest) == lines[first..], "{url} from {position:?}");
        }
    }
    store.put("a b.ndjson", b"spaced\n".to_vec()).unwrap();
    let spaced = factory(&format!("{url}/a%20b.ndjson"), false).unwrap();
    assert_eq!(payloads(&drain(spaced.open(&[(P0, None)]).unwrap().as_mut()).unwrap()), ["spaced"]);
    let empty = factory(&format!("{url}/no/such/prefix"), false).unwrap().partitions().unwrap_err().to_string();
    assert!(empty.contains("look at the bucket and the prefix"), "{empty}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any text, cut into segments anywhere and stored anyhow, read with any `max` and reopened anywhere, gives what
    /// splitting at line breaks gives.
    #[test]
    fn however_it_is_stored_the_lines_are_the_same(
        texts in prop::collection::vec(("[ab{\"\r\n]{0,120}", 0usize..3), 1..6),
        maxes in prop::collection::vec(1usize..9, 1..6),
        reopen in any::<bool>(),
    ) {
        let folder = TempDir::new().unwrap();
        let mut expected: Vec<(u64, String)> = Vec::new();
        let mut base = 0;
        for (index, (text, kind)) in texts.iter().enumerate() {
            let name = format!("{index}{}", [".ndjson", ".ndjson.gz", ".ndjson.zst"][*kind]);
            fs::write(folder.path().join(&name), compress(&name, text.as_bytes())).unwrap();
            let mut at = base;
            for piece in text.split_inclusive('\n') {
                let line = piece.strip_suffix("\r\n").or_else(|| piece.strip_suffix('\n')).unwrap_or(piece);
                expected.push((at, line.to_owned()));
                at += piece.len() as u64;
            }
            base += text.len() as u64;
        }
        let mut given = Vec::new();
        let mut source = open(folder.path(), false, None);
        for max in maxes.iter().cycle() {
            let polled = source.poll(P0, *max, &mut |record| {
                given.push((record.offset.0, String::from_utf8_lossy(record.payload.unwrap()).into_owned()));
            });
            if polled.unwrap() == Polled::Ended {
                break;
            }
            if reopen {
                source = open(folder.path(), false, Some(&source.position(P0)));
            }
        }
        prop_assert_eq!(given, expected);
        prop_assert_eq!(source.position(P0).next_offset.0, base);
    }
}
