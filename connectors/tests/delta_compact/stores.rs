//! Stores that share their objects, and one that is watched.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use weir_checkpoints::{Created, ObjectInfo, Store, StoreError};
use weir_connectors::memory::MemoryStore;

/// The same objects for whoever has a share.
#[derive(Clone)]
pub(crate) struct Shared(pub(crate) Arc<MemoryStore>);

impl Store for Shared {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.0.put(name, bytes)
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        self.0.put_if_absent(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(name)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.0.get_range(name, range)
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.0.list(prefix)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.0.delete(name)
    }
}

/// What others do.
type Meanwhile = Box<dyn FnOnce() + Send>;

/// Counts the data files that are read, and loses an answer if it is to.
pub(crate) struct Watched {
    objects: Shared,
    files_read: AtomicUsize,
    meanwhile: Mutex<Option<Meanwhile>>,
}

impl Watched {
    pub(crate) fn new(objects: &Arc<MemoryStore>) -> Arc<Self> {
        let objects = Shared(Arc::clone(objects));
        Arc::new(Self { objects, files_read: AtomicUsize::new(0), meanwhile: Mutex::new(None) })
    }

    pub(crate) fn files_read(&self) -> usize {
        self.files_read.load(Ordering::Relaxed)
    }

    /// The next version of a log is put, then others do something, and its answer never comes.
    pub(crate) fn lose_next_answer(&self, meanwhile: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Box::new(meanwhile));
    }
}

impl Store for Watched {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.objects.put(name, bytes)
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        let created = self.objects.put_if_absent(name, bytes)?;
        let is_version = created == Created::New && name.contains("_delta_log") && name.ends_with(".json");
        let meanwhile = self.meanwhile.lock().unwrap().take_if(|_| is_version);
        let Some(meanwhile) = meanwhile else { return Ok(created) };
        meanwhile();
        let reason = "the answer was lost".to_owned();
        Err(StoreError::Unknown { action: "a write", name: name.to_owned(), reason })
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.files_read.fetch_add(usize::from(!name.contains("_delta_log")), Ordering::Relaxed);
        self.objects.get(name)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.objects.get_range(name, range)
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.objects.list(prefix)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.objects.delete(name)
    }
}
