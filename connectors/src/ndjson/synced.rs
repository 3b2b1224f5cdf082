//! How far a partition's log is on disk: a small file beside its segments, for readers in any process.
//!
//! ```text
//! clicks/0/_synced     00000000000268435399 5f0c1d…\n      an offset, and the checksum of its digits
//!
//!   writer:  write lines ──▶ sync ──▶ mark ──▶ tell whoever waits
//!   reader:  gives no line that starts at or behind the mark
//! ```
//!
//! - So a job is never ahead of its log after a power cut: what it has read was on disk before.
//! - The mark always lies behind a sync, at the end of a line. It may stay behind the log, after a kill between the two
//!   or a power cut: opening the folder for writing syncs what is there and moves it to the end.
//! - It is there before the first segment is, and only ever written over, in one sector. A reader that catches it half
//!   written keeps what it knew.
//! - A log without this file was written by something else: it is read to its end.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::folder::{Folder, Place};

const NAME: &str = "_synced";
const DIGITS: usize = 20;
/// Digits, a space, 16 hexadecimal digits, a line break.
const LENGTH: usize = DIGITS + 1 + 16 + 1;

/// How often, and how far apart, a mark is read that is not whole.
const TRIES: usize = 50;
const TRY_AGAIN: Duration = Duration::from_millis(1);

/// The writer's side.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
}

impl Mark {
    /// Sets the folder's mark, making it if there is none. All that lies before `offset` is on disk.
    pub(super) fn open(folder: &Path, offset: u64) -> io::Result<Self> {
        let path = folder.join(NAME);
        let file = match OpenOptions::new().write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(folder, &path, offset)?,
            Err(error) => return Err(error),
        };
        // Nothing of an earlier, longer content stays.
        file.set_len(LENGTH as u64)?;
        let mark = Self { file };
        mark.advance(offset)?;
        Ok(mark)
    }

    /// All that lies before `offset` is on disk. The mark itself need not be.
    pub(super) fn advance(&self, offset: u64) -> io::Result<()> {
        self.file.write_all_at(to_text(offset).as_bytes(), 0)
    }
}

/// What a folder's mark says, if it has a whole one.
pub(super) fn read(folder: &Path) -> Option<u64> {
    read_from(&File::open(folder.join(NAME)).ok()?).ok()?
}

/// The reader's side.
pub(super) struct Synced {
    /// `None` in an object store, which keeps whole objects only.
    path: Option<PathBuf>,
    file: Option<File>,
    offset: Option<u64>,
}

impl Synced {
    /// Looks for the mark of a folder, after its segments were listed.
    pub(super) fn open(folder: &Folder) -> io::Result<Self> {
        let path = match &folder.place {
            Place::Local(path) => Some(path.join(NAME)),
            Place::Remote(..) => None,
        };
        let mut synced = Self { path, file: None, offset: None };
        synced.reopen()?;
        Ok(synced)
    }

    /// Lines that start before this offset may be given. Without a mark, all.
    pub(super) fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// From now on as if there was no mark.
    pub(super) fn ignore(&mut self) {
        *self = Self { path: None, file: None, offset: None };
    }

    /// Reads the mark again.
    pub(super) fn look(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return self.reopen() };
        if let Some(offset) = read_from(file)? {
            self.offset = Some(offset);
        }
        Ok(())
    }

    /// Looks whether the mark's file is there, and still the same.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (self.file, self.offset) = (None, None);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let known = if self.file.is_some() { self.offset } else { None };
        self.offset = read_from(&file)?.or(known).map_or_else(|| wait_for_a_whole_one(&file, path), Ok).map(Some)?;
        self.file = Some(file);
        Ok(())
    }
}

/// It gets its name when it is whole, and on disk.
fn create(folder: &Path, path: &Path, offset: u64) -> io::Result<File> {
    let hidden = folder.join("_synced.new");
    let file = File::create(&hidden)?;
    file.write_all_at(to_text(offset).as_bytes(), 0)?;
    file.sync_all()?;
    fs::rename(&hidden, path)?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}

fn wait_for_a_whole_one(file: &File, path: &Path) -> io::Result<u64> {
    for _ in 0..TRIES {
        if let Some(offset) = read_from(file)? {
            return Ok(offset);
        }
        thread::sleep(TRY_AGAIN);
    }
    Err(io::Error::other(format!(
        "{} is damaged, so nobody knows what is on disk. Start what writes this log, which mends it; if nothing does, \
         remove that file",
        path.display()
    )))
}

fn read_from(file: &File) -> io::Result<Option<u64>> {
    let mut text = [0; LENGTH];
    match file.read_exact_at(&mut text, 0) {
        Ok(()) => Ok(from_text(&text)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn to_text(offset: u64) -> String {
    let digits = format!("{offset:0DIGITS$}");
    format!("{digits} {:016x}\n", xxh3_64(digits.as_bytes()))
}

fn from_text(text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text.get(..DIGITS)?).ok()?;
    let offset = digits.parse().ok()?;
    (to_text(offset).as_bytes() == text).then_some(offset)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn folder_at(path: &Path) -> Folder {
        Folder { place: Place::Local(path.to_owned()), only: None, url: String::new() }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for offset in [0, 1, 268_435_399, u64::MAX] {
            let text = to_text(offset);
            assert_eq!((text.len(), from_text(text.as_bytes())), (LENGTH, Some(offset)));
            for index in 0..LENGTH {
                let mut torn = text.clone().into_bytes();
                torn[index] ^= 1;
                assert_eq!(from_text(&torn), None, "{offset} at {index}");
            }
        }
        // The beginning of one, the end of another.
        let (old, new) = (to_text(99_999), to_text(100_000));
        for tear in 16..LENGTH - 1 {
            assert_eq!(from_text(format!("{}{}", &new[..tear], &old[tear..]).as_bytes()), None, "{tear}");
        }
    }

    #[test]
    fn a_reader_follows_the_mark_and_keeps_what_it_knew() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut reader = Synced::open(&folder_at(folder.path())).unwrap();
        assert_eq!(reader.offset(), None);
        let mark = Mark::open(folder.path(), 5).unwrap();
        reader.look().unwrap();
        assert_eq!(reader.offset(), Some(5));
        mark.advance(70).unwrap();
        reader.look().unwrap();
        assert_eq!(reader.offset(), Some(70));
        mark.file.write_all_at(b"9", 3).unwrap();
        reader.look().unwrap();
        reader.reopen().unwrap();
        assert_eq!((reader.offset(), read(folder.path())), (Some(70), None));
        let error = Synced::open(&folder_at(folder.path())).err().unwrap().to_string();
        assert!(error.contains("is damaged"), "{error}");
        // The next writer mends it.
        drop(Mark::open(folder.path(), 80).unwrap());
        reader.look().unwrap();
        assert_eq!((reader.offset(), read(folder.path())), (Some(80), Some(80)));
    }
}
