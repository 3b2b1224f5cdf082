//! What a crash may have left in a partition's folder, and where the writer goes on.
//!
//! ```text
//! plain, ends with \n             go on in it
//! plain, ends in a torn line      end the line; it is a record, most likely rejected
//! plain, not marked as synced     write its end again as it is, and sync it
//! compressed, whole               go on in a new segment
//! compressed, breaks off          write what can be read of it anew, whole; go on in a new segment
//! ```
//!
//! Why again: a sync that follows a failed one reports nothing, and has nothing to do, because the system takes what it
//! could not write as written. Bytes that are written once more have to get there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::segment::{Compression, is_segment, own_base};

const CHUNK_BYTES: usize = 64 << 10;

/// The end of what is in a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    pub(super) next_offset: u64,
    /// The last segment, if it can be appended to, and the offset of its first byte.
    pub(super) plain_segment: Option<PathBuf>,
    pub(super) segment_base: u64,
}

/// Mends the last segment of a folder that nobody else is writing to. All of it is on disk then; before, it was known
/// to be up to the offset `synced`.
pub(super) fn recover(folder: &Path, synced: Option<u64>) -> io::Result<End> {
    let Some((segment_base, name)) = last_segment(folder)? else { return Ok(End::default()) };
    let path = folder.join(&name);
    match Compression::of(&name) {
        Compression::None => {
            let synced = synced.map(|synced| synced.saturating_sub(segment_base));
            let next_offset = segment_base + end_last_line(&path, synced)?;
            Ok(End { next_offset, plain_segment: Some(path), segment_base })
        }
        Compression::Zstd => {
            let length = make_whole(folder, &path)?;
            if length == 0 {
                // The next segment starts at the same offset, and wants the name.
                fs::remove_file(&path)?;
            }
            Ok(End { next_offset: segment_base + length, plain_segment: None, segment_base })
        }
        Compression::Gzip => Err(io::Error::other(format!("{name} was not written by this program"))),
    }
}

/// The segment with the highest offset for a name. Other names mean another kind of log, which is not appended to.
fn last_segment(folder: &Path) -> io::Result<Option<(u64, String)>> {
    let mut last = None;
    for entry in fs::read_dir(folder)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if !is_segment(&name) {
            continue;
        }
        let Some(base) = own_base(&name) else {
            return Err(io::Error::other(format!(
                "segment {name} is not named by its offset: choose an empty folder to write to"
            )));
        };
        last = last.max(Some((base, name)));
    }
    Ok(last)
}

/// Ends a torn last line, and syncs everything; the file's length.
fn end_last_line(path: &Path, synced: Option<u64>) -> io::Result<u64> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut length = file.metadata()?.len();
    rewrite(&file, synced.unwrap_or(length), length)?;
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    if last != *b"\n" {
        file.write_all_at(b"\n", length)?;
        length += 1;
    }
    file.sync_all()?;
    Ok(length)
}

/// Writes what there is in a range again.
fn rewrite(file: &File, mut from: u64, to: u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    while from < to {
        let length = usize::try_from(to - from).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let bytes = chunk.get_mut(..length).unwrap_or_default();
        file.read_exact_at(bytes, from)?;
        file.write_all_at(bytes, from)?;
        from += length as u64;
    }
    Ok(())
}

/// Makes sure that a compressed segment can be read to its end and is on disk; its length when decompressed.
fn make_whole(folder: &Path, path: &Path) -> io::Result<u64> {
    let mut decoder = zstd::stream::read::Decoder::new(File::open(path)?)?;
    match io::copy(&mut decoder, &mut io::sink()) {
        Ok(length) => {
            File::open(path)?.sync_all()?;
            return Ok(length);
        }
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(error),
    }
    // Hidden from readers until it is whole.
    let salvaged = folder.join("_salvaged");
    let length = salvage(path, &salvaged)?;
    fs::rename(&salvaged, path)?;
    File::open(folder)?.sync_all()?;
    Ok(length)
}

fn salvage(from: &Path, to: &Path) -> io::Result<u64> {
    let mut decoder = zstd::stream::read::Decoder::new(File::open(from)?)?;
    let mut encoder = zstd::stream::write::Encoder::new(File::create(to)?, 0)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut length, mut last) = (0, b'\n');
    loop {
        let count = match decoder.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        };
        let bytes = chunk.get(..count).unwrap_or_default();
        encoder.write_all(bytes)?;
        length += count as u64;
        last = bytes.last().copied().unwrap_or(last);
    }
    if last != b'\n' {
        encoder.write_all(b"\n")?;
        length += 1;
    }
    encoder.finish()?.sync_all()?;
    Ok(length)
}
