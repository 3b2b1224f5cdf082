//! What there is once for a day: the names of the segments, the clicks with several copies, and the trees.
//!
//! ```text
//!   "WEIRDAY" │ format, u8
//!   segments: number, u32 │ each: length of the name, u32, name, bytes, u64, footer, u64, XXH3 of the footer, u128
//!   several:  number, u32 │ each: key, 16, ad, u64, minute, u16, partition, u32, offset, u64
//!   trees:    number, u32 │ each: ad, u64, parts, u32 │ each part: key, 16, hash, 32, clicks, u32, bits, u8
//! ```

use serde::{Deserialize, Serialize};

use super::super::merkle::{Hash, Node};
use super::super::walk::Key;
use super::segment::ELSEWHERE;
use super::{IndexError, SegmentInfo, take, take_count, take_text};

/// The version of the stored format. What has another one is not used.
const FORMAT_VERSION: u8 = 1;

const MAGIC: [u8; 7] = *b"WEIRDAY";

/// The index of a day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayIndex {
    pub(in crate::reconcile) segments: Vec<SegmentInfo>,
    pub(in crate::reconcile) several: Vec<Several>,
    pub(in crate::reconcile) trees: Vec<AdTree>,
}

/// A click with several copies: its ad and minute, and where its first copy stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::reconcile) struct Several {
    pub(in crate::reconcile) key: Key,
    pub(in crate::reconcile) ad: u64,
    /// [`ELSEWHERE`] if it is not billed on this day.
    pub(in crate::reconcile) minute: u16,
    pub(in crate::reconcile) partition: u32,
    pub(in crate::reconcile) offset: u64,
}

/// The parts of the tree over an ad's clicks, in the order of keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::reconcile) struct AdTree {
    pub(in crate::reconcile) ad: u64,
    pub(in crate::reconcile) parts: Vec<TreePart>,
}

/// What the tree has under all keys that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::reconcile) struct TreePart {
    pub(in crate::reconcile) node: Node,
    pub(in crate::reconcile) clicks: u32,
    pub(in crate::reconcile) bits: u8,
}

impl DayIndex {
    /// The names of its segments.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().map(|segment| segment.name.as_str())
    }

    /// The bytes of its segments.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Takes in what another worker has.
    pub(in crate::reconcile) fn extend(&mut self, other: Self) {
        self.segments.extend(other.segments);
        self.several.extend(other.several);
        self.trees.extend(other.trees);
    }

    /// The same, whatever came first.
    pub(in crate::reconcile) fn in_order(mut self) -> Self {
        self.segments.sort_unstable();
        self.several.sort_unstable();
        self.trees.sort_unstable();
        self
    }

    /// As it is stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(FORMAT_VERSION);
        out.extend((self.segments.len() as u32).to_le_bytes());
        for segment in &self.segments {
            out.extend((segment.name.len() as u32).to_le_bytes());
            out.extend(segment.name.as_bytes());
            out.extend(segment.bytes.to_le_bytes());
            out.extend(segment.footer.to_le_bytes());
            out.extend(segment.footer_hash.to_le_bytes());
        }
        out.extend((self.several.len() as u32).to_le_bytes());
        for several in &self.several {
            write_key(several.key, &mut out);
            out.extend(several.ad.to_le_bytes());
            out.extend(several.minute.to_le_bytes());
            out.extend(several.partition.to_le_bytes());
            out.extend(several.offset.to_le_bytes());
        }
        out.extend((self.trees.len() as u32).to_le_bytes());
        for tree in &self.trees {
            out.extend(tree.ad.to_le_bytes());
            out.extend((tree.parts.len() as u32).to_le_bytes());
            for part in &tree.parts {
                write_key(part.node.key, &mut out);
                out.extend(part.node.hash);
                out.extend(part.clicks.to_le_bytes());
                out.push(part.bits);
            }
        }
        out
    }

    /// Reads what [`Self::to_bytes`] has written; `name` is for the error.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, IndexError> {
        let damaged = |reason: String| IndexError::Damaged { name: name.to_owned(), reason };
        let mut rest = bytes;
        if take(&mut rest) != Some(MAGIC) {
            return Err(damaged("is no index".to_owned()));
        }
        match take(&mut rest) {
            Some([FORMAT_VERSION]) => {}
            other => return Err(damaged(format!("has format {other:?}, this build reads {FORMAT_VERSION}"))),
        }
        let index = Self::parse_rest(&mut rest).filter(|_| rest.is_empty());
        index.ok_or_else(|| damaged("ends too early, or too late".to_owned()))
    }

    fn parse_rest(bytes: &mut &[u8]) -> Option<Self> {
        let mut index = Self::default();
        for _ in 0..take_count(bytes, 36)? {
            let name = take_text(bytes)?;
            let (size, footer) = (u64::from_le_bytes(take(bytes)?), u64::from_le_bytes(take(bytes)?));
            let footer_hash = u128::from_le_bytes(take(bytes)?);
            if footer > size {
                return None;
            }
            index.segments.push(SegmentInfo { name, bytes: size, footer, footer_hash });
        }
        for _ in 0..take_count(bytes, 38)? {
            index.several.push(Several {
                key: take_key(bytes)?,
                ad: u64::from_le_bytes(take(bytes)?),
                minute: u16::from_le_bytes(take(bytes)?),
                partition: u32::from_le_bytes(take(bytes)?),
                offset: u64::from_le_bytes(take(bytes)?),
            });
        }
        for _ in 0..take_count(bytes, 12)? {
            let mut tree = AdTree { ad: u64::from_le_bytes(take(bytes)?), parts: Vec::new() };
            for _ in 0..take_count(bytes, 53)? {
                let node = Node { key: take_key(bytes)?, hash: take::<{ size_of::<Hash>() }>(bytes)? };
                let clicks = u32::from_le_bytes(take(bytes)?);
                let [bits] = take(bytes)?;
                tree.parts.push(TreePart { node, clicks, bits });
            }
            index.trees.push(tree);
        }
        Some(index)
    }
}

impl Several {
    /// Whether the click is billed on this day.
    pub(in crate::reconcile) const fn is_here(&self) -> bool {
        self.minute != ELSEWHERE
    }
}

impl TreePart {
    /// The first halves of keys that are in it, were they clicks': the first one and the last.
    pub(in crate::reconcile) fn range(&self) -> (u64, u64) {
        let others = u64::MAX.checked_shr(u32::from(self.bits)).unwrap_or(0);
        (self.node.key.0 & !others, self.node.key.0 | others)
    }
}

fn write_key(key: Key, out: &mut Vec<u8>) {
    out.extend(key.0.to_le_bytes());
    out.extend(key.1.to_le_bytes());
}

fn take_key(bytes: &mut &[u8]) -> Option<Key> {
    Some((u64::from_le_bytes(take(bytes)?), u64::from_le_bytes(take(bytes)?)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn example() -> DayIndex {
        let node = Node { key: (0xabc0_0000_0000_0000, 7), hash: [3; 32] };
        DayIndex {
            segments: vec![SegmentInfo {
                name: "days/0000-000000.segment".into(),
                bytes: 900,
                footer: 800,
                footer_hash: 1 << 99,
            }],
            several: vec![Several { key: (1, 2), ad: 3, minute: ELSEWHERE, partition: 4, offset: 1 << 40 }],
            trees: vec![AdTree { ad: 3, parts: vec![TreePart { node, clicks: 9, bits: 12 }] }],
        }
    }

    #[test]
    fn an_index_is_read_as_it_was_written_and_refused_when_it_was_cut_or_changed() {
        let bytes = example().to_bytes();
        assert_eq!(DayIndex::parse("index", &bytes).unwrap(), example());
        for end in 0..bytes.len() {
            assert!(DayIndex::parse("index", &bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(DayIndex::parse("index", &[&bytes[..], &[0]].concat()).is_err());
        let mut other = bytes.clone();
        other[MAGIC.len()] = FORMAT_VERSION + 1;
        let error = DayIndex::parse("index", &other).unwrap_err().to_string();
        assert!(error.contains("`index`") && error.contains("format"), "{error}");
        let mut many = bytes;
        many[MAGIC.len() + 1..MAGIC.len() + 5].fill(0xff);
        assert!(DayIndex::parse("index", &many).is_err(), "a number that is too large makes no room");
    }

    #[test]
    fn a_part_has_the_keys_that_begin_as_its_own() {
        let [tree] = &example().trees[..] else { panic!() };
        let [part] = &tree.parts[..] else { panic!() };
        assert_eq!(part.range(), (0xabc0_0000_0000_0000, 0xabcf_ffff_ffff_ffff));
        assert_eq!(TreePart { bits: 0, ..*part }.range(), (0, u64::MAX));
    }
}
