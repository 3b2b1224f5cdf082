//! All closed windows that a job has handed to `clicks_agg`: those in the table's files, and those that wait for one.
//!
//! ```text
//!   newest manifest ──┬─ rows carried over ──────────────┐
//!                     └─ files it lists ──┐              ├─▶ every window that closed by its epoch
//!   table's log ─────── files in it ──────┴─ each once ──┘
//! ```
//!
//! A window may be seen twice: it was carried over when the manifest was read, and in a file when the log was.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use weir_checkpoints::{Epoch, GroupRange, Manifest, PartReader, Store};
use weir_dataflow::{SinkError, Window, WindowRow, carried_kind};

use super::held::Held;
use super::log::Log;
use super::windows::WindowChunk;
use super::{Table, checkpoint, failed, refused};

const TABLE: &str = Table::Agg.name();

/// A data file of `clicks_agg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowFile {
    name: String,
    window: Window,
    /// Its size.
    pub size_bytes: u64,
}

/// The files that are in the table now or will be with the manifest's commit, in the order of their names.
pub fn window_files(
    tables: &Arc<dyn Store>,
    job: &str,
    manifest: Option<&Manifest>,
) -> Result<Vec<WindowFile>, SinkError> {
    let log = Log::open(Arc::clone(tables), TABLE, job)?;
    let mut files = BTreeMap::new();
    for add in checkpoint::active(&log)? {
        let window = add.partition_values.get("window").cloned().flatten();
        let name = format!("{TABLE}/{}", add.path);
        files.insert(name, (window, add.size as u64));
    }
    for output in manifest.iter().flat_map(|manifest| &manifest.outputs).filter(|output| output.sink == TABLE) {
        let window = output.details["partition"]["window"].as_str().map(str::to_owned);
        files.insert(output.name.clone(), (window, output.size_bytes));
    }
    let file = |(name, (window, size_bytes)): (String, (Option<String>, u64))| {
        let known = |text: String| Window::ALL.into_iter().find(|window| window.as_str() == text);
        let window = window.and_then(known).ok_or_else(|| refused(TABLE, format!("`{name}` is of no known window")))?;
        Ok(WindowFile { name, window, size_bytes })
    };
    files.into_iter().map(file).collect()
}

/// Visits the rows of a file.
pub fn visit_file(
    tables: &dyn Store,
    file: &WindowFile,
    mut visit: impl FnMut(WindowRow<'_>),
) -> Result<(), SinkError> {
    let unreadable = |reason: String| refused(TABLE, format!("`{}` cannot be read: {reason}", file.name));
    let bytes = tables.get(&file.name).map_err(|error| failed(TABLE, "read a file", error))?;
    let bytes = bytes.ok_or_else(|| unreadable("it is in the table's log, but does not exist".to_owned()))?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(Bytes::from(bytes), options);
    let reader = builder.and_then(ParquetRecordBatchReaderBuilder::build);
    for batch in reader.map_err(|error| unreadable(error.to_string()))? {
        let batch = batch.map_err(|error| unreadable(error.to_string()))?;
        visit_batch(&batch, file.window, &mut visit)
            .ok_or_else(|| unreadable("its columns are not those of clicks_agg".to_owned()))?;
    }
    Ok(())
}

/// Visits the rows that were held back when the manifest was written.
pub fn visit_carried(
    checkpoints: &dyn Store,
    manifest: &Manifest,
    mut visit: impl FnMut(WindowRow<'_>),
) -> Result<(), SinkError> {
    let kind = carried_kind(TABLE);
    for part in manifest.state.iter().filter(|part| part.kind == kind) {
        let mut blocks = Vec::new();
        let read = PartReader::open(checkpoints, part)
            .and_then(|reader| reader.read(GroupRange::ALL, |_, block| blocks.push(block.to_vec())));
        read.map_err(|error| failed(TABLE, "read rows that were held back", error))?;
        for block in blocks {
            let chunks = Held::<WindowChunk>::restored(TABLE, &block).and_then(|(held, _)| held.chunks());
            let chunks = chunks.map_err(|reason| refused(TABLE, format!("rows that were held back: {reason}")))?;
            chunks.iter().flat_map(|chunk| chunk.windows()).for_each(&mut visit);
        }
    }
    Ok(())
}

fn visit_batch(batch: &RecordBatch, window: Window, visit: &mut impl FnMut(WindowRow<'_>)) -> Option<()> {
    let column = |name: &str| batch.column_by_name(name);
    let ads = column("ad_id")?.as_string_opt::<i32>()?;
    let regions = column("region")?.as_string_opt::<i32>()?;
    let sketches = column("user_sketch")?.as_binary_opt::<i32>()?;
    let starts = column("window_start")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let number = |name: &str| column(name)?.as_primitive_opt::<Int64Type>();
    let (clicks, users, epochs) = (number("click_count")?, number("unique_users")?, number("epoch")?);
    for row in 0..batch.num_rows() {
        visit(WindowRow {
            ad_id: ads.value(row),
            region: regions.is_valid(row).then(|| regions.value(row)),
            window,
            start_ms: starts.value(row) / 1000,
            click_count: u64::try_from(clicks.value(row)).ok()?,
            unique_users: u64::try_from(users.value(row)).ok()?,
            user_sketch: sketches.value(row),
            epoch: Epoch(u64::try_from(epochs.value(row)).ok()?),
        });
    }
    Some(())
}
