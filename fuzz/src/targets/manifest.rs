//! Manifests, and the records of closed days.
//!
//! - What is read is written again as the same, and from then on as the same bytes: hashes of them name their predecessors.
//! - Sums over all partitions never fail.

use std::collections::BTreeMap;

use weir_checkpoints::{
    Attempt, ClosedOn, DAY_FORMAT_VERSION, DayRecord, DayTotals, Epoch, FORMAT_VERSION, GroupRange, GroupSet, Manifest,
    Offset, OutputPart, PartitionCut, PartitionId, Position, Sequence, StatePart, Totals, WorkerIndex,
};

/// See the module.
pub fn check(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse("fuzzed", data) {
        let bytes = manifest.to_bytes().expect("what was read can be written");
        let again = Manifest::parse("fuzzed", &bytes).expect("what was written can be read");
        assert_eq!(again, manifest);
        assert_eq!(again.to_bytes().expect("it was written before"), bytes);
        let each = manifest.partitions.values().all(|cut| cut.totals.conserved());
        let sum = manifest.totals();
        assert!(!each || sum.conserved() || sum.read == u64::MAX, "what adds up in each partition adds up in all");
    }
    if let Ok(record) = DayRecord::parse("fuzzed", data) {
        let bytes = serde_json::to_vec(&record).expect("what was read can be written");
        assert_eq!(DayRecord::parse("fuzzed", &bytes).expect("what was written can be read"), record);
    }
}

/// A manifest with all there is, one with nothing, and the record of a day.
pub fn seeds() -> Vec<Vec<u8>> {
    let (full, day) = (full(), day());
    let empty = Manifest { partitions: BTreeMap::new(), state: Vec::new(), outputs: Vec::new(), ..full.clone() };
    let manifests = [&full, &empty].map(|manifest| manifest.to_bytes().expect("a manifest can be written"));
    let dense = serde_json::to_vec(&full).expect("a manifest is JSON");
    let record = serde_json::to_vec_pretty(&day).expect("a record is JSON");
    manifests.into_iter().chain([dense, record]).collect()
}

fn full() -> Manifest {
    let cut = |partition: u32, cursor: Option<&str>| {
        let position = Position { next_offset: Offset(100), cursor: cursor.map(str::to_owned) };
        let totals = Totals { read: 21, rejected: 1, future: 2, late: 3, duplicate: 5, counted: 10 };
        (PartitionId(partition), PartitionCut { position, max_event_time_ms: Some(1_736_952_000_000), totals })
    };
    let mut groups = GroupSet::of(GroupRange::ALL);
    groups.subtract(GroupRange::new(16, 32));
    Manifest {
        format: FORMAT_VERSION,
        job: "clicks".to_owned(),
        sequence: Sequence(7),
        previous: Some(Manifest::hash(b"the one before")),
        origin: None,
        attempt: Attempt(2),
        owner: "6f1c".to_owned(),
        workers: 2,
        epoch: Epoch(48),
        written_ms: 1_736_952_010_000,
        settings: BTreeMap::from([("dedup.horizon".to_owned(), "20m".to_owned())]),
        watermark_ms: Some(1_736_951_990_000),
        closed_until_ms: Some(1_736_951_340_000),
        ended: false,
        partitions: BTreeMap::from([cut(0, Some(r#"{"segment":"00000000000000000000.ndjson"}"#)), cut(1, None)]),
        state: vec![StatePart {
            name: "clicks/state/48-2-0-windows".to_owned(),
            kind: "windows".to_owned(),
            epoch: Epoch(48),
            attempt: Attempt(2),
            worker: WorkerIndex(0),
            size_bytes: 5_140,
            groups,
            expires_ms: Some(1_736_953_200_000),
        }],
        outputs: vec![output()],
    }
}

fn output() -> OutputPart {
    OutputPart {
        sink: "clicks_agg".to_owned(),
        name: "clicks_agg/window=1m/date=2025-01-15/part-48-2-0-0.zstd.parquet".to_owned(),
        rows: 3,
        size_bytes: 4_096,
        details: serde_json::json!({ "partition": { "window": "1m" }, "stats": "{}", "sha256": null }),
    }
}

fn day() -> DayRecord {
    DayRecord {
        format: DAY_FORMAT_VERSION,
        job: "clicks".to_owned(),
        date: "2025-01-15".to_owned(),
        timezone: "Europe/Berlin".to_owned(),
        start_ms: 1_736_895_600_000,
        end_ms: 1_736_982_000_000,
        revision: 2,
        previous: Some(Manifest::hash(b"the revision before")),
        run: Manifest::hash(b"all that went in"),
        closed_on: ClosedOn { sequence: Sequence(7), hash: Manifest::hash(b"the manifest"), epoch: Epoch(48) },
        index: None,
        inputs: Manifest::hash(b"files"),
        excluded: BTreeMap::from([("bots".to_owned(), Manifest::hash(b"a list"))]),
        exact_users: false,
        totals: DayTotals { ads: 2, streamed: 10, billed: 9, rows: 21, corrections: 1 },
        root: Some(Manifest::hash(b"a tree")),
        written_ms: 1_737_000_000_000,
        outputs: vec![output()],
        replaced: vec!["billing_daily/date=2025-01-15/old.zstd.parquet".to_owned()],
    }
}
