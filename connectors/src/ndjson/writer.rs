//! Writes one partition of an NDJSON log: appends lines, starts new segments, keeps what was synced over a crash.
//!
//! ```text
//! clicks/0/_lock                                   one writer at a time
//! clicks/0/_synced                                 how far readers may read
//! clicks/0/00000000000000000000.ndjson             full
//! clicks/0/00000000000268435399.ndjson             being appended to
//! ```
//!
//! - Only appends, ever: a reader may be at work in the same segment. A torn last line that a crash left behind is
//!   ended with a line break, not cut away; nobody was told that it was written.
//! - What [`NdjsonWriter::sync`] has returned for is on disk, and readers see it then, not before. After a failed write
//!   nobody knows what is in the file: the writer refuses everything from then on, and opening the folder again finds
//!   out.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use memchr::memchr;
use weir_checkpoints::Offset;

use super::open_segment::OpenSegment;
use super::region::Region;
use super::synced::{self, Mark};
use super::{control, recovery};
use crate::objects::make_folder;

/// Lines are collected until there are this many bytes, or until they are flushed.
const BUFFER_BYTES: usize = 256 << 10;

/// A new control line is written when the log time has moved by this much.
const LOG_TIME_STEP_MS: u64 = 1_000;

/// A reader holds the lock for a moment, to see whether there is a writer.
const LOCK_TRIES: usize = 10;
const LOCK_AGAIN: Duration = Duration::from_millis(10);

/// How an [`NdjsonWriter`] writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterConfig {
    /// A segment that has reached this size is finished, and another begins. Counted before compression.
    pub segment_bytes: u64,
    /// How segments are stored.
    pub format: SegmentFormat,
    /// Where the log is written: readers learn it.
    pub region: Option<Region>,
}

impl Default for WriterConfig {
    /// Plain segments of 256 MiB.
    fn default() -> Self {
        Self { segment_bytes: 256 << 20, format: SegmentFormat::Plain, region: None }
    }
}

/// How segments are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentFormat {
    /// `.ndjson`.
    Plain,
    /// `.ndjson.zst`.
    Zstd,
}

/// Why a line was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// Another writer has the folder.
    #[error("{} is being written by another process: stop it first", folder.display())]
    Locked {
        /// The partition's folder.
        folder: PathBuf,
    },
    /// The line would be read as several, or as none. Nothing was written.
    #[error("a line must not contain a line break, and must not look like a control line of the log")]
    BadLine,
    /// The disk refused.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier write failed.
    #[error("writing to {} failed before, and nobody knows how far it got: open it again", folder.display())]
    Poisoned {
        /// The partition's folder.
        folder: PathBuf,
    },
}

/// Appends to one partition's folder.
#[derive(Debug)]
pub struct NdjsonWriter {
    folder: PathBuf,
    config: WriterConfig,
    segment: OpenSegment,
    /// Lines that are not in the file yet.
    buffer: Vec<u8>,
    next_offset: u64,
    /// What the segment's last control line says.
    log_time_ms: Option<i64>,
    poisoned: bool,
    mark: Mark,
    /// Held until the writer is dropped.
    _lock: File,
}

impl NdjsonWriter {
    /// Opens a partition's folder, making it if it is not there, and goes on behind what is in it.
    pub fn open(folder: &Path, config: WriterConfig) -> Result<Self, WriterError> {
        let at = |source| WriterError::Io { path: folder.to_owned(), source };
        make_folder(folder).map_err(at)?;
        let lock = lock(folder)?;
        let end = recovery::recover(folder, synced::read(folder)).map_err(at)?;
        let mark = Mark::open(folder, end.next_offset).map_err(at)?;
        let appendable = end.plain_segment.filter(|_| config.format == SegmentFormat::Plain);
        let segment = match appendable {
            Some(path) => OpenSegment::append(path, end.segment_base)?,
            None => OpenSegment::create(folder, end.next_offset, config.format)?,
        };
        Ok(Self {
            folder: folder.to_owned(),
            config,
            segment,
            buffer: Vec::with_capacity(BUFFER_BYTES * 2),
            next_offset: end.next_offset,
            log_time_ms: None,
            poisoned: false,
            mark,
            _lock: lock,
        })
    }

    /// Adds a line, given without its line break; returns its offset. Nobody sees it before a sync. A `\r` at its
    /// end counts as part of the line break and does not come back.
    pub fn append(&mut self, log_time_ms: i64, line: &[u8]) -> Result<Offset, WriterError> {
        self.refuse_if_poisoned()?;
        if memchr(b'\n', line).is_some() || control::parse(line.strip_suffix(b"\r").unwrap_or(line)).is_some() {
            return Err(WriterError::BadLine);
        }
        if self.next_offset - self.segment.base >= self.config.segment_bytes {
            self.next_segment()?;
        }
        let stands = self.log_time_ms.is_some_and(|last| last.abs_diff(log_time_ms) < LOG_TIME_STEP_MS);
        if !stands {
            let before = self.buffer.len();
            control::write(log_time_ms, self.config.region.as_ref(), &mut self.buffer);
            self.next_offset += (self.buffer.len() - before) as u64;
            self.log_time_ms = Some(log_time_ms);
        }
        let offset = Offset(self.next_offset);
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
        self.next_offset += line.len() as u64 + 1;
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_out()?;
        }
        Ok(offset)
    }

    /// Hands all lines to the operating system: they outlive this process.
    pub fn flush(&mut self) -> Result<(), WriterError> {
        self.refuse_if_poisoned()?;
        self.write_out()?;
        let outcome = self.segment.flush();
        self.checked(outcome)
    }

    /// Brings all lines onto the disk: they outlive the machine's next power cut, and readers see them.
    pub fn sync(&mut self) -> Result<(), WriterError> {
        self.flush()?;
        let outcome = self.segment.sync().and_then(|()| self.mark.advance(self.next_offset));
        self.checked(outcome)
    }

    /// The offset of the next line, or of the control line before it.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.next_offset)
    }

    /// Finishes the segment and syncs it. A compressed one is only whole after this.
    pub fn close(mut self) -> Result<(), WriterError> {
        self.refuse_if_poisoned()?;
        self.finish_segment()
    }

    fn next_segment(&mut self) -> Result<(), WriterError> {
        self.finish_segment()?;
        let created = OpenSegment::create(&self.folder, self.next_offset, self.config.format);
        self.poisoned = created.is_err();
        self.segment = created?;
        self.log_time_ms = None;
        Ok(())
    }

    fn finish_segment(&mut self) -> Result<(), WriterError> {
        self.write_out()?;
        let outcome = self.segment.finish().and_then(|()| self.mark.advance(self.next_offset));
        self.checked(outcome)
    }

    fn write_out(&mut self) -> Result<(), WriterError> {
        let outcome = self.segment.write(&self.buffer);
        self.buffer.clear();
        self.checked(outcome)
    }

    fn checked(&mut self, outcome: io::Result<()>) -> Result<(), WriterError> {
        outcome.map_err(|source| {
            self.poisoned = true;
            WriterError::Io { path: self.segment.path.clone(), source }
        })
    }

    fn refuse_if_poisoned(&self) -> Result<(), WriterError> {
        if self.poisoned { Err(WriterError::Poisoned { folder: self.folder.clone() }) } else { Ok(()) }
    }
}

impl Drop for NdjsonWriter {
    /// Nobody was told that unsynced lines are kept, but there is no reason to lose them.
    fn drop(&mut self) {
        if !self.poisoned {
            let _ = self.finish_segment();
        }
    }
}

fn lock(folder: &Path) -> Result<File, WriterError> {
    let at = |source| WriterError::Io { path: folder.to_owned(), source };
    let lock = File::create(folder.join("_lock")).map_err(at)?;
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_AGAIN),
            Err(TryLockError::Error(source)) => return Err(at(source)),
        }
    }
    Err(WriterError::Locked { folder: folder.to_owned() })
}
