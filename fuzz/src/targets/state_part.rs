//! State parts: what is in them is what was written, or it is refused.
//!
//! ```text
//!   0 │ kind of each block … │ n │ n × (place, flipped bits) │ cut …     a part that was written, and then damaged
//!   1 │ a part's bytes                                                    its checksums are put right before it is read
//! ```
//!
//! - Of a damaged part a reader gets an error or what was written, and never a thing between.
//! - Whatever an index claims, nothing larger than the store has is asked for, nor much more memory.

use std::collections::BTreeMap;
use std::ops::Range;

use weir_checkpoints::{
    Attempt, Created, Epoch, GroupRange, GroupSet, ObjectInfo, PartError, PartReader, PartWriter, StatePart, Store,
    StoreError, WorkerIndex,
};

use crate::inputs::Numbers;

const HEADER_BYTES: usize = 20;
const ENTRY_BYTES: usize = 20;

type Blocks = BTreeMap<u16, Vec<u8>>;

/// See the module.
pub fn check(data: &[u8]) {
    match data.split_first() {
        Some((0, rest)) => check_damaged(Numbers(rest)),
        Some((_, rest)) => check_any(rest.to_vec()),
        None => {}
    }
}

fn check_damaged(mut numbers: Numbers<'_>) {
    let groups = GroupRange::new(numbers.below(8) as u16, 8 + numbers.below(24) as u16);
    let blocks: Blocks = groups.iter().filter_map(|group| Some((group, block(group, numbers.byte())?))).collect();
    let written = write(groups, &blocks);
    let part = describe(groups, written.len());
    assert_eq!(read(written.clone(), &part).expect("a whole part can be read"), blocks);
    let mut damaged = written;
    for _ in 0..1 + numbers.byte() % 4 {
        let at = numbers.below(damaged.len());
        damaged[at] ^= numbers.byte();
    }
    if numbers.byte() % 4 == 1 {
        damaged.truncate(numbers.below(damaged.len()));
    }
    if let Ok(found) = read(damaged, &part) {
        assert_eq!(found, blocks, "damage was taken for what was written");
    }
}

/// The index's checksum is put right, and where there is one those of the blocks: what lies behind them is to be seen.
fn check_any(mut bytes: Vec<u8>) {
    let Some(&[a, b, c, d]) = bytes.get(12..).and_then(<[u8]>::first_chunk::<4>) else { return };
    let groups = GroupRange::new(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    let index = HEADER_BYTES..HEADER_BYTES + groups.iter().len() * ENTRY_BYTES;
    for entry in index.clone().step_by(ENTRY_BYTES) {
        put_block_right(&mut bytes, entry);
    }
    if let Some(checksum) = bytes.get(index).map(crc32c::crc32c) {
        bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    }
    let part = describe(groups, bytes.len());
    let _ = read(bytes, &part);
}

fn put_block_right(bytes: &mut [u8], entry: usize) {
    let Some(rest) = bytes.get(entry..).filter(|rest| rest.len() >= ENTRY_BYTES) else { return };
    let Some((offset, rest)) = rest.split_first_chunk::<8>() else { return };
    let Some(stored) = rest.first_chunk::<4>() else { return };
    let (offset, stored) = (u64::from_le_bytes(*offset) as usize, u32::from_le_bytes(*stored) as usize);
    let block = offset.checked_add(stored).and_then(|end| bytes.get(offset..end));
    if let Some(checksum) = block.map(crc32c::crc32c) {
        bytes[entry + 16..entry + 20].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// A block that gets smaller when it is compressed, one that does not, or none.
fn block(group: u16, kind: u8) -> Option<Vec<u8>> {
    let length = usize::from(kind / 3) + 1;
    match kind % 3 {
        0 => None,
        1 => Some(vec![group as u8; length * 4]),
        _ => Some((0..length).map(|place| (place * 151 + usize::from(group)) as u8).collect()),
    }
}

fn write(groups: GroupRange, blocks: &Blocks) -> Vec<u8> {
    let mut writer = PartWriter::new(groups);
    for (group, block) in blocks {
        writer.group(*group).expect("the part is for this group").extend_from_slice(block);
    }
    writer.finish().expect("a part can be written")
}

fn describe(groups: GroupRange, size_bytes: usize) -> StatePart {
    StatePart {
        name: "part".to_owned(),
        kind: "fuzzed".to_owned(),
        epoch: Epoch(1),
        attempt: Attempt(1),
        worker: WorkerIndex(0),
        size_bytes: size_bytes as u64,
        groups: GroupSet::of(groups),
        expires_ms: None,
    }
}

fn read(bytes: Vec<u8>, part: &StatePart) -> Result<Blocks, PartError> {
    let mut blocks = Blocks::new();
    PartReader::open(&OneObject(bytes), part)?.read(GroupRange::ALL, |group, block| {
        blocks.insert(group, block.to_vec());
    })?;
    Ok(blocks)
}

/// Damaged and whole parts, and parts by themselves.
pub fn seeds() -> Vec<Vec<u8>> {
    let groups = GroupRange::new(3, 9);
    let blocks: Blocks =
        groups.iter().filter_map(|group| Some((group, block(group, (group as u8).wrapping_mul(37))?))).collect();
    let part = |groups: GroupRange, blocks: &Blocks| [vec![1], write(groups, blocks)].concat();
    let flips = |place: u8| {
        [&[0, 2, 0, 0, 5, 0, 0, 7, 100, 11, 0, 200, 31], &[1, 0, place, 0, 0, 1, 40, place, 0, 4][..]].concat()
    };
    let damaged = [0, 8, 12, 14, 16, 20, 120, 180].map(flips);
    damaged.into_iter().chain([part(groups, &blocks), part(GroupRange::ALL, &Blocks::new())]).collect()
}

/// A store with this one object, under any name.
struct OneObject(Vec<u8>);

impl Store for OneObject {
    fn put(&self, name: &str, _bytes: Vec<u8>) -> Result<(), StoreError> {
        Err(StoreError::NotFound { name: name.to_owned() })
    }

    fn put_if_absent(&self, name: &str, _bytes: Vec<u8>) -> Result<Created, StoreError> {
        Err(StoreError::NotFound { name: name.to_owned() })
    }

    fn get(&self, _name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(Some(self.0.clone()))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let failed = || StoreError::Failed { action: "read", name: name.to_owned(), reason: "out of range".to_owned() };
        self.0.get(range.start as usize..range.end as usize).map(<[u8]>::to_vec).ok_or_else(failed)
    }

    fn list(&self, _prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        Ok(Vec::new())
    }

    fn delete(&self, _name: &str) -> Result<(), StoreError> {
        Ok(())
    }
}
