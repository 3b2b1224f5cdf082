//! A tree over the clicks that an ad is billed for, and one over the ads of a day, so that a single click can be shown to be
//! in a day's total without showing the others.
//!
//! ```text
//!   key of a click = first 16 bytes of SHA-256(click id)          key of an ad = first 16 bytes of SHA-256(ad id)
//!   leaf of a click = SHA-256(0 │ key)                            leaf of an ad = SHA-256(2 │ key │ clicks, u64 │ root of the ad)
//!   branch = SHA-256(1 │ bit, u8 │ left │ right)
//! ```
//!
//! It is a binary trie over the keys, without branches that do not fork: a branch stands at the first bit in which the keys
//! below it differ. So the root depends on the set of keys alone, and parts of it can be built anywhere. All numbers are
//! big-endian.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A hash, SHA-256.
pub(super) type Hash = [u8; 32];

/// The root of a part of a tree, under any of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) key: (u64, u64),
    pub(super) hash: Hash,
}

/// A tree, built from parts in ascending order of their keys.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Each with the bit in which its keys differ from those of the one before; none for the first. Ascending.
    parts: Vec<(u32, Node)>,
}

/// One step of the way from a leaf to the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// The bit of the key that decides, from 0, the highest, to 127.
    pub bit: u8,
    /// The hash on the other side, in hex.
    pub other: String,
}

/// What shows that a click is among those that an ad is billed for on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdProof {
    /// The click's id.
    pub click_id: String,
    /// The ad.
    pub ad_id: String,
    /// The clicks that the ad is billed for.
    pub clicks: u64,
    /// From the click to the ad's root.
    pub in_ad: Vec<Branch>,
    /// From the ad to the day's root.
    pub in_day: Vec<Branch>,
}

/// Why a proof shows nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A hash in it is none.
    #[error("`{0}` is not 64 hexadecimal digits")]
    NoHash(String),
    /// The bits of a way do not descend.
    #[error("the branches are out of order: they must lead from the leaf up to the root")]
    OutOfOrder,
}

impl AdProof {
    /// The root that the day must have for the proof to hold, in hex.
    pub fn root(&self) -> Result<String, ProofError> {
        let click = click_key(&self.click_id);
        let ad = climb(click, click_leaf(click), &self.in_ad)?;
        let key = ad_key(&self.ad_id);
        Ok(hex(&climb(key, ad_leaf(key, self.clicks, &ad), &self.in_day)?))
    }
}

impl Tree {
    /// Adds a part whose keys all come after those before, and which shares a branch with none of them.
    pub(super) fn push(&mut self, node: Node) {
        let fork = self.parts.last().map_or(0, |(_, last)| fork(last.key, node.key));
        while let [.., (_, left), (bit, right)] = self.parts.as_slice() {
            if *bit < fork {
                break;
            }
            let joined = Node { key: left.key, hash: branch(*bit, &left.hash, &right.hash) };
            self.parts.pop();
            if let Some((_, last)) = self.parts.last_mut() {
                *last = joined;
            }
        }
        self.parts.push((fork, node));
    }

    /// The root; none of an empty tree.
    pub(super) fn root(mut self) -> Option<Node> {
        while let [.., (_, left), (bit, right)] = self.parts.as_slice() {
            let joined = Node { key: left.key, hash: branch(*bit, &left.hash, &right.hash) };
            self.parts.pop();
            if let Some((_, last)) = self.parts.last_mut() {
                *last = joined;
            }
        }
        self.parts.pop().map(|(_, node)| node)
    }
}

/// The way from one of the leaves, which are sorted by key, to their root.
pub(super) fn way(leaves: &[Node], key: (u64, u64)) -> Option<Vec<Branch>> {
    leaves.binary_search_by_key(&key, |leaf| leaf.key).ok()?;
    let mut below = leaves;
    let mut down = Vec::new();
    while let [first, .., last] = below {
        let bit = fork(first.key, last.key);
        let (left, right) = below.split_at(below.partition_point(|leaf| !is_right(leaf.key, bit)));
        let (mine, others) = if is_right(key, bit) { (right, left) } else { (left, right) };
        let mut other = Tree::default();
        others.iter().for_each(|leaf| other.push(*leaf));
        down.push(Branch { bit: bit as u8, other: hex(&other.root()?.hash) });
        below = mine;
    }
    down.reverse();
    Some(down)
}

/// The key of a click in the recount: not the one that the stream knows it by.
pub(super) fn click_key(click_id: &str) -> (u64, u64) {
    key_of(click_id)
}

/// The key of a user in an index.
pub(super) fn user_key(user_id: &str) -> (u64, u64) {
    key_of(user_id)
}

/// The leaf of a click.
pub(super) fn click_leaf(key: (u64, u64)) -> Hash {
    let mut hasher = Sha256::new_with_prefix([0]);
    hasher.update(key.0.to_be_bytes());
    hasher.update(key.1.to_be_bytes());
    hasher.finalize().into()
}

pub(super) fn ad_key(ad_id: &str) -> (u64, u64) {
    key_of(ad_id)
}

fn key_of(id: &str) -> (u64, u64) {
    halves(&Sha256::digest(id.as_bytes()).into())
}

pub(super) fn ad_leaf(key: (u64, u64), clicks: u64, root: &Hash) -> Hash {
    let mut hasher = Sha256::new_with_prefix([2]);
    hasher.update(key.0.to_be_bytes());
    hasher.update(key.1.to_be_bytes());
    hasher.update(clicks.to_be_bytes());
    hasher.update(root);
    hasher.finalize().into()
}

pub(super) fn hex(hash: &Hash) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |number: u8| DIGITS.get(usize::from(number & 15)).copied().unwrap_or_default();
    hash.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

fn branch(bit: u32, left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new_with_prefix([1, bit as u8]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

fn climb(key: (u64, u64), leaf: Hash, way: &[Branch]) -> Result<Hash, ProofError> {
    let mut hash = leaf;
    let mut below = 128;
    for step in way {
        let bit = u32::from(step.bit);
        if bit >= below {
            return Err(ProofError::OutOfOrder);
        }
        below = bit;
        let other = from_hex(&step.other)?;
        hash = if is_right(key, bit) { branch(bit, &other, &hash) } else { branch(bit, &hash, &other) };
    }
    Ok(hash)
}

pub(super) fn from_hex(text: &str) -> Result<Hash, ProofError> {
    let none = || ProofError::NoHash(text.to_owned());
    let mut hash = Hash::default();
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(none());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    for (byte, [high, low]) in hash.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
        *byte = digit(*high) << 4 | digit(*low);
    }
    Ok(hash)
}

fn halves(hash: &Hash) -> (u64, u64) {
    let half = |at: usize| {
        let bytes = hash.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        u64::from_be_bytes(bytes)
    };
    (half(0), half(8))
}

/// The first bit in which two keys differ; 128 if they are the same.
fn fork(a: (u64, u64), b: (u64, u64)) -> u32 {
    let high = (a.0 ^ b.0).leading_zeros();
    if high < 64 { high } else { 64 + (a.1 ^ b.1).leading_zeros() }
}

fn is_right(key: (u64, u64), bit: u32) -> bool {
    if bit < 64 { key.0 << bit >> 63 == 1 } else { key.1 << (bit - 64) >> 63 == 1 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaves(ids: &std::collections::BTreeSet<String>) -> Vec<Node> {
        let mut leaves: Vec<Node> = ids.iter().map(|id| click_key(id)).map(leaf).collect();
        leaves.sort_unstable();
        leaves
    }

    fn leaf(key: (u64, u64)) -> Node {
        Node { key, hash: click_leaf(key) }
    }

    fn root(nodes: &[Node]) -> Option<Hash> {
        let mut tree = Tree::default();
        nodes.iter().for_each(|node| tree.push(*node));
        tree.root().map(|root| root.hash)
    }

    /// The definition: a branch at the first bit in which the keys differ, those with a 0 to its left.
    fn by_definition(nodes: &[Node]) -> Option<Hash> {
        let [first, .., last] = nodes else { return nodes.first().map(|node| node.hash) };
        let bit = fork(first.key, last.key);
        let (right, left): (Vec<Node>, Vec<Node>) = nodes.iter().partition(|node| is_right(node.key, bit));
        Some(branch(bit, &by_definition(&left)?, &by_definition(&right)?))
    }

    #[test]
    fn a_hash_is_64_hexadecimal_digits_and_nothing_else() {
        assert_eq!(from_hex(&"0f".repeat(32)).unwrap(), [15; 32]);
        for text in ["0f".repeat(31), "0g".repeat(32), "+f".repeat(32), " f".repeat(32), "ü".repeat(32)] {
            assert!(from_hex(&text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_root_is_that_of_the_definition_and_parts_make_the_whole(
            ids in proptest::collection::btree_set("[a-z]{1,8}", 0..60),
            shard_bits in 0_u32..4,
        ) {
            let leaves = leaves(&ids);
            let whole = root(&leaves);
            prop_assert_eq!(whole, by_definition(&leaves));
            let shard = |node: &Node| if shard_bits == 0 { 0 } else { node.key.0 >> (64 - shard_bits) };
            let parts: Vec<Node> = leaves
                .chunk_by(|a, b| shard(a) == shard(b))
                .map(|part| Node { key: part[part.len() / 2].key, hash: root(part).unwrap() })
                .collect();
            prop_assert_eq!(root(&parts), whole);
        }

        #[test]
        fn a_proof_holds_for_its_click_and_no_other(
            ids in proptest::collection::btree_set("[a-z]{1,8}", 1..40), pick in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(),
        ) {
            let nodes = leaves(&ids);
            let click_id = ids.iter().nth(pick.index(ids.len())).unwrap().clone();
            let ads = ["ad-1", "ad-2", "ad-3"].map(|ad| (ad, nodes.len() as u64));
            let ad_root = root(&nodes).unwrap();
            let mut ad_nodes: Vec<Node> =
                ads.iter().map(|(ad, clicks)| Node { key: ad_key(ad), hash: ad_leaf(ad_key(ad), *clicks, &ad_root) }).collect();
            ad_nodes.sort_unstable();
            let proof = AdProof {
                in_ad: way(&nodes, click_key(&click_id)).unwrap(),
                in_day: way(&ad_nodes, ad_key("ad-2")).unwrap(),
                click_id,
                ad_id: "ad-2".to_owned(),
                clicks: nodes.len() as u64,
            };
            let day = hex(&root(&ad_nodes).unwrap());
            prop_assert_eq!(proof.root().unwrap(), day.clone());
            let others = [
                AdProof { click_id: "A".to_owned(), ..proof.clone() },
                AdProof { ad_id: "ad-1".to_owned(), ..proof.clone() },
                AdProof { clicks: proof.clicks + 1, ..proof.clone() },
            ];
            for other in others {
                prop_assert_ne!(other.root().unwrap(), day.clone());
            }
            let mut bent = proof.clone();
            let steps = bent.in_ad.len() + bent.in_day.len();
            let step = bent.in_ad.iter_mut().chain(&mut bent.in_day).nth(flip.index(steps)).unwrap();
            step.other = step.other.chars().rev().collect();
            if bent != proof {
                prop_assert_ne!(bent.root().unwrap(), day);
            }
            prop_assert!(way(&nodes, click_key("A")).is_none());
        }
    }
}
