//! In place of the connectors' object stores, which no target needs: logs of clicks are in local files here.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use weir_checkpoints::{Created, ObjectInfo, Store, StoreError};

/// A store that cannot be opened and has nothing.
#[derive(Debug, Clone)]
pub(crate) struct ObjectStoreAt(());

impl ObjectStoreAt {
    pub(crate) fn open(url: &str) -> Result<Self, StoreError> {
        Err(missing(url))
    }

    pub(crate) fn head(&self, name: &str) -> Result<Option<ObjectInfo>, StoreError> {
        Err(missing(name))
    }
}

impl Store for ObjectStoreAt {
    fn put(&self, name: &str, _bytes: Vec<u8>) -> Result<(), StoreError> {
        Err(missing(name))
    }

    fn put_if_absent(&self, name: &str, _bytes: Vec<u8>) -> Result<Created, StoreError> {
        Err(missing(name))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Err(missing(name))
    }

    fn get_range(&self, name: &str, _range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        Err(missing(name))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        Err(missing(prefix))
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        Err(missing(name))
    }
}

fn missing(name: &str) -> StoreError {
    StoreError::NotFound { name: name.to_owned() }
}

/// Makes the folder.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}
