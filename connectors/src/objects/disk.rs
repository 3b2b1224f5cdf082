//! Reads of local files, on the caller's own thread: to hand one over to the threads of an async runtime and wait for it
//! costs several times what it takes to read a few kilobytes.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use weir_checkpoints::StoreError;

use super::outcome::failed;

/// The whole file, or `None` where there is none.
pub(super) fn read(folder: &LocalFileSystem, name: &str, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let read = open(folder, name, path)?.map(|mut file| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map(|_| bytes)
    });
    match read.transpose() {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::IsADirectory => Ok(None),
        Err(error) => Err(failed("read", name, error.to_string())),
    }
}

/// Bytes of a file that must exist and have them.
pub(super) fn read_range(
    folder: &LocalFileSystem,
    name: &str,
    path: &Path,
    range: Range<u64>,
) -> Result<Vec<u8>, StoreError> {
    let missing = || StoreError::NotFound { name: name.to_owned() };
    let file = open(folder, name, path)?.ok_or_else(missing)?;
    let there = |error: io::Error| failed("read", name, error.to_string());
    let metadata = file.metadata().map_err(there)?;
    if metadata.is_dir() {
        return Err(missing());
    }
    if metadata.len() < range.end {
        let reason = format!("bytes {}..{} were asked for, {} are there", range.start, range.end, metadata.len());
        return Err(failed("read", name, reason));
    }
    let mut bytes = vec![0; (range.end - range.start) as usize];
    file.read_exact_at(&mut bytes, range.start).map_err(there)?;
    Ok(bytes)
}

fn open(folder: &LocalFileSystem, name: &str, path: &Path) -> Result<Option<File>, StoreError> {
    let path = folder.path_to_filesystem(path).map_err(|error| failed("read", name, error.to_string()))?;
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        // A part of the name may be a file where a folder would have to be.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(failed("read", name, error.to_string())),
    }
}
