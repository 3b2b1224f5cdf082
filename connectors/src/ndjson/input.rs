//! The decompressed bytes of one segment, which may still be growing.
//!
//! The end of the stored bytes is an end only once the segment is final; before, it is answered like a slow network,
//! with `WouldBlock`, which the decompressors pass on without losing their place.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder;

use super::folder::{Folder, Place};
use super::read_ahead::ReadAhead;
use super::segment::{Compression, Segment};

/// How much of a compressed segment is read at once.
const COMPRESSED_BUFFER_BYTES: usize = 256 << 10;

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Got {
    Bytes(usize),
    /// They are being fetched.
    Pending,
    /// All that there is now was read; the segment may grow.
    AtEnd,
    /// The segment is read to its end for good.
    Final,
}

/// A segment that is open for reading.
pub(super) struct Input {
    bytes: Bytes,
}

enum Bytes {
    Plain(Stored),
    Gzip(Box<MultiGzDecoder<BufReader<Stored>>>),
    Zstd(Box<Decoder<'static, BufReader<Stored>>>),
}

impl Input {
    /// Opens a segment. A plain one starts at its byte `from`, a compressed one always at its start.
    pub(super) fn open(folder: &Folder, segment: &mut Segment, from: u64) -> io::Result<Self> {
        let compression = Compression::of(&segment.name);
        let start = if compression == Compression::None { from } else { 0 };
        let stored = Stored::open(folder, segment, start)?;
        let buffered = |stored| BufReader::with_capacity(COMPRESSED_BUFFER_BYTES, stored);
        let bytes = match compression {
            Compression::None => Bytes::Plain(stored),
            Compression::Gzip => Bytes::Gzip(Box::new(MultiGzDecoder::new(buffered(stored)))),
            Compression::Zstd => Bytes::Zstd(Box::new(Decoder::with_buffer(buffered(stored))?)),
        };
        Ok(Self { bytes })
    }

    /// Reads some bytes.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<Got> {
        let outcome = match &mut self.bytes {
            Bytes::Plain(stored) => stored.read(into),
            Bytes::Gzip(decoder) => decoder.read(into),
            Bytes::Zstd(decoder) => decoder.read(into),
        };
        let stored = self.stored();
        match outcome {
            Ok(0) => Ok(Got::Final),
            Ok(bytes) => Ok(Got::Bytes(bytes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && stored.at_end => Ok(Got::AtEnd),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Got::Pending),
            // An empty file is an empty segment, although it is no valid compressed one.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && stored.taken == 0 => Ok(Got::Final),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(io::Error::other(
                "its compressed data breaks off. What was whole has been read and nothing was skipped; compress it \
                 again from the original, or decompress what is left into a segment of the same name",
            )),
            Err(error) => Err(error),
        }
    }

    /// No more will be written to the segment: its end is the end.
    pub(super) fn set_final(&mut self) {
        self.stored().is_final = true;
    }

    /// The segment's size, as it was listed anew.
    pub(super) fn grow(&mut self, size: u64) {
        if let Device::Object(object) = &mut self.stored().device {
            object.grow(size);
        }
    }

    fn stored(&mut self) -> &mut Stored {
        match &mut self.bytes {
            Bytes::Plain(stored) => stored,
            Bytes::Gzip(decoder) => decoder.get_mut().get_mut(),
            Bytes::Zstd(decoder) => decoder.get_mut().get_mut(),
        }
    }
}

/// A segment's bytes as they are stored.
struct Stored {
    device: Device,
    /// How many were read so far.
    taken: u64,
    is_final: bool,
    at_end: bool,
}

enum Device {
    File(File),
    Object(ReadAhead),
}

impl Stored {
    fn open(folder: &Folder, segment: &mut Segment, from: u64) -> io::Result<Self> {
        let device = match &folder.place {
            Place::Local(path) => {
                let mut file = File::open(path.join(&segment.name))?;
                segment.file_id = file.metadata()?.ino();
                file.seek(SeekFrom::Start(from))?;
                Device::File(file)
            }
            Place::Remote(store, prefix) => {
                let name = format!("{prefix}{}", segment.name);
                Device::Object(ReadAhead::new(store.clone(), name, from, segment.size_bytes))
            }
        };
        Ok(Self { device, taken: 0, is_final: false, at_end: false })
    }
}

impl Read for Stored {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.at_end = false;
        let bytes = match &mut self.device {
            Device::File(file) => file.read(into)?,
            Device::Object(object) => object.read(into)?,
        };
        self.taken += bytes as u64;
        if bytes == 0 && !self.is_final && !into.is_empty() {
            self.at_end = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(bytes)
    }
}
