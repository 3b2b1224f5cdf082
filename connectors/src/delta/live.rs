//! The files that make up a table now.

use std::collections::BTreeMap;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use weir_checkpoints::{Manifest, Store};
use weir_dataflow::SinkError;

use super::actions::Add;
use super::checkpoint;
use super::commit::add_of;
use super::details::HASH_TAG;
use super::log::Log;
use super::refused;

/// A table at its newest version.
#[derive(Debug, Default)]
pub(super) struct LiveTable {
    /// Its data files, by name.
    pub(super) files: BTreeMap<String, LiveFile>,
}

/// A data file, as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LiveFile {
    pub(super) size_bytes: u64,
    pub(super) partition: BTreeMap<String, Option<String>>,
    /// SHA-256 in hex, if the writer has noted it.
    pub(super) sha256: Option<String>,
    /// Its rows; 0 where the log does not say.
    pub(super) rows: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    num_records: u64,
}

impl LiveFile {
    /// The epoch at whose end it was written, by its name; none of a file that another writer has named.
    pub(super) fn epoch(name: &str) -> Option<u64> {
        let (_, file) = name.rsplit_once('/')?;
        file.strip_prefix("part-")?.split('-').next()?.parse().ok()
    }
}

impl LiveTable {
    /// Reads the log; a table that does not exist has no files.
    pub(super) fn read(store: &Arc<dyn Store>, table: &'static str) -> Result<Self, SinkError> {
        let log = Log::open(Arc::clone(store), table, "")?;
        let Some(version) = log.version else { return Ok(Self::default()) };
        let state = checkpoint::replay(&log, version)?;
        let files = state.adds.into_values().map(|add| file(table, add)).collect::<Result<_, SinkError>>()?;
        Ok(Self { files })
    }

    /// Adds the files that a manifest lists: they are committed after it, and may not be in the log yet.
    pub(super) fn with_files_of(mut self, table: &'static str, manifest: &Manifest) -> Result<Self, SinkError> {
        for output in manifest.outputs.iter().filter(|output| output.sink == table) {
            let (name, live) = file(table, add_of(output, manifest.written_ms)?)?;
            self.files.entry(name).or_insert(live);
        }
        Ok(self)
    }
}

fn file(table: &str, add: Add) -> Result<(String, LiveFile), SinkError> {
    let unfit = |what: &str| refused(table, format!("its log has a file `{}` {what}", add.path));
    let path = percent_decode_str(&add.path).decode_utf8().map_err(|_| unfit("whose name is no text"))?;
    if path.starts_with('/') || path.contains("://") || path.split('/').any(|part| part == "..") {
        return Err(unfit("outside its folder"));
    }
    let name = format!("{table}/{path}");
    let size_bytes = u64::try_from(add.size).map_err(|_| unfit("of no possible size"))?;
    let sha256 = add.tags.as_ref().and_then(|tags| tags.get(HASH_TAG).cloned().flatten());
    let rows = add.stats.as_deref().and_then(|stats| serde_json::from_str::<Stats>(stats).ok());
    let rows = rows.map_or(0, |stats| stats.num_records);
    Ok((name, LiveFile { size_bytes, partition: add.partition_values.clone(), sha256, rows }))
}
