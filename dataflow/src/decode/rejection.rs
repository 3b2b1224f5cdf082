//! Why a record is no click.

use std::borrow::Cow;
use std::fmt;

/// What a dead letter says about its record: a code for programs and a message for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Rejection {
    /// The code.
    pub reason: RejectReason,
    /// What is wrong, and with which field.
    pub detail: Cow<'static, str>,
}

impl Rejection {
    pub(super) fn new(reason: RejectReason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// The reason codes. They are part of the contract with the readers of the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectReason {
    /// Not one JSON object in UTF-8.
    InvalidJson,
    /// A required field is not there.
    MissingField,
    /// A field is of the wrong type, breaks its rule, or is there twice.
    InvalidField,
    /// Larger than 64 KiB.
    TooLarge,
}

impl RejectReason {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Self; 4] = [Self::InvalidJson, Self::MissingField, Self::InvalidField, Self::TooLarge];

    /// The code as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::MissingField => "missing_field",
            Self::InvalidField => "invalid_field",
            Self::TooLarge => "too_large",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
