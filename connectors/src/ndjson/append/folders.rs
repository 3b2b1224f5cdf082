//! The numbered folders of a log.

use std::fs;
use std::path::{Path, PathBuf};

use super::config::NdjsonLogError;
use crate::ndjson::segment::{is_segment, partition_number};
use crate::objects::make_folder;

/// The folder of a partition.
pub(super) fn partition(folder: &Path, number: u32) -> PathBuf {
    folder.join(number.to_string())
}

/// Makes the folders of all partitions: as many as were asked for, or as there were, whichever is more. How many.
pub(super) fn make(folder: &Path, wanted: u32) -> Result<u32, NdjsonLogError> {
    let at = |source| NdjsonLogError::Io { folder: folder.to_owned(), source };
    make_folder(folder).map_err(at)?;
    let mut count = wanted;
    for entry in fs::read_dir(folder).map_err(at)? {
        let Ok(name) = entry.map_err(at)?.file_name().into_string() else { continue };
        match partition_number(&name) {
            _ if is_segment(&name) => {
                return Err(not_a_log(folder, format!("segment {name} lies beside them; choose an empty folder")));
            }
            Some(number) if number.to_string() == name => count = count.max(number.saturating_add(1)),
            Some(number) => return Err(not_a_log(folder, format!("rename {name} to {number}"))),
            None => {}
        }
    }
    if count == 0 {
        return Err(NdjsonLogError::NoPartitions);
    }
    for number in 0..count {
        make_folder(&partition(folder, number)).map_err(at)?;
    }
    Ok(count)
}

fn not_a_log(folder: &Path, reason: String) -> NdjsonLogError {
    NdjsonLogError::NotALog { folder: folder.to_owned(), reason }
}
