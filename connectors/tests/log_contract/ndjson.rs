//! The embedded log: for the suite, and what it does beyond the contract.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use weir_checkpoints::{Offset, PartitionId};
use weir_connectors::log::Log;
use weir_connectors::ndjson::{
    NdjsonConfig, NdjsonLog, NdjsonLogConfig, NdjsonLogError, NdjsonSourceFactory, Region, Removed, Retention,
};
use weir_dataflow::{Polled, SourceError, SourceFactory};

use crate::harness::{Harness, OpenLog, append, group, settled};

pub(crate) struct Embedded {
    pub(crate) partitions: u32,
    pub(crate) segment_bytes: u64,
}

impl Harness for Embedded {
    fn new_log(&self, capacity_bytes: u64) -> Box<dyn OpenLog> {
        let folder = TempDir::new().unwrap();
        let config = NdjsonLogConfig {
            partitions: self.partitions,
            segment_bytes: self.segment_bytes,
            capacity_bytes,
            region: Some(Region::new("eu-1").unwrap()),
            ..NdjsonLogConfig::new(folder.path().to_owned())
        };
        Box::new(OpenEmbedded { log: NdjsonLog::open(config).unwrap(), folder })
    }

    fn orders_groups(&self) -> bool {
        false
    }

    fn refused_value(&self) -> Option<Vec<u8>> {
        Some(b"two\nlines".to_vec())
    }
}

struct OpenEmbedded {
    log: NdjsonLog,
    folder: TempDir,
}

impl OpenLog for OpenEmbedded {
    fn log(&self) -> &dyn Log {
        &self.log
    }

    fn read_back(&self) -> Vec<Vec<Vec<u8>>> {
        read_back(self.folder.path()).unwrap()
    }
}

/// All values of a log in a folder, by partition.
pub(crate) fn read_back(folder: &Path) -> Result<Vec<Vec<Vec<u8>>>, SourceError> {
    let factory = factory(folder);
    let mut partitions = Vec::new();
    for id in factory.partitions()? {
        let mut source = factory.open(&[(id, None)])?;
        let mut values = Vec::new();
        while source.poll(id, 1_000, &mut |record| values.push(record.payload.unwrap().to_vec()))? != Polled::Ended {}
        partitions.push(values);
    }
    Ok(partitions)
}

pub(crate) fn factory(folder: &Path) -> NdjsonSourceFactory {
    let url = format!("file://{}/", folder.display());
    NdjsonSourceFactory::new(NdjsonConfig { url, follow: false }).unwrap()
}

fn config(folder: &Path, partitions: u32) -> NdjsonLogConfig {
    NdjsonLogConfig { partitions, ..NdjsonLogConfig::new(folder.to_owned()) }
}

#[test]
fn all_partitions_are_there_at_once_and_stay() {
    let folder = TempDir::new().unwrap();
    let check = |wanted: u32, count: u32| {
        let log = NdjsonLog::open(config(folder.path(), wanted)).unwrap();
        let there: Vec<PartitionId> = factory(folder.path()).partitions().unwrap();
        assert_eq!(there, (0..count).map(PartitionId).collect::<Vec<_>>());
        assert_eq!(log.partitions(), count);
    };
    check(2, 2);
    check(4, 4);
    check(1, 4);
    fs::create_dir(folder.path().join("6")).unwrap();
    check(1, 7);
}

#[test]
fn what_is_no_log_of_ours_is_refused() {
    let check = |make: fn(&Path), partitions: u32, words: &str| {
        let folder = TempDir::new().unwrap();
        make(folder.path());
        let error = NdjsonLog::open(config(folder.path(), partitions)).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    };
    check(|_| {}, 0, "at least one partition");
    check(|folder| fs::write(folder.join("a.ndjson"), "x\n").unwrap(), 2, "a.ndjson");
    check(|folder| fs::create_dir(folder.join("01")).unwrap(), 2, "rename 01 to 1");
    let folder = TempDir::new().unwrap();
    let _first = NdjsonLog::open(config(folder.path(), 1)).unwrap();
    let second = NdjsonLog::open(config(folder.path(), 1));
    assert!(matches!(second, Err(NdjsonLogError::Partition(_))));
}

#[test]
fn a_value_that_would_come_back_otherwise_is_refused() {
    let folder = TempDir::new().unwrap();
    let log = NdjsonLog::open(config(folder.path(), 1)).unwrap();
    let region: &[u8] = br#"{"weir_log_time_ms":1,"weir_region":"a"}"#;
    let values: [&[u8]; 6] = [b"a\r", b"a", b"\n", br#"{"weir_log_time_ms":1}"#, region, b""];
    let outcome = settled(&append(&log, group(values.map(|value| ("A", value)))));
    assert_eq!(outcome.failed, [0, 2, 3, 4]);
    assert_eq!(read_back(folder.path()).unwrap(), [[b"a".to_vec(), b"".to_vec()]]);
}

#[test]
fn old_segments_go_unless_they_are_needed() {
    let folder = TempDir::new().unwrap();
    let retention = Retention { age: Some(Duration::ZERO), bytes: None };
    let config = NdjsonLogConfig { segment_bytes: 100, retention, ..config(folder.path(), 2) };
    let log = NdjsonLog::open(config).unwrap();
    for number in 0..40 {
        settled(&append(&log, group([("A", format!("{{\"number\":{number:050}}}").as_bytes())])));
    }
    let segments = |partition: u32| {
        let listed = fs::read_dir(folder.path().join(partition.to_string())).unwrap();
        let names = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".ndjson")).collect();
        names.sort();
        names
    };
    let base = |name: &str| name.split('.').next().unwrap().parse::<u64>().unwrap();
    let (first, second) = (segments(0), segments(1));
    assert!(first.len() > 5 && second.len() > 5);
    std::thread::sleep(Duration::from_millis(20));
    // Not even asked about: needed.
    assert_eq!(log.retain(Some(&BTreeMap::new())).unwrap(), Removed::default());
    let needed = BTreeMap::from([(PartitionId(0), Offset(base(&first[2]) + 1)), (PartitionId(1), Offset(0))]);
    let removed = log.retain(Some(&needed)).unwrap();
    assert_eq!((removed.segments, segments(0).as_slice(), segments(1)), (2, &first[2..], second.clone()));
    log.retain(None).unwrap();
    assert_eq!(
        (segments(0).as_slice(), segments(1).as_slice()),
        (&first[first.len() - 1..], &second[second.len() - 1..])
    );
    // Clicks go on behind what was deleted, and a job that needs it is told.
    settled(&append(&log, group([("A", b"on".as_slice()), ("A", b"and on")])));
    assert!(read_back(folder.path()).unwrap().concat().contains(&b"and on".to_vec()));
    let factory = factory(folder.path());
    let position = weir_checkpoints::Position::default();
    let gone = factory.open(&[(PartitionId(0), Some(position))]).err();
    assert!(matches!(gone, Some(SourceError::Gone { .. })), "{gone:?}");
}
