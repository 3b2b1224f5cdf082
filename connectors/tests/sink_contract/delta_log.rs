//! What other readers and writers of a table rely on.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use serde_json::{Value, json};
use weir_checkpoints::{Attempt, Epoch, Offset, OutputPart, PartitionId, Store, WorkerIndex};
use weir_connectors::delta::{DeltaConfig, DeltaSink, Table};
use weir_connectors::memory::MemoryStore;
use weir_dataflow::{Cut, MAX_EVENT_TIME_MS, RowKind, SinkError, SinkFactory, WorkerContext};

use crate::delta_reader::{self, TableFile};
use crate::job::manifest;
use crate::rows::OwnedRow;

const JOB: &str = "contract";

fn config() -> DeltaConfig {
    DeltaConfig { target_file_bytes: 0, ..DeltaConfig::new(JOB, "clicks") }
}

fn raw(config: DeltaConfig, store: &Arc<MemoryStore>) -> DeltaSink {
    DeltaSink::clicks_raw(config, store.clone())
}

/// Writes some rows as the given epoch, without committing them.
fn stage(sink: &DeltaSink, epoch: u64, rows: u64) -> Result<Vec<OutputPart>, SinkError> {
    let worker = WorkerContext { worker: WorkerIndex(0), workers: 1, attempt: Attempt(1) };
    let mut open = sink.open(worker)?;
    for number in 0..rows {
        open.write(OwnedRow::generate(kind_of(sink), epoch, number, epoch, MAX_EVENT_TIME_MS).as_row())?;
    }
    let cut = Cut { epoch: Epoch(epoch), last: false, offsets: vec![(PartitionId(0), Offset(0), Offset(rows))] };
    Ok(open.stage(&cut)?()?.outputs)
}

fn kind_of(sink: &DeltaSink) -> RowKind {
    let kinds = [RowKind::Window, RowKind::Archive, RowKind::Late];
    kinds.into_iter().find(|&kind| sink.accepts(kind)).unwrap()
}

/// A whole attempt: one epoch, committed.
fn run(sink: &DeltaSink, epoch: u64) -> Result<(), SinkError> {
    let mut committer = sink.committer()?;
    let outputs = stage(sink, epoch, 5)?;
    committer.commit(&manifest(epoch, 1, outputs))
}

/// Another writer adds the next version.
fn add_version(store: &MemoryStore, table: &str, actions: &[Value]) {
    let next = delta_reader::actions(store, table).last().map_or(0, |(version, _)| version + 1);
    let lines: String = actions.iter().map(|action| format!("{action}\n")).collect();
    store.put(&format!("{table}/_delta_log/{next:020}.json"), lines.into_bytes()).unwrap();
}

fn change_schema(store: &MemoryStore, table: &str, change: impl FnOnce(&mut Vec<Value>)) {
    let actions = delta_reader::actions(store, table);
    let mut metadata = actions.iter().rev().find_map(|(_, action)| action.get("metaData")).unwrap().clone();
    let mut schema: Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
    change(schema["fields"].as_array_mut().unwrap());
    metadata["schemaString"] = json!(schema.to_string());
    add_version(store, table, &[json!({ "metaData": metadata })]);
}

fn assert_refused(result: Result<(), SinkError>, because: &str) {
    match result {
        Err(SinkError::Refused { reason, .. }) => assert!(reason.contains(because), "{reason}"),
        other => panic!("expected a refusal because of {because:?}, not {other:?}"),
    }
}

#[test]
fn a_table_is_there_before_its_first_row() {
    let partitions = [
        (Table::Agg, json!(["window", "date"])),
        (Table::Late, json!(["date"])),
        (Table::Raw, json!(["date", "hour"])),
    ];
    for (table, expect) in partitions {
        let store = Arc::new(MemoryStore::new());
        let sink = DeltaSink::new(table, config(), store.clone());
        sink.committer().unwrap();
        sink.committer().unwrap();
        let actions = delta_reader::actions(store.as_ref(), table.name());
        let find = |kind: &str| actions.iter().filter_map(|(_, action)| action.get(kind)).collect::<Vec<_>>();
        assert_eq!(find("protocol"), [&json!({ "minReaderVersion": 1, "minWriterVersion": 2 })]);
        let [metadata] = find("metaData")[..] else { panic!("one schema") };
        assert_eq!(metadata["partitionColumns"], expect);
        assert_eq!(actions.last().unwrap().0, 0);
    }
}

#[test]
fn what_the_log_says_of_a_file_is_true() {
    for table in [Table::Agg, Table::Late, Table::Raw] {
        let store = Arc::new(MemoryStore::new());
        let sink = DeltaSink::new(table, config(), store.clone());
        let mut committer = sink.committer().unwrap();
        let outputs = stage(&sink, 7, 500).unwrap();
        committer.commit(&manifest(7, 1, outputs)).unwrap();
        let files = delta_reader::files(store.as_ref(), table.name());
        assert!(files.len() > 2);
        for file in &files {
            check_stats(file);
            check_order(file);
            check_tags(file, table);
            let entry = |key: &str| file.footer[key].as_str();
            assert_eq!(entry("weir.epoch"), "7");
            assert_eq!(entry("weir.offsets"), r#"{"0":[0,500]}"#);
            assert_eq!(entry("weir.version"), env!("CARGO_PKG_VERSION"));
            for (column, value) in &file.partition {
                assert!(file.path.contains(&format!("{column}={value}/")), "{}", file.path);
            }
            assert!(file.path.contains("/part-00000000000000000007-1-0-"), "{}", file.path);
        }
    }
}

fn check_stats(file: &TableFile) {
    let rows: usize = file.batches.iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(file.stats["numRecords"], json!(rows));
    let ads = file.texts("ad_id");
    let min = file.stats["minValues"]["ad_id"].as_str().unwrap();
    assert!(ads.iter().all(|ad| min <= ad.as_str()));
    if let Some(max) = file.stats["maxValues"].get("ad_id") {
        assert!(ads.iter().all(|ad| ad.as_str() <= max.as_str().unwrap()));
    }
    let epochs =
        file.stats["minValues"]["epoch"].as_i64().unwrap()..=file.stats["maxValues"]["epoch"].as_i64().unwrap();
    assert_eq!(epochs, 7..=7);
}

fn check_tags(file: &TableFile, table: Table) {
    assert_eq!(file.tags["weir.sha256"], json!(file.sha256));
    if table == Table::Agg {
        assert_eq!(file.tags.get("weir.rows"), None);
        return;
    }
    let mut rows: BTreeMap<String, u64> = BTreeMap::new();
    for column in file.batches.iter().map(|batch| batch.column_by_name("partition").unwrap()) {
        for partition in column.as_primitive::<Int32Type>().values() {
            *rows.entry(partition.to_string()).or_default() += 1;
        }
    }
    let told: BTreeMap<String, u64> = serde_json::from_str(file.tags["weir.rows"].as_str().unwrap()).unwrap();
    assert_eq!(told, rows);
}

fn check_order(file: &TableFile) {
    let ads = file.texts("ad_id");
    let times = file.times(if file.partition.contains_key("window") { "window_start" } else { "event_time" });
    let rows: Vec<(&String, &i64)> = ads.iter().zip(&times).collect();
    assert!(rows.is_sorted(), "{:?}", file.path);
}

#[test]
fn another_writers_versions_are_left_alone() {
    let store = Arc::new(MemoryStore::new());
    let sink = raw(config(), &store);
    let mut committer = sink.committer().unwrap();
    let first = manifest(1, 1, stage(&sink, 1, 5).unwrap());
    committer.commit(&first).unwrap();
    add_version(&store, "clicks_raw", &[json!({ "commitInfo": { "operation": "OPTIMIZE" } })]);
    add_version(&store, "clicks_raw", &[json!({ "txn": { "appId": "another job", "version": 99 } })]);
    let second = manifest(2, 1, stage(&sink, 2, 5).unwrap());
    committer.commit(&second).unwrap();
    committer.commit(&second).unwrap();
    committer.commit(&first).unwrap();
    assert_eq!(delta_reader::rows(store.as_ref(), "clicks_raw").len(), 10);
    assert_eq!(delta_reader::actions(store.as_ref(), "clicks_raw").last().unwrap().0, 4);
}

#[test]
fn a_schema_that_does_not_fit_is_refused() {
    let check = |change: fn(&mut Vec<Value>), because: Option<&str>| {
        let store = Arc::new(MemoryStore::new());
        run(&raw(config(), &store), 1).unwrap();
        let sink = raw(config(), &store);
        let mut committer = sink.committer().unwrap();
        let outputs = stage(&sink, 2, 5).unwrap();
        change_schema(&store, "clicks_raw", change);
        let running = committer.commit(&manifest(2, 1, outputs));
        let restarted = raw(config(), &store).committer().map(drop);
        match because {
            None => {
                running.unwrap();
                restarted.unwrap();
            }
            Some(because) => {
                assert_refused(running, because);
                assert_refused(restarted, because);
            }
        }
    };
    check(|fields| fields.push(json!({ "name": "m", "type": "double", "nullable": true, "metadata": {} })), None);
    check(
        |fields| fields.push(json!({ "name": "m", "type": "double", "nullable": false, "metadata": {} })),
        Some("column m is new"),
    );
    check(|fields| fields.retain(|field| field["name"] != "user_id"), Some("column user_id is gone"));
    check(|fields| fields[2]["type"] = json!("string"), Some("column timestamp is \"string\" instead of long"));
    check(|fields| fields[3]["nullable"] = json!(false), Some("column click_id may not be null"));
    check(|fields| fields[0]["metadata"] = json!({ "delta.invariants": "{}" }), Some("column ad_id has an invariant"));
}

#[test]
fn a_protocol_that_is_not_understood_is_refused() {
    let store = Arc::new(MemoryStore::new());
    run(&raw(config(), &store), 1).unwrap();
    add_version(&store, "clicks_raw", &[json!({ "protocol": { "minReaderVersion": 3, "minWriterVersion": 7 } })]);
    assert_refused(run(&raw(config(), &store), 2), "reader 3 and writer 7");
}

#[test]
fn a_job_that_lost_its_checkpoints_is_refused_before_it_loses_rows() {
    let store = Arc::new(MemoryStore::new());
    run(&raw(config(), &store), 5).unwrap();
    assert_refused(run(&raw(config(), &store), 5), "epoch 5 of this job already");
    assert_refused(run(&raw(config(), &store), 3), "checkpoints");
    run(&raw(DeltaConfig { job: "another".to_owned(), ..config() }, &store), 3).unwrap();
}

#[test]
fn unknown_fields_can_be_kept_from_any_day_on() {
    let store = Arc::new(MemoryStore::new());
    let columns = |store: &MemoryStore| {
        let files = delta_reader::files(store, "clicks_raw");
        files.iter().filter(|file| file.batches[0].column_by_name("extra").is_some()).count()
    };
    run(&raw(config(), &store), 1).unwrap();
    assert_eq!(columns(&store), 0);
    run(&raw(DeltaConfig { extra: true, ..config() }, &store), 2).unwrap();
    let with_extra = columns(&store);
    assert!(with_extra > 0);
    run(&raw(config(), &store), 3).unwrap();
    assert_eq!(columns(&store), with_extra);
    let actions = delta_reader::actions(store.as_ref(), "clicks_raw");
    let ids: Vec<&Value> = actions.iter().filter_map(|(_, action)| Some(&action.get("metaData")?["id"])).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1], "it is still the same table");
}

/// A job that goes on with a newer version of Weir repeats the commit of a manifest that the older one wrote.
#[test]
fn a_manifest_without_hashes_is_committed_without_tags() {
    let store = Arc::new(MemoryStore::new());
    let sink = raw(config(), &store);
    let mut outputs = stage(&sink, 1, 5).unwrap();
    for output in &mut outputs {
        let details = output.details.as_object_mut().unwrap();
        assert!(details.remove("sha256").is_some() && details.remove("rows_by_partition").is_some());
    }
    sink.committer().unwrap().commit(&manifest(1, 1, outputs)).unwrap();
    let files = delta_reader::files(store.as_ref(), "clicks_raw");
    assert!(!files.is_empty() && files.iter().all(|file| file.tags.is_null()));
}

#[test]
fn a_log_goes_on_from_its_checkpoint_when_its_start_is_cleaned_up() {
    let store = Arc::new(MemoryStore::new());
    let sink = raw(config(), &store);
    let mut committer = sink.committer().unwrap();
    let mut newest = None;
    for epoch in 1..=205 {
        let manifest = manifest(epoch, 1, stage_more(&store, epoch));
        committer.commit(&manifest).unwrap();
        newest = Some(manifest);
    }
    let name = |file: &str| format!("clicks_raw/_delta_log/{file}");
    let hint = store.get(&name("_last_checkpoint")).unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&hint).unwrap()["version"], json!(200));
    for version in 0..200 {
        store.delete(&name(&format!("{version:020}.json"))).unwrap();
    }
    let versions = |store: &MemoryStore| store.list(&name("")).unwrap().len();
    let before = versions(&store);
    let check = || {
        let mut committer = raw(config(), &store).committer().unwrap();
        committer.commit(newest.as_ref().unwrap()).unwrap();
        assert_eq!(versions(&store), before, "a commit was repeated");
    };
    check();
    store.put(&name("_last_checkpoint"), b"damaged".to_vec()).unwrap();
    check();
    store.delete(&name("_last_checkpoint")).unwrap();
    raw(config(), &store).committer().unwrap().commit(newest.as_ref().unwrap()).unwrap();
    run(&raw(config(), &store), 206).unwrap();
    for version in 200..=206 {
        assert!(store.get(&name(&format!("{version:020}.json"))).unwrap().is_some());
    }
}

/// One file for each epoch, by a worker of its own process.
fn stage_more(store: &Arc<MemoryStore>, epoch: u64) -> Vec<OutputPart> {
    stage(&raw(DeltaConfig { job: "nobody".to_owned(), ..config() }, store), epoch, 1).unwrap()
}
