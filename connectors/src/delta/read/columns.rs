//! Values of a column at some rows.

use std::ops::Range;
use std::sync::Arc;

use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type, Int96Type};
use parquet::errors::ParquetError;

use super::file_index::{ChunkIndex, Column, GroupIndex, int96_to_ms, unit_of};
use super::pages::{Pages, PlainTexts};
use super::prune::{Selection, count, merge};
use super::ranges::Parts;

/// The bytes of a column that have these rows.
pub(super) fn byte_ranges(chunk: &ChunkIndex, rows: usize, selection: &[Range<usize>]) -> Vec<Range<u64>> {
    let Some(first) = chunk.pages.first() else { return vec![chunk.bytes.clone()] };
    // What lies before the first page of data is the dictionary.
    let dictionary = chunk.bytes.start..first.offset as u64;
    let mut ranges: Vec<Range<u64>> = Some(dictionary).into_iter().filter(|range| !range.is_empty()).collect();
    let mut selected = selection.iter().peekable();
    for (number, page) in chunk.pages.iter().enumerate() {
        let page_rows = chunk.page_rows(number, rows);
        while selected.peek().is_some_and(|range| range.end <= page_rows.start) {
            selected.next();
        }
        if selected.peek().is_some_and(|range| range.start < page_rows.end) {
            let start = page.offset as u64;
            ranges.push(start..start + page.compressed_page_size as u64);
        }
    }
    ranges
}

/// What a column is decoded from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) group: &'a GroupIndex,
    pub(super) parts: &'a Arc<Parts>,
    pub(super) selection: &'a [Range<usize>],
}

impl Source<'_> {
    /// A column of texts or bytes; all null where the file does not have it.
    pub(super) fn texts(self, column: Column) -> Result<Vec<Option<ByteArray>>, ParquetError> {
        match self.group.chunk(column) {
            Some(chunk) => self.values::<ByteArrayType>(chunk),
            None => Ok(vec![None; count(self.selection)]),
        }
    }

    /// A column of texts or bytes without nulls.
    pub(super) fn whole_texts(self, column: Column) -> Result<Vec<ByteArray>, ParquetError> {
        whole(column, self.values::<ByteArrayType>(self.chunk(column)?)?)
    }

    /// The selected rows with ads that are wanted, and those ads. Where names lie one after the other, as in our own files,
    /// only those that are found are taken out.
    pub(super) fn ads(self, is_wanted: impl Fn(&[u8]) -> bool) -> Result<(Selection, Vec<ByteArray>), ParquetError> {
        if let Some(found) = self.plain_ads(&is_wanted)? {
            return Ok(found);
        }
        let mut ads = self.whole_texts(Column::Ad)?;
        let kept: Vec<bool> = ads.iter().map(|ad| is_wanted(ad.data())).collect();
        let rows = self.selection.iter().flat_map(Clone::clone).zip(&kept);
        let selection = merge(rows.filter(|(_, kept)| **kept).map(|(row, _)| row..row + 1));
        ads.retain(|ad| is_wanted(ad.data()));
        Ok((selection, ads))
    }

    /// The same without decoding; `None` where the column is stored in another way.
    fn plain_ads(
        &self,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<(Selection, Vec<ByteArray>)>, ParquetError> {
        let chunk = self.chunk(Column::Ad)?;
        let has_dictionary = chunk.pages.first().is_none_or(|first| first.offset as u64 != chunk.bytes.start);
        if has_dictionary || chunk.chunk.column_descr().max_def_level() > 0 {
            return Ok(None);
        }
        let mut pages = Pages::of(chunk, self.group.rows, self.parts.clone());
        let mut selected = self.selection.iter().cloned().peekable();
        let (mut rows, mut ads) = (Vec::new(), Vec::new());
        for number in 0..chunk.pages.len() {
            let page_rows = chunk.page_rows(number, self.group.rows);
            while selected.peek().is_some_and(|range| range.end <= page_rows.start) {
                selected.next();
            }
            if !selected.peek().is_some_and(|range| range.start < page_rows.end) {
                pages.skip_next_page()?;
                continue;
            }
            let Some(Page::DataPage { buf, encoding: Encoding::PLAIN, .. }) = pages.get_next_page()? else {
                return Ok(None);
            };
            let mut row = page_rows.start;
            for ad in PlainTexts(&buf).take(page_rows.len()) {
                if is_wanted(ad) {
                    rows.push(row);
                    ads.push(ByteArray::from(buf.slice_ref(ad)));
                }
                row += 1;
            }
            if row != page_rows.end {
                return Err(ParquetError::EOF("it has fewer rows than its footer says".to_owned()));
            }
        }
        let is_selected = |row: usize| self.selection.iter().any(|range| range.contains(&row));
        let kept: Vec<bool> = rows.iter().map(|&row| is_selected(row)).collect();
        let mut keep = kept.iter();
        ads.retain(|_| keep.next().copied().unwrap_or(false));
        let rows = rows.into_iter().zip(&kept).filter(|(_, kept)| **kept);
        Ok(Some((merge(rows.map(|(row, _)| row..row + 1)), ads)))
    }

    /// A column of numbers that are not negative.
    pub(super) fn counts(self, column: Column) -> Result<Vec<u64>, ParquetError> {
        let values = whole(column, self.values::<Int64Type>(self.chunk(column)?)?)?;
        let negative = |_| ParquetError::General(format!("column {} has a negative number", column.name()));
        values.into_iter().map(|value| u64::try_from(value).map_err(negative)).collect()
    }

    /// A column of times, in milliseconds.
    pub(super) fn times_ms(self, column: Column) -> Result<Vec<i64>, ParquetError> {
        let chunk = self.chunk(column)?;
        if chunk.chunk.column_type() == Type::INT96 {
            let times = whole(column, self.values::<Int96Type>(chunk)?)?;
            return Ok(times.iter().map(int96_to_ms).collect());
        }
        let times = whole(column, self.values::<Int64Type>(chunk)?)?;
        let unit = unit_of(chunk.chunk.column_descr());
        let unit = unit.ok_or_else(|| ParquetError::General(format!("column {} has no unit", column.name())))?;
        Ok(times.into_iter().map(|time| unit.to_ms(time)).collect())
    }

    fn chunk(&self, column: Column) -> Result<&ChunkIndex, ParquetError> {
        let missing = || ParquetError::General(format!("it has no column {}", column.name()));
        self.group.chunk(column).ok_or_else(missing)
    }

    fn values<T: DataType>(&self, chunk: &ChunkIndex) -> Result<Vec<Option<T::T>>, ParquetError> {
        let pages = Pages::of(chunk, self.group.rows, self.parts.clone());
        let descriptor = chunk.chunk.column_descr_ptr();
        let nullable = descriptor.max_def_level() > 0;
        let mut reader = ColumnReaderImpl::<T>::new(descriptor, Box::new(pages));
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let mut row = 0;
        for range in self.selection {
            let skipped = reader.skip_records(range.start - row)?;
            let levels = Some(&mut levels).filter(|_| nullable);
            let (read, _, _) = reader.read_records(range.len(), levels, None, &mut values)?;
            if (skipped, read) != (range.start - row, range.len()) {
                return Err(ParquetError::EOF("it has fewer rows than its footer says".to_owned()));
            }
            row = range.end;
        }
        if !nullable {
            return Ok(values.into_iter().map(Some).collect());
        }
        let mut values = values.into_iter();
        Ok(levels.into_iter().map(|level| if level > 0 { values.next() } else { None }).collect())
    }
}

fn whole<T>(column: Column, values: Vec<Option<T>>) -> Result<Vec<T>, ParquetError> {
    let null = || ParquetError::General(format!("column {} has a null", column.name()));
    values.into_iter().map(|value| value.ok_or_else(null)).collect()
}
