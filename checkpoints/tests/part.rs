//! State parts: what was written is read, by any owner of its groups; damage is noticed, never believed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;
use weir_checkpoints::{
    Attempt, Created, Epoch, GroupRange, GroupSet, ObjectInfo, PartError, PartReader, PartWriter, StatePart, Store,
    StoreError, WorkerIndex,
};

/// A store of one object.
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

type Blocks = BTreeMap<u16, Vec<u8>>;

fn write(groups: GroupRange, blocks: &Blocks) -> (OneObject, StatePart) {
    let mut writer = PartWriter::new(groups);
    for (group, block) in blocks {
        writer.group(*group).unwrap().extend_from_slice(block);
    }
    let bytes = writer.finish().unwrap();
    let part = StatePart {
        name: "part".to_owned(),
        kind: "test".to_owned(),
        epoch: Epoch(1),
        attempt: Attempt(1),
        worker: WorkerIndex(0),
        size_bytes: bytes.len() as u64,
        groups: GroupSet::of(groups),
        expires_ms: None,
    };
    (OneObject(bytes), part)
}

fn read(store: &OneObject, part: &StatePart, wanted: GroupRange) -> Result<Blocks, PartError> {
    let mut blocks = Blocks::new();
    PartReader::open(store, part)?.read(wanted, |group, block| {
        blocks.insert(group, block.to_vec());
    })?;
    Ok(blocks)
}

fn blocks() -> impl Strategy<Value = Blocks> {
    let block = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..300),
        (any::<u8>(), 1_usize..3000).prop_map(|(byte, length)| vec![byte; length]),
    ];
    prop::collection::btree_map(0_u16..256, block, 0..40)
}

proptest! {
    #[test]
    fn what_was_written_is_read_by_whoever_owns_it(blocks in blocks(), a in 0_u16..=256, b in 0_u16..=256, gone in 0_u16..256) {
        let (store, mut part) = write(GroupRange::ALL, &blocks);
        let wanted = GroupRange::new(a.min(b), a.max(b));
        part.groups.subtract(GroupRange::new(gone, gone + 7));
        let expected: Blocks = blocks
            .into_iter()
            .filter(|(group, _)| wanted.contains(*group) && !(gone..gone + 7).contains(group))
            .collect();
        prop_assert_eq!(read(&store, &part, wanted).unwrap(), expected);
    }

    #[test]
    fn a_changed_or_cut_byte_is_an_error_or_changes_nothing(blocks in blocks(), at in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<bool>()) {
        let (mut store, part) = write(GroupRange::ALL, &blocks);
        let at = at.index(store.0.len());
        if cut {
            store.0.truncate(at);
        } else {
            store.0[at] ^= flip;
        }
        if let Ok(found) = read(&store, &part, GroupRange::ALL) {
            prop_assert_eq!(found, blocks);
        }
    }
}

/// Changes a part, and puts the checksum of its index right.
fn with_index(part: &[u8], change: impl FnOnce(&mut [u8])) -> OneObject {
    let mut bytes = part.to_vec();
    change(&mut bytes);
    let groups = u16::from_le_bytes([bytes[14], bytes[15]]) - u16::from_le_bytes([bytes[12], bytes[13]]);
    let index = crc32c::crc32c(&bytes[20..20 + usize::from(groups) * 20]);
    bytes[16..20].copy_from_slice(&index.to_le_bytes());
    OneObject(bytes)
}

#[track_caller]
fn check_refused(store: &OneObject, part: &StatePart, because: &str) {
    let refusal = read(store, part, GroupRange::ALL).unwrap_err().to_string();
    assert!(refusal.contains(because), "{refusal}");
}

/// The header has no checksum: a part must not pass for one of the groups beside its own.
#[test]
fn groups_that_are_shifted_are_refused() {
    let blocks = Blocks::from([(3, b"three".to_vec()), (8, b"eight".to_vec())]);
    let (store, part) = write(GroupRange::new(3, 9), &blocks);
    assert_eq!(read(&store, &part, GroupRange::ALL).unwrap(), blocks);
    for (start, end) in [(2, 8), (4, 10)] {
        let shifted = with_index(&store.0, |bytes| (bytes[12], bytes[14]) = (start, end));
        check_refused(&shifted, &part, "other groups than its manifest says");
    }
}

#[test]
fn an_index_that_does_not_fit_the_part_is_refused() {
    let (store, part) = write(GroupRange::new(0, 2), &Blocks::from([(0, vec![7; 900]), (1, b"one".to_vec())]));
    let (first, second) = (20, 40);
    let check = |change: &dyn Fn(&mut [u8]), because: &str| {
        check_refused(&with_index(&store.0, change), &part, because);
    };
    let follow = "do not follow one another";
    check(&|bytes| bytes[first] += 1, follow);
    check(&|bytes| bytes[second..second + 8].fill(0xff), follow);
    check(&|bytes| bytes[second + 8..second + 12].fill(0xff), follow);
    // Nor is as much memory taken as it claims to need: 4 GiB.
    check(&|bytes| bytes[first + 12..first + 16].fill(0xff), "another length than its index says");
}
