//! What a recount reads: rows of the archive, of the late table, and the windows that the stream has closed.

use crate::{Click, LateReason};

/// Opens a worker's share of the archive.
pub trait ArchiveFactory: Send + Sync {
    /// The share of worker `worker` of `workers`. All shares together are the whole, each row once.
    fn open(&self, worker: usize, workers: usize) -> Result<Box<dyn Archive>, ArchiveError>;
}

/// A worker's share.
pub trait Archive {
    /// Hands out some rows; false once there are none left.
    fn read(&mut self, take: &mut dyn FnMut(ArchiveRow<'_>)) -> Result<bool, ArchiveError>;

    /// Starts again from the first row.
    fn rewind(&mut self);
}

/// A row.
#[derive(Debug, Clone, Copy)]
pub enum ArchiveRow<'a> {
    /// Of the archive: every valid click, counted or not.
    Click(ArchivedClick<'a>),
    /// Of the late table: a click of the archive that the stream did not count for its time.
    Late(ArchivedClick<'a>, LateReason),
    /// What the stream has counted.
    Streamed(StreamedWindow<'a>),
}

/// A click, and where it stands in the log.
#[derive(Debug, Clone, Copy)]
pub struct ArchivedClick<'a> {
    /// The click.
    pub click: Click<'a>,
    /// Its source partition.
    pub partition: u32,
    /// Its place in that.
    pub offset: u64,
    /// The epoch that it was read in.
    pub epoch: u64,
    /// Whether it is to be taken out.
    pub excluded: bool,
    /// The region that it came in, where the archive was asked for that.
    pub region: Option<&'a str>,
}

/// A minute of an ad in a region, as the stream closed it.
#[derive(Debug, Clone, Copy)]
pub struct StreamedWindow<'a> {
    /// The ad.
    pub ad_id: &'a str,
    /// The minute's start, in milliseconds.
    pub start_ms: i64,
    /// Its clicks.
    pub clicks: i64,
    /// The region, where the archive was asked for that.
    pub region: Option<&'a str>,
}

/// Why the archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A data file is not what the table's log says that it is.
    #[error("data file `{file}`: {reason}")]
    File {
        /// Its name.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A table could not be read.
    #[error("table {table}: {reason}")]
    Table {
        /// Its name.
        table: String,
        /// Why.
        reason: String,
    },
    /// This process cannot take part.
    #[error("{0}")]
    Unfit(String),
}
