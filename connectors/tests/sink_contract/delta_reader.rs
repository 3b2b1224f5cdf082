//! A reader of Delta tables that knows only the protocol: it replays the log from version 0 and reads the files.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use weir_checkpoints::{Epoch, Offset, PartitionId, Store, content_hash};
use weir_dataflow::{Click, ClickRow, LateReason, Row, Window, WindowRow};

use crate::rows::describe;

/// A file of a table.
#[derive(Debug, Clone)]
pub(crate) struct TableFile {
    pub(crate) path: String,
    pub(crate) partition: BTreeMap<String, String>,
    pub(crate) stats: Value,
    pub(crate) tags: Value,
    pub(crate) sha256: String,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) footer: BTreeMap<String, String>,
}

impl TableFile {
    /// The values of a column of texts.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let columns = self.batches.iter().map(|batch| batch.column_by_name(name).unwrap().as_string::<i32>());
        columns.flat_map(|column| column.iter().map(|text| text.unwrap().to_owned())).collect()
    }

    /// The values of a column of times, in microseconds.
    pub(crate) fn times(&self, name: &str) -> Vec<i64> {
        let columns = self.batches.iter().map(|batch| batch.column_by_name(name).unwrap());
        columns.flat_map(|column| column.as_primitive::<TimestampMicrosecondType>().values().to_vec()).collect()
    }
}

/// The files of a table's newest version.
pub(crate) fn files(store: &dyn Store, table: &str) -> Vec<TableFile> {
    let mut added: BTreeMap<String, Value> = BTreeMap::new();
    for (version, action) in actions(store, table) {
        if let Some(add) = action.get("add") {
            let path = add["path"].as_str().unwrap().to_owned();
            assert!(added.insert(path.clone(), add.clone()).is_none(), "{path} is added again by version {version}");
        }
        if let Some(remove) = action.get("remove") {
            added.remove(remove["path"].as_str().unwrap());
        }
    }
    added.into_iter().map(|(path, add)| read_file(store, table, path, &add)).collect()
}

/// The actions of all versions. Versions have no gaps.
pub(crate) fn actions(store: &dyn Store, table: &str) -> Vec<(usize, Value)> {
    let mut actions = Vec::new();
    for version in 0.. {
        let Some(bytes) = store.get(&format!("{table}/_delta_log/{version:020}.json")).unwrap() else { break };
        for line in String::from_utf8(bytes).unwrap().lines() {
            actions.push((version, serde_json::from_str(line).unwrap()));
        }
    }
    actions
}

/// All rows of a table, described.
pub(crate) fn rows(store: &dyn Store, table: &str) -> Vec<String> {
    files(store, table)
        .iter()
        .flat_map(|file| file.batches.iter().flat_map(|batch| describe_batch(file, batch)))
        .collect()
}

fn read_file(store: &dyn Store, table: &str, path: String, add: &Value) -> TableFile {
    let bytes = store.get(&format!("{table}/{path}")).unwrap().expect("every added file exists");
    assert_eq!(add["size"].as_u64().unwrap(), bytes.len() as u64);
    let sha256 = content_hash(&bytes);
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
    let footer = reader.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let values = add["partitionValues"].as_object().unwrap();
    TableFile {
        path,
        partition: values.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect(),
        stats: serde_json::from_str(add["stats"].as_str().unwrap()).unwrap(),
        tags: add["tags"].clone(),
        sha256,
        batches: reader.build().unwrap().map(Result::unwrap).collect(),
        footer: footer.into_iter().map(|entry| (entry.key, entry.value.unwrap_or_default())).collect(),
    }
}

fn describe_batch(file: &TableFile, batch: &RecordBatch) -> Vec<String> {
    let is_windows = batch.column_by_name("window_start").is_some();
    (0..batch.num_rows())
        .map(|row| {
            let cells = Cells { batch, row };
            if is_windows { describe_window(file, cells) } else { describe_click(file, cells) }
        })
        .collect()
}

#[derive(Clone, Copy)]
struct Cells<'a> {
    batch: &'a RecordBatch,
    row: usize,
}

impl<'a> Cells<'a> {
    fn text(self, name: &str) -> Option<&'a str> {
        let column = self.batch.column_by_name(name)?.as_string::<i32>();
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    fn long(self, name: &str) -> i64 {
        self.batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(self.row)
    }

    fn time_ms(self, name: &str) -> i64 {
        self.batch.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>().value(self.row) / 1000
    }
}

fn date_of(time_ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(time_ms).unwrap().format("%Y-%m-%d").to_string()
}

fn describe_window(file: &TableFile, cells: Cells<'_>) -> String {
    let window = Window::ALL.into_iter().find(|window| window.as_str() == file.partition["window"]).unwrap();
    let start_ms = cells.time_ms("window_start");
    assert_eq!(cells.time_ms("window_end"), start_ms + window.length_ms());
    assert_eq!(file.partition["date"], date_of(start_ms));
    describe(&Row::Window(WindowRow {
        ad_id: cells.text("ad_id").unwrap(),
        region: cells.text("region"),
        window,
        start_ms,
        click_count: cells.long("click_count") as u64,
        unique_users: cells.long("unique_users") as u64,
        user_sketch: cells.batch.column_by_name("user_sketch").unwrap().as_binary::<i32>().value(cells.row),
        epoch: Epoch(cells.long("epoch") as u64),
    }))
}

fn describe_click(file: &TableFile, cells: Cells<'_>) -> String {
    let partition = cells.batch.column_by_name("partition").unwrap().as_primitive::<Int32Type>().value(cells.row);
    let click = Click {
        ad_id: cells.text("ad_id").unwrap(),
        user_id: cells.text("user_id").unwrap(),
        timestamp: cells.long("timestamp"),
        click_id: cells.text("click_id"),
        ip_address: cells.text("ip_address"),
        user_agent: cells.text("user_agent"),
    };
    let row = ClickRow {
        click,
        extra: cells.text("extra"),
        region: cells.text("region"),
        partition: PartitionId(partition as u32),
        offset: Offset(cells.long("offset") as u64),
        epoch: Epoch(cells.long("epoch") as u64),
    };
    let event_time_ms = cells.time_ms("event_time");
    assert_eq!(event_time_ms, click.event_time_ms());
    assert_eq!(file.partition["date"], date_of(event_time_ms));
    if let Some(hour) = file.partition.get("hour") {
        assert_eq!(hour.parse::<i64>().unwrap(), event_time_ms / 3_600_000 % 24);
    }
    assert_eq!(cells.text("topic"), Some("clicks"));
    match cells.text("reason") {
        None => describe(&Row::Archive(row)),
        Some("late") => describe(&Row::Late(row, LateReason::Late)),
        Some("future") => describe(&Row::Late(row, LateReason::Future)),
        Some(other) => panic!("unknown reason {other}"),
    }
}
