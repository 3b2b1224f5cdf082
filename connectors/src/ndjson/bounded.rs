//! Where a bounded log ends, if the process that wrote it is gone: at its end, not where its mark was left.
//!
//! The mark may have stayed behind when the writer was killed or the power went. Nobody moves it before the log is
//! written to again, and a job that reads what there is must not leave out clicks that were accepted. So where nobody
//! writes, the reader brings the last segment onto the disk itself.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use super::folder::{Folder, Place};
use super::segment::Segment;
use super::synced::Synced;

/// Decides whether the mark counts, for a log with these segments.
pub(super) fn find_end(folder: &Folder, segments: &[Segment], synced: &mut Synced) -> io::Result<()> {
    let (Place::Local(path), Some(mark), Some(last)) = (&folder.place, synced.offset(), segments.last()) else {
        return Ok(());
    };
    let listed_end = last.own_base().filter(|_| last.is_plain()).map(|base| base + last.size_bytes);
    if listed_end.is_some_and(|end| end <= mark) || is_being_written(path) {
        return Ok(());
    }
    File::open(path.join(&last.name))?.sync_all()?;
    synced.ignore();
    Ok(())
}

/// Whether somebody holds the folder's lock. Where that cannot be told, the mark is what is known.
fn is_being_written(folder: &Path) -> bool {
    match File::open(folder.join("_lock")).map(|lock| lock.try_lock_shared()) {
        Ok(Ok(())) => false,
        Ok(Err(TryLockError::WouldBlock | TryLockError::Error(_))) => true,
        // A copy of the log, without its lock.
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}
