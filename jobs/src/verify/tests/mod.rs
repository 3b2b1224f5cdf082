//! A job that made no mistake, spoiled in one way, and what is found.

mod archive;
mod compacted;
mod integrity;
mod running;

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use serde_json::json;
use weir_checkpoints::{Epoch, Offset, OutputPart, PartitionCut, PartitionId, Position, Sequence, Totals};

use super::*;
use crate::generate::{ExpectedWindow, OverHttp, PartitionBy, Shares, StreamOptions, Target, generate};

/// What a job that made no mistake has left behind: stores in a folder, and the oracle.
struct World {
    _folder: tempfile::TempDir,
    checkpoints: Arc<dyn Store>,
    tables: Arc<dyn Store>,
    oracle: PathBuf,
    windows: Vec<ExpectedWindow>,
    /// Rows of windows beside those, in a region.
    elsewhere: Vec<(&'static str, ExpectedWindow)>,
    manifests: Vec<Manifest>,
    late_rows: u64,
    raw_rows: u64,
    agg_epoch: u64,
    span: Span,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let oracle = folder.path().join("oracle.ndjson");
        let target = Target::Folder(folder.path().join("log"));
        generate(&options(), &[], false, &target, Some(&oracle), None, |_| {}).unwrap();
        let reader = OracleReader::open(&oracle).unwrap();
        let expected = reader.header().totals;
        let windows: Vec<ExpectedWindow> = reader.map(Result::unwrap).filter(|window| window.clicks > 0).collect();
        let totals = Totals {
            read: expected.read,
            rejected: expected.rejected,
            future: expected.future,
            late: expected.late,
            duplicate: expected.duplicate,
            counted: expected.counted,
        };
        let open = |name: &str| {
            let url = format!("file://{}", folder.path().join(name).display());
            weir_connectors::objects::open(&url).unwrap()
        };
        Self {
            checkpoints: open("checkpoints"),
            tables: open("tables"),
            manifests: vec![manifest(0, 0, Totals::default(), None), manifest(1, 7, totals, Some(i64::MAX))],
            windows,
            elsewhere: Vec::new(),
            late_rows: totals.late + totals.future,
            raw_rows: totals.read - totals.rejected,
            agg_epoch: 7,
            span: Span::default(),
            oracle,
            _folder: folder,
        }
    }

    /// Stores everything, and verifies it.
    fn verify(&self, late_for_certain: bool) -> Report {
        let mut outputs = Vec::new();
        for (number, window) in ["1m", "5m", "1h"].into_iter().enumerate() {
            let home = self.windows.iter().map(|row| (None, row));
            let elsewhere = self.elsewhere.iter().map(|(region, row)| (Some(*region), row));
            let rows = home.chain(elsewhere).filter(|(_, row)| row.window == window);
            outputs.push(self.store_file("clicks_agg", number, Some(window), self.agg_epoch, agg_batch(rows)));
        }
        outputs.push(self.store_file("clicks_late", 0, None, 7, offsets_batch(self.late_rows)));
        outputs.push(self.store_file("clicks_raw", 0, None, 7, offsets_batch(self.raw_rows)));
        self.store_manifests(&outputs);
        verify(&Verification {
            job: "clicks",
            checkpoints: self.checkpoints.as_ref(),
            tables: self.tables.as_ref(),
            checkpoints_url: "file:///checkpoints",
            tables_url: "file:///tables",
            archive: true,
            files: false,
            span: self.span,
            oracle: Some(&self.oracle),
            late_for_certain,
        })
        .unwrap()
    }

    fn store_manifests(&self, outputs: &[OutputPart]) {
        let mut previous = None;
        for manifest in &self.manifests {
            let outputs = if manifest.epoch == Epoch(7) { outputs.to_vec() } else { Vec::new() };
            let linked = Manifest { previous: manifest.previous.clone().or(previous), outputs, ..manifest.clone() };
            let bytes = linked.to_bytes().unwrap();
            previous = Some(Manifest::hash(&bytes));
            self.checkpoints.put(&Names::new("clicks").manifest(linked.sequence), bytes).unwrap();
        }
    }

    /// As an older version of Weir did: without hashes, and without rows by partition.
    fn store_file(
        &self,
        table: &str,
        version: usize,
        window: Option<&str>,
        epoch: u64,
        batch: RecordBatch,
    ) -> OutputPart {
        let path = format!("part-{version}.parquet");
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.append_key_value_metadata(KeyValue::new("weir.epoch".to_owned(), epoch.to_string()));
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        let (size_bytes, rows) = (bytes.len() as u64, batch.num_rows() as u64);
        self.tables.put(&format!("{table}/{path}"), bytes).unwrap();
        let values = window.map_or_else(|| json!({}), |window| json!({ "window": window }));
        let txn = json!({ "txn": { "appId": "clicks", "version": epoch } });
        let add = json!({ "add": { "path": path, "partitionValues": values, "size": size_bytes, "dataChange": true } });
        let name = format!("{table}/_delta_log/{version:020}.json");
        self.tables.put(&name, format!("{{\"commitInfo\":{{}}}}\n{txn}\n{add}\n").into_bytes()).unwrap();
        let details = json!({ "partition": values, "stats": {} });
        OutputPart { sink: table.to_owned(), name: format!("{table}/{path}"), rows, size_bytes, details }
    }
}

fn options() -> StreamOptions {
    StreamOptions {
        seed: 5,
        generation: 0,
        records: 20_000,
        partitions: 2,
        partition_by: PartitionBy::Even,
        ads: 20,
        ad_skew: 1.0,
        users: 100,
        start_ms: 1_736_952_000_000,
        log_start_ms: 1_736_952_000_000,
        events_per_second: 100.0,
        record_bytes: 200,
        out_of_order_ms: 2_000,
        shares: Shares { duplicates: 0.01, late: 0.02, future: 0.01, poison: 0.01, without_click_id: 0.0 },
        tombstones: false,
    }
}

fn manifest(sequence: u64, epoch: u64, totals: Totals, end_ms: Option<i64>) -> Manifest {
    let cut = PartitionCut {
        position: Position { next_offset: Offset(totals.read), cursor: None },
        max_event_time_ms: None,
        totals,
    };
    Manifest {
        sequence: Sequence(sequence),
        epoch: Epoch(epoch),
        watermark_ms: end_ms,
        closed_until_ms: end_ms,
        ended: end_ms.is_some(),
        partitions: [(PartitionId(0), cut)].into(),
        ..Manifest::first("clicks")
    }
}

fn agg_batch<'a>(rows: impl Iterator<Item = (Option<&'a str>, &'a ExpectedWindow)>) -> RecordBatch {
    let (regions, rows): (Vec<Option<&str>>, Vec<&ExpectedWindow>) = rows.unzip();
    let starts: TimestampMicrosecondArray = rows.iter().map(|row| row.start_ms * 1000).collect::<Vec<_>>().into();
    let number = |of: fn(&ExpectedWindow) -> u64| rows.iter().map(|row| of(row) as i64).collect::<Int64Array>();
    RecordBatch::try_from_iter([
        ("ad_id", Arc::new(rows.iter().map(|row| Some(&row.ad_id)).collect::<StringArray>()) as _),
        ("region", Arc::new(StringArray::from(regions)) as _),
        ("window_start", Arc::new(starts.with_timezone_utc()) as _),
        ("click_count", Arc::new(number(|row| row.clicks)) as _),
        ("unique_users", Arc::new(number(|row| row.users)) as _),
    ])
    .unwrap()
}

fn offsets_batch(rows: u64) -> RecordBatch {
    let offsets: Int64Array = (0..rows as i64).collect();
    let partitions: Int32Array = std::iter::repeat_n(0, rows as usize).collect();
    RecordBatch::try_from_iter([("partition", Arc::new(partitions) as _), ("offset", Arc::new(offsets) as _)]).unwrap()
}

/// Breaks something, and expects exactly these rules to be found broken, the first with this example.
fn check(spoil: impl FnOnce(&mut World), broken: &[&str], example: &str) {
    let mut world = World::new();
    spoil(&mut world);
    let report = world.verify(true);
    let found: Vec<&CheckResult> = report.checks.iter().filter(|check| check.broken > 0).collect();
    let rules: Vec<&str> = found.iter().map(|check| check.rule).collect();
    assert_eq!(rules, broken);
    assert!(!report.ok);
    let examples: Vec<&String> = found.iter().flat_map(|check| &check.examples).collect();
    assert!(examples.iter().any(|text| text.contains(example)), "`{example}` is not in {examples:?}");
}

const COUNTS: &str = "every window has the clicks that the oracle expects";
const SUMS: &str = "the windows of each length hold every click that was counted";
const CHAIN: &str = "the manifests form one chain without gaps";
const TOTALS: &str = "as many records are rejected, future, late, duplicate and counted as the oracle expects";
const CONSERVED: &str = "every record read is counted, duplicate, late, future or rejected";
const ROWS: &str = "clicks_raw and clicks_late hold every click that belongs there, in each partition";
const COMMITTED: &str = "no table shows an epoch that no manifest commits";
const AGREE: &str = "manifests and tables list the same files, with the same sizes, rows and hashes";

#[test]
fn what_a_faultless_job_left_behind_is_right() {
    let world = World::new();
    let report = world.verify(true);
    assert!(report.ok, "{:?}", report.checks);
    let compared = report.compared.unwrap();
    assert_eq!(compared.windows, world.windows.len() as u64);
    assert_eq!(compared.not_yet, 0);
    assert!(compared.max_user_error < 1e-9);
    let checked = |rule: &str| report.checks.iter().find(|check| check.rule == rule).unwrap().checked;
    assert_eq!((checked(SUMS), checked(ROWS), checked(AGREE)), (3, 2, 5));
    assert!(checked(COUNTS) >= compared.windows);
    assert_eq!(report.tables[0].without_hash, 3);
}

#[test]
fn windows_outside_the_span_are_in_the_sums_alone() {
    let mut world = World::new();
    let middle_ms = world.windows.iter().map(|row| row.start_ms).max().unwrap();
    world.span = Span { from_ms: Some(middle_ms), until_ms: None };
    let compared = world.verify(true).compared.unwrap().windows;
    assert!(compared > 0 && compared < world.windows.len() as u64);
    let early = world.windows.iter_mut().find(|row| row.start_ms < middle_ms).unwrap();
    early.clicks += 1;
    let report = world.verify(true);
    let broken: Vec<&str> = report.checks.iter().filter(|check| check.broken > 0).map(|check| check.rule).collect();
    assert_eq!(broken, [SUMS]);
}

#[test]
fn a_window_with_a_click_too_many_is_named() {
    check(
        |world| world.windows.iter_mut().find(|row| row.window == "5m").unwrap().clicks += 1,
        &[SUMS, COUNTS],
        "ad-00000000 5m at 1736951700000: ",
    );
}

#[test]
fn a_missing_window_is_named() {
    check(
        |world| world.windows.retain(|row| row.ad_id != "ad-00000003" || row.window != "1h"),
        &[SUMS, COUNTS],
        "is missing",
    );
}

#[test]
fn a_window_that_should_not_be_there_is_named() {
    let spoil = |world: &mut World| {
        let ghost = ExpectedWindow { ad_id: "ad-ghost".to_owned(), ..world.windows[0].clone() };
        world.windows.push(ghost);
    };
    check(spoil, &[SUMS, "there is no window that the oracle does not expect"], "ad-ghost 1m at ");
}

#[test]
fn a_window_that_is_there_twice_is_named() {
    let spoil = |world: &mut World| world.windows.push(world.windows[0].clone());
    check(spoil, &[SUMS, "no window is in clicks_agg twice"], "ad-00000000 1m");
}

/// Moves some clicks of every window to a region; all users of the window clicked there too.
fn spread(world: &mut World) {
    for row in world.windows.iter_mut().filter(|row| row.clicks > 2) {
        row.clicks -= 2;
        let moved = ExpectedWindow { clicks: 1, users: 1, ..row.clone() };
        world.elsewhere.extend([("eu-1", moved.clone()), ("us-1", moved)]);
    }
}

#[test]
fn windows_are_added_up_over_regions() {
    let mut world = World::new();
    spread(&mut world);
    assert!(!world.elsewhere.is_empty());
    let report = world.verify(true);
    assert!(report.ok, "{:?}", report.checks);
    assert_eq!(report.compared.unwrap().windows, world.windows.len() as u64);
}

#[test]
fn a_row_that_a_region_has_twice_is_named() {
    let spoil = |world: &mut World| {
        spread(world);
        world.elsewhere.push(world.elsewhere[1].clone());
    };
    check(spoil, &[SUMS, "no window is in clicks_agg twice"], "ad-00000000 in us-1 1m");
}

#[test]
fn fewer_users_in_all_regions_together_than_the_oracle_has_are_named() {
    let spoil = |world: &mut World| {
        spread(world);
        world.windows.iter_mut().find(|row| row.users > 20).unwrap().users -= 5;
    };
    check(spoil, &["every window's users are within the sketch's error of the oracle's"], "users, expected");
}

#[test]
fn users_far_from_the_oracle_are_named() {
    let spoil = |world: &mut World| world.windows.iter_mut().find(|row| row.users > 20).unwrap().users -= 5;
    check(spoil, &["every window's users are within the sketch's error of the oracle's"], "users, expected");
}

#[test]
fn a_forged_chain_is_found() {
    check(|world| world.manifests[1].previous = Some("0".repeat(64)), &[CHAIN], "1 names another predecessor than 0");
    let skip = |world: &mut World| world.manifests[1].sequence = Sequence(2);
    check(skip, &[CHAIN], "2 follows 0");
}

#[test]
fn a_lost_record_is_found() {
    let spoil = |world: &mut World| {
        for cut in world.manifests[1].partitions.values_mut() {
            cut.totals.duplicate -= 1;
        }
    };
    check(spoil, &[CONSERVED, TOTALS], "checkpoint 1, partition 0");
}

#[test]
fn an_archive_that_lacks_a_click_is_found() {
    check(|world| world.raw_rows -= 1, &[ROWS], "clicks_raw, partition 0: 1 missing: ");
}

#[test]
fn a_table_ahead_of_the_manifests_is_found() {
    check(|world| world.agg_epoch = 8, &[COMMITTED, AGREE, SUMS, COUNTS], "has epoch 8, which no manifest has");
}

#[test]
fn a_late_click_may_have_been_counted_unless_it_cannot_have_been() {
    let mut world = World::new();
    let totals = world.manifests[1].partitions.get_mut(&PartitionId(0)).unwrap();
    totals.totals.late -= 1;
    totals.totals.counted += 1;
    world.late_rows -= 1;
    let all = OracleReader::open(&world.oracle).unwrap().map(Result::unwrap);
    let late: Vec<ExpectedWindow> = all.filter(|window| window.late > 0).collect();
    // One late click, in one window of each length.
    let first = late.iter().find(|row| row.window == "1m").unwrap();
    for row in &late {
        let length_ms = if row.window == "1m" {
            60_000
        } else if row.window == "5m" {
            300_000
        } else {
            3_600_000
        };
        let holds_it = row.ad_id == first.ad_id && (row.start_ms..row.start_ms + length_ms).contains(&first.start_ms);
        if holds_it {
            world.windows.push(ExpectedWindow { clicks: 1, users: 1, ..row.clone() });
        }
    }
    let lenient = world.verify(false);
    assert!(lenient.ok, "{:?}", lenient.checks);
    assert!(!world.verify(true).ok);
}

/// A log that clicks came to over HTTP: the edge has kept back all that is no click, and half of the second copies.
fn behind_an_edge() -> World {
    let mut world = World::new();
    let mut totals = world.manifests[1].totals();
    totals.read -= totals.rejected + totals.duplicate / 2;
    totals.duplicate -= totals.duplicate / 2;
    totals.rejected = 0;
    set_totals(&mut world, totals);
    let (accepted, resent) = (totals.read, 0);
    world.say_over_http(OverHttp { accepted, resent });
    world
}

fn set_totals(world: &mut World, totals: Totals) {
    world.manifests[1] = manifest(1, 7, totals, Some(i64::MAX));
    world.raw_rows = totals.read - totals.rejected;
}

impl World {
    fn say_over_http(&self, over_http: OverHttp) {
        let text = std::fs::read_to_string(&self.oracle).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        let mut header: serde_json::Value = serde_json::from_str(first).unwrap();
        header["over_http"] = serde_json::to_value(over_http).unwrap();
        std::fs::write(&self.oracle, format!("{header}\n{rest}")).unwrap();
    }
}

#[test]
fn what_an_edge_kept_back_is_not_missed() {
    let world = behind_an_edge();
    let report = world.verify(true);
    assert!(report.ok, "{:?}", report.checks);
    assert_eq!(report.compared.unwrap().windows, world.windows.len() as u64);
}

#[test]
fn a_click_that_an_edge_accepted_must_be_there() {
    let mut world = behind_an_edge();
    let totals = world.manifests[1].totals();
    // It does not matter that it would have been a second copy.
    set_totals(&mut world, Totals { read: totals.read - 1, duplicate: totals.duplicate - 1, ..totals });
    let broken: Vec<CheckResult> = world.verify(true).checks.into_iter().filter(|check| check.broken > 0).collect();
    assert!(broken.iter().any(|check| check.examples[0].starts_with("read: ")), "{broken:?}");
}

#[test]
fn clicks_may_be_there_once_more_for_each_time_they_were_sent_again() {
    let mut world = behind_an_edge();
    let totals = world.manifests[1].totals();
    let accepted = totals.read;
    let more = totals.duplicate + 40;
    set_totals(&mut world, Totals { read: totals.read + 40, duplicate: more, ..totals });
    world.say_over_http(OverHttp { accepted, resent: 0 });
    let expected = OracleReader::open(&world.oracle).unwrap().header().totals;
    let over = more.saturating_sub(expected.duplicate);
    assert_eq!(world.verify(true).ok, over == 0);
    world.say_over_http(OverHttp { accepted, resent: 40 });
    assert!(world.verify(true).ok);
}

#[test]
fn a_window_behind_an_edge_is_as_exact() {
    let mut world = behind_an_edge();
    world.windows.iter_mut().find(|row| row.window == "5m").unwrap().clicks += 1;
    assert!(!world.verify(true).ok);
}
