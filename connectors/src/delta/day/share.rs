//! A worker's files, one after the other.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use weir_checkpoints::{Store, content_hash};
use weir_dataflow::reconcile::{Archive, ArchiveError, ArchiveRow};

use super::columns::{
    Clicks, OF_CLICKS, OF_CLICKS_BY_WINDOW, OF_CLICKS_FOR_INDEX, OF_CLICKS_WITH_IDS, OF_LATE, OF_WINDOWS, REGION,
    Windows,
};
use super::files::FileOf;
use super::{Excluded, Purpose};
use crate::delta::Table;

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 8 * 1024;

/// A worker's share of the files.
pub(super) struct Share {
    store: Arc<dyn Store>,
    epoch: u64,
    files: Vec<FileOf>,
    excluded: Option<Excluded>,
    purpose: Purpose,
    waiting: VecDeque<usize>,
    open: Option<OpenFile>,
}

/// A file that is being read.
struct OpenFile {
    table: Table,
    name: Arc<str>,
    bytes: Bytes,
    rows: ParquetRecordBatchReader,
    /// Whether those columns are read that only a click without an id is known by.
    whole: bool,
    /// The rows handed out.
    done: usize,
}

impl Share {
    pub(super) fn new(
        store: Arc<dyn Store>,
        epoch: u64,
        files: Vec<FileOf>,
        excluded: Option<Excluded>,
        purpose: Purpose,
    ) -> Self {
        let waiting = (0..files.len()).collect();
        Self { store, epoch, files, excluded, purpose, waiting, open: None }
    }

    /// The next file with rows, checked against the log.
    fn open_next(&self, file: &FileOf) -> Result<OpenFile, ArchiveError> {
        let name = file.live.name.as_ref();
        let wrong = |reason: String| wrong(name, reason);
        let bytes = self.store.get(name).map_err(|error| wrong(error.to_string()))?;
        let bytes = bytes.ok_or_else(|| wrong("it is missing; if it was compacted and deleted meanwhile, run this again, else bring it back from a copy".to_owned()))?;
        if bytes.len() as u64 != file.live.size_bytes {
            let (found, expected) = (bytes.len(), file.live.size_bytes);
            return Err(wrong(format!("it has {found} bytes instead of {expected}; bring it back from a copy")));
        }
        if let Some(expected) = file.live.sha256() {
            let found = content_hash(&bytes);
            if found != expected {
                return Err(wrong(format!(
                    "its SHA-256 is {found}, the table's log has {expected}: it was changed after it was written; bring it \
                     back from a copy"
                )));
            }
        }
        let columns = match (file.table, self.purpose) {
            (Table::Agg, Purpose::Windows) => [&OF_WINDOWS[..], &[REGION]].concat(),
            (Table::Agg, _) => OF_WINDOWS.to_vec(),
            (Table::Late, _) => [&OF_CLICKS[..], &[OF_LATE]].concat(),
            (Table::Raw, Purpose::Windows) => OF_CLICKS_BY_WINDOW.to_vec(),
            (Table::Raw, Purpose::Index) if self.excluded.is_some() => [&OF_CLICKS[..], &[REGION]].concat(),
            (Table::Raw, Purpose::Index) => OF_CLICKS_FOR_INDEX.to_vec(),
            (Table::Raw, Purpose::Count) if self.excluded.is_some() => OF_CLICKS.to_vec(),
            (Table::Raw, Purpose::Count) => OF_CLICKS_WITH_IDS.to_vec(),
        };
        OpenFile::new(file, Bytes::from(bytes), &columns)
    }
}

impl Archive for Share {
    fn read(&mut self, take: &mut dyn FnMut(ArchiveRow<'_>)) -> Result<bool, ArchiveError> {
        if self.open.is_none() {
            let Some(next) = self.waiting.pop_front() else { return Ok(false) };
            let Some(file) = self.files.get(next) else { return Ok(false) };
            self.open = Some(self.open_next(file)?);
        }
        if let Some(open) = &mut self.open
            && !open.read(self.epoch, self.excluded.as_ref(), take)?
        {
            self.open = None;
        }
        Ok(self.open.is_some() || !self.waiting.is_empty())
    }

    fn rewind(&mut self) {
        self.open = None;
        self.waiting = (0..self.files.len()).collect();
    }
}

impl OpenFile {
    fn new(file: &FileOf, bytes: Bytes, columns: &[&str]) -> Result<Self, ArchiveError> {
        let rows = rows(&bytes, columns, 0).map_err(|reason| wrong(&file.live.name, reason))?;
        let whole = columns != OF_CLICKS_WITH_IDS && columns != OF_CLICKS_FOR_INDEX;
        Ok(Self { table: file.table, name: Arc::clone(&file.live.name), bytes, rows, whole, done: 0 })
    }

    /// Hands out a batch; false at the end.
    fn read(
        &mut self,
        epoch: u64,
        excluded: Option<&Excluded>,
        take: &mut dyn FnMut(ArchiveRow<'_>),
    ) -> Result<bool, ArchiveError> {
        let Some(batch) = self.rows.next() else { return Ok(false) };
        let batch = batch.map_err(|error| wrong(&self.name, error.to_string()))?;
        let name = &self.name;
        let wrong = |reason: String| wrong(name, reason);
        if self.table == Table::Agg {
            let windows = Windows::of(&batch).map_err(wrong)?;
            let rows = (0..windows.len()).map(|at| windows.row(at));
            rows.filter(|(_, of_row)| *of_row <= epoch).for_each(|(row, _)| take(ArchiveRow::Streamed(row)));
            return Ok(true);
        }
        let clicks = Clicks::of(&batch).map_err(wrong)?;
        if clicks.lack_ids() && !self.whole {
            // From here on the other columns are needed as well.
            self.rows = rows(&self.bytes, &[&OF_CLICKS[..], &[REGION]].concat(), self.done).map_err(wrong)?;
            self.whole = true;
            return Ok(true);
        }
        for at in 0..clicks.len() {
            let mut row = clicks.row(at);
            if row.epoch > epoch {
                continue;
            }
            row.excluded = excluded.is_some_and(|excluded| excluded(&row.click));
            take(match self.table {
                Table::Late => ArchiveRow::Late(row, clicks.reason(at).map_err(wrong)?),
                Table::Raw | Table::Agg => ArchiveRow::Click(row),
            });
        }
        self.done += clicks.len();
        Ok(true)
    }
}

/// The rows of a file from `done` on.
fn rows(bytes: &Bytes, columns: &[&str], done: usize) -> Result<ParquetRecordBatchReader, String> {
    let metadata = ArrowReaderMetadata::load(bytes, Default::default()).map_err(|error| error.to_string())?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes.clone(), metadata);
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).with_offset(done).build();
    reader.map_err(|error| error.to_string())
}

fn wrong(file: &str, reason: String) -> ArchiveError {
    ArchiveError::File { file: file.to_owned(), reason }
}
