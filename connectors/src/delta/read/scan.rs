//! From files to rows.

use std::ops::Range;
use std::sync::Arc;

use parquet::errors::ParquetError;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use weir_checkpoints::Store;

use super::ads::find_ads;
use super::batch::Batch;
use super::budget::Budget;
use super::columns::{Source, byte_ranges};
use super::data_file::DataFile;
use super::error::ReadError;
use super::figures::{Counters, ReadFigures};
use super::file_index::{Column, FileIndex, GroupIndex};
use super::follow::Snapshot;
use super::helpers::Helpers;
use super::limits::DeltaReaderLimits;
use super::prune::{Selection, candidates, merge};
use super::query::Wanted;
use super::ranges::{Parts, coalesce};

/// Rows that are decoded at once: a sketch has up to a few kilobytes.
const BATCH_ROWS: usize = 16 * 1024;

/// Where all columns together have no more than this, they are read with the ads instead of after them: a second read costs
/// more.
const AT_ONCE_BYTES: u64 = 256 << 10;

/// What is decoded beside the ads, without the sketches.
const SMALL: [Column; 5] = [Column::Start, Column::Clicks, Column::Users, Column::Region, Column::Epoch];

/// Reads files.
pub(super) struct Scanner {
    store: Arc<dyn Store>,
    footers: Cache<u128, Arc<FileIndex>, ByBytes>,
    helpers: Helpers,
    counters: Counters,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<u128, Arc<FileIndex>> for ByBytes {
    fn weight(&self, _identity: &u128, index: &Arc<FileIndex>) -> u64 {
        index.bytes() as u64
    }
}

/// A footer takes about this much; a first guess of how many there will be.
const USUAL_FOOTER_BYTES: u64 = 16 << 10;

impl Scanner {
    pub(super) fn new(store: Arc<dyn Store>, limits: &DeltaReaderLimits) -> Self {
        let expected = (limits.cache_bytes / USUAL_FOOTER_BYTES) as usize;
        Self {
            store,
            footers: Cache::with_weighter(expected, limits.cache_bytes, ByBytes),
            helpers: Helpers::new(limits.parallel_reads),
            counters: Counters::default(),
        }
    }

    pub(super) fn figures(&self) -> ReadFigures {
        self.counters.read()
    }

    /// Hands out all rows of a version that are wanted.
    pub(super) fn scan(
        &self,
        snapshot: &Snapshot,
        wanted: &Wanted<'_>,
        budget: &Budget,
        take: impl FnMut(Batch) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let counters = &self.counters;
        counters.queries.add(1);
        counters.files.add(snapshot.files_count());
        let in_partitions: Vec<&Arc<DataFile>> = snapshot.files(wanted).collect();
        counters.files_by_partition.add(snapshot.files_count() - in_partitions.len());
        let files: Vec<&Arc<DataFile>> = in_partitions.iter().filter(|file| file.may_have(wanted)).copied().collect();
        counters.files_by_log_ranges.add(in_partitions.len() - files.len());
        self.helpers.run(&files, |file, emit| self.scan_file(file, wanted, budget, emit), take)
    }

    fn scan_file(
        &self,
        file: &Arc<DataFile>,
        wanted: &Wanted<'_>,
        budget: &Budget,
        emit: &mut dyn FnMut(Batch) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let index = self.footers.get_or_insert_with(&file.identity, || {
            self.counters.footers_read.add(1);
            FileIndex::read(&self.store, file).map(Arc::new)
        })?;
        for group in &index.groups {
            for selection in pieces(group, candidates(group, wanted, &self.counters)) {
                let piece = Piece { scanner: self, file, group, wanted, budget };
                let batch = piece.read(selection)?;
                if batch.rows() > 0 {
                    self.counters.rows_answered.add(batch.rows());
                    emit(batch)?;
                }
            }
        }
        Ok(())
    }
}

/// Splits what is to be read into pieces of bounded size. Without an index of its pages a column is read whole, and
/// splitting would read it again for each piece.
fn pieces(group: &GroupIndex, selection: Selection) -> Vec<Selection> {
    let has_pages = |&column: &Column| group.chunk(column).is_none_or(|chunk| !chunk.pages.is_empty());
    if selection.is_empty() || !Column::ALL.iter().all(has_pages) {
        return if selection.is_empty() { Vec::new() } else { vec![selection] };
    }
    let mut pieces = vec![Selection::new()];
    let mut room = BATCH_ROWS;
    for mut range in selection {
        while !range.is_empty() {
            let taken = range.start..range.end.min(range.start + room);
            range.start = taken.end;
            room -= taken.len();
            if let Some(piece) = pieces.last_mut() {
                piece.push(taken);
            }
            if room == 0 {
                pieces.push(Selection::new());
                room = BATCH_ROWS;
            }
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Rows of a row group that are read together.
struct Piece<'a> {
    scanner: &'a Scanner,
    file: &'a Arc<DataFile>,
    group: &'a GroupIndex,
    wanted: &'a Wanted<'a>,
    budget: &'a Budget,
}

impl Piece<'_> {
    /// The rows that match. Each column that decides is decoded first, and those behind it only where it left something.
    fn read(&self, mut selection: Selection) -> Result<Batch, ReadError> {
        let mut batch = Batch::default();
        let all = self.byte_ranges(&[&[Column::Ad], SMALL.as_slice()].concat(), &selection);
        let at_once = self.wanted.all_ads() || length(&all) <= AT_ONCE_BYTES;
        let first = if at_once { all } else { self.byte_ranges(&[Column::Ad], &selection) };
        let mut parts = self.fetch(&first)?;

        if self.wanted.all_ads() {
            batch.ads = self.decode(&parts, &selection, |source| source.whole_texts(Column::Ad))?;
        } else {
            (selection, batch.ads) =
                self.decode(&parts, &selection, |source| find_ads(source, |ad| self.wanted.has_ad(ad)))?;
        }
        if selection.is_empty() {
            return Ok(batch);
        }
        if !at_once {
            parts = self.fetch(&self.byte_ranges(&SMALL, &selection))?;
        }

        batch.starts_ms = self.decode(&parts, &selection, |source| source.times_ms(Column::Start))?;
        batch.regions = self.decode(&parts, &selection, |source| source.texts(Column::Region))?;
        let rows = batch.starts_ms.iter().zip(&batch.regions);
        let kept: Vec<bool> = rows
            .map(|(start_ms, region)| {
                self.wanted.has_start(*start_ms) && self.wanted.has_region(region.as_ref().map(|region| region.data()))
            })
            .collect();
        narrow(&mut selection, &kept, &mut batch);
        if selection.is_empty() {
            return Ok(batch);
        }

        batch.clicks = self.decode(&parts, &selection, |source| source.counts(Column::Clicks))?;
        batch.users = self.decode(&parts, &selection, |source| source.counts(Column::Users))?;
        batch.epochs = self.decode(&parts, &selection, |source| source.counts(Column::Epoch))?;
        if self.wanted.sketches {
            let parts = self.fetch(&self.byte_ranges(&[Column::Sketch], &selection))?;
            batch.sketches = self.decode(&parts, &selection, |source| source.whole_texts(Column::Sketch))?;
        }
        if batch.is_text() {
            Ok(batch)
        } else {
            Err(ReadError::damaged(&self.file.name, "an ad or a region is no text"))
        }
    }

    fn byte_ranges(&self, columns: &[Column], selection: &[Range<usize>]) -> Vec<Range<u64>> {
        let chunks = columns.iter().filter_map(|&column| self.group.chunk(column));
        coalesce(chunks.flat_map(|chunk| byte_ranges(chunk, self.group.rows, selection)).collect())
    }

    fn fetch(&self, ranges: &[Range<u64>]) -> Result<Arc<Parts>, ReadError> {
        let bytes = length(ranges);
        self.budget.take(bytes)?;
        self.scanner.counters.data_bytes.add(bytes as usize);
        let parts = Parts::read(self.scanner.store.as_ref(), &self.file.name, self.file.size_bytes, ranges);
        parts.map(Arc::new).map_err(|error| ReadError::of_file(&self.file.name, error))
    }

    fn decode<T>(
        &self,
        parts: &Arc<Parts>,
        selection: &[Range<usize>],
        decode: impl FnOnce(Source<'_>) -> Result<T, ParquetError>,
    ) -> Result<T, ReadError> {
        let decoded = decode(Source { group: self.group, parts, selection });
        decoded.map_err(|error| ReadError::of_file(&self.file.name, error))
    }
}

fn length(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// Keeps some of the selected rows, and of what was decoded already.
fn narrow(selection: &mut Selection, kept: &[bool], batch: &mut Batch) {
    if kept.iter().all(|&kept| kept) {
        return;
    }
    let rows = selection.iter().flat_map(Clone::clone).zip(kept);
    *selection = merge(rows.filter(|(_, kept)| **kept).map(|(row, _)| row..row + 1));
    retain(&mut batch.ads, kept);
    retain(&mut batch.starts_ms, kept);
    retain(&mut batch.regions, kept);
}

/// A column that is not decoded yet has nothing to keep.
fn retain<T>(column: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    column.retain(|_| kept.next().copied().unwrap_or(false));
}
