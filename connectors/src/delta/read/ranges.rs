//! Bytes of a file: as few reads as possible for the ranges that are needed, and the ranges as Parquet's reader sees them.

use std::ops::Range;
use std::sync::Arc;

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use weir_checkpoints::Store;

/// Ranges that are no farther apart are read as one: another read costs more than these bytes.
const MAX_GAP_BYTES: u64 = 32 << 10;

/// The ranges, in order and merged where they are near each other.
pub(super) fn coalesce(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(MAX_GAP_BYTES) => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Parts of a file that were read; with a store, whatever else is asked for is read when it is.
pub(super) struct Parts {
    size_bytes: u64,
    name: Arc<str>,
    parts: Vec<(u64, Bytes)>,
    store: Option<Arc<dyn Store>>,
}

impl Parts {
    /// Reads ranges, which are coalesced already.
    pub(super) fn read(
        store: &dyn Store,
        name: &Arc<str>,
        size_bytes: u64,
        ranges: &[Range<u64>],
    ) -> Result<Self, ParquetError> {
        let parts = ranges.iter().map(|range| Ok((range.start, read(store, name, range.clone())?)));
        let parts = parts.collect::<Result<_, ParquetError>>()?;
        Ok(Self { size_bytes, name: Arc::clone(name), parts, store: None })
    }

    /// Reads the end of a file, and later what lies before it.
    #[allow(clippy::single_range_in_vec_init, reason = "ranges to read are a list")]
    pub(super) fn end(
        store: &Arc<dyn Store>,
        name: &Arc<str>,
        size_bytes: u64,
        end: u64,
    ) -> Result<Self, ParquetError> {
        let range = size_bytes.saturating_sub(end)..size_bytes;
        let parts = Self::read(store.as_ref(), name, size_bytes, &[range])?;
        Ok(Self { store: Some(store.clone()), ..parts })
    }

    fn part(&self, range: &Range<u64>) -> Option<Bytes> {
        let (start, bytes) = self.parts.iter().rev().find(|(start, _)| *start <= range.start)?;
        let from = usize::try_from(range.start - start).ok()?;
        let to = usize::try_from(range.end - start).ok()?;
        (to <= bytes.len()).then(|| bytes.slice(from..to))
    }

    fn outside(&self, range: &Range<u64>) -> ParquetError {
        ParquetError::EOF(format!("it points to bytes {range:?} of a file of {}", self.size_bytes))
    }
}

fn read(store: &dyn Store, name: &str, range: Range<u64>) -> Result<Bytes, ParquetError> {
    store.get_range(name, range).map(Bytes::from).map_err(|error| ParquetError::External(Box::new(error)))
}

impl Length for Parts {
    fn len(&self) -> u64 {
        self.size_bytes
    }
}

impl ChunkReader for Parts {
    type T = Reader<Bytes>;

    /// From `start` to the end of the part that it lies in.
    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let part = self.parts.iter().rev().find(|(first, _)| *first <= start);
        let end = part.map_or(start, |(first, bytes)| first + bytes.len() as u64).max(start);
        let range = start..end;
        self.part(&range).map(Buf::reader).ok_or_else(|| self.outside(&range))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let range = start..start.saturating_add(length as u64);
        if range.end > self.size_bytes {
            return Err(self.outside(&range));
        }
        match (self.part(&range), &self.store) {
            (Some(bytes), _) => Ok(bytes),
            (None, Some(store)) => read(store.as_ref(), &self.name, range),
            (None, None) => Err(self.outside(&range)),
        }
    }
}
