//! The rows of sources, in memory, as the sink's writer takes them.

use std::sync::Arc;

use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::KeyValue;
use weir_checkpoints::content_hash;
use weir_dataflow::Window;

use super::rows::{each_row, topic_of};
use crate::delta::Table;
use crate::delta::chunk::Chunk;
use crate::delta::held::OffsetRanges;
use crate::delta::live::LiveFile;
use crate::delta::table::{Column, Layout};

/// Rows that are decoded at once: few, for a sketch has up to a few kilobytes.
const BATCH_ROWS: usize = 2 * 1024;

/// What became of a source.
pub(super) enum Taken {
    /// Its rows are there.
    Rows,
    /// They are too many for the memory, together with those before: they take so many bytes or more.
    NoRoom(usize),
    /// They came from another topic than those before, which a file names once.
    OtherTopic,
}

/// Rows of sources.
pub(super) struct Gathered<'a, C> {
    table: Table,
    columns: &'a [Column],
    room_bytes: usize,
    /// What they take in memory.
    pub(super) bytes: usize,
    pub(super) chunks: Vec<Arc<C>>,
    pub(super) rows: u64,
    /// How many of them each source had.
    pub(super) rows_of_sources: Vec<u64>,
    pub(super) topic: Option<String>,
    /// The last epoch that a source names.
    pub(super) epoch: Option<u64>,
    /// None once a source does not say where its rows come from.
    pub(super) offsets: Option<OffsetRanges>,
}

impl<'a, C: Chunk> Gathered<'a, C> {
    /// Nothing yet, with room for so many bytes of rows.
    pub(super) fn new(table: Table, columns: &'a [Column], room_bytes: usize) -> Self {
        Self {
            table,
            columns,
            room_bytes,
            bytes: 0,
            chunks: Vec::new(),
            rows: 0,
            rows_of_sources: Vec::new(),
            topic: None,
            epoch: None,
            offsets: Some(OffsetRanges::default()),
        }
    }

    /// The columns of the table.
    pub(super) fn columns(&self) -> &'a [Column] {
        self.columns
    }

    /// Takes the rows of a source, which has these bytes: all of them, or none.
    pub(super) fn take(&mut self, bytes: Vec<u8>, file: &LiveFile) -> Result<Taken, String> {
        let source = Source::open(bytes, file, self.columns)?;
        let (mut chunks, mut open) = (Vec::new(), C::default());
        let (mut bytes, mut rows, mut topic) = (0, 0, None);
        let window = file.partition("window");
        let window = Window::ALL.into_iter().find(|known| Some(known.as_str()) == window);
        for batch in source.batches {
            let batch = batch.map_err(|error| error.to_string())?;
            let of_batch = topic_of(self.table, &batch)?;
            topic = topic.or_else(|| of_batch.map(str::to_owned));
            if topic.as_deref() != of_batch && of_batch.is_some() {
                return Err("its rows are of several topics".to_owned());
            }
            if self.topic.is_some() && topic.is_some() && self.topic != topic {
                return Ok(Taken::OtherTopic);
            }
            rows += batch.num_rows() as u64;
            each_row(self.table, window, &batch, &mut |row| {
                open.push(row).map_err(|error| error.to_string())?;
                if open.is_full() {
                    bytes += open.bytes();
                    let next = open.sized_like();
                    chunks.push(Arc::new(std::mem::replace(&mut open, next)));
                }
                Ok(())
            })?;
            if self.bytes + bytes + open.bytes() > self.room_bytes {
                return Ok(Taken::NoRoom(bytes + open.bytes()));
            }
        }
        if file.rows().is_some_and(|told| told != rows) {
            return Err(format!("it has {rows} rows, the table's log says {}", file.rows().unwrap_or_default()));
        }
        bytes += open.bytes();
        chunks.push(Arc::new(open));
        self.chunks.extend(chunks.into_iter().filter(|chunk| chunk.rows() > 0));
        (self.bytes, self.rows) = (self.bytes + bytes, self.rows + rows);
        self.rows_of_sources.push(rows);
        self.topic = self.topic.take().or(topic);
        self.epoch = self.epoch.max(source.epoch);
        self.offsets = self.offsets.take().zip(source.offsets).map(|(mut known, more)| {
            known.merge(&more);
            known
        });
        Ok(Taken::Rows)
    }
}

/// A file that is read.
struct Source {
    batches: ParquetRecordBatchReader,
    epoch: Option<u64>,
    offsets: Option<OffsetRanges>,
}

impl Source {
    /// Compares it with what the log says, and opens it.
    fn open(bytes: Vec<u8>, file: &LiveFile, columns: &[Column]) -> Result<Self, String> {
        if bytes.len() as u64 != file.size_bytes {
            return Err(format!(
                "it has {} bytes instead of {}; bring it back from a copy",
                bytes.len(),
                file.size_bytes
            ));
        }
        if let Some(expected) = file.sha256() {
            let found = content_hash(&bytes);
            if found != expected {
                return Err(format!(
                    "its SHA-256 is {found}, the table's log has {expected}: it was changed after it was written; bring it \
                     back from a copy"
                ));
            }
        }
        // The types are those of the file itself: a hint by its writer about other ones is left out.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(Bytes::from(bytes), options);
        let builder = builder.map_err(|error| error.to_string())?;
        let is_known =
            |name: &str| columns.iter().any(|column| column.name == name && column.layout != Layout::PartitionedBy);
        if let Some(foreign) = builder.schema().fields().iter().find(|field| !is_known(field.name())) {
            return Err(format!("it has a column {} that weir does not write, which would be lost", foreign.name()));
        }
        let pairs = builder.metadata().file_metadata().key_value_metadata();
        let pair = |key: &str| value_of(pairs.map(Vec::as_slice).unwrap_or_default(), key);
        let epoch = pair("weir.epoch").and_then(|epoch| epoch.parse().ok());
        let offsets = pair("weir.offsets").and_then(|offsets| serde_json::from_str(&offsets).ok());
        let batches = builder.with_batch_size(BATCH_ROWS).build().map_err(|error| error.to_string())?;
        Ok(Self { batches, epoch, offsets })
    }
}

fn value_of(pairs: &[KeyValue], key: &str) -> Option<String> {
    pairs.iter().find(|pair| pair.key == key)?.value.clone()
}
