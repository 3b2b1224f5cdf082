//! A set of places in the log, small enough for an archive of billions of rows.
//!
//! ```text
//!   (partition, offset / 65,536) ─▶ Few: sorted 16-bit numbers │ Many: a bit each │ All
//! ```
//!
//! Where offsets count records and nearly all are there, as in Kafka, a row takes a bit at most, and whole blocks take
//! nothing; where they count bytes, a row takes two bytes.

use std::collections::HashMap;

const BLOCK: u32 = 1 << 16;
const WORDS: usize = (BLOCK / 64) as usize;

/// From here on a bit for each offset is smaller than a number for each.
const MAX_FEW: usize = 4096;

/// Offsets by partition.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    blocks: HashMap<(u32, u64), Block>,
}

#[derive(Debug)]
enum Block {
    Few(Vec<u16>),
    Many(Box<[u64; WORDS]>, u32),
    All,
}

impl Offsets {
    /// Takes an offset in; whether it was not there before.
    pub(super) fn insert(&mut self, partition: u32, offset: u64) -> bool {
        let block = self.blocks.entry((partition, offset / u64::from(BLOCK))).or_insert(Block::Few(Vec::new()));
        block.insert((offset % u64::from(BLOCK)) as u16)
    }
}

impl Block {
    fn insert(&mut self, low: u16) -> bool {
        match self {
            Self::All => false,
            Self::Many(words, count) => {
                let is_new = set(words, low);
                *count += u32::from(is_new);
                if *count == BLOCK {
                    *self = Self::All;
                }
                is_new
            }
            Self::Few(few) => match few.binary_search(&low) {
                Ok(_) => false,
                Err(place) => {
                    few.insert(place, low);
                    if few.len() > MAX_FEW {
                        *self = Self::many(few);
                    }
                    true
                }
            },
        }
    }

    fn many(few: &[u16]) -> Self {
        let mut words = Box::new([0; WORDS]);
        for &low in few {
            set(&mut words, low);
        }
        Self::Many(words, few.len() as u32)
    }
}

/// Sets a bit; whether it was not set before.
fn set(words: &mut [u64; WORDS], low: u16) -> bool {
    let bit = 1 << (low % 64);
    words.get_mut(usize::from(low / 64)).is_some_and(|word| {
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_offset_is_new_once() {
        let mut offsets = Offsets::default();
        // Every step of 7 visits each of 150,000 offsets once, in an order that is far from sorted.
        let places = || (0..150_000_u64).map(|number| number * 7 % 150_000);
        for partition in [0, 3] {
            assert!(places().all(|offset| offsets.insert(partition, offset)));
        }
        for partition in [3, 0] {
            assert!(!places().any(|offset| offsets.insert(partition, offset)));
        }
        assert!(matches!(offsets.blocks.get(&(0, 1)), Some(Block::All)));
        assert!(matches!(offsets.blocks.get(&(0, 2)), Some(Block::Many(..))));
        assert!(offsets.insert(0, u64::MAX) && !offsets.insert(0, u64::MAX));
    }
}
