//! Copies against a plain loop.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use weir_checkpoints::{Epoch, Offset, PartitionId};
use weir_connectors::delta::ClickBatch;
use weir_dataflow::Click;

use super::*;
use crate::explain::{Span, SpanKind};

/// A record: the click's number, its place, and its time in seconds.
type Row = (u32, u64, u32, u64, i64);

fn question(clicks: bool) -> Question {
    let span = Span::around(SpanKind::FiveMinutes, 0);
    Question { ad_id: "ad".to_owned(), span, region: None, clicks, limit: 1000 }
}

fn with_copy(record: &Row, take: impl FnOnce(ClickCopy<'_>)) {
    let (number, epoch, partition, offset, second) = *record;
    let id = format!("click-{number}");
    let click = Click {
        ad_id: "ad",
        user_id: "user",
        timestamp: second,
        click_id: Some(&id),
        ip_address: None,
        user_agent: None,
    };
    let (partition, offset, epoch) = (PartitionId(partition), Offset(offset), Epoch(epoch));
    take(ClickCopy { click, reason: None, topic: None, partition, offset, epoch, region: None, file: None });
}

/// What comes of records that are in batches of one to four.
fn tally<'q>(question: &'q Question, records: &[Row]) -> Copies<'q> {
    tally_in_batches(question, records, 1 + records.len() % 4)
}

fn tally_in_batches<'q>(question: &'q Question, records: &[Row], of: usize) -> Copies<'q> {
    static NOT_LATE: LazyLock<Late> = LazyLock::new(Late::default);
    let parts = records.chunks(of);
    let batches = parts.map(|part| {
        let mut batch = Batch::new(question, &NOT_LATE);
        part.iter().for_each(|record| with_copy(record, |copy| batch.add(&copy)));
        batch.end();
        batch
    });
    let mut copies = Copies::of(question, &NOT_LATE, batches.collect());
    let read = |take: &mut dyn FnMut(&ClickCopy<'_>)| {
        records.iter().for_each(|record| with_copy(record, |copy| take(&copy)));
        Ok(())
    };
    copies.name(read).unwrap();
    copies
}

fn records() -> impl Strategy<Value = Vec<Row>> {
    let record = (0_u32..12, 1_u64..6, 0_u32..3, -300_i64..600);
    proptest::collection::vec(record, 0..60).prop_map(|records| {
        // No two records have the same place.
        let numbered = records.into_iter().zip(0_u64..);
        numbered
            .map(|((number, epoch, partition, second), offset)| (number, epoch, partition, offset, second.max(0)))
            .collect()
    })
}

proptest! {
    #[test]
    fn the_first_copy_counts_in_whatever_order_they_are_read(records in records(), seed in any::<u64>()) {
        let question = question(true);
        let mut firsts: BTreeMap<u32, Row> = BTreeMap::new();
        for record in &records {
            let first = firsts.entry(record.0).or_insert(*record);
            if (record.1, record.2, record.3) < (first.1, first.2, first.3) {
                *first = *record;
            }
        }
        let inside = |record: &&Row| record.4 < 300;
        let mut shuffled = records.clone();
        shuffled.sort_by_key(|record| record.3.wrapping_mul(seed | 1).rotate_left(17));
        let copies = tally(&question, &shuffled);
        let report = copies.report();
        prop_assert_eq!(report.records, records.iter().filter(inside).count() as u64);
        prop_assert_eq!(report.distinct, firsts.values().filter(inside).count() as u64);
        prop_assert_eq!(report.on_time, report.records);
        let offsets: u64 = report.partitions.iter().map(|range| range.records).sum();
        prop_assert_eq!(offsets, report.records);
        for duplicate in &report.duplicates {
            let number: u32 = duplicate.click_id.strip_prefix("click-").unwrap().parse().unwrap();
            prop_assert_eq!(duplicate.first.offset, firsts[&number].3);
            let all = records.iter().filter(|record| record.0 == number).count();
            prop_assert_eq!(duplicate.others.len() + 1, all);
        }
        let listed = copies.list_of_clicks();
        prop_assert_eq!(listed.len() as u64, report.records);
        let counted = listed.iter().filter(|click| click.status == "counted").count() as u64;
        prop_assert_eq!(counted, report.distinct);
        prop_assert!(listed.is_sorted_by_key(|click| (click.event_time_ms, click.partition, click.offset)));
    }
}

#[test]
fn a_record_that_is_met_twice_is_one() {
    let question = question(false);
    let record = (1, 1, 0, 7, 10);
    let report = tally(&question, &[record, record, (1, 2, 0, 8, 10)]).report();
    assert_eq!((report.records, report.distinct, report.duplicate_records), (2, 1, 1));
}

/// As many as are worth several threads.
#[test]
fn many_records_are_settled_as_few_are() {
    let question = Question { limit: 100_000, ..question(false) };
    let row = |offset: u64| {
        let number = (offset.wrapping_mul(0x9E37_79B9) >> 7) % 150_000;
        let (epoch, partition) = (offset.wrapping_mul(7) % 5, (offset % 3) as u32);
        (number as u32, epoch, partition, offset, (number % 300) as i64)
    };
    let rows: Vec<Row> = (0..200_000).map(row).collect();
    let mut copies: BTreeMap<u32, Vec<Row>> = BTreeMap::new();
    rows.iter().for_each(|row| copies.entry(row.0).or_default().push(*row));
    let report = tally_in_batches(&question, &rows, 7_000).report();
    assert_eq!((report.records, report.distinct), (200_000, copies.len() as u64));
    let several = copies.values_mut().filter(|copies| copies.len() > 1);
    let mut expected: Vec<Vec<u64>> = several
        .map(|copies| {
            copies.sort_unstable_by_key(|row| (row.1, row.2, row.3));
            copies.iter().map(|row| row.3).collect()
        })
        .collect();
    let mut found: Vec<Vec<u64>> = report
        .duplicates
        .iter()
        .map(|duplicate| {
            let places = std::iter::once(&duplicate.first).chain(&duplicate.others);
            places.map(|place| place.offset).collect()
        })
        .collect();
    assert!(expected.len() > 10_000);
    expected.sort_unstable();
    found.sort_unstable();
    assert!(found == expected);
}

#[test]
fn only_as_many_clicks_are_listed_as_were_asked_for_and_the_earliest() {
    let question = Question { limit: 2, ..question(true) };
    let listed = tally(&question, &[(1, 1, 0, 1, 30), (2, 1, 0, 2, 10), (3, 1, 0, 3, 20)]).list_of_clicks();
    let ids: Vec<&str> = listed.iter().map(|click| click.click_id.as_str()).collect();
    assert_eq!(ids, ["click-2", "click-3"]);
}

#[test]
fn a_copy_may_count_again_once_its_first_may_be_forgotten() {
    let time = Time { horizon_ms: 1_200_000, lateness_ms: 600_000, reach_ms: 0 };
    let question = Question { span: Span::around(SpanKind::Hour, 0), ..question(false) };
    let check = |second: i64, epoch: u64, expected: u64| {
        let copies = tally(&question, &[(1, 1, 0, 1, 0), (1, epoch, 0, 2, second)]);
        assert_eq!(copies.counted_again_in(&(0..3_600_000), &time), expected);
    };
    check(599, 2, 0);
    check(660, 2, 1);
    check(660, 1, 0);
    check(1_800, 9, 1);
}
