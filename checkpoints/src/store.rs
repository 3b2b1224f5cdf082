//! What checkpoints ask of an object store. The implementations live with the connectors.

use std::ops::Range;

/// A flat space of named objects. Names use `/` and never start with it.
///
/// Calls block. An implementation repeats what failed for a passing reason as long as repeating is safe; what it
/// reports is final for this call.
pub trait Store: Send + Sync {
    /// Writes an object, over whatever was there. Repeating is safe: names are never reused for other contents.
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError>;

    /// Writes an object unless one of that name exists.
    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError>;

    /// The whole object, or `None` where there is none.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Bytes `range` of an object that must exist.
    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError>;

    /// All objects whose names start with `prefix` (a folder, ending in `/`), in the order of their names.
    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError>;

    /// Removes an object; removing what is not there is no error.
    fn delete(&self, name: &str) -> Result<(), StoreError>;
}

/// The outcome of [`Store::put_if_absent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object is now there, with the given bytes.
    New,
    /// An object of that name was there already. It may be an earlier write of our own whose answer was lost.
    Exists,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The whole name, prefix included.
    pub name: String,
    /// The object's size.
    pub size_bytes: u64,
    /// When it was last written, unix time in milliseconds, by the store's clock.
    pub modified_ms: i64,
}

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object must exist and does not.
    #[error("object `{name}` does not exist")]
    NotFound {
        /// The object's name.
        name: String,
    },
    /// It was not done.
    #[error("could not {action} object `{name}`: {reason}")]
    Failed {
        /// What was tried: read, write, list, …
        action: &'static str,
        /// The object's name, or the prefix of a listing.
        name: String,
        /// The store's own words.
        reason: String,
    },
    /// It may have been done: the answer was lost. Only a look at the store can tell.
    #[error("could not tell whether {action} of object `{name}` was done: {reason}")]
    Unknown {
        /// What was tried.
        action: &'static str,
        /// The object's name.
        name: String,
        /// The store's own words.
        reason: String,
    },
}
