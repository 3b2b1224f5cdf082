//! From a file to the rows that are wanted.

use std::ops::Range;
use std::slice::from_ref;
use std::sync::Arc;

use parquet::errors::ParquetError;
use serde_json::Value;
use weir_checkpoints::Store;

use super::column::Values;
use super::error::TraceError;
use super::footer::{Footer, Group};
use super::wanted::Wanted;
use crate::delta::live::LiveFile;
use crate::delta::read::columns::byte_ranges;
use crate::delta::read::file_index::ChunkIndex;
use crate::delta::read::prune::{Selection, merge};
use crate::delta::read::ranges::{Parts, coalesce};

/// Rows that are in memory at once, a thread.
const PIECE_ROWS: usize = 64 * 1024;

/// Where all columns together have no more than this, they are read with the ads instead of after them: a second read costs
/// more.
const AT_ONCE_BYTES: u64 = 256 << 10;

/// A data file that has rows that were found.
#[derive(Debug, Clone, PartialEq)]
pub struct TracedFile {
    /// Its name below the tables' root.
    pub path: Arc<str>,
    /// The epoch at whose end it was written, by its footer; of a compacted file that of the last file in it.
    pub epoch: Option<u64>,
    /// How many files it was compacted of; none of one that a job has written.
    pub compacted_from: Option<usize>,
    /// The offsets that its rows were read between, by its footer: `{"partition":[first,next],…}`.
    pub offsets: Option<Value>,
    /// A manifest lists it, and the table's log does not have it yet.
    pub is_pending: bool,
}

/// What is looked for, and which columns of it.
pub(super) struct Scan<'a> {
    pub(super) wanted: Wanted<'a>,
    /// Columns that are read of every row; none of them: all that there are. A file may lack some.
    pub(super) columns: &'a [&'static str],
    /// Columns that have one value in a file; they are read of the first row alone.
    pub(super) once: &'a [&'static str],
    /// A column, and those that are read only where it has a null.
    pub(super) for_nulls: Option<(&'static str, &'a [&'static str])>,
}

/// Some rows that were found.
pub(super) struct Found {
    pub(super) file: Arc<TracedFile>,
    pub(super) rows: usize,
    columns: Vec<(String, Values)>,
}

/// A column of [`Found`], if it is there.
#[derive(Clone, Copy)]
pub(super) struct FoundColumn<'a> {
    found: &'a Found,
    name: &'static str,
    values: Option<&'a Values>,
}

impl Found {
    /// A column, to be looked up once for all rows.
    pub(super) fn column(&self, name: &'static str) -> FoundColumn<'_> {
        let values = self.columns.iter().find(|(column, _)| column == name).map(|(_, values)| values);
        FoundColumn { found: self, name, values }
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, &Values)> {
        self.columns.iter().map(|(name, values)| (name.as_str(), values))
    }
}

impl<'a> FoundColumn<'a> {
    /// A number that a row must have.
    pub(super) fn number(&self, row: usize) -> Result<i64, TraceError> {
        self.values.and_then(|values| values.number(row)).ok_or_else(|| self.damaged("lacks a number"))
    }

    /// A number that a row must have and that is not negative.
    pub(super) fn count(&self, row: usize) -> Result<u64, TraceError> {
        u64::try_from(self.number(row)?).map_err(|_| self.damaged("has a negative number"))
    }

    /// A text that a row must have.
    pub(super) fn text(&self, row: usize) -> Result<&'a str, TraceError> {
        self.maybe_text(row)?.ok_or_else(|| self.damaged("lacks a text"))
    }

    /// A text that a row may have.
    pub(super) fn maybe_text(&self, row: usize) -> Result<Option<&'a str>, TraceError> {
        match self.bytes(row).map(str::from_utf8) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(self.damaged("has what is no text")),
        }
    }

    /// Bytes that a row may have.
    pub(super) fn bytes(&self, row: usize) -> Option<&'a [u8]> {
        self.values?.bytes(row)
    }

    #[cold]
    fn damaged(&self, what: &str) -> TraceError {
        TraceError::damaged(&self.found.file.path, format!("column {} {what}", self.name))
    }
}

impl Scan<'_> {
    /// Hands out the rows of a file that are wanted, in pieces.
    pub(super) fn file(
        &self,
        store: &Arc<dyn Store>,
        file: &LiveFile,
        emit: &mut dyn FnMut(Found) -> Result<(), TraceError>,
    ) -> Result<(), TraceError> {
        let of_file = |error| TraceError::of_file(&file.name, error);
        let footer = Footer::read(store, file).map_err(of_file)?;
        let traced = Arc::new(TracedFile {
            path: Arc::clone(&file.name),
            epoch: footer.pair("weir.epoch").and_then(|epoch| epoch.parse().ok()),
            compacted_from: file.lineage().map(|lineage| lineage.sources.len()),
            offsets: footer.offsets(),
            is_pending: file.is_pending,
        });
        for number in 0..footer.groups() {
            let group = footer.group(number).map_err(of_file)?;
            let candidates = group.candidates(&self.wanted).map_err(of_file)?;
            if candidates.is_empty() {
                continue;
            }
            let reading = Reading::new(self, store.as_ref(), file, &group, candidates).map_err(of_file)?;
            for piece in reading.pieces() {
                let columns = reading.piece(&piece).map_err(of_file)?;
                let rows = piece.iter().map(ExactSizeIterator::len).sum();
                emit(Found { file: Arc::clone(&traced), rows, columns })?;
            }
        }
        Ok(())
    }
}

/// A row group that is being read.
struct Reading<'a> {
    scan: &'a Scan<'a>,
    store: &'a dyn Store,
    file: &'a LiveFile,
    rows: usize,
    /// Columns of every row.
    chunks: Vec<(String, ChunkIndex)>,
    once: Vec<(String, ChunkIndex)>,
    for_nulls: Vec<(String, ChunkIndex)>,
    /// The rows of the ad and time.
    selection: Selection,
    /// What was read beside the ads already.
    at_once: Option<Arc<Parts>>,
}

impl<'a> Reading<'a> {
    /// Finds the rows that match, among those that may.
    fn new(
        scan: &'a Scan<'a>,
        store: &'a dyn Store,
        file: &'a LiveFile,
        group: &Group<'_>,
        candidates: Selection,
    ) -> Result<Self, ParquetError> {
        let names: Vec<&str> = if scan.columns.is_empty() { group.columns().collect() } else { scan.columns.to_vec() };
        let for_nulls = scan.for_nulls.map(|(_, columns)| columns).unwrap_or_default();
        let mut reading = Self {
            scan,
            store,
            file,
            rows: group.rows,
            chunks: chunks(group, &names)?,
            once: chunks(group, scan.once)?,
            for_nulls: chunks(group, for_nulls)?,
            selection: candidates,
            at_once: None,
        };
        let deciding: Vec<&str> = [Some("ad_id"), scan.wanted.time_column].into_iter().flatten().collect();
        let deciding = chunks(group, &deciding)?;
        let all = deciding.iter().chain(&reading.chunks).chain(&reading.once);
        let ranges = reading.ranges(all, &reading.selection);
        let parts = if length(&ranges) <= AT_ONCE_BYTES {
            let parts = reading.fetch(&ranges)?;
            reading.at_once = Some(Arc::clone(&parts));
            parts
        } else {
            reading.fetch(&reading.ranges(&deciding, &reading.selection))?
        };
        for (name, chunk) in &deciding {
            reading.narrow(name, chunk, &parts)?;
        }
        Ok(reading)
    }

    /// Keeps the selected rows whose value in this column is wanted.
    fn narrow(&mut self, name: &str, chunk: &ChunkIndex, parts: &Arc<Parts>) -> Result<(), ParquetError> {
        if self.selection.is_empty() {
            return Ok(());
        }
        let values = Values::read(chunk, self.rows, parts, &self.selection)?;
        let wanted = &self.scan.wanted;
        let fits = |at: usize| match name {
            "ad_id" => values.bytes(at) == Some(wanted.ad_id.as_bytes()),
            _ => values.number(at).is_some_and(|time_ms| wanted.time_ms.contains(&time_ms)),
        };
        let rows = self.selection.iter().flat_map(Clone::clone).enumerate();
        self.selection = merge(rows.filter(|(at, _)| fits(*at)).map(|(_, row)| row..row + 1));
        Ok(())
    }

    /// The rows, in pieces of bounded size. Without an index of its pages a column is read whole, and pieces would
    /// read it again and again.
    fn pieces(&self) -> Vec<Selection> {
        let has_pages = self.chunks.iter().chain(&self.for_nulls).all(|(_, chunk)| !chunk.pages.is_empty());
        if !has_pages {
            return Some(self.selection.clone()).into_iter().filter(|rows| !rows.is_empty()).collect();
        }
        let mut pieces: Vec<Selection> = Vec::new();
        let mut room = 0;
        for mut range in self.selection.iter().cloned() {
            while !range.is_empty() {
                if room == 0 {
                    pieces.push(Selection::new());
                    room = PIECE_ROWS;
                }
                let taken = range.start..range.end.min(range.start + room);
                range.start = taken.end;
                room -= taken.len();
                if let Some(piece) = pieces.last_mut() {
                    piece.push(taken);
                }
            }
        }
        pieces
    }

    fn piece(&self, selection: &[Range<usize>]) -> Result<Vec<(String, Values)>, ParquetError> {
        let first = selection.first().map_or(0..0, |range| range.start..range.start + 1);
        let parts = match &self.at_once {
            Some(parts) => Arc::clone(parts),
            None => {
                let mut ranges = self.ranges(&self.chunks, selection);
                ranges.extend(self.ranges(&self.once, from_ref(&first)));
                self.fetch(&coalesce(ranges))?
            }
        };
        let mut columns = Vec::new();
        for (name, chunk) in &self.chunks {
            columns.push((name.clone(), Values::read(chunk, self.rows, &parts, selection)?));
        }
        for (name, chunk) in &self.once {
            columns.push((name.clone(), Values::read(chunk, self.rows, &parts, from_ref(&first))?));
        }
        let needs_more = self.scan.for_nulls.is_some_and(|(wanted, _)| {
            let column = columns.iter().find(|(name, _)| name == wanted);
            column.is_none_or(|(_, values)| values.has_null())
        });
        if needs_more {
            let parts = self.fetch(&self.ranges(&self.for_nulls, selection))?;
            for (name, chunk) in &self.for_nulls {
                columns.push((name.clone(), Values::read(chunk, self.rows, &parts, selection)?));
            }
        }
        Ok(columns)
    }

    fn ranges<'c>(
        &self,
        chunks: impl IntoIterator<Item = &'c (String, ChunkIndex)>,
        selection: &[Range<usize>],
    ) -> Vec<Range<u64>> {
        let chunks = chunks.into_iter();
        coalesce(chunks.flat_map(|(_, chunk)| byte_ranges(chunk, self.rows, selection)).collect())
    }

    fn fetch(&self, ranges: &[Range<u64>]) -> Result<Arc<Parts>, ParquetError> {
        Parts::read(self.store, &self.file.name, self.file.size_bytes, ranges).map(Arc::new)
    }
}

/// Those of the columns that the file has.
fn chunks(group: &Group<'_>, names: &[&str]) -> Result<Vec<(String, ChunkIndex)>, ParquetError> {
    let found = names.iter().map(|name| Ok(group.chunk(name)?.map(|chunk| ((*name).to_owned(), chunk))));
    found.filter_map(Result::transpose).collect()
}

fn length(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}
