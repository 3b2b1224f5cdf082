//! The rows that a table holds back, which lie packed in the state of a checkpoint.
//!
//! ```text
//!   which table │ header length u64 │ header, JSON │ chunk │ chunk │ …        unpacked: the checks of zstd would hide it
//! ```
//!
//! - What is understood can be handed out, and written into a file as if it had just come in.

use std::sync::Arc;

use weir_checkpoints::{
    Attempt, Epoch, GroupRange, GroupSet, Manifest, Offset, PartWriter, PartitionId, Sequence, StatePart, Store,
    WorkerIndex,
};
use weir_dataflow::{
    Carried, Click, ClickRow, Cut, LateReason, Row, Sink, SinkFactory, Window, WindowRow, WorkerContext, carried_kind,
};

use crate::delta::{ClicksTable, DeltaConfig, DeltaSink, Table, held_back, held_back_clicks};
use crate::memory::MemoryStore;

const TABLES: [Table; 3] = [Table::Agg, Table::Late, Table::Raw];
const MAGIC: &[u8] = b"weirrows";
const PART: &str = "part";

/// See the module.
pub fn check(data: &[u8]) {
    let Some((&table, body)) = data.split_first() else { return };
    let table = TABLES[usize::from(table) % TABLES.len()];
    let packed = zstd::bulk::compress(body, 1).expect("it can be compressed");
    let carried = [MAGIC, &packed].concat();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let manifest = manifest(table, store.as_ref(), carried.clone());
    let mut rows = 0;
    let handed_out = match table {
        Table::Agg => held_back(store.as_ref(), &manifest, |_| rows += 1),
        Table::Late => held_back_clicks(store.as_ref(), &manifest, ClicksTable::Late, |_| rows += 1),
        Table::Raw => held_back_clicks(store.as_ref(), &manifest, ClicksTable::Archive, |_| rows += 1),
    };
    let mut sink = open(table, &store);
    let restored = sink.restore(&carried);
    assert_eq!(restored.is_ok(), handed_out.is_ok(), "{restored:?}, {handed_out:?}");
    if restored.is_ok() {
        let _ = stage(sink.as_mut(), true);
    }
}

fn open(table: Table, store: &Arc<dyn Store>) -> Box<dyn Sink> {
    let config = DeltaConfig { clock: Arc::new(|| 1_736_952_000_000), ..DeltaConfig::new("fuzzed", "clicks") };
    let worker = WorkerContext { worker: WorkerIndex(0), workers: 1, attempt: Attempt(1) };
    DeltaSink::new(table, config, Arc::clone(store)).open(worker).expect("a sink of a new table opens")
}

fn stage(sink: &mut dyn Sink, last: bool) -> Option<Carried> {
    let offsets = vec![(PartitionId(0), Offset(1), Offset(9))];
    let staging = sink.stage(&Cut { epoch: Epoch(2), last, offsets }).ok()?;
    Some(staging().ok()?.carried)
}

fn manifest(table: Table, store: &dyn Store, carried: Vec<u8>) -> Manifest {
    let mut part = PartWriter::new(GroupRange::ALL);
    *part.group(0).expect("the part is for all groups") = carried;
    let bytes = part.finish().expect("a part can be written");
    let size_bytes = bytes.len() as u64;
    store.put(PART, bytes).expect("memory takes it");
    Manifest {
        sequence: Sequence(1),
        epoch: Epoch(1),
        written_ms: 1_736_952_000_000,
        state: vec![StatePart {
            name: PART.to_owned(),
            kind: carried_kind(table.name()),
            epoch: Epoch(1),
            attempt: Attempt(1),
            worker: WorkerIndex(0),
            size_bytes,
            groups: GroupSet::of(GroupRange::ALL),
            expires_ms: None,
        }],
        ..Manifest::first("fuzzed")
    }
}

/// What the sinks carry over of some rows.
pub fn seeds() -> Vec<Vec<u8>> {
    (0..).zip(TABLES).map(|(number, table)| [vec![number], unpacked(table)].concat()).collect()
}

fn unpacked(table: Table) -> Vec<u8> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut sink = open(table, &store);
    for number in 0..4 {
        sink.write(row(table, number)).expect("the sink takes its rows");
    }
    let Some(Carried::More(carried)) = stage(sink.as_mut(), false) else { panic!("a few rows are held back") };
    let packed = carried.strip_prefix(MAGIC).expect("rows that were carried over");
    zstd::decode_all(packed).expect("it was compressed a moment before")
}

fn row(table: Table, number: u64) -> Row<'static> {
    let (ad_id, region) = (["ad-1", "ad-ü"][number as usize % 2], [None, Some("eu-1")][number as usize / 2]);
    let click = ClickRow {
        click: Click {
            ad_id,
            user_id: "user-7",
            timestamp: 1_736_952_000 + number as i64,
            click_id: Some("c").filter(|_| number > 0),
            ip_address: Some("192.0.2.1"),
            user_agent: None,
        },
        extra: None,
        region,
        partition: PartitionId(0),
        offset: Offset(number),
        epoch: Epoch(1),
    };
    match table {
        Table::Raw => Row::Archive(click),
        Table::Late => Row::Late(click, [LateReason::Late, LateReason::Future][number as usize % 2]),
        Table::Agg => Row::Window(WindowRow {
            ad_id,
            region,
            window: Window::ALL[number as usize % 3],
            start_ms: 1_736_949_600_000,
            click_count: number,
            unique_users: 1,
            user_sketch: b"sketch",
            epoch: Epoch(1),
        }),
    }
}
