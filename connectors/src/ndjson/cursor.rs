//! What a position says beside its offset: which segment it lies in.
//!
//! ```text
//! {"segment":"b.ndjson.gz","base":7340032,"before":1,"log_time_ms":1736952000000,"region":"eu-1","done":true}
//! ```

use serde::{Deserialize, Serialize};

/// The cursor of a [`weir_checkpoints::Position`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    /// The segment's name in the partition's folder.
    pub(super) segment: String,
    /// The offset of the segment's first byte.
    pub(super) base: u64,
    /// How many segments lay before it. More of them later on means that one appeared behind the reader.
    pub(super) before: usize,
    /// What the last control line in front of the position said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) log_time_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<String>,
    /// The segment was read to its end when no more was to come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) done: bool,
}

impl Cursor {
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub(super) fn to_text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}
