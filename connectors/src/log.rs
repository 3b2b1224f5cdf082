//! The log as ingest sees it: clicks go in, and an answer comes back when nothing can lose them any more.
//!
//! ```text
//!   request ──▶ Group (records with their ads) ──append──▶ Log ──▶ every in-sync replica, or the disk
//!                                                           │
//!   answer  ◀──────────────── settle(Settled), once ◀───────┘
//! ```
//!
//! - `append` never waits. Whatever becomes of the group, its `settle` is called exactly once, on any thread, perhaps
//!   before `append` returns.
//! - A record that is not named in [`Settled::failed`] is in the log for good. One that is may be there all the same: the
//!   outcome of a write can be unknown. Appending it again is safe, because the job counts each click id once.
//! - Memory is bounded: a log that holds as much as it may refuses the next group with [`LogError::Full`].

use std::fmt;
use std::time::Duration;

/// A log that clicks can be appended to.
pub trait Log: Send + Sync {
    /// Where it is, for messages: `kafka://HOST:PORT/TOPIC`, or a URL.
    fn place(&self) -> &str;

    /// Takes a group, and says what became of it through `settle`.
    fn append(&self, group: Group, settle: Settle);

    /// What is on its way at this moment.
    fn load(&self) -> LogLoad;

    /// Whether the log could take clicks now. May wait, up to the timeout.
    fn probe(&self, timeout: Duration) -> Result<(), LogError>;

    /// Waits until everything appended is settled, for at most so long; what is not by then fails. Afterwards every
    /// group is refused.
    fn close(&self, timeout: Duration) -> Result<(), LogError>;
}

/// Is told what became of a group.
pub type Settle = Box<dyn FnOnce(Settled) + Send>;

/// What became of a group.
#[derive(Debug, Default)]
pub struct Settled {
    /// The records that are not known to be in the log, by their index in the group, ascending.
    pub failed: Vec<u32>,
    /// Why, where there are any: the first error.
    pub error: Option<LogError>,
}

impl Settled {
    /// No record of a group of so many is known to be in the log.
    #[must_use]
    pub fn all_failed(records: usize, error: LogError) -> Self {
        Self { failed: (0..records as u32).collect(), error: Some(error) }
    }
}

/// Why records did not go into the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// It holds as much as it may. Nothing was written.
    #[error("{place} is behind: its buffer is full")]
    Full {
        /// The log.
        place: String,
    },
    /// It cannot be reached or written to now. Whether records on their way were written is not known.
    #[error("{place} is not available: {reason}")]
    Unavailable {
        /// The log.
        place: String,
        /// What it said.
        reason: String,
    },
    /// It refuses this record, and always will.
    #[error("{place} refuses the record: {reason}")]
    Refused {
        /// The log.
        place: String,
        /// What it said.
        reason: String,
    },
}

/// What a log holds that is not settled yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogLoad {
    /// Records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many bytes it may hold.
    pub capacity_bytes: u64,
}

/// Records that are appended together, one behind the other in one buffer: `ad_id, value, ad_id, value, …`.
#[derive(Default)]
pub struct Group {
    buffer: Vec<u8>,
    records: Vec<Bounds>,
}

#[derive(Clone, Copy)]
struct Bounds {
    start: u32,
    value: u32,
    end: u32,
}

/// A record of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRecord<'a> {
    /// The ad, which is Kafka's key.
    pub ad_id: &'a str,
    /// The click as JSON on one line, without a line break.
    pub value: &'a [u8],
}

impl Group {
    /// An empty group with room for so many records and bytes.
    #[must_use]
    pub fn with_capacity(records: usize, bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes), records: Vec::with_capacity(records) }
    }

    /// Adds a record whose value is what `write` appends to the buffer.
    pub fn push(&mut self, ad_id: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(ad_id.as_bytes());
        let value = self.buffer.len();
        write(&mut self.buffer);
        let bounds = Bounds { start: start as u32, value: value as u32, end: self.buffer.len() as u32 };
        assert!(u32::try_from(self.buffer.len()).is_ok(), "a group is smaller than 4 GiB");
        self.records.push(bounds);
    }

    /// Leaves out the records whose index is not to be kept. Their bytes stay in the buffer.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut index = 0..;
        self.records.retain(|_| index.next().is_some_and(&mut keep));
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The size of its buffer.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The records in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = LogRecord<'_>> {
        let part = |from: u32, to: u32| self.buffer.get(from as usize..to as usize).unwrap_or_default();
        self.records.iter().map(move |bounds| LogRecord {
            ad_id: std::str::from_utf8(part(bounds.start, bounds.value)).unwrap_or_default(),
            value: part(bounds.value, bounds.end),
        })
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("records", &self.records.len()).field("bytes", &self.buffer.len()).finish()
    }
}
