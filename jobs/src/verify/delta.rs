//! Reads a Delta table as any reader would: what its log lists, and nothing else.
//!
//! This is not the code that writes the tables, on purpose: an error there must not hide itself here.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use serde::Deserialize;
use weir_checkpoints::Store;

/// A table's data files, by their paths.
#[derive(Debug, Default)]
pub(super) struct DeltaTable {
    name: &'static str,
    files: BTreeMap<String, DataFile>,
}

#[derive(Debug)]
struct DataFile {
    window: Option<String>,
}

/// A data file, read.
#[derive(Debug)]
pub(super) struct FileFacts {
    /// Its rows.
    pub(super) rows: u64,
    /// The last epoch in it.
    pub(super) epoch: Option<u64>,
}

/// A row of `clicks_agg`, as far as it is compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct AggRow<'a> {
    pub(super) window: &'a str,
    pub(super) ad_id: &'a str,
    pub(super) region: Option<&'a str>,
    pub(super) start_ms: i64,
    pub(super) clicks: u64,
    pub(super) users: u64,
}

#[derive(Deserialize)]
struct Line {
    add: Option<AddLine>,
    remove: Option<RemoveLine>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddLine {
    path: String,
    #[serde(default)]
    partition_values: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize)]
struct RemoveLine {
    path: String,
}

impl DeltaTable {
    /// Reads the whole log; a table that does not exist has no files.
    pub(super) fn open(store: &dyn Store, name: &'static str) -> Result<Self> {
        let mut table = Self { name, ..Self::default() };
        let objects = store.list(&format!("{name}/_delta_log/"))?;
        let versions = objects.iter().filter(|object| object.name.ends_with(".json"));
        for (expected, object) in versions.enumerate() {
            if !object.name.ends_with(&format!("/{expected:020}.json")) {
                bail!("table {name}: version {expected} of the log is missing, there is {} in its place", object.name);
            }
            let bytes = store.get(&object.name)?.with_context(|| format!("{} has vanished", object.name))?;
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
                let parsed = serde_json::from_slice(line).with_context(|| format!("{} cannot be read", object.name))?;
                table.apply(parsed, &object.name)?;
            }
        }
        Ok(table)
    }

    /// How many files it has.
    pub(super) fn files(&self) -> u64 {
        self.files.len() as u64
    }

    /// Looks at every file, but at no row.
    pub(super) fn scan(&self, store: &dyn Store, mut visit: impl FnMut(&str, FileFacts)) -> Result<()> {
        for path in self.files.keys() {
            visit(path, facts(&self.reader(store, path)?));
        }
        Ok(())
    }

    /// Visits every file and every row of `clicks_agg`.
    pub(super) fn rows(
        &self,
        store: &dyn Store,
        mut visit_file: impl FnMut(&str, FileFacts),
        mut visit: impl FnMut(AggRow<'_>),
    ) -> Result<()> {
        for (path, file) in &self.files {
            let Some(window) = file.window.as_deref() else {
                bail!("table {}: file {path} is in no partition `window`", self.name);
            };
            let builder = self.reader(store, path)?;
            visit_file(path, facts(&builder));
            let columns = ["ad_id", "region", "window_start", "click_count", "unique_users"];
            let mask = ProjectionMask::columns(builder.parquet_schema(), columns);
            for batch in builder.with_projection(mask).with_batch_size(8192).build()? {
                let read = batch.with_context(|| format!("{path} cannot be read"))?;
                visit_batch(window, &read, &mut visit).with_context(|| format!("{}/{path}", self.name))?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, line: Line, object: &str) -> Result<()> {
        if let Some(add) = line.add {
            let window = add.partition_values.get("window").cloned().flatten();
            if self.files.insert(add.path.clone(), DataFile { window }).is_some() {
                bail!("table {}: file {} is added a second time by {object}", self.name, add.path);
            }
        }
        if let Some(remove) = line.remove {
            self.files.remove(&remove.path);
        }
        Ok(())
    }

    /// The types are those of the file itself: a hint by its writer about other ones is left out.
    fn reader(&self, store: &dyn Store, path: &str) -> Result<ParquetRecordBatchReaderBuilder<Bytes>> {
        let name = format!("{}/{path}", self.name);
        let bytes = store.get(&name)?.with_context(|| format!("{name} is in the log, but does not exist"))?;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        ParquetRecordBatchReaderBuilder::try_new_with_options(Bytes::from(bytes), options)
            .with_context(|| format!("{name} is no Parquet file"))
    }
}

fn facts(builder: &ParquetRecordBatchReaderBuilder<Bytes>) -> FileFacts {
    let metadata = builder.metadata().file_metadata();
    let pairs = metadata.key_value_metadata().map(Vec::as_slice).unwrap_or_default();
    let epoch = pairs.iter().find(|pair| pair.key == "weir.epoch").and_then(|pair| pair.value.as_deref()?.parse().ok());
    FileFacts { rows: u64::try_from(metadata.num_rows()).unwrap_or_default(), epoch }
}

fn visit_batch(window: &str, batch: &RecordBatch, visit: &mut impl FnMut(AggRow<'_>)) -> Result<()> {
    let column = |name: &str| batch.column_by_name(name).with_context(|| format!("column {name} is missing"));
    let ads = column("ad_id")?.as_string_opt::<i32>().context("column ad_id is no text")?;
    let regions = column("region")?.as_string_opt::<i32>().context("column region is no text")?;
    let starts = column("window_start")?
        .as_primitive_opt::<TimestampMicrosecondType>()
        .context("column window_start is no timestamp in microseconds")?;
    let clicks = column("click_count")?.as_primitive_opt::<Int64Type>().context("column click_count is no int64")?;
    let users = column("unique_users")?.as_primitive_opt::<Int64Type>().context("column unique_users is no int64")?;
    for row in 0..batch.num_rows() {
        visit(AggRow {
            window,
            ad_id: ads.value(row),
            region: regions.is_valid(row).then(|| regions.value(row)),
            start_ms: starts.value(row) / 1000,
            clicks: u64::try_from(clicks.value(row)).context("a click_count is negative")?,
            users: u64::try_from(users.value(row)).context("a unique_users is negative")?,
        });
    }
    Ok(())
}
