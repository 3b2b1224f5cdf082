//! Data files of tables: footers, page indexes, bloom filters, pages.
//!
//! ```text
//!   0 │ a file of clicks_agg      1 │ a file of clicks_raw      the log says its size and nothing of its values
//! ```
//!
//! - A file is read or refused, and no part of it twice: what is found of one ad is part of what is found of all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use weir_checkpoints::{Attempt, Epoch, Offset, PartitionId, Store, WorkerIndex};
use weir_dataflow::{Click, ClickRow, Cut, Row, SinkFactory, TopQuery, Window, WindowQuery, WindowRow, WorkerContext};

use crate::delta::{AdTrace, ClicksOf, ClicksTable, DeltaConfig, DeltaReader, DeltaReaderLimits, DeltaSink, Table};
use crate::memory::MemoryStore;

const DAY_MS: i64 = 1_736_899_200_000;
const AD: &str = "ad-0003";

/// See the module.
pub fn check(data: &[u8]) {
    let Some((&kind, file)) = data.split_first() else { return };
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    if kind.is_multiple_of(2) {
        put(store.as_ref(), "clicks_agg", r#""window":"1h","date":"2025-01-15""#, file);
        check_windows(&store);
    } else {
        put(store.as_ref(), "clicks_raw", r#""date":"2025-01-15","hour":"0""#, file);
        check_clicks(&store);
    }
}

/// A table of one file.
fn put(store: &dyn Store, table: &str, partition: &str, file: &[u8]) {
    let version = format!(
        r#"{{"add":{{"path":"file","partitionValues":{{{partition}}},"size":{},"modificationTime":1,"dataChange":true}}}}"#,
        file.len()
    );
    for (name, bytes) in [("_delta_log/00000000000000000000.json", version.as_bytes()), ("file", file)] {
        store.put(&format!("{table}/{name}"), bytes.to_vec()).expect("memory takes it");
    }
}

fn check_windows(store: &Arc<dyn Store>) {
    let limits = DeltaReaderLimits {
        cache_bytes: 1 << 20,
        query_bytes: 1 << 20,
        refresh_interval: Duration::ZERO,
        parallel_reads: 0,
    };
    let reader = DeltaReader::open(Arc::clone(store), limits);
    let all = WindowQuery {
        ads: Vec::new(),
        window: Window::OneHour,
        start_ms: DAY_MS,
        end_ms: DAY_MS + 86_400_000,
        region: None,
        sketches: true,
    };
    let of_one =
        WindowQuery { ads: vec![AD.into()], end_ms: DAY_MS + 7_200_000, region: Some("eu-1".into()), ..all.clone() };
    let _ = reader.top(&TopQuery { window: Window::OneHour, start_ms: DAY_MS, region: None, limit: 3 });
    let found = reader.windows(&of_one);
    if let (Ok(found), Ok(every)) = (found, reader.windows(&all)) {
        assert!(
            found.iter().all(|row| *row.ad_id == *AD && row.start_ms < of_one.end_ms),
            "a row that nobody asked for"
        );
        let alone = found.iter().find(|row| !every.contains(row));
        assert!(alone.is_none(), "a row of one ad is not among those of all: {alone:?} {every:?}");
    }
}

fn check_clicks(store: &Arc<dyn Store>) {
    let trace = AdTrace::new(Arc::clone(store), "file:");
    let of = ClicksOf { ad_id: AD, from_ms: DAY_MS, until_ms: DAY_MS + 3_600_000 };
    let _ = trace.clicks(ClicksTable::Archive, &of, None, |copy| assert_eq!(copy.click.ad_id, AD));
}

/// Files that our own writer makes, and some of others: version 1 and 2 of the pages, plain, dictionaries and deltas, not
/// compressed so that a changed byte is a changed value.
pub fn seeds() -> Vec<Vec<u8>> {
    let own = [(0, Table::Agg), (1, Table::Raw)].map(|(kind, table)| [vec![kind], own_file(table)].concat());
    let plain = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_data_page_row_count_limit(8)
        .set_write_batch_size(8)
        .set_column_bloom_filter_enabled(ColumnPath::from("ad_id"), true)
        .set_column_bloom_filter_max_ndv(ColumnPath::from("ad_id"), 8);
    let others = [
        plain.clone().set_dictionary_enabled(false),
        plain.clone().set_dictionary_enabled(true),
        plain.clone().set_writer_version(WriterVersion::PARQUET_2_0).set_dictionary_enabled(true),
        plain
            .clone()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_dictionary_enabled(false)
            .set_column_encoding(ColumnPath::from("ad_id"), Encoding::DELTA_BYTE_ARRAY)
            .set_column_encoding(ColumnPath::from("user_sketch"), Encoding::DELTA_LENGTH_BYTE_ARRAY)
            .set_column_encoding(ColumnPath::from("window_start"), Encoding::DELTA_BINARY_PACKED),
        plain.clone().set_compression(Compression::SNAPPY),
        plain.set_compression(Compression::ZSTD(ZstdLevel::default())).set_offset_index_disabled(true),
    ];
    let files = others.into_iter().flat_map(|properties| {
        let properties = properties.build();
        [(0, windows()), (1, clicks())].map(|(kind, rows)| [vec![kind], file(&rows, &properties)].concat())
    });
    own.into_iter().chain(files).collect()
}

fn file(rows: &RecordBatch, properties: &WriterProperties) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties.clone())).expect("the rows can be written");
    writer.write(rows).and_then(|()| writer.close()).expect("memory takes them");
    bytes
}

const ROWS: i64 = 24;

fn ad_ids() -> ArrayRef {
    Arc::new((0..ROWS).map(|row| Some(format!("ad-{:04}", row / 4))).collect::<StringArray>())
}

fn regions() -> ArrayRef {
    Arc::new((0..ROWS).map(|row| [None, Some("eu-1")][row as usize % 2]).collect::<StringArray>())
}

fn times(step_ms: i64) -> ArrayRef {
    let times = (0..ROWS).map(|row| (DAY_MS + row % 4 * step_ms) * 1000);
    Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
}

fn numbers(of: impl Fn(i64) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values((0..ROWS).map(of)))
}

fn windows() -> RecordBatch {
    let sketches = BinaryArray::from_iter_values((0..ROWS).map(|row| vec![row as u8; row as usize % 5]));
    let columns = [
        ("ad_id", ad_ids(), false),
        ("window_start", times(3_600_000), false),
        ("click_count", numbers(|row| row), false),
        ("unique_users", numbers(|_| 1), false),
        ("region", regions(), true),
        ("epoch", numbers(|row| row / 9), false),
        ("user_sketch", Arc::new(sketches) as ArrayRef, false),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

fn clicks() -> RecordBatch {
    let ids: StringArray = (0..ROWS).map(|row| Some(format!("click-{row}")).filter(|_| row % 3 > 0)).collect();
    let texts = |text: &'static str| Arc::new((0..ROWS).map(|_| Some(text)).collect::<StringArray>()) as ArrayRef;
    let columns = [
        ("ad_id", ad_ids(), false),
        ("user_id", texts("user-7"), false),
        ("timestamp", numbers(|row| DAY_MS / 1000 + row % 4), false),
        ("event_time", times(1_000), false),
        ("click_id", Arc::new(ids) as ArrayRef, true),
        ("ip_address", texts("192.0.2.1"), true),
        ("user_agent", texts("agent"), true),
        ("topic", texts("clicks"), false),
        ("partition", numbers(|_| 0), false),
        ("offset", numbers(|row| row), false),
        ("epoch", numbers(|row| row / 9), false),
        ("region", regions(), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

fn own_file(table: Table) -> Vec<u8> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let config = DeltaConfig { target_file_bytes: 0, ..DeltaConfig::new("fuzzed", "clicks") };
    let worker = WorkerContext { worker: WorkerIndex(0), workers: 1, attempt: Attempt(1) };
    let mut sink = DeltaSink::new(table, config, Arc::clone(&store)).open(worker).expect("a sink of a new table opens");
    let names: HashMap<i64, String> = (0..ROWS).map(|row| (row, format!("ad-{:04}", row / 4))).collect();
    for row in 0..ROWS {
        let (ad_id, region) = (names[&row].as_str(), [None, Some("eu-1")][row as usize % 2]);
        let written = match table {
            Table::Agg => sink.write(Row::Window(WindowRow {
                ad_id,
                region,
                window: Window::OneHour,
                start_ms: DAY_MS + row % 4 * 3_600_000,
                click_count: row as u64,
                unique_users: 1,
                user_sketch: b"sketch",
                epoch: Epoch(1),
            })),
            Table::Late | Table::Raw => sink.write(Row::Archive(ClickRow {
                click: Click {
                    ad_id,
                    user_id: "user-7",
                    timestamp: DAY_MS / 1000 + row % 4,
                    click_id: Some("click").filter(|_| row % 3 > 0),
                    ip_address: Some("192.0.2.1"),
                    user_agent: None,
                },
                extra: None,
                region,
                partition: PartitionId(0),
                offset: Offset(row as u64),
                epoch: Epoch(1),
            })),
        };
        written.expect("the sink takes its rows");
    }
    let staging = sink.stage(&Cut { epoch: Epoch(1), last: true, offsets: Vec::new() }).expect("rows can be staged");
    let staged = staging().expect("memory takes files");
    let name = staged.outputs.first().map(|output| output.name.clone()).unwrap_or_default();
    let named = store.get(&name).ok().flatten();
    named.or_else(|| store.get(&format!("{}/{name}", table.name())).ok().flatten()).expect("the file is there")
}
