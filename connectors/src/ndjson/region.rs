//! The region that a log was written in.

use std::fmt;
use std::sync::Arc;

use weir_dataflow::is_region_name;

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
        if is_region_name(name) { Ok(Self(name.into())) } else { Err(RegionError { name: name.to_owned() }) }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
