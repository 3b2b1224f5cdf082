//! Sets and maps of keys, which are hashes already, and of which most that are asked for are not in them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::super::walk::Key;

/// Keys.
#[derive(Debug, Clone, Default)]
pub(in crate::reconcile) struct KeySet(KeyMap<()>);

/// Something for each of some keys.
#[derive(Debug, Clone)]
pub(in crate::reconcile) struct KeyMap<V> {
    map: HashMap<Key, V, BuildHasherDefault<AsItIs>>,
    /// A bit for each hash of a key that is there, at eight or more bits a key: it stays in the cache, and spares most looks
    /// into the map.
    bits: Vec<u64>,
}

impl<V> Default for KeyMap<V> {
    fn default() -> Self {
        Self { map: HashMap::default(), bits: vec![0; 1] }
    }
}

impl<V> KeyMap<V> {
    #[inline]
    pub(in crate::reconcile) fn get(&self, key: Key) -> Option<&V> {
        let bit = self.bit(key);
        let word = self.bits.get(bit / 64).copied().unwrap_or_default();
        if word >> (bit % 64) & 1 == 0 {
            return None;
        }
        self.map.get(&key)
    }

    /// What is there of a key, to be changed.
    pub(in crate::reconcile) fn entry(&mut self, key: Key, new: impl FnOnce() -> V) -> &mut V {
        if self.map.len() * 8 >= self.bits.len() * 64 {
            self.bits = vec![0; self.bits.len() * 8];
            let keys: Vec<Key> = self.map.keys().copied().collect();
            keys.into_iter().for_each(|key| self.mark(key));
        }
        self.mark(key);
        self.map.entry(key).or_insert_with(new)
    }

    pub(in crate::reconcile) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(in crate::reconcile) fn iter(&self) -> impl Iterator<Item = (Key, &V)> {
        self.map.iter().map(|(key, value)| (*key, value))
    }

    fn mark(&mut self, key: Key) {
        let bit = self.bit(key);
        if let Some(word) = self.bits.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    /// There is a power of two of them.
    #[inline]
    fn bit(&self, key: Key) -> usize {
        key.1 as usize & (self.bits.len() * 64 - 1)
    }
}

impl KeySet {
    pub(in crate::reconcile) fn insert(&mut self, key: Key) {
        self.0.entry(key, || ());
    }

    pub(in crate::reconcile) fn iter(&self) -> impl Iterator<Item = Key> {
        self.0.iter().map(|(key, ())| key)
    }
}

/// A key is two halves of a hash: the first one is as good as any.
#[derive(Debug, Clone, Copy, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not called for keys.
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    #[inline]
    fn write_u64(&mut self, half: u64) {
        self.0 = self.0.rotate_left(32) ^ half;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        let mut set = KeySet::default();
        assert!(set.iter().next().is_none() && set.0.get((0, 0)).is_none());
        let key =
            |number: u64| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number.wrapping_mul(0xd6e8_feb8_6659_fd93));
        (0..5000).step_by(2).for_each(|number| set.insert(key(number)));
        assert!((0..5000).all(|number| set.0.get(key(number)).is_some() == (number % 2 == 0)));
    }
}
