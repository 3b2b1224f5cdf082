//! What an explanation says. Its names are those of the JSON that `weir explain --output json` prints.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use weir_connectors::delta::LedgerRow;

use super::judge::Verdict;
use super::span::SpanKind;

/// Where a number comes from. All times are unix time in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The job.
    pub job: String,
    /// The ad.
    pub ad_id: String,
    /// The window's length.
    pub window: SpanKind,
    /// Its first instant.
    pub start_ms: i64,
    /// The first instant after it.
    pub end_ms: i64,
    /// The region, if only one was asked for.
    pub region: Option<String>,
    /// Whether the window is closed.
    pub state: State,
    /// What of the window is closed for good ends here.
    pub closed_part_end_ms: i64,
    /// What it all is as of.
    pub checkpoint: Checkpoint,
    /// Whether table and archive agree, and if not, why.
    pub verdict: Verdict,
    /// What the table shows.
    pub table: TableCount,
    /// What the archive has; none where it is switched off.
    pub archive: Option<Archive>,
    /// Clicks that do not count because of their time.
    pub late: LateClicks,
    /// Corrections of the ad's day, in the order of their revisions; none where there is no such table.
    pub corrections: Option<Vec<LedgerRow>>,
    /// The ad's day as it is billed, by the newest revision.
    pub billing: Option<LedgerRow>,
    /// The clicks of the window, earliest first, as many as were asked for.
    pub clicks: Option<Vec<ListedClick>>,
}

/// Whether a window may still change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is final.
    Closed,
    /// Some of a day's hours are final.
    PartlyClosed,
    /// It still takes clicks.
    Open,
}

/// The checkpoint that an explanation is as of.
#[derive(Debug, Clone, Serialize)]
pub struct Checkpoint {
    /// Its number.
    pub sequence: u64,
    /// The last epoch that it covers.
    pub epoch: u64,
    /// Windows that end here or earlier are closed; none before the first is.
    pub closed_until_ms: Option<i64>,
    /// The source has ended.
    pub ended: bool,
}

/// The count of `clicks_agg`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TableCount {
    /// The sum of its rows.
    pub click_count: u64,
    /// Distinct users of all rows together; none where that cannot be told.
    pub unique_users: Option<u64>,
    /// The rows that it is made of.
    pub rows: Vec<WindowFacts>,
    /// Clicks of windows that are closed, and not in the table yet.
    pub held_back_clicks: u64,
    /// Those windows.
    pub held_back: Vec<WindowFacts>,
}

/// A row of `clicks_agg`.
#[derive(Debug, Clone, Serialize)]
pub struct WindowFacts {
    /// Its first instant.
    pub start_ms: i64,
    /// Its region.
    pub region: Option<String>,
    /// Its clicks.
    pub click_count: u64,
    /// Its users, an estimate.
    pub unique_users: u64,
    /// The epoch at whose end it closed.
    pub epoch: u64,
    /// The data file; none where it is held back for one.
    pub file: Option<String>,
    /// A checkpoint has the file, and the table's log does not yet.
    pub pending: bool,
}

/// The ad's clicks of the window in `clicks_raw`.
#[derive(Debug, Clone, Serialize)]
pub struct Archive {
    /// All records.
    pub records: u64,
    /// Of them, those that wait for a file in the checkpoint.
    pub held_back: u64,
    /// Of them, late ones and those from the future.
    pub not_on_time: u64,
    /// Of them, all others.
    pub on_time: u64,
    /// Different clicks on time: those whose first copy is of this window.
    pub distinct: u64,
    /// Their users, by the same estimate as in the table.
    pub unique_users: u64,
    /// On time, but not the first copy of their click.
    pub duplicate_records: u64,
    /// Records that stand in the archive twice, which should not be. They are counted once here.
    pub records_stored_twice: u64,
    /// The epochs that the count grew by.
    pub epochs: Vec<EpochClicks>,
    /// Where the records are in the log.
    pub partitions: Vec<OffsetRange>,
    /// Where they are in the table.
    pub files: Vec<FileRows>,
    /// Clicks with several copies, as many as were asked for.
    pub duplicates: Vec<Duplicate>,
}

/// What an epoch added to the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EpochClicks {
    /// The epoch.
    pub epoch: u64,
    /// Clicks whose first copy was read in it.
    pub clicks: u64,
}

/// A partition of the log that has records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OffsetRange {
    /// The topic; none while all its records are held back.
    pub topic: Option<String>,
    /// The partition.
    pub partition: u32,
    /// The offset of the first record.
    pub first_offset: u64,
    /// The offset of the last record.
    pub last_offset: u64,
    /// How many there are.
    pub records: u64,
}

/// A data file that has records.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileRows {
    /// Its name below the tables' root.
    pub path: String,
    /// Records of the ad and window in it.
    pub rows: u64,
    /// `weir.epoch` of its footer: of a compacted file that of the last file in it.
    pub epoch: Option<u64>,
    /// How many files it was compacted of; none of one that the job has written.
    pub compacted_from: Option<usize>,
    /// `weir.offsets` of its footer: what its rows were read between, `{"partition":[first,next]}`.
    pub offsets: Option<Value>,
    /// A checkpoint has the file, and the table's log does not yet.
    pub pending: bool,
}

/// A click with several copies.
#[derive(Debug, Clone, Serialize)]
pub struct Duplicate {
    /// The click's id.
    pub click_id: String,
    /// The copy that counts.
    pub first: CopyPlace,
    /// The others.
    pub others: Vec<CopyPlace>,
}

/// Where a copy stands.
#[derive(Debug, Clone, Serialize)]
pub struct CopyPlace {
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// The epoch it was read in.
    pub epoch: u64,
    /// When the click happened, by this copy.
    pub event_time_ms: i64,
    /// The data file; none while it is held back for one.
    pub file: Option<String>,
}

/// Clicks of `clicks_late`.
#[derive(Debug, Clone, Serialize)]
pub struct LateClicks {
    /// How many there are of each reason.
    pub reasons: BTreeMap<String, u64>,
    /// Some of them, earliest first.
    pub clicks: Vec<LateClick>,
}

/// A click that does not count.
#[derive(Debug, Clone, Serialize)]
pub struct LateClick {
    /// Its id.
    pub click_id: String,
    /// Why it does not count.
    pub reason: String,
    /// When it happened.
    pub event_time_ms: i64,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// The epoch it was read in.
    pub epoch: u64,
}

/// A record of the archive.
#[derive(Debug, Clone, Serialize)]
pub struct ListedClick {
    /// Its id.
    pub click_id: String,
    /// `counted`, `duplicate`, `late` or `future`.
    pub status: String,
    /// When it happened.
    pub event_time_ms: i64,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// The epoch it was read in.
    pub epoch: u64,
    /// The data file; none while it is held back for one.
    pub file: Option<String>,
}
