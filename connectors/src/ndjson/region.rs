//! The region that a log was written in.

use std::fmt;
use std::sync::Arc;

const MAX_BYTES: usize = 64;

/// A region's name: 1 to 64 letters, digits, `-`, `_`, `.`, so that it stands in a control line as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region(Arc<str>);

/// Why a name is none of a region.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be the name of a region: use 1 to 64 letters, digits, `-`, `_`, `.`")]
pub struct RegionError {
    name: String,
}

impl Region {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, RegionError> {
        if Self::is_valid(name) { Ok(Self(name.into())) } else { Err(RegionError { name: name.to_owned() }) }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_valid(name: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=MAX_BYTES).contains(&name.len()) && name.bytes().all(allowed)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
