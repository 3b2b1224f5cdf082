//! The object stores that checkpoints and tables are kept in: a local folder, S3, Google Cloud Storage, Azure.
//!
//! ```text
//! weir_checkpoints::Store        what is asked      blocking calls, names relative to one URL
//!        ▲
//!  ObjectStoreAt                 this module        errors sorted into not found / failed / unknown
//!        ▲
//!  crate object_store            the wire           retries, signatures, listing, multipart
//! ```
//!
//! - A call may be made from any thread, threads of an async runtime included: the work is done on two threads that
//!   belong to this module; a local file is read on the caller's own.
//! - A local write is on disk before it is reported: file and folder are synced.
//! - `put_if_absent` is one atomic request (`If-None-Match: *`, a generation match, or a hard link), never a look
//!   followed by a write.

mod blocking;
mod disk;
mod location;
mod outcome;
mod store;

use std::sync::Arc;

use weir_checkpoints::Store;

pub(crate) use self::location::make_folder;
pub use self::store::ObjectStoreAt;

/// Opens the store at `file:///…`, `s3://…`, `gs://…`, or `az://…` or `abfss://…`. A local folder is made if it is not
/// there; a bucket is not. Addresses and credentials come from the usual environment variables of each store
/// (`location.rs`).
pub fn open(url: &str) -> Result<Arc<dyn Store>, ObjectsError> {
    Ok(Arc::new(ObjectStoreAt::open(url)?))
}

/// Why a store could not be opened. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The URL is none, or of a kind that is not known.
    #[error(
        "`{url}` names no object store: {reason}; write file:///path, s3://bucket/path, gs://bucket/path or az://container/path"
    )]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder cannot be used, or a credential or setting is missing.
    #[error("cannot open the object store `{url}`: {reason}")]
    Open {
        /// What was given.
        url: String,
        /// What the store said.
        reason: String,
    },
}
