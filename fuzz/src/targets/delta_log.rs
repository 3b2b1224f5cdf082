//! Logs of tables: their versions, the hint that names a checkpoint, and checkpoints.
//!
//! ```text
//!   what there is │ version 0 │ 0x1e │ version 1 │ 0x1e │ …       1: the last is the hint   2: the rest is a checkpoint
//! ```
//!
//! - What is understood of a version is written again as the same.
//! - Readers and the writer take a log or refuse it; a commit to one that the writer takes is there once, also when it is
//!   made again.

use std::sync::Arc;
use std::time::Duration;

use weir_checkpoints::{Epoch, Manifest, OutputPart, Sequence, Store};
use weir_dataflow::{SinkFactory, Window, WindowQuery};

use crate::delta::{AdTrace, ClicksOf, ClicksTable, DeltaConfig, DeltaReader, DeltaReaderLimits, DeltaSink};
use crate::memory::MemoryStore;

#[allow(dead_code, reason = "the log has more kinds of actions than are made here")]
#[path = "../../../connectors/src/delta/actions.rs"]
mod actions;

const TABLES: [&str; 2] = ["clicks_agg", "clicks_raw"];
const SEPARATOR: u8 = 0x1e;
const HINT: u8 = 1;
const CHECKPOINT: u8 = 2;

/// See the module.
pub fn check(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let put = |name: &str, bytes: &[u8]| {
        for table in TABLES {
            store.put(&format!("{table}/_delta_log/{name}"), bytes.to_vec()).expect("memory takes it");
        }
    };
    if kind & CHECKPOINT != 0 {
        put("_last_checkpoint", br#"{"version":1,"size":3}"#);
        put("00000000000000000001.checkpoint.parquet", rest);
    } else {
        let mut versions: Vec<&[u8]> = rest.split(|&byte| byte == SEPARATOR).collect();
        if kind & HINT != 0 {
            put("_last_checkpoint", versions.pop().unwrap_or_default());
        }
        for (number, version) in versions.into_iter().enumerate() {
            check_actions(version);
            put(&format!("{number:020}.json"), version);
        }
    }
    read(&store);
    commit(&store);
    read(&store);
}

fn check_actions(version: &[u8]) {
    let Ok(read) = actions::from_lines(version) else { return };
    let written = actions::to_lines(&read).expect("what was read can be written");
    assert_eq!(actions::from_lines(&written).expect("what was written can be read"), read);
}

fn read(store: &Arc<dyn Store>) {
    let limits = DeltaReaderLimits {
        cache_bytes: 1 << 20,
        query_bytes: 1 << 20,
        refresh_interval: Duration::ZERO,
        parallel_reads: 0,
    };
    let reader = DeltaReader::open(Arc::clone(store), limits);
    for window in Window::ALL {
        let query =
            WindowQuery { ads: Vec::new(), window, start_ms: 0, end_ms: i64::MAX, region: None, sketches: true };
        let _ = reader.windows(&query);
        let _ = reader.has_none(&WindowQuery { ads: vec!["ad-1".into()], ..query });
    }
    // A local URL with one core: no thread is started, files are read one after the other.
    let trace = AdTrace::new(Arc::clone(store), "file:");
    let of = ClicksOf { ad_id: "ad-1", from_ms: 0, until_ms: i64::MAX };
    let _ = TABLES.map(|table| trace.rows(table, None));
    let _ = trace.clicks(ClicksTable::Archive, &of, None, |_| ());
}

fn commit(store: &Arc<dyn Store>) {
    let manifest = manifest();
    let versions = || store.list("clicks_agg/_delta_log/").expect("memory can be listed").len();
    let Ok(mut committer) = sink(store).committer() else { return };
    if committer.commit(&manifest).is_err() {
        return;
    }
    let there = versions();
    committer.commit(&manifest).expect("a commit can be made again");
    sink(store).committer().and_then(|mut other| other.commit(&manifest)).expect("and after a crash");
    assert_eq!(versions(), there, "a commit that was made again is there twice");
}

fn sink(store: &Arc<dyn Store>) -> DeltaSink {
    let config = DeltaConfig { clock: Arc::new(|| 1_736_952_000_000), ..DeltaConfig::new("fuzzed", "clicks") };
    DeltaSink::clicks_agg(config, Arc::clone(store))
}

fn manifest() -> Manifest {
    let name = "clicks_agg/window=1m/date=2025-01-15/part-9-1-0-0.zstd.parquet".to_owned();
    let details = serde_json::json!({ "partition": { "window": "1m", "date": "2025-01-15" }, "stats": "{}" });
    Manifest {
        sequence: Sequence(9),
        epoch: Epoch(9),
        written_ms: 1_736_952_000_000,
        outputs: vec![OutputPart { sink: "clicks_agg".to_owned(), name, rows: 1, size_bytes: 4, details }],
        ..Manifest::first("fuzzed")
    }
}

/// The log that our own writer makes of a few commits, with and without a hint, and its checkpoint.
pub fn seeds() -> Vec<Vec<u8>> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut committer = sink(&store).committer().expect("a new table can be made");
    let mut checkpoint = None;
    for epoch in 1..400 {
        committer.commit(&Manifest { epoch: Epoch(epoch), ..manifest() }).expect("a new epoch can be committed");
        let log = store.list("clicks_agg/_delta_log/").expect("memory can be listed");
        checkpoint = log.into_iter().find(|object| object.name.ends_with(".parquet"));
        if checkpoint.is_some() {
            break;
        }
    }
    let get = |name: &str| store.get(name).ok().flatten().unwrap_or_default();
    let version = |number: u64| get(&format!("clicks_agg/_delta_log/{number:020}.json"));
    let checkpoint = checkpoint.map(|object| get(&object.name)).unwrap_or_default();
    let join = |versions: &[Vec<u8>]| versions.join(&SEPARATOR);
    let remove =
        br#"{"remove":{"path":"window=1m/date=2025-01-15/part%209.parquet","deletionTimestamp":1,"dataChange":true}}"#;
    let others = br#"{"txn":{"appId":"fuzzed","version":9,"lastUpdated":7}}
{"commitInfo":{"operation":"OPTIMIZE","metrics":[1,2.5,null]}}
{"cdc":{"path":"x"}}
"#;
    let hint = br#"{"version":1,"size":3,"parts":2,"sizeInBytes":9,"numOfAddFiles":1}"#;
    vec![
        [vec![0], join(&[version(0), version(1), version(2)])].concat(),
        [vec![0], join(&[version(0), version(1), remove.to_vec(), others.to_vec()])].concat(),
        [vec![HINT], join(&[version(0), version(1), hint.to_vec()])].concat(),
        [vec![HINT], join(&[version(0), get("clicks_agg/_delta_log/_last_checkpoint")])].concat(),
        [vec![CHECKPOINT], checkpoint].concat(),
    ]
}
