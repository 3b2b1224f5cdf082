//! Why rows could not be found.

use parquet::errors::ParquetError;
use weir_checkpoints::StoreError;
use weir_dataflow::SinkError;

use crate::delta::read::helpers::CallerGone;

/// Why rows could not be found. What was handed out before is not all.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TraceError {
    /// The log cannot be read, is damaged, or asks for what this reader does not know.
    #[error("table {table} cannot be read: {reason}")]
    Table {
        /// The table.
        table: String,
        /// What is wrong.
        reason: String,
    },
    /// A data file is not what the log says.
    #[error("file `{file}` is damaged: {reason}; restore it from a copy")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A data file is not there, and the log has it.
    #[error("file `{file}` is in its table's log, but not in the store; restore it from a copy")]
    Missing {
        /// The file.
        file: String,
    },
    /// The store did not do what it was asked; it may the next time.
    #[error("file `{file}` could not be read: {reason}; try again")]
    Failed {
        /// The file.
        file: String,
        /// The store's own words.
        reason: String,
    },
    /// Nobody waits for the rows any more.
    #[error("the search was given up")]
    GivenUp,
}

impl TraceError {
    /// What a data file's contents led to.
    pub(super) fn of_file(file: &str, error: ParquetError) -> Self {
        let store = match error {
            ParquetError::External(cause) => match cause.downcast::<StoreError>() {
                Ok(store) => *store,
                Err(other) => return Self::damaged(file, other),
            },
            other => return Self::damaged(file, other),
        };
        match store {
            StoreError::NotFound { .. } => Self::Missing { file: file.to_owned() },
            other => Self::Failed { file: file.to_owned(), reason: other.to_string() },
        }
    }

    pub(super) fn damaged(file: &str, reason: impl ToString) -> Self {
        Self::Damaged { file: file.to_owned(), reason: reason.to_string() }
    }
}

impl From<SinkError> for TraceError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Failed { sink, action, reason } => {
                Self::Table { table: sink, reason: format!("could not {action}: {reason}") }
            }
            SinkError::Refused { sink, reason } => Self::Table { table: sink, reason },
        }
    }
}

impl From<CallerGone> for TraceError {
    fn from(_: CallerGone) -> Self {
        Self::GivenUp
    }
}
