//! Rows in memory: as they come, one behind the other, so that taking one costs a few copies and nothing else.
//!
//! ```text
//!   write ─▶ Chunk: texts │ad│user│click│ip│…│ad│user│…     one buffer, never more than a few megabytes
//!                   heads │ where, lengths, numbers │ …     one of fixed size a row
//!
//!   off the worker's thread:  keys ─▶ sort ─▶ gather: columns in the order of the file
//! ```
//!
//! Turning rows into columns is the work of `gather`, which touches each row once, in the file's order. Building
//! columns first and sorting them afterwards would touch every row once a column.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::ArrayRef;
use weir_dataflow::{Row, SinkError};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::table::Table;

/// A chunk takes no more rows than this: enough to make what a chunk costs small, and few enough for its buffers to
/// be had from the allocator's own pool.
pub(super) const CHUNK_ROWS: usize = 16 * 1024;

/// Nor more bytes than this, plus one row.
pub(super) const CHUNK_BYTES: usize = 8 << 20;

/// Some rows of a table, in the order they came.
pub(super) trait Chunk: Default + Send + Sync + 'static {
    /// An empty chunk with room for as much as this one took.
    fn sized_like(&self) -> Self;

    /// Takes all rows out, and keeps the room.
    fn clear(&mut self);

    /// Takes a row of its kind.
    fn push(&mut self, row: &Row<'_>) -> Result<(), SinkError>;

    /// How many rows there are.
    fn rows(&self) -> usize;

    /// What the rows take in memory.
    fn bytes(&self) -> usize;

    /// Adds the sort key of every row.
    fn keys<'a>(&'a self, table: Table, chunk: u32, ads: &mut AdIndex<'a>, keys: &mut Vec<Key>);

    /// The picked rows as columns, in the order of the picks.
    fn gather(table: Table, chunks: &[Arc<Self>], picks: &[Key]) -> Columns;

    /// Appends what [`Chunk::decode`] understands.
    fn encode(&self, out: &mut Vec<u8>);

    /// The inverse of [`Chunk::encode`]; `None` where the bytes are something else.
    fn decode(bytes: &mut &[u8]) -> Option<Self>;

    /// Whether it takes no more.
    #[inline]
    fn is_full(&self) -> bool {
        self.rows() >= CHUNK_ROWS || self.bytes() >= CHUNK_BYTES
    }
}

/// Chunks whose rows are in files, to be filled again: what is written into memory fresh from the operating system costs
/// twice as much.
pub(super) struct Pool<C> {
    empty: Mutex<Vec<C>>,
}

/// More chunks than this are given back to the allocator.
const POOL_CHUNKS: usize = 24;

impl<C: Chunk> Pool<C> {
    pub(super) fn new() -> Self {
        Self { empty: Mutex::new(Vec::new()) }
    }

    /// An empty chunk.
    pub(super) fn take(&self) -> Option<C> {
        self.empty.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Takes chunks back, as far as nobody else has them.
    pub(super) fn give(&self, chunks: Vec<Arc<C>>) {
        let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        let room = POOL_CHUNKS.saturating_sub(empty.len());
        for mut chunk in chunks.into_iter().filter_map(Arc::into_inner).take(room) {
            chunk.clear();
            empty.push(chunk);
        }
    }
}

/// Columns by name: those that are not the same for every row of a job.
pub(super) type Columns = Vec<(&'static str, ArrayRef)>;

/// Where a row goes: its partition, then its place in the file. Rows that are equal in all of these keep their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) partition: u32,
    /// The ad's number in an [`AdIndex`]; after [`AdIndex::rank`] its place in the order of ad ids.
    pub(super) ad: u32,
    pub(super) time_ms: i64,
    pub(super) chunk: u32,
    pub(super) row: u32,
}

/// Numbers for ads, so that rows are sorted by comparing numbers.
#[derive(Default)]
pub(super) struct AdIndex<'a> {
    numbers: HashMap<&'a str, u32, BuildHasherDefault<AdHasher>>,
}

impl<'a> AdIndex<'a> {
    /// The number of an ad.
    #[inline]
    pub(super) fn number(&mut self, ad_id: &'a str) -> u32 {
        let next = self.numbers.len() as u32;
        *self.numbers.entry(ad_id).or_insert(next)
    }

    /// Replaces the numbers in the keys by ranks: their order becomes that of the ad ids' bytes.
    pub(super) fn rank(self, keys: &mut [Key]) {
        let mut ads: Vec<(&str, u32)> = self.numbers.into_iter().collect();
        ads.sort_unstable();
        let mut ranks = vec![0; ads.len()];
        for (rank, (_, number)) in ads.into_iter().enumerate() {
            if let Some(slot) = ranks.get_mut(number as usize) {
                *slot = rank as u32;
            }
        }
        for key in keys {
            key.ad = ranks.get(key.ad as usize).copied().unwrap_or(0);
        }
    }
}

/// Hashes ad ids. Nothing that is stored depends on it.
#[derive(Default)]
pub(super) struct AdHasher(u64);

impl Hasher for AdHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// The mark that `str` puts behind its bytes: there is nothing behind it to tell them apart from.
    #[inline]
    fn write_u8(&mut self, _mark: u8) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Writes numbers, eight bytes each, least first.
pub(super) fn encode_numbers(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Reads a number back.
pub(super) fn decode_number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

/// Writes bytes with their length.
pub(super) fn encode_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    encode_numbers(out, std::iter::once(bytes.len() as u64));
    out.extend_from_slice(bytes);
}

/// Reads bytes with their length back.
pub(super) fn decode_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_number(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}
