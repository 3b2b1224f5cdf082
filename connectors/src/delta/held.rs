//! Rows that wait for a file of useful size, and how a checkpoint carries them.
//!
//! ```text
//!   carried bytes:  "weirrows" │ zstd( header length u64 │ header, JSON │ chunk │ chunk │ … )
//! ```
//!
//! What was carried stays in memory in the same packed form, a fifth of the rows' size. It is packed off the worker's
//! thread; until that is done the rows stand in for it.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use weir_checkpoints::{Offset, PartitionId};

use super::chunk::{Chunk, decode_bytes, encode_bytes};

const MAGIC: &[u8; 8] = b"weirrows";
const VERSION: u32 = 2;

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
        let (header, chunks) = carried_rows::<C>(table, carried)?;
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

/// Rows that were carried over for a table, for whoever does not go on with them.
pub(super) fn carried_rows<C: Chunk>(table: &str, carried: &[u8]) -> Result<(Header, Vec<C>), String> {
    let (header, chunks) = unpack::<C>(carried)?;
    if header.table == table { Ok((header, chunks)) } else { Err(format!("they are rows of {}", header.table)) }
}

fn pack<C: Chunk>(header: &Header, chunks: &[Arc<C>]) -> Result<Vec<u8>, String> {
    let mut encoded = Vec::new();
    encode_bytes(&mut encoded, &serde_json::to_vec(header).map_err(|error| error.to_string())?);
    let mut compress = || -> std::io::Result<Vec<u8>> {
        let mut encoder = zstd::Encoder::new(MAGIC.to_vec(), ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        for chunk in chunks {
            encoder.write_all(&encoded)?;
            encoded.clear();
            chunk.encode(&mut encoded);
        }
        encoder.write_all(&encoded)?;
        encoder.finish()
    };
    compress().map_err(|error| error.to_string())
}

fn unpack<C: Chunk>(packed: &[u8]) -> Result<(Header, Vec<C>), String> {
    let foreign = || "they are not rows that a table carried over".to_owned();
    let damaged = |error: &dyn std::fmt::Display| format!("they are damaged: {error}");
    let body = packed.strip_prefix(MAGIC).ok_or_else(foreign)?;
    let encoded = zstd::decode_all(body).map_err(|error| damaged(&error))?;
    let mut unread = encoded.as_slice();
    let header = decode_bytes(&mut unread).ok_or_else(foreign)?;
    let header: Header = serde_json::from_slice(header).map_err(|error| damaged(&error))?;
    if header.version != VERSION {
        return Err(format!(
            "they are in version {} of the format, this is {VERSION}; go on with the version of weir that wrote them",
            header.version
        ));
    }
    let chunks: Option<Vec<C>> = (0..header.chunks).map(|_| C::decode(&mut unread)).collect();
    let chunks = chunks.filter(|chunks| unread.is_empty() && rows_of(chunks) == header.rows);
    let chunks = chunks.ok_or_else(|| damaged(&"they do not add up"))?;
    Ok((header, chunks))
}

fn rows_of<C: Chunk>(chunks: &[C]) -> u64 {
    chunks.iter().map(|chunk| chunk.rows() as u64).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use weir_checkpoints::Epoch;
    use weir_dataflow::{Row, Window, WindowRow};

    use super::*;
    use crate::delta::clicks::ClickChunk;
    use crate::delta::windows::WindowChunk;

    fn packed() -> Vec<u8> {
        let mut chunks = vec![WindowChunk::default(), WindowChunk::default()];
        for (number, chunk) in (0..40u64).flat_map(|number| [(number, 0), (number, 1)]) {
            let row = WindowRow {
                ad_id: ["ad-1", "ad-ü"][chunk],
                region: [None, Some("eu-1"), Some("us-1")][number as usize % 3],
                window: Window::FiveMinutes,
                start_ms: 300_000,
                click_count: number,
                unique_users: 1,
                user_sketch: &number.to_le_bytes(),
                epoch: Epoch(3),
            };
            chunks.get_mut(chunk).unwrap().push(&Row::Window(row)).unwrap();
        }
        let held = Held::loose(chunks.into_iter().map(Arc::new).collect());
        let mut offsets = OffsetRanges::default();
        offsets.add(PartitionId(0), Offset(5), Offset(9));
        held.pack("clicks_agg", 17, offsets).unwrap()
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let packed = packed();
        let (held, header) = Held::<WindowChunk>::restored("clicks_agg", &packed).unwrap();
        assert_eq!((header.rows, header.since_ms), (80, 17));
        let repacked = Held::loose(held.chunks().unwrap()).pack("clicks_agg", 17, header.offsets).unwrap();
        assert_eq!(repacked, packed);
    }

    #[test]
    fn damaged_rows_are_refused() {
        let packed = packed();
        let check = |bytes: &[u8]| {
            let restored = Held::<WindowChunk>::restored("clicks_agg", bytes);
            // Zstandard leaves one bit of its header unused.
            let chunks =
                restored.and_then(|(held, header)| Held::loose(held.chunks()?).pack("clicks_agg", 17, header.offsets));
            assert!(chunks.is_err() || chunks.is_ok_and(|same| same == packed), "{bytes:?}");
        };
        for at in 0..packed.len() {
            check(packed.get(..at).unwrap());
            for bit in 0..8 {
                let mut damaged = packed.clone();
                *damaged.get_mut(at).unwrap() ^= 1 << bit;
                check(&damaged);
            }
        }
    }

    #[test]
    fn rows_of_another_version_are_refused_with_what_to_do() {
        let (header, _) = unpack::<WindowChunk>(&packed()).unwrap();
        let old = pack::<WindowChunk>(&Header { version: VERSION - 1, rows: 0, chunks: 0, ..header }, &[]).unwrap();
        let refusal = Held::<WindowChunk>::restored("clicks_agg", &old).err().unwrap();
        assert!(refusal.ends_with("go on with the version of weir that wrote them"), "{refusal}");
    }

    #[test]
    fn rows_of_another_table_are_refused() {
        assert!(Held::<ClickChunk>::restored("clicks_raw", &packed()).is_err());
        assert!(Held::<WindowChunk>::restored("clicks_other", &packed()).is_err());
    }
}
