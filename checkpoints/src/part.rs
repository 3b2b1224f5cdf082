//! The format of a state part: blocks of bytes by key group, each readable on its own.
//!
//! ```text
//! "WEIRPART" │ format u32 │ first group u16 │ end group u16 │ crc32c of the index u32 │ index │ block │ block │ …
//!  index entry, one a group:   offset u64 │ stored u32 │ raw u32 │ crc32c of the stored bytes u32
//! ```
//!
//! All numbers are little-endian. A block is compressed with zstd where that makes it smaller (`stored < raw`). A worker
//! owns a contiguous range of groups, so what it needs of a part is one range of bytes. Blocks follow one another without
//! gaps, from the index to the part's end; a reader checks that, since the header has no checksum of its own.

use crate::{FORMAT_VERSION, GroupRange, KEY_GROUPS, StatePart, Store, StoreError};

const MAGIC: &[u8; 8] = b"WEIRPART";
const HEADER_BYTES: usize = 20;
const ENTRY_BYTES: usize = 20;
const ZSTD_LEVEL: i32 = 1;

/// What one compressed byte can stand for: the smallest block of zstd has four and gives 128 KiB.
const MOST_OF_A_BYTE: u64 = 32 << 10;

/// Builds a part in memory.
#[derive(Debug)]
pub struct PartWriter {
    groups: GroupRange,
    blocks: Vec<Vec<u8>>,
}

impl PartWriter {
    /// An empty part for some key groups.
    #[must_use]
    pub fn new(groups: GroupRange) -> Self {
        let count = groups.iter().len();
        Self { groups, blocks: vec![Vec::new(); count] }
    }

    /// The bytes of a group, to be appended to; `None` where the part is not for that group.
    pub fn group(&mut self, group: u16) -> Option<&mut Vec<u8>> {
        let index = group.checked_sub(self.groups.start)?;
        self.blocks.get_mut(usize::from(index))
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.iter().all(Vec::is_empty)
    }

    /// The size of the blocks before compression.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.len() as u64).sum()
    }

    /// Compresses the blocks and returns the whole part. It takes its time: not for a worker's thread.
    pub fn finish(self) -> Result<Vec<u8>, PartError> {
        let mut index = Vec::with_capacity(self.blocks.len() * ENTRY_BYTES);
        let mut body = Vec::new();
        let body_start = HEADER_BYTES + self.blocks.len() * ENTRY_BYTES;
        for raw in self.blocks {
            let stored = compress(raw.as_slice())?;
            index.extend_from_slice(&((body_start + body.len()) as u64).to_le_bytes());
            index.extend_from_slice(&block_length(stored.len())?.to_le_bytes());
            index.extend_from_slice(&block_length(raw.len())?.to_le_bytes());
            index.extend_from_slice(&crc32c::crc32c(&stored).to_le_bytes());
            body.extend_from_slice(&stored);
        }
        let mut part = Vec::with_capacity(body_start + body.len());
        part.extend_from_slice(MAGIC);
        part.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        part.extend_from_slice(&self.groups.start.to_le_bytes());
        part.extend_from_slice(&self.groups.end.to_le_bytes());
        part.extend_from_slice(&crc32c::crc32c(&index).to_le_bytes());
        part.extend_from_slice(&index);
        part.extend_from_slice(&body);
        Ok(part)
    }
}

fn block_length(length: usize) -> Result<u32, PartError> {
    u32::try_from(length).map_err(|_| PartError::TooLarge { bytes: length })
}

fn compress(raw: &[u8]) -> Result<Vec<u8>, PartError> {
    let packed =
        zstd::bulk::compress(raw, ZSTD_LEVEL).map_err(|error| PartError::Compress { reason: error.to_string() })?;
    Ok(if packed.len() < raw.len() { packed } else { raw.to_vec() })
}

/// Reads the groups of a stored part.
pub struct PartReader<'a> {
    store: &'a dyn Store,
    part: &'a StatePart,
    groups: GroupRange,
    index: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: u64,
    stored: u32,
    raw: u32,
    crc: u32,
}

impl<'a> PartReader<'a> {
    /// Reads and checks a part's index.
    pub fn open(store: &'a dyn Store, part: &'a StatePart) -> Result<Self, PartError> {
        let longest = (HEADER_BYTES + usize::from(KEY_GROUPS) * ENTRY_BYTES) as u64;
        let head = store.get_range(&part.name, 0..longest.min(part.size_bytes))?;
        let damaged = |what: &str| PartError::Damaged { name: part.name.clone(), what: what.to_owned() };
        let (header, rest) = head.split_at_checked(HEADER_BYTES).ok_or_else(|| damaged("it is too short"))?;
        if !header.starts_with(MAGIC) {
            return Err(damaged("it is no state part"));
        }
        let format = u32_at(header, 8);
        if format != FORMAT_VERSION {
            return Err(PartError::Format { name: part.name.clone(), found: format });
        }
        let groups = GroupRange::new(u16_at(header, 12), u16_at(header, 14));
        if groups.end > KEY_GROUPS {
            return Err(damaged("its groups are out of range"));
        }
        let index = rest.get(..groups.iter().len() * ENTRY_BYTES).ok_or_else(|| damaged("its index is cut off"))?;
        if crc32c::crc32c(index) != u32_at(header, 16) {
            return Err(damaged("the checksum of its index is wrong"));
        }
        let index: Vec<Entry> = index.chunks_exact(ENTRY_BYTES).map(Entry::parse).collect();
        let body_start = (HEADER_BYTES + index.len() * ENTRY_BYTES) as u64;
        if end_of_blocks(&index, body_start) != Some(part.size_bytes) {
            return Err(damaged("its blocks do not follow one another up to its end"));
        }
        if !part.groups.ranges().iter().all(|live| live.is_empty() || live.intersect(groups) == *live) {
            return Err(damaged("it has other groups than its manifest says"));
        }
        Ok(Self { store, part, groups, index })
    }

    /// Visits the non-empty blocks of those groups of `wanted` that still count in this part, ascending.
    pub fn read(&self, wanted: GroupRange, mut visit: impl FnMut(u16, &[u8])) -> Result<(), PartError> {
        for live in self.part.groups.ranges() {
            self.read_range(live.intersect(wanted).intersect(self.groups), &mut visit)?;
        }
        Ok(())
    }

    fn read_range(&self, range: GroupRange, visit: &mut impl FnMut(u16, &[u8])) -> Result<(), PartError> {
        let entries: Vec<(u16, Entry)> = range.iter().filter_map(|group| Some((group, self.entry(group)?))).collect();
        let (Some((_, first)), Some((_, last))) = (entries.first(), entries.last()) else {
            return Ok(());
        };
        let start = first.offset;
        let bytes = self.store.get_range(&self.part.name, start..last.offset + u64::from(last.stored))?;
        for (group, entry) in &entries {
            let from = (entry.offset - start) as usize;
            let stored =
                bytes.get(from..from + entry.stored as usize).ok_or_else(|| self.damaged(*group, "it is cut off"))?;
            if crc32c::crc32c(stored) != entry.crc {
                return Err(self.damaged(*group, "its checksum is wrong"));
            }
            if entry.stored == entry.raw {
                visit(*group, stored);
                continue;
            }
            let raw = decompress(stored, entry.raw).map_err(|reason| self.damaged(*group, &reason))?;
            visit(*group, &raw);
        }
        Ok(())
    }

    fn entry(&self, group: u16) -> Option<Entry> {
        let index = usize::from(group.checked_sub(self.groups.start)?);
        self.index.get(index).copied().filter(|entry| entry.raw > 0)
    }

    fn damaged(&self, group: u16, what: &str) -> PartError {
        PartError::Damaged { name: self.part.name.clone(), what: format!("block of group {group}: {what}") }
    }
}

/// Where the last of some blocks ends, each of which starts where the one before it ends; none where one does not.
fn end_of_blocks(index: &[Entry], start: u64) -> Option<u64> {
    let mut end = start;
    for entry in index {
        if entry.offset != end {
            return None;
        }
        end = end.checked_add(u64::from(entry.stored))?;
    }
    Some(end)
}

/// A block's bytes, of which there must be `raw`. What its frame says, and what can be in so few bytes at all, is known
/// before anything is allocated.
fn decompress(stored: &[u8], raw: u32) -> Result<Vec<u8>, String> {
    let stated = zstd::zstd_safe::get_frame_content_size(stored).ok().flatten();
    if stated != Some(u64::from(raw)) || u64::from(raw) > stored.len() as u64 * MOST_OF_A_BYTE {
        return Err("it has another length than its index says".to_owned());
    }
    zstd::bulk::decompress(stored, raw as usize).map_err(|error| error.to_string())
}

impl Entry {
    fn parse(bytes: &[u8]) -> Self {
        Self { offset: u64_at(bytes, 0), stored: u32_at(bytes, 8), raw: u32_at(bytes, 12), crc: u32_at(bytes, 16) }
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    if let Some(found) = bytes.get(at..at + N) {
        array.copy_from_slice(found);
    }
    array
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// Why a part cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// A block is larger than the format can say.
    #[error(
        "a state block of {bytes} bytes is too large: its key group holds more than 4 GiB; give the job more memory-bound limits, such as a shorter dedup horizon"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Compression failed.
    #[error("cannot compress a state block: {reason}")]
    Compress {
        /// Why.
        reason: String,
    },
    /// The bytes are not what was written.
    #[error("state part `{name}` is damaged: {what}; resume from an older manifest (see `weir checkpoints list`)")]
    Damaged {
        /// The part.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// Another version wrote it.
    #[error("state part `{name}` has format {found}, this build reads format {FORMAT_VERSION}")]
    Format {
        /// The part.
        name: String,
        /// Its format.
        found: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
