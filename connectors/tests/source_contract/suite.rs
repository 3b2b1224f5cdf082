//! The contract: one function a promise.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use weir_checkpoints::{PartitionId, Position};
use weir_dataflow::{Polled, Record, Source, SourceError};

use crate::fixture::{Fixture, Log};

const P0: PartitionId = PartitionId(0);

/// A log that is slower than this is broken.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn every_record_comes_once_and_in_order(fixture: &dyn Fixture) {
    let mut log = fixture.new_log(1);
    let expected = fill(log.as_mut(), 0, &[1, 50, 7, 300]);
    let mut source = open(log.as_ref(), None);
    let before_ms = now_ms() - PATIENCE.as_millis() as i64;
    let mut last_offset = None;
    let mut given = Vec::new();
    until_caught_up(source.as_mut(), P0, 64, |record| {
        assert!(last_offset < Some(record.offset), "{last_offset:?} before {:?}", record.offset);
        assert!((before_ms..=now_ms() + 1_000).contains(&record.log_time_ms), "{}", record.log_time_ms);
        last_offset = Some(record.offset);
        given.push(record.payload.unwrap().to_vec());
    });
    same(&given, &expected, "whole log");
    same(&read_all(source.as_mut(), P0), &[], "after its end");
}

pub(crate) fn reading_resumes_from_every_position(fixture: &dyn Fixture) {
    let mut log = fixture.new_log(1);
    let expected = fill(log.as_mut(), 0, &[3, 1, 5]);
    let mut source = open(log.as_ref(), None);
    let mut positions = vec![source.position(P0)];
    while positions.len() <= expected.len() {
        let mut offset = None;
        poll_until_records(source.as_mut(), P0, 1, |record| offset = Some(record.offset));
        let position = source.position(P0);
        assert!(position.next_offset > offset.unwrap(), "{position:?} is not behind {offset:?}");
        positions.push(position);
    }
    same(&read_all(source.as_mut(), P0), &[], "at the end");
    positions.push(source.position(P0));
    for (index, position) in positions.iter().enumerate() {
        let mut resumed = open(log.as_ref(), Some(position));
        assert_eq!(resumed.position(P0).next_offset, position.next_offset, "opened at {position:?}");
        same(&read_all(resumed.as_mut(), P0), &expected[index.min(expected.len())..], &format!("from {position:?}"));
    }
    // And the ones of the end stay good while the log grows.
    let more = fill(log.as_mut(), 0, &[2]);
    for position in &positions[expected.len()..] {
        let mut resumed = open(log.as_ref(), Some(position));
        same(&read_all(resumed.as_mut(), P0), &more, &format!("grown since {position:?}"));
    }
}

pub(crate) fn positions_only_grow(fixture: &dyn Fixture) {
    let mut log = fixture.new_log(1);
    fill(log.as_mut(), 0, &[10, 10, 10]);
    let mut source = open(log.as_ref(), None);
    let mut last = source.position(P0).next_offset;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut offsets = Vec::new();
        let polled = source.poll(P0, 3, &mut |record| offsets.push(record.offset)).unwrap();
        assert!(offsets.iter().all(|&offset| offset >= last), "{offsets:?} before the position {last}");
        let next = source.position(P0).next_offset;
        assert!(next >= last && offsets.iter().all(|&offset| offset < next), "{last} {offsets:?} {next}");
        last = next;
        match polled {
            Polled::Records(_) => {}
            Polled::CaughtUp => break,
            Polled::Pending => wait(deadline),
            Polled::Ended => panic!("a log that is followed has no end"),
        }
    }
}

pub(crate) fn an_empty_log_is_no_error(fixture: &dyn Fixture) {
    let mut log = fixture.new_log(1);
    assert_eq!(log.follow().partitions().unwrap(), [P0]);
    let mut source = open(log.as_ref(), None);
    same(&read_all(source.as_mut(), P0), &[], "empty");
    let start = source.position(P0);
    let expected = fill(log.as_mut(), 0, &[5]);
    same(&read(source.as_mut(), P0, expected.len()), &expected, "grown");
    same(&read_all(open(log.as_ref(), Some(&start)).as_mut(), P0), &expected, "from the empty log's position");
}

pub(crate) fn a_log_that_grows_is_read_on(fixture: &dyn Fixture) {
    let mut log = fixture.new_log(1);
    let first = fill(log.as_mut(), 0, &[4]);
    let mut source = open(log.as_ref(), None);
    same(&read_all(source.as_mut(), P0), &first, "first");
    for records in [1, 20] {
        let more = fill(log.as_mut(), 0, &[records]);
        same(&read(source.as_mut(), P0, records), &more, "more");
        assert_eq!(source.lag(P0).unwrap_or(0), 0);
    }
}

pub(crate) fn no_more_than_asked_for(fixture: &dyn Fixture) {
    let mut log = fixture.new_log(1);
    let expected = fill(log.as_mut(), 0, &[40, 2, 41]);
    for max in [1, 2, 7, 40, 1_000] {
        let mut source = open(log.as_ref(), None);
        assert!(matches!(
            source.poll(P0, 0, &mut |_| panic!("none was asked for")),
            Ok(Polled::Records(0) | Polled::Pending)
        ));
        let mut given = Vec::new();
        until_caught_up(source.as_mut(), P0, max, |record| given.push(record.payload.unwrap().to_vec()));
        same(&given, &expected, &format!("max {max}"));
    }
}

pub(crate) fn partitions_are_read_apart(fixture: &dyn Fixture) {
    let mut log = fixture.new_log(3);
    let expected: Vec<Vec<Vec<u8>>> = (0..3).map(|partition| fill(log.as_mut(), partition, &[6, 4])).collect();
    let factory = log.follow();
    let all = factory.partitions().unwrap();
    assert_eq!(all, [P0, PartitionId(1), PartitionId(2)]);
    let unequal = [(all[2], None), (all[0], None)];
    let mut some = factory.open(&unequal).unwrap();
    same(&read(some.as_mut(), all[2], 3), &expected[2][..3], "partition 2");
    let position = some.position(all[2]);
    same(&read_all(some.as_mut(), all[0]), &expected[0], "partition 0");
    assert_eq!(some.position(all[2]), position, "another partition's reading moved it");
    let mut others = factory.open(&[(all[1], None), (all[2], Some(position))]).unwrap();
    same(&read_all(others.as_mut(), all[1]), &expected[1], "partition 1");
    same(&read_all(others.as_mut(), all[2]), &expected[2][3..], "partition 2 in other hands");
    same(&read_all(some.as_mut(), all[2]), &expected[2][3..], "partition 2");
}

pub(crate) fn a_cut_start_is_never_skipped(fixture: &dyn Fixture) {
    let mut log = fixture.new_log(1);
    fill(log.as_mut(), 0, &[10, 10]);
    let last = fill(log.as_mut(), 0, &[5]);
    let mut source = open(log.as_ref(), None);
    let at_start = source.position(P0);
    read(source.as_mut(), P0, 2);
    let in_the_cut = source.position(P0);
    read(source.as_mut(), P0, 19);
    let behind_the_cut = source.position(P0);
    log.cut_start(0);
    for position in [at_start, in_the_cut] {
        let error = first_error(log.as_ref(), &position);
        assert!(matches!(error, SourceError::Gone { .. } | SourceError::Invalid { .. }), "{error}");
        if let SourceError::Gone { expected, first_available, last_missing, .. } = error {
            assert_eq!(expected, position.next_offset);
            assert!(expected <= last_missing && last_missing < first_available);
        }
    }
    let mut resumed = open(log.as_ref(), Some(&behind_the_cut));
    same(&read_all(resumed.as_mut(), P0), &last[1..], "behind the cut");
}

pub(crate) fn a_bounded_log_ends(fixture: &dyn Fixture) {
    let mut log = fixture.new_log(1);
    let Some(empty) = log.bounded() else { return };
    let (none, _) = until_ended(empty.open(&[(P0, None)]).unwrap().as_mut());
    same(&none, &[], "empty");
    let expected = fill(log.as_mut(), 0, &[3, 30]);
    let mut source = log.bounded().unwrap().open(&[(P0, None)]).unwrap();
    let more = fill(log.as_mut(), 0, &[2]);
    let (first, end) = until_ended(source.as_mut());
    same(&first, &expected, "what there was when it was opened");
    assert!(matches!(source.poll(P0, 10, &mut |_| panic!("a record behind the end")), Ok(Polled::Ended)));
    let factory = log.bounded().unwrap();
    let (second, new_end) = until_ended(factory.open(&[(P0, Some(end))]).unwrap().as_mut());
    same(&second, &more, "what came since");
    let (third, _) = until_ended(factory.open(&[(P0, Some(new_end))]).unwrap().as_mut());
    same(&third, &[], "nothing came since");
}

pub(crate) fn regions_are_handed_on(fixture: &dyn Fixture) {
    let mut log = fixture.new_log(1);
    let mut expected = Vec::new();
    for (region, records) in [(None, 2), (Some("eu-1"), 3), (Some("US_west.2"), 1), (None, 2), (Some("eu-1"), 1)] {
        let payloads: Vec<Vec<u8>> = (0..records).map(|number| format!("{{\"n\":{number}}}").into_bytes()).collect();
        log.append_from(region, 0, &payloads);
        expected.extend(std::iter::repeat_n(region.map(str::to_owned), records));
    }
    let regions = |source: &mut dyn Source| {
        let mut regions = Vec::new();
        until_caught_up(source, P0, 100, |record| regions.push(record.region.map(str::to_owned)));
        regions
    };
    let mut source = open(log.as_ref(), None);
    for read in 0..expected.len() {
        let mut resumed = open(log.as_ref(), Some(&source.position(P0)));
        assert_eq!(regions(resumed.as_mut()), expected[read..], "resumed after {read} records");
        poll_until_records(source.as_mut(), P0, 1, |_| {});
    }
}

/// Appends batches of these sizes. No two records of a test are the same; their lengths are the same in every run.
fn fill(log: &mut dyn Log, partition: u32, batches: &[usize]) -> Vec<Vec<u8>> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let record = |index: usize| {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        format!("{{\"partition\":{partition},\"n\":{number:08},\"{}\":0}}", "x".repeat(index * 7 % 90)).into_bytes()
    };
    let mut all = Vec::new();
    for &size in batches {
        let batch: Vec<Vec<u8>> = (0..size).map(record).collect();
        log.append(partition, &batch);
        all.extend(batch);
    }
    all
}

fn open(log: &dyn Log, position: Option<&Position>) -> Box<dyn Source> {
    log.follow().open(&[(P0, position.cloned())]).unwrap()
}

/// Reads until the log's present end.
fn read_all(source: &mut dyn Source, partition: PartitionId) -> Vec<Vec<u8>> {
    let mut given = Vec::new();
    until_caught_up(source, partition, 100, |record| given.push(record.payload.unwrap().to_vec()));
    given
}

/// Reads so many records.
fn read(source: &mut dyn Source, partition: PartitionId, count: usize) -> Vec<Vec<u8>> {
    let mut given = Vec::new();
    while given.len() < count {
        let max = count - given.len();
        poll_until_records(source, partition, max, |record| given.push(record.payload.unwrap().to_vec()));
    }
    given
}

fn until_caught_up(source: &mut dyn Source, partition: PartitionId, max: usize, mut visit: impl FnMut(Record<'_>)) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match poll(source, partition, max, &mut visit) {
            Polled::Records(_) => {}
            Polled::Pending => wait(deadline),
            Polled::CaughtUp => return,
            Polled::Ended => panic!("a log that is followed has no end"),
        }
    }
}

fn poll_until_records(source: &mut dyn Source, partition: PartitionId, max: usize, mut visit: impl FnMut(Record<'_>)) {
    let deadline = Instant::now() + PATIENCE;
    while !matches!(poll(source, partition, max, &mut visit), Polled::Records(_)) {
        wait(deadline);
    }
}

/// One poll whose answer fits what was visited.
fn poll(source: &mut dyn Source, partition: PartitionId, max: usize, visit: &mut dyn FnMut(Record<'_>)) -> Polled {
    let mut visited = 0;
    let polled = source
        .poll(partition, max, &mut |record| {
            visited += 1;
            visit(record);
        })
        .unwrap();
    assert!(visited <= max, "{visited} records, {max} were asked for");
    match polled {
        Polled::Records(count) => assert_eq!(count, visited),
        _ => assert_eq!(visited, 0, "{polled:?}"),
    }
    polled
}

fn until_ended(source: &mut dyn Source) -> (Vec<Vec<u8>>, Position) {
    let mut given = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match poll(source, P0, 100, &mut |record| given.push(record.payload.unwrap().to_vec())) {
            Polled::Records(_) => {}
            Polled::Pending => wait(deadline),
            Polled::CaughtUp => panic!("a bounded log has an end"),
            Polled::Ended => return (given, source.position(P0)),
        }
    }
}

/// The error of opening or reading at a position from which no record may come.
fn first_error(log: &dyn Log, position: &Position) -> SourceError {
    let mut source = match log.follow().open(&[(P0, Some(position.clone()))]) {
        Ok(source) => source,
        Err(error) => return error,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match source.poll(P0, 100, &mut |record| panic!("{:?} was given at {position:?}", record.offset)) {
            Ok(_) => wait(deadline),
            Err(error) => return error,
        }
    }
}

/// Compares record by record, so that a failure can be read.
fn same(given: &[Vec<u8>], expected: &[Vec<u8>], what: &str) {
    for (index, (given, expected)) in given.iter().zip(expected).enumerate() {
        let (given, expected) = (String::from_utf8_lossy(given), String::from_utf8_lossy(expected));
        assert_eq!(given, expected, "{what}: record {index}");
    }
    assert_eq!(given.len(), expected.len(), "{what}: number of records");
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

fn wait(deadline: Instant) {
    assert!(Instant::now() < deadline, "nothing happened for {PATIENCE:?}");
    thread::sleep(Duration::from_millis(1));
}
