//! Segments: the files that a partition is made of, and what their names say.

/// How many digits an offset has that is the name of a segment: the largest one fits, and names sort like numbers.
const BASE_DIGITS: usize = 20;

/// A file of the log, as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its name in the partition's folder.
    pub(super) name: String,
    /// Its size as it is stored, compressed or not.
    pub(super) size_bytes: u64,
    /// When it was last written, unix time in milliseconds.
    pub(super) modified_ms: i64,
    /// The file behind the name (its inode), so that a replaced one is noticed; 0 in an object store.
    pub(super) file_id: u64,
}

impl Segment {
    /// The offset of its first byte, where its name is one.
    pub(super) fn own_base(&self) -> Option<u64> {
        own_base(&self.name)
    }

    /// Whether its size is the number of its bytes in the log.
    pub(super) fn is_plain(&self) -> bool {
        Compression::of(&self.name) == Compression::None
    }
}

/// How a segment is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// By the end of the name.
    pub(super) fn of(name: &str) -> Self {
        match name.rsplit_once('.') {
            Some((_, "gz")) => Self::Gzip,
            Some((_, "zst")) => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Whether a file of this name is a segment.
pub(super) fn is_segment(name: &str) -> bool {
    let uncompressed = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    !is_hidden(name) && [".ndjson", ".jsonl", ".json"].iter().any(|end| uncompressed.ends_with(end))
}

/// Whether a file or folder of this name is no part of any log.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with(['_', '.'])
}

/// The partition that a folder of this name is.
pub(super) fn partition_number(folder: &str) -> Option<u32> {
    if folder.bytes().all(|byte| byte.is_ascii_digit()) { folder.parse().ok() } else { None }
}

/// The offset that a segment is named by.
pub(super) fn own_base(name: &str) -> Option<u64> {
    let (digits, _) = name.split_once('.')?;
    let is_base = digits.len() == BASE_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_base { digits.parse().ok() } else { None }
}

/// The name of the segment that starts at `base`.
pub(super) fn name_of(base: u64, ending: &str) -> String {
    format!("{base:0BASE_DIGITS$}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_file_is() {
        for name in ["a.ndjson", "a.jsonl.gz", "a.json.zst", "00000000000000000000.ndjson", "x.y.json"] {
            assert!(is_segment(name), "{name}");
        }
        for name in ["a.txt", "a", "_a.ndjson", ".a.ndjson", "a.gz", "a.ndjson.bz2", "a.ndjson#1", "ndjson"] {
            assert!(!is_segment(name), "{name}");
        }
        assert_eq!(Compression::of("a.ndjson"), Compression::None);
        assert_eq!(Compression::of("a.ndjson.gz"), Compression::Gzip);
        assert_eq!(Compression::of("a.ndjson.zst"), Compression::Zstd);
    }

    #[test]
    fn twenty_digits_are_an_offset() {
        assert_eq!(own_base(&name_of(268_435_399, ".ndjson.zst")), Some(268_435_399));
        assert_eq!(own_base(&name_of(u64::MAX, ".ndjson")), Some(u64::MAX));
        for name in ["0.ndjson", "99999999999999999999.ndjson", "0000000000000000000a.ndjson", "00000000000000000000"] {
            assert_eq!(own_base(name), None, "{name}");
        }
        assert_eq!(partition_number("12"), Some(12));
        assert_eq!(partition_number("date=1"), None);
        assert_eq!(partition_number(""), None);
        assert_eq!(partition_number("99999999999"), None);
    }
}
