//! Rows of a revision, and the files that they become.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{BloomFilterPosition, EnabledStatistics, WriterProperties};
use serde_json::to_value;
use weir_checkpoints::{OutputPart, Store, content_hash};
use weir_dataflow::reconcile::BilledWindow;
use weir_dataflow::{SinkError, Window};

use super::BillingTable;
use crate::delta::details::Details;
use crate::delta::failed;
use crate::delta::stats::FileStats;
use crate::delta::table::{Layout, Table, date_text, day_of, file_schema};
use crate::staging::put_staged;

/// What is billed for an ad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledAd {
    /// The ad.
    pub ad_id: String,
    /// Its clicks.
    pub click_count: i64,
    /// Their users.
    pub unique_users: i64,
    /// The root of the tree over its clicks, in hex; none without clicks.
    pub clicks_root: Option<String>,
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrectedAd {
    /// The ad.
    pub ad_id: String,
    /// The figure before.
    pub streamed: i64,
    /// The figure after.
    pub recounted: i64,
    /// Why.
    pub reason: String,
    /// Where the clicks stand that it is about, as JSON.
    pub offsets: String,
}

/// Writes the files of a revision.
pub struct DayFiles<'a> {
    /// Where the tables are.
    pub store: &'a dyn Store,
    /// The day.
    pub date: &'a str,
    /// The revision.
    pub revision: u32,
    /// The run.
    pub run: &'a str,
    /// The manifest that the day was closed on.
    pub manifest_hash: &'a str,
}

impl DayFiles<'_> {
    /// Writes what is billed; the rows are sorted by ad.
    pub fn billed(&self, rows: &[BilledAd]) -> Result<OutputPart, SinkError> {
        let columns = vec![
            texts(rows.iter().map(|row| row.ad_id.as_str())),
            longs(rows.iter().map(|row| row.click_count)),
            longs(rows.iter().map(|row| row.unique_users)),
            texts(rows.iter().map(|_| "final")),
            texts(rows.iter().map(|_| self.run)),
            texts(rows.iter().map(|_| self.manifest_hash)),
            self.revisions(rows.len()),
            Arc::new(rows.iter().map(|row| row.clicks_root.as_deref()).collect::<StringArray>()),
        ];
        self.write(BillingTable::Daily, &[("date", self.date)], columns)
    }

    /// Writes entries of the ledger; the rows are sorted by ad, and those of an ad follow one another.
    pub fn corrected(&self, rows: &[CorrectedAd]) -> Result<OutputPart, SinkError> {
        let columns = vec![
            texts(rows.iter().map(|row| row.ad_id.as_str())),
            longs(rows.iter().map(|row| row.streamed)),
            longs(rows.iter().map(|row| row.recounted)),
            longs(rows.iter().map(|row| row.recounted - row.streamed)),
            texts(rows.iter().map(|row| row.reason.as_str())),
            texts(rows.iter().map(|_| self.run)),
            texts(rows.iter().map(|row| row.offsets.as_str())),
            self.revisions(rows.len()),
        ];
        self.write(BillingTable::Corrections, &[("date", self.date)], columns)
    }

    /// Writes windows as they are billed, one file for each length and UTC day; the rows are sorted by length, ad and time.
    /// `epoch` is the last one that the day was closed on.
    pub fn windows(&self, rows: &[BilledWindow], epoch: u64) -> Result<Vec<OutputPart>, SinkError> {
        let partition = |row: &BilledWindow| (row.window, day_of(row.start_ms));
        let mut partitions: BTreeMap<(Window, u32), Vec<&BilledWindow>> = BTreeMap::new();
        rows.iter().for_each(|row| partitions.entry(partition(row)).or_default().push(row));
        let files = partitions.into_iter().map(|((window, day), rows)| {
            let date = date_text(day);
            let columns = self.windows_of(&rows, epoch);
            self.write(BillingTable::Windows, &[("window", window.as_str()), ("date", &date)], columns)
        });
        files.collect()
    }

    fn windows_of(&self, rows: &[&BilledWindow], epoch: u64) -> Vec<ArrayRef> {
        let times = |of: fn(&BilledWindow) -> i64| {
            let micros = rows.iter().map(|row| of(row) * 1000);
            Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
        };
        vec![
            texts(rows.iter().map(|row| row.ad_id.as_str())),
            times(|row| row.start_ms),
            times(|row| row.start_ms + row.window.length_ms()),
            longs(rows.iter().map(|row| row.click_count as i64)),
            longs(rows.iter().map(|row| row.unique_users as i64)),
            Arc::new(BinaryArray::from_iter_values(rows.iter().map(|row| &row.user_sketch))),
            Arc::new(rows.iter().map(|row| row.region.as_deref()).collect::<StringArray>()),
            longs(rows.iter().map(|_| epoch as i64)),
            texts(rows.iter().map(|_| self.run)),
            self.revisions(rows.len()),
        ]
    }

    fn revisions(&self, rows: usize) -> ArrayRef {
        Arc::new(Int32Array::from(vec![self.revision as i32; rows]))
    }

    fn write(
        &self,
        table: BillingTable,
        partition: &[(&str, &str)],
        arrays: Vec<ArrayRef>,
    ) -> Result<OutputPart, SinkError> {
        let failed = |reason: String| failed(table.name(), "write a file", reason);
        let (bytes, stats) = self.encode(table, arrays).map_err(failed)?;
        let folder: String = partition.iter().map(|(column, value)| format!("{column}={value}/")).collect();
        let name = format!("{}/{folder}part-{:06}-{}.zstd.parquet", table.name(), self.revision, self.run);
        let value = |value: &str| Some(value.to_owned());
        let details = Details {
            partition: partition.iter().map(|(column, text)| ((*column).to_owned(), value(text))).collect(),
            stats: stats.to_delta(),
            sha256: Some(content_hash(&bytes)),
            rows_by_partition: BTreeMap::new(),
        };
        let output = OutputPart {
            sink: table.name().to_owned(),
            name,
            rows: stats.rows(),
            size_bytes: bytes.len() as u64,
            details: to_value(details).map_err(|error| failed(error.to_string()))?,
        };
        put_staged(self.store, &output.name, bytes).map_err(|error| failed(error.to_string()))?;
        Ok(output)
    }

    fn encode(&self, table: BillingTable, arrays: Vec<ArrayRef>) -> Result<(Vec<u8>, FileStats), String> {
        let columns = table.columns();
        let text = |error: parquet::errors::ParquetError| error.to_string();
        let batch = RecordBatch::try_new(file_schema(&columns), arrays).map_err(|error| error.to_string())?;
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(text)?))
            .set_bloom_filter_position(BloomFilterPosition::End)
            .set_statistics_enabled(EnabledStatistics::None);
        if table == BillingTable::Windows {
            properties = properties.set_data_page_row_count_limit(Table::Agg.page_rows());
        }
        for column in columns.iter().filter(|column| column.layout != Layout::PartitionedBy) {
            properties = column.configure(properties, batch.num_rows() as u64);
        }
        let options = ArrowWriterOptions::new()
            .with_schema_root(table.name().to_owned())
            .with_properties(properties.build())
            .with_skip_arrow_metadata(true);
        let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options).map_err(text)?;
        let mut stats = FileStats::default();
        stats.add(&columns, &batch);
        writer.write(&batch).map_err(text)?;
        for (key, value) in [("weir.run", self.run), ("weir.version", env!("CARGO_PKG_VERSION"))] {
            writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value.to_owned()));
        }
        Ok((writer.into_inner().map_err(text)?, stats))
    }
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn longs(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}
