//! Data files: rows in, sorted Parquet out, with what the log has to say about it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow_schema::{Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{BloomFilterPosition, EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use weir_checkpoints::{Store, content_hash};

use super::chunk::{AdIndex, Chunk, Key};
use super::details::Details;
use super::stats::FileStats;
use super::table::{Column, Layout, Table, file_schema};
use crate::staging::put_staged;

/// Rows that are turned into columns at once: few enough to stay in the cache until they are encoded.
const BATCH_ROWS: usize = 8 * 1024;

/// A row group is the least that a reader works on: large enough to compress, small enough to be worth skipping.
const ROW_GROUP_ROWS: usize = 256 * 1024;

/// Rows can be up to 64 KiB each.
const ROW_GROUP_BYTES: usize = 128 << 20;

/// How a table's files are written.
pub(super) struct FileWriter {
    pub(super) table: Table,
    columns: Vec<Column>,
    schema: SchemaRef,
    constants: HashMap<&'static str, ArrayRef>,
}

/// A file that has all its rows, but not yet its footer.
pub(super) struct OpenFile {
    pub(super) partition: u32,
    pub(super) stats: FileStats,
    writer: ArrowWriter<Vec<u8>>,
}

/// A file that is in the store, where nobody looks for it yet.
pub(super) struct StoredFile {
    pub(super) details: Details,
    pub(super) rows: u64,
    pub(super) size_bytes: u64,
}

impl FileWriter {
    /// For a table of clicks from `topic`.
    pub(super) fn new(table: Table, extra: bool, topic: &str) -> Self {
        let columns = table.columns(extra);
        let constants = HashMap::from([("topic", constant(topic))]);
        let schema = schema_with_constants(&file_schema(&columns), &constants);
        Self { table, columns, schema, constants }
    }

    /// Sorts the rows into one file for each partition, and hands each file on as soon as it has its rows.
    pub(super) fn write<C: Chunk>(
        &self,
        chunks: &[Arc<C>],
        mut done: impl FnMut(OpenFile) -> Result<(), String>,
    ) -> Result<(), String> {
        let keys = sorted_keys(self.table, chunks);
        for rows in keys.chunk_by(|a, b| a.partition == b.partition) {
            done(self.write_partition(chunks, rows).map_err(|error| error.to_string())?)?;
        }
        Ok(())
    }

    fn write_partition<C: Chunk>(&self, chunks: &[Arc<C>], rows: &[Key]) -> Result<OpenFile, ParquetError> {
        let options = ArrowWriterOptions::new()
            .with_schema_root(self.table.name().to_owned())
            .with_properties(self.properties(rows))
            // Readers take the types from Parquet's own schema; Arrow's would show constants as dictionaries.
            .with_skip_arrow_metadata(true);
        let mut writer = ArrowWriter::try_new_with_options(Vec::new(), self.schema.clone(), options)?;
        let mut stats = FileStats::default();
        for picks in rows.chunks(BATCH_ROWS) {
            let batch = self.batch(chunks, picks)?;
            stats.add(&self.columns, &batch);
            writer.write(&batch)?;
        }
        let partition = rows.first().map_or(0, |row| row.partition);
        Ok(OpenFile { partition, stats, writer })
    }

    fn batch<C: Chunk>(&self, chunks: &[Arc<C>], picks: &[Key]) -> Result<RecordBatch, ParquetError> {
        let mut gathered: HashMap<&str, ArrayRef> = C::gather(self.table, chunks, picks).into_iter().collect();
        let arrays = self.schema.fields().iter().map(|field| {
            let name = field.name().as_str();
            let constant = || self.constants.get(name).map(|constant| constant.slice(0, picks.len()));
            let missing = || ParquetError::General(format!("column {name} has no values"));
            gathered.remove(name).or_else(constant).ok_or_else(missing)
        });
        let arrays = arrays.collect::<Result<Vec<ArrayRef>, ParquetError>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(picks.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?)
    }

    fn properties(&self, rows: &[Key]) -> WriterProperties {
        let level = ZstdLevel::try_new(1).unwrap_or_default();
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_data_page_row_count_limit(self.table.page_rows())
            // Beside the footer, so that a reader gets both with one read.
            .set_bloom_filter_position(BloomFilterPosition::End)
            .set_statistics_enabled(EnabledStatistics::None);
        let ads = rows.chunk_by(|a, b| a.ad == b.ad).count();
        let in_group = rows.len().min(ROW_GROUP_ROWS);
        for column in self.columns.iter().filter(|column| column.layout != Layout::PartitionedBy) {
            let different = if column.name == "ad_id" { ads.min(in_group) } else { in_group };
            properties = column.configure(properties, different as u64);
        }
        properties.build()
    }
}

impl OpenFile {
    /// The rows in it.
    pub(super) fn rows(&self) -> u64 {
        self.stats.rows()
    }

    /// Writes the footer with these entries in it, and puts the file into the store.
    pub(super) fn store(
        self,
        table: Table,
        store: &dyn Store,
        name: &str,
        entries: &[(&str, String)],
    ) -> Result<StoredFile, String> {
        let (partition, rows) = (table.partition_values(self.partition).into_iter(), self.rows());
        let mut details = Details {
            partition: partition.map(|(column, value)| (column.to_owned(), Some(value))).collect(),
            stats: self.stats.to_delta(),
            sha256: None,
            rows_by_partition: self.stats.rows_by_partition().clone(),
        };
        let bytes = self.close(entries)?;
        let size_bytes = bytes.len() as u64;
        details.sha256 = Some(content_hash(&bytes));
        put_staged(store, name, bytes).map_err(|error| error.to_string())?;
        Ok(StoredFile { details, rows, size_bytes })
    }

    fn close(mut self, entries: &[(&str, String)]) -> Result<Vec<u8>, String> {
        for (key, value) in entries {
            self.writer.append_key_value_metadata(KeyValue::new((*key).to_owned(), value.clone()));
        }
        self.writer.into_inner().map_err(|error| error.to_string())
    }
}

impl Column {
    /// The writer's settings for it. `different` bounds the different values in a row group, if it is looked up.
    pub(super) fn configure(&self, properties: WriterPropertiesBuilder, different: u64) -> WriterPropertiesBuilder {
        let path = || ColumnPath::from(self.name);
        let mut configured = properties.set_column_dictionary_enabled(path(), self.layout == Layout::Dictionary);
        if self.layout == Layout::Deltas {
            configured = configured.set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
        }
        if self.ranged {
            configured = configured.set_column_statistics_enabled(path(), EnabledStatistics::Page);
        }
        if self.looked_up {
            let builder = configured.set_column_bloom_filter_enabled(path(), true);
            configured = builder.set_column_bloom_filter_max_ndv(path(), different);
        }
        configured
    }
}

/// The rows' keys in the order of the files: by partition, ad and time.
fn sorted_keys<C: Chunk>(table: Table, chunks: &[Arc<C>]) -> Vec<Key> {
    let mut keys = Vec::with_capacity(chunks.iter().map(|chunk| chunk.rows()).sum());
    let mut ads = AdIndex::default();
    for (index, chunk) in chunks.iter().enumerate() {
        chunk.keys(table, index as u32, &mut ads, &mut keys);
    }
    ads.rank(&mut keys);
    keys.sort_unstable();
    keys
}

/// A column of one value, for as many rows as a batch has.
fn constant(value: &str) -> ArrayRef {
    let keys = Int32Array::from(vec![0; BATCH_ROWS]);
    // Every key is 0, and 0 exists.
    DictionaryArray::<Int32Type>::try_new(keys, Arc::new(StringArray::from(vec![value])))
        .map_or_else(|_| Arc::new(StringArray::new_null(BATCH_ROWS)) as ArrayRef, |array| Arc::new(array) as ArrayRef)
}

fn schema_with_constants(schema: &Schema, constants: &HashMap<&'static str, ArrayRef>) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match constants.get(field.name().as_str()) {
        Some(constant) => Field::new(field.name(), constant.data_type().clone(), field.is_nullable()),
        None => field.as_ref().clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
