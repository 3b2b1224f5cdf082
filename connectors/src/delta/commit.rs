//! Showing what a manifest lists: one version of the log for each.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use weir_checkpoints::{Manifest, OutputPart, Store};
use weir_dataflow::{Committer, SinkError};

use super::actions::{Action, Add, Format, Metadata, Txn};
use super::checkpoint;
use super::details::Details;
use super::log::{Log, PROTOCOL};
use super::table::{Column, Table, delta_schema, partition_columns};
use super::{Clock, DeltaConfig, failed, refused};

/// Readers start from a checkpoint, so that they need not read more versions than this.
const CHECKPOINT_EVERY: u64 = 100;

/// A table's committer.
pub(super) struct TableCommitter {
    log: Log,
    columns: Vec<Column>,
}

impl TableCommitter {
    /// Reads the table's log; creates the table where there is none, so that readers find it before its first row.
    pub(super) fn open(table: Table, config: &DeltaConfig, store: Arc<dyn Store>) -> Result<Self, SinkError> {
        let columns = table.columns(config.extra);
        let mut log = Log::open(store, table.name(), &config.job)?;
        log.append(|log| plan_schema(log, &columns, &config.clock))?;
        Ok(Self { log, columns })
    }
}

/// Writes a checkpoint of a log that has grown enough since the last one. A failure loses nothing: readers start from the
/// checkpoint before, and the next commit tries again.
pub(super) fn checkpoint_if_due(log: &mut Log) {
    let since = log.checkpoint.as_ref().map_or(0, |files| files.version);
    if log.version.is_some_and(|version| version < since + CHECKPOINT_EVERY) {
        return;
    }
    if let Err(error) = checkpoint::write(log) {
        tracing::warn!(table = log.table, %error, "could not write a checkpoint of the table's log");
    }
}

impl Committer for TableCommitter {
    fn commit(&mut self, manifest: &Manifest) -> Result<(), SinkError> {
        let outputs = manifest.outputs.iter().filter(|output| output.sink == self.log.table);
        let adds = outputs.map(|output| add_of(output, manifest.written_ms));
        let adds = adds.collect::<Result<Vec<Add>, SinkError>>()?;
        if adds.is_empty() {
            return Ok(());
        }
        let columns = &self.columns;
        self.log.append(|log| {
            if log.committed >= Some(manifest.epoch.0) {
                return Ok(None);
            }
            missing_columns(log, columns)?;
            Ok(Some(commit_actions(log, manifest, &adds)))
        })?;
        checkpoint_if_due(&mut self.log);
        Ok(())
    }
}

/// A file of a manifest, as the log names it.
pub(super) fn add_of(output: &OutputPart, written_ms: i64) -> Result<Add, SinkError> {
    let table = output.sink.as_str();
    let foreign =
        |reason: String| refused(table, format!("`{}` in the manifest is no file of it: {reason}", output.name));
    let details = Details::deserialize(&output.details).map_err(|error| foreign(error.to_string()))?;
    let path = output.name.strip_prefix(table).and_then(|name| name.strip_prefix('/'));
    Ok(Add {
        path: path.ok_or_else(|| foreign("it lies elsewhere".to_owned()))?.to_owned(),
        tags: details.tags().map_err(|error| foreign(error.to_string()))?,
        partition_values: details.partition,
        size: output.size_bytes as i64,
        modification_time: written_ms,
        data_change: true,
        stats: Some(details.stats.to_string()),
    })
}

fn commit_actions(log: &Log, manifest: &Manifest, adds: &[Add]) -> Vec<Action> {
    let epoch = manifest.epoch.0;
    let parameters = json!({ "outputMode": "Append", "queryId": log.job, "epochId": epoch.to_string() });
    let info = commit_info("STREAMING UPDATE", parameters, manifest.written_ms, true);
    let txn = Txn { app_id: log.job.clone(), version: epoch as i64, last_updated: Some(manifest.written_ms) };
    [info, txn.into()].into_iter().chain(adds.iter().cloned().map(Action::from)).collect()
}

/// `blind` says that the commit depends on nothing that was read from the table.
pub(super) fn commit_info(operation: &str, parameters: Value, now_ms: i64, blind: bool) -> Action {
    let info = json!({
        "timestamp": now_ms,
        "operation": operation,
        "operationParameters": parameters,
        "isBlindAppend": blind,
        "engineInfo": concat!("weir/", env!("CARGO_PKG_VERSION")),
    });
    Action { commit_info: Some(info), ..Action::default() }
}

/// What is to be done before rows can be added: create the table, or give it columns of ours that it does not have.
pub(super) fn plan_schema(log: &Log, columns: &[Column], clock: &Clock) -> Result<Option<Vec<Action>>, SinkError> {
    let Some(metadata) = &log.metadata else {
        return Ok(Some(vec![
            commit_info("CREATE TABLE", json!({}), clock(), true),
            PROTOCOL.into(),
            new_metadata(log.table, columns, clock()).into(),
        ]));
    };
    let missing = missing_columns(log, columns)?;
    if missing.is_empty() {
        return Ok(None);
    }
    let schema_string = with_columns(metadata, &missing).map_err(|error| failed(log.table, "add columns", error))?;
    let info = commit_info("ADD COLUMNS", json!({}), clock(), true);
    Ok(Some(vec![info, Metadata { schema_string, ..metadata.clone() }.into()]))
}

fn new_metadata(table: &str, columns: &[Column], now_ms: i64) -> Metadata {
    Metadata {
        id: new_id(now_ms),
        name: Some(table.to_owned()),
        description: None,
        format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
        schema_string: delta_schema(columns).to_string(),
        partition_columns: partition_columns(columns),
        created_time: Some(now_ms),
        configuration: BTreeMap::new(),
    }
}

/// A number that nobody else has had: `RandomState` takes its keys from the operating system.
pub(super) fn new_number(now_ms: i64) -> u128 {
    let random = RandomState::new();
    let (high, low) = (random.hash_one((now_ms, 1)), random.hash_one((now_ms, 2)));
    (u128::from(high) << 64) | u128::from(low)
}

/// A random UUID.
fn new_id(now_ms: i64) -> String {
    let number = new_number(now_ms);
    let version_4 = (number & !(0xf << 76) & !(0b11 << 62)) | (0x4 << 76) | (0b10 << 62);
    let hex = format!("{version_4:032x}");
    let (a, rest) = hex.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// A table's schema, as far as it matters here.
#[derive(Deserialize)]
struct TableSchema {
    fields: Vec<TableField>,
}

#[derive(Deserialize)]
struct TableField {
    name: String,
    #[serde(rename = "type")]
    kind: Value,
    nullable: bool,
    #[serde(default)]
    metadata: BTreeMap<String, Value>,
}

/// Our columns that the table does not have and may be given. Fails where our rows do not fit into it.
pub(super) fn missing_columns(log: &Log, columns: &[Column]) -> Result<Vec<Column>, SinkError> {
    let Some(metadata) = &log.metadata else { return Ok(columns.to_vec()) };
    let unfit =
        |reason: String| refused(log.table, format!("the table's schema has changed: {reason}; undo the change"));
    let schema: TableSchema =
        serde_json::from_str(&metadata.schema_string).map_err(|error| unfit(error.to_string()))?;
    let partitioned = partition_columns(columns);
    if metadata.partition_columns != partitioned {
        return Err(unfit(format!("it is partitioned by {:?} instead of {partitioned:?}", metadata.partition_columns)));
    }
    for field in &schema.fields {
        let ours = columns.iter().find(|column| column.name == field.name);
        check_field(field, ours).map_err(unfit)?;
    }
    let is_missing = |column: &&Column| !schema.fields.iter().any(|field| field.name == column.name);
    let missing: Vec<Column> = columns.iter().filter(is_missing).copied().collect();
    match missing.iter().find(|column| !column.nullable) {
        Some(column) => Err(unfit(format!("column {} is gone", column.name))),
        None => Ok(missing),
    }
}

/// The names of a table's columns, those of other writers among them.
pub(super) fn column_names(metadata: &Metadata) -> Result<Vec<String>, serde_json::Error> {
    let schema: TableSchema = serde_json::from_str(&metadata.schema_string)?;
    Ok(schema.fields.into_iter().map(|field| field.name).collect())
}

fn check_field(field: &TableField, ours: Option<&Column>) -> Result<(), String> {
    let name = &field.name;
    if field.metadata.contains_key("delta.invariants") {
        return Err(format!("column {name} has an invariant"));
    }
    match ours {
        Some(column) if field.kind != column.kind.delta() => {
            Err(format!("column {name} is {} instead of {}", field.kind, column.kind.delta()))
        }
        Some(column) if column.nullable && !field.nullable => Err(format!("column {name} may not be null any more")),
        None if !field.nullable => Err(format!("column {name} is new and may not be null")),
        Some(_) | None => Ok(()),
    }
}

fn with_columns(metadata: &Metadata, missing: &[Column]) -> Result<String, serde_json::Error> {
    let mut schema: Value = serde_json::from_str(&metadata.schema_string)?;
    if let Some(fields) = schema.get_mut("fields").and_then(Value::as_array_mut) {
        fields.extend(missing.iter().map(Column::delta_field));
    }
    Ok(schema.to_string())
}
