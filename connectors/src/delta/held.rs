//! Rows that wait for a file of useful size, and how a checkpoint carries them.
//!
//! ```text
//!   carried bytes:  "weirrows" │ header length u32 │ header, JSON │ zstd(chunk, chunk, …)
//! ```
//!
//! What was carried stays in memory in the same packed form, a fifth of the rows' size. It is packed off the worker's
//! thread; until that is done the rows stand in for it.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use weir_checkpoints::{Offset, PartitionId};

use super::chunk::Chunk;

const MAGIC: &[u8; 8] = b"weirrows";
const VERSION: u32 = 1;

/// Rows are read back often enough that a fast level is the right one.
const ZSTD_LEVEL: i32 = 1;

/// What clicks usually become when they are packed, as a divisor. For estimates only.
pub(super) const PACKED_FRACTION: usize = 5;

/// The source offsets that rows came from, `first..next` for each partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct OffsetRanges(BTreeMap<PartitionId, (Offset, Offset)>);

impl OffsetRanges {
    /// Widens the range of a partition.
    pub(super) fn add(&mut self, partition: PartitionId, first: Offset, next: Offset) {
        let range = self.0.entry(partition).or_insert((first, next));
        *range = (range.0.min(first), range.1.max(next));
    }

    /// Widens all ranges.
    pub(super) fn merge(&mut self, other: &Self) {
        for (&partition, &(first, next)) in &other.0 {
            self.add(partition, first, next);
        }
    }
}

/// What is known of carried rows without unpacking them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    version: u32,
    /// The table that they belong to.
    pub(super) table: String,
    /// How many there are.
    pub(super) rows: u64,
    /// What they take unpacked.
    pub(super) bytes: u64,
    /// When the oldest came, unix time in milliseconds, by the writer's clock.
    pub(super) since_ms: i64,
    /// Where they came from.
    pub(super) offsets: OffsetRanges,
    chunks: u32,
}

/// Some rows that are held back, all from one stage.
pub(super) struct Held<C> {
    /// What they take unpacked.
    pub(super) bytes: usize,
    rows: Mutex<Rows<C>>,
}

enum Rows<C> {
    Loose(Vec<Arc<C>>),
    Packed(Arc<Vec<u8>>),
}

impl<C: Chunk> Held<C> {
    /// Holds rows as they are, until [`Held::pack`].
    pub(super) fn loose(chunks: Vec<Arc<C>>) -> Self {
        let bytes = chunks.iter().map(|chunk| chunk.bytes()).sum();
        Self { bytes, rows: Mutex::new(Rows::Loose(chunks)) }
    }

    /// Holds rows that were carried over; they are unpacked once, to see that they can be.
    pub(super) fn restored(table: &str, carried: &[u8]) -> Result<(Self, Header), String> {
        let (header, chunks) = unpack::<C>(carried)?;
        if header.table != table {
            return Err(format!("they are rows of {}", header.table));
        }
        let bytes = chunks.iter().map(Chunk::bytes).sum();
        let packed = Rows::Packed(Arc::new(carried.to_vec()));
        Ok((Self { bytes, rows: Mutex::new(packed) }, header))
    }

    /// What they take in a file, roughly.
    pub(super) fn estimated_file_bytes(&self) -> usize {
        match &*self.lock() {
            Rows::Loose(_) => self.bytes / PACKED_FRACTION,
            Rows::Packed(packed) => packed.len(),
        }
    }

    /// The bytes for the checkpoint; from now on they are what is kept, in place of the rows.
    pub(super) fn pack(&self, table: &str, since_ms: i64, offsets: OffsetRanges) -> Result<Vec<u8>, String> {
        let chunks = match &*self.lock() {
            Rows::Loose(chunks) => chunks.clone(),
            Rows::Packed(packed) => return Ok(packed.to_vec()),
        };
        let header = Header {
            version: VERSION,
            table: table.to_owned(),
            rows: chunks.iter().map(|chunk| chunk.rows() as u64).sum(),
            bytes: self.bytes as u64,
            since_ms,
            offsets,
            chunks: chunks.len() as u32,
        };
        let packed = pack(&header, &chunks)?;
        *self.lock() = Rows::Packed(Arc::new(packed.clone()));
        Ok(packed)
    }

    /// The rows.
    pub(super) fn chunks(&self) -> Result<Vec<Arc<C>>, String> {
        let packed = match &*self.lock() {
            Rows::Loose(chunks) => return Ok(chunks.clone()),
            Rows::Packed(packed) => packed.clone(),
        };
        let (_, chunks) = unpack::<C>(&packed)?;
        Ok(chunks.into_iter().map(Arc::new).collect())
    }

    /// Nothing is ever half done under the lock.
    fn lock(&self) -> MutexGuard<'_, Rows<C>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pack<C: Chunk>(header: &Header, chunks: &[Arc<C>]) -> Result<Vec<u8>, String> {
    let header_json = serde_json::to_vec(header).map_err(|error| error.to_string())?;
    let mut packed = Vec::new();
    packed.extend_from_slice(MAGIC);
    packed.extend_from_slice(&(header_json.len() as u32).to_le_bytes());
    packed.extend_from_slice(&header_json);
    let mut encoder = zstd::Encoder::new(packed, ZSTD_LEVEL).map_err(|error| error.to_string())?;
    encoder.include_checksum(true).map_err(|error| error.to_string())?;
    let mut encoded = Vec::new();
    for chunk in chunks {
        encoded.clear();
        chunk.encode(&mut encoded);
        std::io::Write::write_all(&mut encoder, &encoded).map_err(|error| error.to_string())?;
    }
    encoder.finish().map_err(|error| error.to_string())
}

fn unpack<C: Chunk>(packed: &[u8]) -> Result<(Header, Vec<C>), String> {
    let foreign = || "they are not rows that a table carried over".to_owned();
    let rest = packed.strip_prefix(MAGIC).ok_or_else(foreign)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(foreign)?;
    let (header, body) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(foreign)?;
    let header: Header = serde_json::from_slice(header).map_err(|error| format!("their header is damaged: {error}"))?;
    if header.version != VERSION {
        return Err(format!("they are in version {} of the format, this is {VERSION}", header.version));
    }
    let mut encoded = Vec::new();
    let mut decoder = zstd::Decoder::new(body).map_err(|error| error.to_string())?;
    decoder.read_to_end(&mut encoded).map_err(|error| format!("they are damaged: {error}"))?;
    let mut unread = encoded.as_slice();
    let chunks: Option<Vec<C>> = (0..header.chunks).map(|_| C::decode(&mut unread)).collect();
    let chunks = chunks.filter(|chunks| unread.is_empty() && rows_of(chunks) == header.rows);
    let chunks = chunks.ok_or_else(|| "they are damaged: their rows do not add up".to_owned())?;
    Ok((header, chunks))
}

fn rows_of<C: Chunk>(chunks: &[C]) -> u64 {
    chunks.iter().map(|chunk| chunk.rows() as u64).sum()
}
