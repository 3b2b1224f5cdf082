//! Copies against a plain loop.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_checkpoints::{Epoch, Offset, PartitionId};
use weir_dataflow::Click;

use super::*;
use crate::explain::{Span, SpanKind};

/// A record: the click's number, its place, and its time in seconds.
type Record = (u8, u64, u32, u64, i64);

fn question(clicks: bool) -> Question {
    let span = Span::around(SpanKind::FiveMinutes, 0);
    Question { ad_id: "ad".to_owned(), span, region: None, clicks, limit: 1000 }
}

fn with_copy(record: &Record, take: impl FnOnce(ClickCopy<'_>)) {
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

fn tally<'q>(question: &'q Question, records: &[Record]) -> Copies<'q> {
    let mut copies = Copies::new(question, 0);
    for record in records {
        with_copy(record, |copy| copies.add(&copy, &Late::default()));
    }
    copies
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let record = (0_u8..12, 1_u64..6, 0_u32..3, -300_i64..600);
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
        let mut firsts: BTreeMap<u8, Record> = BTreeMap::new();
        for record in &records {
            let first = firsts.entry(record.0).or_insert(*record);
            if (record.1, record.2, record.3) < (first.1, first.2, first.3) {
                *first = *record;
            }
        }
        let inside = |record: &&Record| record.4 < 300;
        let mut shuffled = records.clone();
        shuffled.sort_by_key(|record| record.3.wrapping_mul(seed | 1).rotate_left(17));
        let copies = tally(&question, &shuffled);
        let report = copies.report(1000);
        prop_assert_eq!(report.records, records.iter().filter(inside).count() as u64);
        prop_assert_eq!(report.distinct, firsts.values().filter(inside).count() as u64);
        prop_assert_eq!(report.on_time, report.records);
        let offsets: u64 = report.partitions.iter().map(|range| range.records).sum();
        prop_assert_eq!(offsets, report.records);
        for duplicate in &report.duplicates {
            let number: u8 = duplicate.click_id.strip_prefix("click-").unwrap().parse().unwrap();
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
    let report = tally(&question, &[record, record, (1, 2, 0, 8, 10)]).report(10);
    assert_eq!((report.records, report.distinct, report.duplicate_records), (2, 1, 1));
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
