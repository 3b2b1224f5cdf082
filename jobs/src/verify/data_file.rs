//! A data file: what the log or a manifest says of it, and what is in it.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use serde::Deserialize;
use weir_checkpoints::OutputPart;

use super::lineage::Lineage;

/// Rows by source partition.
pub(super) type PartitionRows = BTreeMap<u32, u64>;

/// What is said of a data file. Files of older versions and of other writers have no hash and no rows by partition.
#[derive(Debug, Clone, Default)]
pub(super) struct DataFile {
    /// The values of the partition columns.
    pub(super) partition: BTreeMap<String, Option<String>>,
    pub(super) size: u64,
    /// The epoch whose commit added it; none where that was no commit of the job.
    pub(super) epoch: Option<u64>,
    pub(super) rows: Option<u64>,
    pub(super) rows_by_partition: Option<PartitionRows>,
    pub(super) sha256: Option<String>,
    /// What it was made of, if it is a compacted file.
    pub(super) lineage: Option<Lineage>,
}

/// The file of a table's log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AddLine {
    pub(super) path: String,
    #[serde(default)]
    partition_values: BTreeMap<String, Option<String>>,
    #[serde(default)]
    size: u64,
    #[serde(default = "is_change")]
    pub(super) data_change: bool,
    stats: Option<String>,
    tags: Option<BTreeMap<String, Option<String>>>,
}

/// What a compacted file was made of: the tag in the log, and the entry in the footer.
const LINEAGE: &str = "weir.compacted";

impl AddLine {
    pub(super) fn is_compacted(&self) -> bool {
        self.tag(LINEAGE).is_some()
    }

    fn tag(&self, name: &str) -> Option<&str> {
        self.tags.as_ref()?.get(name)?.as_deref()
    }
}

const fn is_change() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    num_records: Option<u64>,
}

/// The file of a manifest.
#[derive(Deserialize)]
struct Details {
    partition: BTreeMap<String, Option<String>>,
    sha256: Option<String>,
    rows_by_partition: Option<PartitionRows>,
}

impl DataFile {
    /// As a table's log says.
    pub(super) fn of_add(add: AddLine, epoch: Option<u64>) -> Result<Self> {
        let rows_by_partition = add.tag("weir.rows").map(serde_json::from_str).transpose();
        let lineage = add.tag(LINEAGE).map(serde_json::from_str).transpose();
        let stats = add.stats.as_deref().and_then(|stats| serde_json::from_str::<Stats>(stats).ok());
        Ok(Self {
            size: add.size,
            epoch,
            rows: stats.and_then(|stats| stats.num_records),
            rows_by_partition: rows_by_partition
                .with_context(|| format!("the tag weir.rows of {} cannot be read", add.path))?,
            sha256: add.tag("weir.sha256").map(str::to_owned),
            lineage: lineage.with_context(|| format!("the tag {LINEAGE} of {} cannot be read", add.path))?,
            partition: add.partition_values,
        })
    }

    /// As a manifest says.
    pub(super) fn of_output(output: &OutputPart, epoch: u64) -> Result<Self> {
        let details = Details::deserialize(&output.details)?;
        Ok(Self {
            partition: details.partition,
            size: output.size_bytes,
            epoch: Some(epoch),
            rows: Some(output.rows),
            rows_by_partition: details.rows_by_partition,
            sha256: details.sha256,
            lineage: None,
        })
    }

    /// Whether both say the same, as far as both say something.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        fn same<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
            one.as_ref().zip(other.as_ref()).is_none_or(|(one, other)| one == other)
        }
        self.size == other.size
            && self.epoch == other.epoch
            && same(&self.rows, &other.rows)
            && same(&self.rows_by_partition, &other.rows_by_partition)
            && same(&self.sha256, &other.sha256)
    }
}

impl fmt::Display for DataFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.size)?;
        if let Some(epoch) = self.epoch {
            write!(f, ", epoch {epoch}")?;
        }
        if let Some(rows) = self.rows {
            write!(f, ", {rows} rows")?;
        }
        if let Some(rows) = &self.rows_by_partition {
            write!(f, ", by partition {rows:?}")?;
        }
        match &self.sha256 {
            Some(hash) => write!(f, ", SHA-256 {hash}"),
            None => Ok(()),
        }
    }
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

/// A file's contents. The types are those of the file itself: a hint by its writer about other ones is left out.
pub(super) struct Contents {
    builder: ParquetRecordBatchReaderBuilder<Bytes>,
}

impl Contents {
    pub(super) fn open(bytes: Vec<u8>) -> Result<Self> {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(Bytes::from(bytes), options)
            .context("it is no Parquet file")?;
        Ok(Self { builder })
    }

    pub(super) fn rows(&self) -> u64 {
        u64::try_from(self.builder.metadata().file_metadata().num_rows()).unwrap_or_default()
    }

    /// The epoch that its footer says, if it was written by a job.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.pair("weir.epoch")?.parse().ok()
    }

    /// What its footer says that it was made of.
    pub(super) fn lineage(&self) -> Option<Lineage> {
        serde_json::from_str(self.pair(LINEAGE)?).ok()
    }

    fn pair(&self, key: &str) -> Option<&str> {
        let pairs = self.builder.metadata().file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
    }

    /// Visits every row of a file of `clicks_agg`.
    pub(super) fn windows(self, window: &str, mut visit: impl FnMut(AggRow<'_>)) -> Result<()> {
        let columns = ["ad_id", "region", "window_start", "click_count", "unique_users"];
        self.batches(&columns, |batch| visit_windows(window, batch, &mut visit))
    }

    /// Visits the clicks of every window of a file of `clicks_agg`.
    pub(super) fn click_counts(self, mut visit: impl FnMut(u64)) -> Result<()> {
        self.batches(&["click_count"], |batch| {
            let clicks = longs(batch, "click_count")?;
            for &clicks in clicks {
                visit(unsigned(clicks, "click_count")?);
            }
            Ok(())
        })
    }

    /// Visits the source partition of every click.
    pub(super) fn partitions(self, mut visit: impl FnMut(u32)) -> Result<()> {
        self.batches(&["partition"], |batch| {
            partitions(batch)?.iter().for_each(|&partition| visit(partition as u32));
            Ok(())
        })
    }

    /// Visits the source partition and offset of every click.
    pub(super) fn places(self, mut visit: impl FnMut(u32, u64)) -> Result<()> {
        self.batches(&["partition", "offset"], |batch| {
            let places = partitions(batch)?.iter().zip(longs(batch, "offset")?);
            places.for_each(|(&partition, &offset)| visit(partition as u32, offset as u64));
            Ok(())
        })
    }

    fn batches(self, columns: &[&str], mut visit: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
        let mask = ProjectionMask::columns(self.builder.parquet_schema(), columns.iter().copied());
        for batch in self.builder.with_projection(mask).with_batch_size(8192).build()? {
            visit(&batch?)?;
        }
        Ok(())
    }
}

fn longs<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a [i64]> {
    let column = batch.column_by_name(name).with_context(|| format!("column {name} is missing"))?;
    let longs = column.as_primitive_opt::<Int64Type>().with_context(|| format!("column {name} is no int64"))?;
    Ok(longs.values())
}

fn partitions(batch: &RecordBatch) -> Result<&[i32]> {
    let column = batch.column_by_name("partition").context("column partition is missing")?;
    Ok(column.as_primitive_opt::<Int32Type>().context("column partition is no int32")?.values())
}

fn unsigned(number: i64, name: &'static str) -> Result<u64> {
    u64::try_from(number).with_context(|| format!("a {name} is negative"))
}

fn visit_windows(window: &str, batch: &RecordBatch, visit: &mut impl FnMut(AggRow<'_>)) -> Result<()> {
    let column = |name: &str| batch.column_by_name(name).with_context(|| format!("column {name} is missing"));
    let ads = column("ad_id")?.as_string_opt::<i32>().context("column ad_id is no text")?;
    let regions = column("region")?.as_string_opt::<i32>().context("column region is no text")?;
    let starts = column("window_start")?
        .as_primitive_opt::<TimestampMicrosecondType>()
        .context("column window_start is no timestamp in microseconds")?;
    let numbers = starts.values().iter().zip(longs(batch, "click_count")?).zip(longs(batch, "unique_users")?);
    for (row, ((start, clicks), users)) in numbers.enumerate() {
        visit(AggRow {
            window,
            ad_id: ads.value(row),
            region: regions.is_valid(row).then(|| regions.value(row)),
            start_ms: start / 1000,
            clicks: unsigned(*clicks, "click_count")?,
            users: unsigned(*users, "unique_users")?,
        });
    }
    Ok(())
}
