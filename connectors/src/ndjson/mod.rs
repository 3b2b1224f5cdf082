//! A log of clicks in files: newline-delimited JSON on a disk or in an object store, read exactly once, never skipped.
//!
//! ```text
//! clicks.ndjson                              one file is a log of one partition
//!
//! clicks/2026-01-01.ndjson.gz                a folder of segments is a log of one partition too,
//! clicks/2026-01-02.ndjson.zst               read in the order of their names
//!
//! clicks/0/00000000000000000000.ndjson       numbered folders are partitions; a segment named by 20 digits
//! clicks/0/00000000000268435399.ndjson       is named by the offset of its first byte
//! clicks/1/00000000000000000000.ndjson
//!
//! clicks/1/_synced                           how far the log is on disk; only our own writer keeps it
//!
//! {"weir_log_time_ms":1736952000000}         a control line, no record: the log took the lines below it then
//! {"ad_id":"A","user_id":"U","timestamp":1736951999}
//! ```
//!
//! - Segments are `*.ndjson`, `*.jsonl` and `*.json`, each plain, `.gz` or `.zst`. Other files, and names that start
//!   with `_` or `.`, are no part of the log.
//! - An offset is a byte position in the partition: all segments, decompressed, one behind the other. It grows by
//!   a line's length with its line break, so no two lines share one.
//! - Every line is a record, empty and torn ones included: it is for the decoder to reject them. A last line
//!   without line break is waited for while the log may grow, and is a record once it cannot.
//! - Without a control line, a segment's time of last modification stands in for the log time.
//! - Where the log has a `_synced`, lines behind it are not given: they may not be on disk yet. Where nobody writes any
//!   more, a log that is read to its end once is read to its real end.
//! - A position that is no longer in the log is an error, and so is a segment that shrank, was replaced, or appeared
//!   where the reader had already been.
//! - Memory is bounded a partition: 16 MiB of a line at most, and two blocks of 8 MiB from an object store.

mod append;
mod bounded;
mod config;
mod control;
mod current;
mod cursor;
mod folder;
mod input;
mod lines;
mod log;
mod open_segment;
mod partition;
mod read_ahead;
mod recovery;
mod region;
mod resume;
mod segment;
mod source;
mod synced;
mod watch;
mod writer;

pub use self::append::{NdjsonLog, NdjsonLogConfig, NdjsonLogError, Removed, Retention};
pub use self::config::NdjsonConfig;
pub use self::region::{Region, RegionError};
pub use self::source::{NdjsonSource, NdjsonSourceFactory};
pub use self::writer::{NdjsonWriter, SegmentFormat, WriterConfig, WriterError};
