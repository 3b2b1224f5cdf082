//! The segment that is being written, plain or compressed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::segment::name_of;
use super::writer::{SegmentFormat, WriterError};

const ZSTD_LEVEL: i32 = 3;

/// A segment and its file.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) path: PathBuf,
    /// The offset of its first byte.
    pub(super) base: u64,
    output: Output,
}

enum Output {
    Plain(File),
    Zstd(zstd::stream::write::Encoder<'static, File>),
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Zstd(_) => "Zstd",
        })
    }
}

impl OpenSegment {
    /// Makes the segment that starts at `base`.
    pub(super) fn create(folder: &Path, base: u64, format: SegmentFormat) -> Result<Self, WriterError> {
        let ending = match format {
            SegmentFormat::Plain => ".ndjson",
            SegmentFormat::Zstd => ".ndjson.zst",
        };
        let path = folder.join(name_of(base, ending));
        let open = || {
            let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
            // The name, too, must outlive a power cut.
            File::open(folder)?.sync_all()?;
            match format {
                SegmentFormat::Plain => Ok(Output::Plain(file)),
                SegmentFormat::Zstd => zstd::stream::write::Encoder::new(file, ZSTD_LEVEL).map(Output::Zstd),
            }
        };
        match open() {
            Ok(output) => Ok(Self { path, base, output }),
            Err(source) => Err(WriterError::Io { path, source }),
        }
    }

    /// Goes on in a plain segment.
    pub(super) fn append(path: PathBuf, base: u64) -> Result<Self, WriterError> {
        match OpenOptions::new().append(true).open(&path) {
            Ok(file) => Ok(Self { path, base, output: Output::Plain(file) }),
            Err(source) => Err(WriterError::Io { path, source }),
        }
    }

    /// Adds bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.output {
            Output::Plain(file) => file.write_all(bytes),
            Output::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    /// Hands all bytes to the operating system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.output {
            Output::Plain(_) => Ok(()),
            Output::Zstd(encoder) => encoder.flush(),
        }
    }

    /// Waits until what was flushed is on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match &self.output {
            Output::Plain(file) => file.sync_data(),
            Output::Zstd(encoder) => encoder.get_ref().sync_data(),
        }
    }

    /// Adds no more: a compressed segment is whole after this, and on disk.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Output::Zstd(encoder) = &mut self.output {
            encoder.do_finish()?;
        }
        self.sync()
    }
}
