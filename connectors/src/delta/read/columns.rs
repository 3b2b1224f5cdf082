//! Values of a column at some rows.

use std::ops::Range;
use std::sync::Arc;

use parquet::basic::Type;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type, Int96Type};
use parquet::errors::ParquetError;

use super::file_index::{ChunkIndex, Column, GroupIndex};
use super::pages::Pages;
use super::prune::count;
use super::ranges::Parts;
use super::time_unit::{int96_to_ms, unit_of};

/// The bytes of a column that have these rows.
pub(super) fn byte_ranges(chunk: &ChunkIndex, rows: usize, selection: &[Range<usize>]) -> Vec<Range<u64>> {
    let Some(first) = chunk.pages.first() else { return vec![chunk.bytes.clone()] };
    // What lies before the first page of data is the dictionary.
    let dictionary = chunk.bytes.start..first.offset as u64;
    let mut ranges: Vec<Range<u64>> = Some(dictionary).into_iter().filter(|range| !range.is_empty()).collect();
    for (number, page) in chunk.pages.iter().enumerate() {
        if has_selected(selection, &chunk.page_rows(number, rows)) {
            let start = page.offset as u64;
            ranges.push(start..start + page.compressed_page_size as u64);
        }
    }
    ranges
}

/// Whether some of these rows are selected.
pub(super) fn has_selected(selection: &[Range<usize>], rows: &Range<usize>) -> bool {
    let first = selection.partition_point(|range| range.end <= rows.start);
    selection.get(first).is_some_and(|range| range.start < rows.end)
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

    pub(super) fn chunk(&self, column: Column) -> Result<&ChunkIndex, ParquetError> {
        let missing = || ParquetError::General(format!("it has no column {}", column.name()));
        self.group.chunk(column).ok_or_else(missing)
    }

    fn values<T: DataType>(&self, chunk: &ChunkIndex) -> Result<Vec<Option<T::T>>, ParquetError> {
        values::<T>(chunk, self.group.rows, self.parts, self.selection)
    }
}

/// The values of a column at the selected rows of a row group with so many rows.
pub(super) fn values<T: DataType>(
    chunk: &ChunkIndex,
    rows: usize,
    parts: &Arc<Parts>,
    selection: &[Range<usize>],
) -> Result<Vec<Option<T::T>>, ParquetError> {
    let pages = Pages::of(chunk, rows, parts.clone());
    let descriptor = chunk.chunk.column_descr_ptr();
    let nullable = descriptor.max_def_level() > 0;
    let mut reader = ColumnReaderImpl::<T>::new(descriptor, Box::new(pages));
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let mut row = 0;
    for range in selection {
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

fn whole<T>(column: Column, values: Vec<Option<T>>) -> Result<Vec<T>, ParquetError> {
    let null = || ParquetError::General(format!("column {} has a null", column.name()));
    values.into_iter().map(|value| value.ok_or_else(null)).collect()
}
