//! Objects in a map.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_checkpoints::{Created, ObjectInfo, Store, StoreError};

/// A store whose objects live as long as it does.
#[derive(Debug, Default)]
pub struct MemoryStore {
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    objects: BTreeMap<String, Object>,
    /// The store's clock: it counts writes, so that listings do not depend on real time.
    writes: i64,
}

#[derive(Debug)]
struct Object {
    bytes: Vec<u8>,
    modified_ms: i64,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A test that panicked while it held the lock left whole objects behind all the same.
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn write(&mut self, name: &str, bytes: Vec<u8>) {
        self.writes += 1;
        self.objects.insert(name.to_owned(), Object { bytes, modified_ms: self.writes });
    }
}

impl Store for MemoryStore {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.lock().write(name, bytes);
        Ok(())
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        let mut contents = self.lock();
        if contents.objects.contains_key(name) {
            return Ok(Created::Exists);
        }
        contents.write(name, bytes);
        Ok(Created::New)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.lock().objects.get(name).map(|object| object.bytes.clone()))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let contents = self.lock();
        let object = contents.objects.get(name).ok_or_else(|| StoreError::NotFound { name: name.to_owned() })?;
        let bounds = range.start as usize..range.end as usize;
        object.bytes.get(bounds).map(<[u8]>::to_vec).ok_or_else(|| StoreError::Failed {
            action: "read",
            name: name.to_owned(),
            reason: format!("bytes {range:?} asked for, {} there", object.bytes.len()),
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let contents = self.lock();
        let infos = contents.objects.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix)).map(
            |(name, object)| ObjectInfo {
                name: name.clone(),
                size_bytes: object.bytes.len() as u64,
                modified_ms: object.modified_ms,
            },
        );
        Ok(infos.collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.lock().objects.remove(name);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_created_once() {
        let store = MemoryStore::new();
        assert_eq!(store.put_if_absent("a/1", b"one".to_vec()).unwrap(), Created::New);
        assert_eq!(store.put_if_absent("a/1", b"two".to_vec()).unwrap(), Created::Exists);
        assert_eq!(store.get("a/1").unwrap().unwrap(), b"one");
        assert_eq!(store.get_range("a/1", 1..3).unwrap(), b"ne");
        assert!(store.get_range("a/1", 1..4).is_err());
        assert!(matches!(store.get_range("a/2", 0..1), Err(StoreError::NotFound { .. })));
    }

    #[test]
    fn a_listing_is_in_the_order_of_names_and_stays_in_its_folder() {
        let store = MemoryStore::new();
        for name in ["b/1", "a/2", "a/1", "a", "ab/1"] {
            store.put(name, Vec::new()).unwrap();
        }
        let names: Vec<String> = store.list("a/").unwrap().into_iter().map(|info| info.name).collect();
        assert_eq!(names, ["a/1", "a/2"]);
        store.delete("a/1").unwrap();
        store.delete("a/1").unwrap();
        assert_eq!(store.get("a/1").unwrap(), None);
    }
}
