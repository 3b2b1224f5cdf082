//! The invariants that a manifest must hold, each broken once; and what becomes of state parts.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use weir_checkpoints::{
    AssembleError, Attempt, Epoch, EpochEnd, GroupRange, GroupSet, Manifest, Names, ObjectInfo, Offset, PartitionId,
    Position, ReadReport, Replaced, Settled, StatePart, Sweep, WorkerIndex, WorkerReport, assemble, garbage,
};

const PARTITION: PartitionId = PartitionId(3);

fn first() -> Manifest {
    serde_json::from_value(serde_json::json!({
        "format": 1, "job": "clicks", "sequence": 0, "previous": null, "attempt": 1, "owner": "a", "workers": 1, "epoch": 0,
        "written_ms": 0, "settings": {}, "watermark_ms": null, "closed_until_ms": null, "ended": false,
        "partitions": {}, "state": [], "outputs": []
    }))
    .unwrap()
}

fn end(epoch: u64, watermark_ms: i64) -> EpochEnd {
    EpochEnd { epoch: Epoch(epoch), watermark_ms: Some(watermark_ms), closed_until_ms: None, ended: false }
}

/// Ten records from an offset on: one rejected, one future, one late, two duplicates, five counted.
fn report(epoch: u64, from: u64) -> WorkerReport {
    let read = ReadReport {
        from: Offset(from),
        position: Position { next_offset: Offset(from + 10), cursor: None },
        max_event_time_ms: Some(1),
        read: 10,
        rejected: 1,
        future: 1,
        late: 1,
    };
    WorkerReport {
        worker: WorkerIndex(0),
        epoch: Epoch(epoch),
        read: BTreeMap::from([(PARTITION, read)]),
        settled: BTreeMap::from([(PARTITION, Settled { duplicate: 2, counted: 5 })]),
        applied: 5,
        replaced: Vec::new(),
        state: Vec::new(),
        outputs: Vec::new(),
    }
}

fn part(name: &str, kind: &str, groups: GroupRange, expires_ms: Option<i64>) -> StatePart {
    StatePart {
        name: name.to_owned(),
        kind: kind.to_owned(),
        epoch: Epoch(1),
        attempt: Attempt(1),
        worker: WorkerIndex(0),
        size_bytes: 1,
        groups: GroupSet::of(groups),
        expires_ms,
    }
}

#[track_caller]
fn check(report: &WorkerReport, last: &Manifest, broken: fn(&AssembleError) -> bool) {
    let error = assemble(last, end(last.epoch.0 + 1, 100), std::slice::from_ref(report), 0).unwrap_err();
    assert!(broken(&error), "{error}");
}

#[test]
fn totals_add_up_over_checkpoints() {
    let one = assemble(&first(), end(1, 10), &[report(1, 0)], 0).unwrap();
    let two = assemble(&one, end(2, 20), &[report(2, 10)], 0).unwrap();
    let totals = two.totals();
    assert!(totals.conserved());
    assert_eq!((totals.read, totals.counted, totals.duplicate), (20, 10, 4));
    assert_eq!(two.partitions[&PARTITION].position.next_offset, Offset(20));
}

#[test]
fn a_broken_invariant_is_named() {
    let one = assemble(&first(), end(1, 10), &[report(1, 0)], 0).unwrap();
    check(&report(2, 11), &one, |error| matches!(error, AssembleError::OffsetsDoNotJoin { .. }));
    check(&report(2, 9), &one, |error| matches!(error, AssembleError::OffsetsDoNotJoin { .. }));
    let mut lost = report(2, 10);
    lost.read.get_mut(&PARTITION).unwrap().read = 11;
    check(&lost, &one, |error| matches!(error, AssembleError::NotConserved { .. }));
    let mut dropped = report(2, 10);
    dropped.applied = 4;
    check(&dropped, &one, |error| matches!(error, AssembleError::NotApplied { counted: 5, applied: 4, .. }));
    let mut unread = report(2, 10);
    unread.settled.insert(PartitionId(9), Settled { duplicate: 1, counted: 0 });
    check(&unread, &one, |error| matches!(error, AssembleError::UnreadPartition { .. }));
    let back = assemble(&one, end(2, 9), &[report(2, 10)], 0).unwrap_err();
    assert!(matches!(back, AssembleError::WatermarkWentBack { .. }), "{back}");
    let again = assemble(&one, end(1, 10), &[report(1, 10)], 0).unwrap_err();
    assert!(matches!(again, AssembleError::EpochWentBack { .. }), "{again}");
}

#[test]
fn a_partition_that_came_up_begins_at_its_start() {
    let from = |partition: u32, from: u64, epoch: u64| {
        let mut report = report(epoch, from);
        report.read = report.read.into_values().map(|read| (PartitionId(partition), read)).collect();
        report.settled = report.settled.into_values().map(|settled| (PartitionId(partition), settled)).collect();
        report
    };
    // A job begins where the log begins; what came up since must be there from its start on.
    let one = assemble(&first(), end(1, 10), &[from(0, 70, 1)], 0).unwrap();
    let two = assemble(&one, end(2, 20), &[from(0, 80, 2), from(1, 0, 2)], 0).unwrap();
    assert_eq!(two.partitions[&PartitionId(1)].position.next_offset, Offset(10));
    check(&from(2, 70, 3), &two, |error| matches!(error, AssembleError::OffsetsDoNotJoin { .. }));
}

#[test]
fn parts_live_until_they_expire_or_are_replaced_group_by_group() {
    let mut one = first();
    one.state = vec![
        part("ids", "dedup", GroupRange::ALL, Some(50)),
        part("all", "windows", GroupRange::ALL, None),
        part("rows", "carried/raw", GroupRange::new(0, 1), None),
    ];
    let mut half = report(1, 0);
    half.replaced = vec![Replaced { kind: "windows".to_owned(), groups: GroupRange::new(0, 128) }];
    half.state = vec![part("half", "windows", GroupRange::new(0, 128), None)];
    let two = assemble(&one, end(1, 50), &[half], 0).unwrap();
    let names = |manifest: &Manifest| manifest.state.iter().map(|part| part.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&two), ["ids", "all", "rows", "half"]);
    assert_eq!(two.state[1].groups.ranges(), [GroupRange::new(128, 256)]);

    let mut rest = report(2, 10);
    rest.replaced = vec![Replaced { kind: "windows".to_owned(), groups: GroupRange::new(128, 256) }];
    let three = assemble(&two, end(2, 51), &[rest], 0).unwrap();
    assert_eq!(names(&three), ["rows", "half"]);
}

#[test]
fn garbage_is_what_no_restore_point_lists_and_nobody_is_writing() {
    let names = Names::new("clicks");
    let object = |name: String| ObjectInfo { name, size_bytes: 1, modified_ms: 100 };
    let mut kept = first();
    (kept.sequence.0, kept.epoch.0, kept.attempt.0) = (7, 40, 2);
    let of = |epoch, attempt| names.part(Epoch(epoch), Attempt(attempt), WorkerIndex(0), "dedup");
    kept.state = vec![part(&of(30, 1), "dedup", GroupRange::ALL, None)];
    let state = [of(30, 1), of(35, 1), of(39, 2), of(41, 2), of(41, 1)].map(object);
    let manifests = [5, 6, 7].map(|number| object(names.manifest(weir_checkpoints::Sequence(number))));

    let kept = std::slice::from_ref(&kept);
    let sweep = |manifests_since_ms: i64, needed: Option<u64>| {
        let needed = needed.map(weir_checkpoints::Sequence);
        let sweep = Sweep { kept, attempt: Attempt(2), now_ms: 1_000, manifests_since_ms, needed };
        garbage(&names, &sweep, &[], &state, &manifests)
    };
    let found = sweep(100, None);
    assert_eq!(found.state, [of(35, 1), of(39, 2), of(41, 1)]);
    assert!(found.manifests.is_empty(), "they are not old enough");
    let later = |needed: Option<u64>| sweep(101, needed).manifests.len();
    assert_eq!(later(None), 2);
    assert_eq!((later(Some(5)), later(Some(6)), later(Some(9))), (0, 1, 2), "what a sink has yet to show is kept");
}
