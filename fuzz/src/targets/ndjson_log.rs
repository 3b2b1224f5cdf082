//! Logs of clicks in files: what readers give of whatever bytes there are, and what a writer makes of what a crash has left.
//!
//! ```text
//!   0 │ how to read │ segment │ 0x1e │ segment …      plain segments; the last line of each may be torn
//!   1 │ where it breaks off │ lines                   a segment compressed with zstd
//!   2 │ bytes                                         a segment that claims to be compressed, .zst or .gz
//! ```
//!
//! - Every line is given once, in order, at its offset; only control lines are left out.
//! - However it is stopped and resumed, a reader gives the same.
//! - A writer that goes on behind a crash takes nothing away: what could be read before can be read again, and what it
//!   appends is behind that.

use std::fs;
use std::path::{Path, PathBuf};

use weir_checkpoints::{PartitionId, Position};
use weir_dataflow::{Polled, SourceError, SourceFactory};

use crate::inputs::Numbers;
use crate::ndjson::{NdjsonConfig, NdjsonSourceFactory, NdjsonWriter, SegmentFormat, WriterConfig};
use crate::seeds::clicks;

const PARTITION: PartitionId = PartitionId(0);
/// Of what is said to be compressed, no more than this is looked at.
const MOST_RECORDS: usize = 10_000;
const APPENDED: &[u8] = br#"{"ad_id":"appended","user_id":"u","timestamp":1}"#;

/// See the module.
pub fn check(data: &[u8]) {
    let mut numbers = Numbers(data);
    let folder = Folder::empty();
    match numbers.byte() % 3 {
        0 => check_plain(&folder, numbers),
        1 => check_broken_off(&folder, numbers),
        _ => check_any(&folder, numbers),
    }
}

fn check_plain(folder: &Folder, mut numbers: Numbers<'_>) {
    let (most, stop_after) = (1 + usize::from(numbers.byte() % 4), usize::from(numbers.byte() % 16));
    let segments: Vec<&[u8]> = numbers.0.split(|&byte| byte == 0x1e).filter(|segment| !segment.is_empty()).collect();
    let mut base = 0;
    for segment in &segments {
        folder.write(&format!("{base:020}.ndjson"), segment);
        base += segment.len() as u64;
    }
    let all = folder.read(None, usize::MAX, usize::MAX).expect("files can be read");
    assert_eq!(all.position.next_offset.0, base);
    check_records(&segments, &all.records);

    let first = folder.read(None, most, stop_after).expect("files can be read");
    let rest = folder.read(Some(&first.position), most, usize::MAX).expect("a log can be read on");
    assert_eq!([first.records, rest.records].concat(), all.records, "resuming makes a difference");
    assert_eq!(rest.position, all.position);

    let offset = folder.append(SegmentFormat::Plain).expect("a plain log can be written to");
    let mut again = folder.read(None, usize::MAX, usize::MAX).expect("a mended log can be read").records;
    let appended = again.pop().expect("what was appended is there");
    assert_eq!((appended.offset, appended.payload.as_slice()), (offset, APPENDED));
    // A torn line was ended with a line break, of which a carriage return at its end is a part now.
    let torn_return = segments.last().is_some_and(|last| last.ends_with(b"\r"));
    let known = all.records.len() - usize::from(torn_return);
    let places = |records: &[Read]| -> Vec<_> {
        records.iter().take(known).map(|read| (read.offset, read.region.clone(), read.payload.clone())).collect()
    };
    assert!(again.len() == all.records.len() || torn_return, "mending made or lost records");
    assert_eq!(places(&again), places(&all.records));
}

/// Walks over all lines: each is the next record, or looks like a control line.
fn check_records(segments: &[&[u8]], records: &[Read]) {
    let (mut records, mut offset) = (records.iter().peekable(), 0);
    for line in segments.iter().flat_map(|segment| segment.split_inclusive(|&byte| byte == b'\n')) {
        let is_whole = line.strip_suffix(b"\n");
        let payload = is_whole.map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        match records.next_if(|read| read.offset == offset) {
            Some(read) => assert_eq!(read.payload, payload),
            None => {
                assert!(payload.starts_with(b"{\"weir_log_time_ms\":") && payload.ends_with(b"}"), "a line is missing")
            }
        }
        offset += line.len() as u64;
    }
    assert!(records.next().is_none(), "a record is no line");
}

fn check_broken_off(folder: &Folder, mut numbers: Numbers<'_>) {
    let cut = numbers.below(1 << 16);
    let lines = numbers.0;
    let compressed = zstd::bulk::compress(lines, 1).expect("it can be compressed");
    let left = compressed.len().min(cut);
    folder.write("00000000000000000000.ndjson.zst", &compressed[..left]);
    let before = folder.read(None, usize::MAX, usize::MAX);
    assert!(before.is_ok() || left < compressed.len(), "a whole segment cannot be read");
    let offset = folder.append(SegmentFormat::Zstd).expect("what is broken off can be mended");
    let mut again = folder.read(None, usize::MAX, usize::MAX).expect("a mended log can be read").records;
    let appended = again.pop().expect("what was appended is there");
    assert_eq!((appended.offset, appended.payload.as_slice()), (offset, APPENDED));
    for read in &again {
        let there = lines.get(read.offset as usize..).unwrap_or_default();
        assert!(there.starts_with(&read.payload), "a record that nobody wrote");
    }
    if let Ok(before) = before.map(|before| before.records) {
        assert!(again.len() == before.len() || lines.ends_with(b"\r"), "mending made or lost records");
    }
}

fn check_any(folder: &Folder, mut numbers: Numbers<'_>) {
    let ending = if numbers.byte().is_multiple_of(2) { "zst" } else { "gz" };
    folder.write(&format!("00000000000000000000.ndjson.{ending}"), numbers.0);
    let _ = folder.read(None, usize::MAX, MOST_RECORDS);
    let _ = folder.append(SegmentFormat::Zstd);
    let _ = folder.read(None, usize::MAX, MOST_RECORDS);
}

/// A record, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    offset: u64,
    log_time_ms: i64,
    region: Option<String>,
    payload: Vec<u8>,
}

struct All {
    records: Vec<Read>,
    position: Position,
}

/// A log, in a folder of this process.
struct Folder(PathBuf);

impl Folder {
    fn empty() -> Self {
        let path = std::env::temp_dir().join(format!("weir-fuzz-ndjson-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a temporary folder can be made");
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.join(name), bytes).expect("a temporary file can be written");
    }

    /// Reads from a position on, so many records at once, until about so many were read.
    fn read(&self, from: Option<&Position>, most: usize, until: usize) -> Result<All, SourceError> {
        let url = format!("file://{}/", Path::new(&self.0).display());
        let factory = NdjsonSourceFactory::new(NdjsonConfig { url, follow: false })?;
        let mut source = factory.open(&[(PARTITION, from.cloned())])?;
        let mut records = Vec::new();
        while records.len() < until {
            let polled = source.poll(PARTITION, most.min(until - records.len()), &mut |record| {
                records.push(Read {
                    offset: record.offset.0,
                    log_time_ms: record.log_time_ms,
                    region: record.region.map(str::to_owned),
                    payload: record.payload.unwrap_or_default().to_vec(),
                });
            })?;
            match polled {
                Polled::Records(_) => {}
                Polled::Ended => break,
                Polled::Pending | Polled::CaughtUp => panic!("a log of local files that does not grow has an end"),
            }
        }
        Ok(All { records, position: source.position(PARTITION) })
    }

    /// Goes on behind what is there: the offset of the line that was appended.
    fn append(&self, format: SegmentFormat) -> Option<u64> {
        let config = WriterConfig { format, ..WriterConfig::default() };
        let mut writer = NdjsonWriter::open(&self.0, config).ok()?;
        let offset = writer.append(1_736_952_000_000, APPENDED).expect("a click can be appended");
        writer.close().expect("a segment can be finished");
        Some(offset.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Logs of real clicks, with control lines and torn ends.
pub fn seeds() -> Vec<Vec<u8>> {
    let clicks: Vec<&str> = clicks(4).collect();
    let control = "{\"weir_log_time_ms\":1736952000000}\n";
    let region = "{\"weir_log_time_ms\":1736952000000,\"weir_region\":\"eu-1\"}\n";
    let log = format!("{control}{}\n{region}{}", clicks.join("\n"), clicks.join("\r\n"));
    let small = format!("a\r\n\n{region}b\x1e{control}c\r\x1e\n\x1e{{\"weir_log_time_ms\":1}}");
    let zst = zstd::bulk::compress(log.as_bytes(), 1).unwrap_or_default();
    let gz = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(log.as_bytes()).and_then(|()| encoder.finish()).unwrap_or_default()
    };
    let cut = (zst.len() / 2) as u8;
    vec![
        [b"\0\0\x02", log.as_bytes()].concat(),
        [b"\0\x02\x05", log.replace("}\n{\"click", "}\x1e{\"click").as_bytes()].concat(),
        [b"\0\x01\x03", small.as_bytes()].concat(),
        [&[1, 0xff, 0xff, 0], log.as_bytes()].concat(),
        [&[1, cut, 0, 0], log.as_bytes()].concat(),
        [&[2, 0], zst.as_slice()].concat(),
        [&[2, 1], gz.as_slice()].concat(),
    ]
}
