//! Why a question could not be answered.

use parquet::errors::ParquetError;
use weir_checkpoints::StoreError;
use weir_dataflow::SinkError;

use super::helpers::CallerGone;

/// Why a question could not be answered. There is no answer in part.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The store did not do what it was asked; it may the next time.
    #[error("cannot {action} of table clicks_agg: {reason}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// The store's own words.
        reason: String,
    },
    /// The log is damaged, or asks for what this reader does not know.
    #[error("table clicks_agg cannot be read: {reason}")]
    Refused {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A data file is not what the log says.
    #[error("file `{file}` of table clicks_agg cannot be read: {reason}; restore it from a copy")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A data file is not there, and the newest version of the log still has it.
    #[error("file `{file}` is in the log of table clicks_agg, but not in the store; restore it from a copy")]
    Missing {
        /// The file.
        file: String,
    },
    /// The question needs more than one may.
    #[error(
        "the question needs more than {limit_bytes} bytes of data or of answer, the limit for one; ask for a shorter time, \
         for fewer ads, for longer windows, or without sketches"
    )]
    TooMuch {
        /// The limit, [`super::DeltaReaderLimits::query_bytes`].
        limit_bytes: u64,
    },
    /// Files were removed while they were read, and some rows were handed out already.
    #[error("table clicks_agg was rewritten by another writer while it was read; start again")]
    Changed,
}

impl From<SinkError> for ReadError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Failed { action, reason, .. } => Self::Failed { action, reason },
            SinkError::Refused { reason, .. } => Self::Refused { reason },
        }
    }
}

impl From<CallerGone> for ReadError {
    fn from(_: CallerGone) -> Self {
        Self::Changed
    }
}

impl ReadError {
    /// What a data file's contents led to.
    pub(super) fn of_file(file: &str, error: ParquetError) -> Self {
        match error {
            ParquetError::External(cause) => match cause.downcast::<StoreError>() {
                Ok(error) => Self::of_store(file, *error),
                Err(other) => Self::damaged(file, other),
            },
            other => Self::damaged(file, other),
        }
    }

    /// What the store said when a data file was read.
    pub(super) fn of_store(file: &str, error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::Missing { file: file.to_owned() },
            other => Self::Failed { action: "read a file", reason: other.to_string() },
        }
    }

    pub(super) fn damaged(file: &str, reason: impl ToString) -> Self {
        Self::Damaged { file: file.to_owned(), reason: reason.to_string() }
    }

    /// What the log says makes no sense.
    pub(super) fn log(table: &str, reason: impl std::fmt::Display) -> Self {
        Self::Refused { reason: format!("{reason}; repair the log of {table}") }
    }
}
