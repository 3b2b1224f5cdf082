//! What the graph asks of a sink: take rows, make them durable without showing them, show them when told.
//!
//! ```text
//!   write(row)* ─▶ stage(cut) ─▶ [background] objects nobody sees ─▶ manifest ─▶ commit(manifest)
//!        ▲                                                             │
//!        └── rows not yet worth a file are carried over as state ◀─────┘ restore(rows)
//! ```

use weir_checkpoints::{Attempt, Epoch, Manifest, Offset, OutputPart, PartitionId, Sequence, WorkerIndex};

use crate::Click;

/// One kind of output of a job: a table, a topic.
pub trait SinkFactory: Send + Sync {
    /// Its name, unique within the job: it is in the manifests' [`OutputPart::sink`] and in the state's part kinds.
    fn name(&self) -> &str;

    /// Whether it wants rows of this kind.
    fn accepts(&self, kind: RowKind) -> bool;

    /// Opens it for one worker.
    fn open(&self, worker: WorkerContext) -> Result<Box<dyn Sink>, SinkError>;

    /// What makes staged output visible; asked for by worker 0 alone.
    fn committer(&self) -> Result<Box<dyn Committer>, SinkError>;
}

/// One worker's end of a sink. It is told only of rows that its factory accepts.
pub trait Sink {
    /// Takes a row.
    fn write(&mut self, row: Row<'_>) -> Result<(), SinkError>;

    /// Everything written so far belongs to epochs up to `cut.epoch`; returns the work that makes it durable, which
    /// runs in the background while the next rows are taken.
    fn stage(&mut self, cut: &Cut) -> Result<Staging, SinkError>;

    /// Takes back rows that an earlier attempt carried over; called before the first `write`, possibly several times.
    fn restore(&mut self, carried: &[u8]) -> Result<(), SinkError>;
}

/// The work of making rows durable, off the worker's thread.
pub type Staging = Box<dyn FnOnce() -> Result<Staged, SinkError> + Send>;

/// What was made durable.
#[derive(Debug, Default)]
pub struct Staged {
    /// Objects to become visible with the manifest.
    pub outputs: Vec<OutputPart>,
    /// What is still to be written into an object.
    pub carried: Carried,
}

/// Rows that a sink holds back until they fill a file of useful size. They are state, like everything else that is not
/// yet in a table.
#[derive(Debug, Default)]
pub enum Carried {
    /// No row is held back: all rows so far are in outputs, of this stage or of earlier ones.
    #[default]
    Nothing,
    /// No row came in since the last stage; what was held back then is still held back.
    Same,
    /// The rows since the last stage, to be added to those held back before. `restore` understands them.
    More(Vec<u8>),
}

/// Makes visible what manifests list.
pub trait Committer: Send {
    /// Shows the outputs of this sink that `manifest` lists. It may be called again for the same manifest, after a crash
    /// or a lost answer, and must then change nothing.
    fn commit(&mut self, manifest: &Manifest) -> Result<(), SinkError>;

    /// The oldest manifest whose outputs it would still have to show after a crash, where `commit` returns before they are
    /// shown. That manifest and all later ones are kept.
    fn oldest_needed(&self) -> Option<Sequence> {
        None
    }
}

/// Which worker a sink is opened for.
#[derive(Debug, Clone, Copy)]
pub struct WorkerContext {
    /// The worker.
    pub worker: WorkerIndex,
    /// How many there are.
    pub workers: u32,
    /// The attempt, which goes into object names.
    pub attempt: Attempt,
}

/// The end of a checkpoint's rows.
#[derive(Debug, Clone)]
pub struct Cut {
    /// The last epoch of the rows.
    pub epoch: Epoch,
    /// No more rows will come from this attempt: nothing may be held back. Set when a bounded source has ended.
    pub last: bool,
    /// For each partition of this worker, the offsets read since the last cut, `first..next`; for file metadata.
    pub offsets: Vec<(PartitionId, Offset, Offset)>,
}

/// The kinds of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// A window that closed.
    Window,
    /// A window that is still open, as it stands at a checkpoint.
    Provisional,
    /// Every valid click, as it was read.
    Archive,
    /// A click that came too late, or from the future.
    Late,
    /// A record that is no click.
    DeadLetter,
}

/// A row for a sink, borrowed.
#[derive(Debug, Clone, Copy)]
pub enum Row<'a> {
    /// A window that closed.
    Window(WindowRow<'a>),
    /// A window that is still open and has changed since the checkpoint before, as it stands at this one. Its epoch is
    /// the checkpoint's; a later row for the same window, provisional or not, has a later epoch.
    Provisional(WindowRow<'a>),
    /// Every valid click, as it was read: counted, duplicate, late or future.
    Archive(ClickRow<'a>),
    /// A click that was not counted because of its time.
    Late(ClickRow<'a>, LateReason),
    /// A record that is no click.
    DeadLetter(DeadLetterRow<'a>),
}

impl Row<'_> {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> RowKind {
        match self {
            Self::Window(_) => RowKind::Window,
            Self::Provisional(_) => RowKind::Provisional,
            Self::Archive(_) => RowKind::Archive,
            Self::Late(..) => RowKind::Late,
            Self::DeadLetter(_) => RowKind::DeadLetter,
        }
    }
}

/// The result of one ad, region and window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowRow<'a> {
    /// The ad.
    pub ad_id: &'a str,
    /// The region that its clicks came in, if there is one.
    pub region: Option<&'a str>,
    /// The window's length.
    pub window: Window,
    /// Its first instant, unix time in milliseconds; it ends `window.length_ms()` later.
    pub start_ms: i64,
    /// Clicks counted in it, exact.
    pub click_count: u64,
    /// Distinct users, an estimate (HLL, lgK 12: one standard error is 1.6 %), exact while small.
    pub unique_users: u64,
    /// The sketch behind `unique_users`, in the Apache DataSketches HLL format; empty while the window is open.
    pub user_sketch: &'a [u8],
    /// The epoch at whose end it closed, or that the value is of while it is open.
    pub epoch: Epoch,
}

/// A click with the place it came from.
#[derive(Debug, Clone, Copy)]
pub struct ClickRow<'a> {
    /// The click.
    pub click: Click<'a>,
    /// Fields of the record that Weir does not know, as a JSON object; only where the job keeps them.
    pub extra: Option<&'a str>,
    /// The region that it came in, if there is one: its record's, or else the job's.
    pub region: Option<&'a str>,
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
    /// The epoch it was read in.
    pub epoch: Epoch,
}

/// Why a valid click is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LateReason {
    /// Its window was closed.
    Late,
    /// Its time is further ahead of the log's clock than the job allows.
    Future,
}

impl LateReason {
    /// The value of the `reason` column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Future => "future",
        }
    }
}

/// A record that is no click.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetterRow<'a> {
    /// The reason code: `invalid_json`, `missing_field`, `invalid_field` or `too_large`.
    pub reason: &'static str,
    /// What exactly is wrong, with the field's name.
    pub detail: &'a str,
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
    /// The epoch it was read in.
    pub epoch: Epoch,
    /// The original bytes; none for a tombstone.
    pub payload: Option<&'a [u8]>,
}

/// The lengths of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// One minute.
    OneMinute,
    /// Five minutes.
    FiveMinutes,
    /// One hour.
    OneHour,
}

impl Window {
    /// All of them, shortest first.
    pub const ALL: [Self; 3] = [Self::OneMinute, Self::FiveMinutes, Self::OneHour];

    /// Those that are made of minutes.
    pub(crate) const LONGER: [Self; 2] = [Self::FiveMinutes, Self::OneHour];

    /// The start of the window around an instant, both unix time in milliseconds.
    #[must_use]
    pub const fn start_of(self, instant_ms: i64) -> i64 {
        instant_ms.div_euclid(self.length_ms()) * self.length_ms()
    }

    /// Its length in milliseconds.
    #[must_use]
    pub const fn length_ms(self) -> i64 {
        match self {
            Self::OneMinute => 60_000,
            Self::FiveMinutes => 300_000,
            Self::OneHour => 3_600_000,
        }
    }

    /// Its name in tables and requests: `1m`, `5m`, `1h`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OneMinute => "1m",
            Self::FiveMinutes => "5m",
            Self::OneHour => "1h",
        }
    }
}

/// Why a sink cannot go on. Nothing it staged becomes visible.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The rows could not be written.
    #[error("sink {sink} cannot {action}: {reason}")]
    Failed {
        /// The sink's name.
        sink: String,
        /// What was tried.
        action: &'static str,
        /// What the other side said.
        reason: String,
    },
    /// What is there is not what the sink left there, and it will not write over it.
    #[error("sink {sink} refuses to go on: {reason}")]
    Refused {
        /// The sink's name.
        sink: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}
