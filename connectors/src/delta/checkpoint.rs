//! Checkpoints of a table's log: one Parquet file with all actions that still count, so that readers need not go
//! through every version.
//!
//! ```text
//!   _last_checkpoint                      {"version":100,"size":…}
//!   00…0100.checkpoint.parquet            columns txn, add, remove, metaData, protocol; one of them in each row
//! ```

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use weir_checkpoints::{FaultPoint, Store, StoreError};
use weir_dataflow::SinkError;

use super::actions::{Action, Add, Metadata, Protocol, Remove, Txn};
use super::log::{Log, PROTOCOL, folder, version_name};
use super::{checkpoint_rows, failed, refused};

/// Removed files are remembered this long, for readers that are still at an older version: Delta's own default, where the
/// table does not say otherwise.
const KEEP_REMOVED_MS: i64 = 7 * 24 * 3_600_000;

/// How a table says otherwise: `interval 30 days`.
const KEEP_REMOVED: &str = "delta.deletedFileRetentionDuration";

/// A checkpoint that is split into more files than this is none: writers do that by hundreds of thousands of actions.
const MOST_PARTS: u32 = 10_000;

/// A checkpoint: one file, or several from a writer that splits them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckpointFiles {
    pub(super) version: u64,
    names: Vec<String>,
}

/// `_last_checkpoint`, as far as it matters here.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hint {
    version: u64,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size_in_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    num_of_add_files: Option<u64>,
}

/// The checkpoint that `_last_checkpoint` names, if there is one. A damaged hint is no hint.
pub(super) fn hinted(store: &dyn Store, table: &str) -> Result<Option<CheckpointFiles>, SinkError> {
    let bytes = store.get(&hint_name(table)).map_err(|error| failed(table, "read its log", error))?;
    let hint: Option<Hint> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(hint.and_then(|hint| files(table, hint.version, hint.parts)))
}

/// The newest whole checkpoint in a listing. Fails where there are versions but neither their start nor a checkpoint.
pub(super) fn listed(store: &dyn Store, table: &str) -> Result<Option<CheckpointFiles>, SinkError> {
    let folder = folder(table);
    let infos = store.list(&folder).map_err(|error| failed(table, "list its log", error))?;
    let names: Vec<&str> = infos.iter().map(|info| info.name.as_str()).collect();
    let checkpoints = names.iter().rev().filter_map(|name| parse_name(table, name.strip_prefix(&folder)?));
    let newest = checkpoints
        .max_by_key(|files| files.version)
        .filter(|files| files.names.iter().all(|name| names.contains(&name.as_str())));
    // Version 0 may have been written since it was looked for.
    let begins = names.contains(&version_name(table, 0).as_str());
    if newest.is_none() && !begins && names.iter().any(|name| name.ends_with(".json")) {
        return Err(refused(table, format!("{folder} has versions, but neither version 0 nor a checkpoint")));
    }
    Ok(newest)
}

/// `<version>.checkpoint.parquet` or `<version>.checkpoint.<part>.<parts>.parquet`.
fn parse_name(table: &str, file: &str) -> Option<CheckpointFiles> {
    let (version, rest) = file.strip_suffix(".parquet")?.split_once(".checkpoint")?;
    let parts = match rest.strip_prefix('.') {
        Some(numbers) => Some(numbers.split_once('.')?.1.parse().ok()?),
        None if rest.is_empty() => None,
        None => return None,
    };
    files(table, version.parse().ok()?, parts)
}

/// The files of a checkpoint; none where there can be no such checkpoint.
fn files(table: &str, version: u64, parts: Option<u32>) -> Option<CheckpointFiles> {
    let start = format!("{}{version:020}.checkpoint", folder(table));
    let names = match parts {
        None => vec![format!("{start}.parquet")],
        Some(parts @ 1..=MOST_PARTS) => {
            (1..=parts).map(|part| format!("{start}.{part:010}.{parts:010}.parquet")).collect()
        }
        Some(_) => return None,
    };
    // Versions are signed for other writers.
    i64::try_from(version).is_ok().then_some(CheckpointFiles { version, names })
}

fn hint_name(table: &str) -> String {
    format!("{}_last_checkpoint", folder(table))
}

/// The actions of a checkpoint that say how the table stands, without its files.
pub(super) fn read_state(store: &dyn Store, table: &str, files: &CheckpointFiles) -> Result<Vec<Action>, SinkError> {
    read(store, table, files, &["protocol", "metaData", "txn"])
}

/// The actions of a checkpoint, of some of its columns.
pub(super) fn read(
    store: &dyn Store,
    table: &str,
    files: &CheckpointFiles,
    columns: &[&str],
) -> Result<Vec<Action>, SinkError> {
    let mut actions = Vec::new();
    for name in &files.names {
        let bytes = store.get(name).map_err(|error| failed(table, "read its log", error))?;
        let bytes = bytes.ok_or_else(|| refused(table, format!("checkpoint `{name}` of its log is missing")))?;
        let rows = checkpoint_rows::decode(bytes, columns);
        actions.extend(rows.map_err(|error| refused(table, format!("checkpoint `{name}` is unreadable: {error}")))?);
    }
    Ok(actions)
}

/// Writes a checkpoint of the log's newest version.
pub(super) fn write(log: &mut Log) -> Result<(), SinkError> {
    let Some(version) = log.version else { return Ok(()) };
    let state = replay(log, version)?;
    let added = state.adds.len() as u64;
    let actions = state.into_actions();
    let bytes = checkpoint_rows::encode(&actions).map_err(|error| failed(log.table, "write a checkpoint", error))?;
    let hint = Hint {
        version,
        size: actions.len() as u64,
        parts: None,
        size_in_bytes: Some(bytes.len() as u64),
        num_of_add_files: Some(added),
    };
    let hint = serde_json::to_vec(&hint).map_err(|error| failed(log.table, "write a checkpoint", error))?;
    let written = files(log.table, version, None)
        .ok_or_else(|| failed(log.table, "write a checkpoint", "its log has no more versions"))?;
    let put = |name: &str, bytes| -> Result<(), StoreError> { log.store.put(name, bytes) };
    for (name, bytes) in
        written.names.iter().map(|name| (name.clone(), bytes.clone())).chain([(hint_name(log.table), hint)])
    {
        FaultPoint::LogCheckpointWriting.pass();
        put(&name, bytes).map_err(|error| failed(log.table, "write a checkpoint", error))?;
    }
    log.checkpoint = Some(written);
    Ok(())
}

/// All that still counts at a version.
#[derive(Default)]
struct State {
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    txns: BTreeMap<String, Txn>,
    adds: HashMap<String, Add>,
    removes: HashMap<String, Remove>,
    newest_ms: i64,
}

fn replay(log: &Log, version: u64) -> Result<State, SinkError> {
    let mut state = State::default();
    let mut next = 0;
    if let Some(files) = &log.checkpoint {
        let columns = ["protocol", "metaData", "txn", "add", "remove"];
        state.apply(read(log.store.as_ref(), log.table, files, &columns)?);
        next = files.version + 1;
    }
    for version in next..=version {
        let actions = log.read_version(version)?;
        state.apply(actions.ok_or_else(|| refused(log.table, format!("version {version} of its log is missing")))?);
    }
    Ok(state)
}

impl State {
    fn apply(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.protocol = action.protocol.or(self.protocol.take());
            self.metadata = action.meta_data.or(self.metadata.take());
            if let Some(txn) = action.txn {
                self.newest_ms = self.newest_ms.max(txn.last_updated.unwrap_or(0));
                self.txns.insert(txn.app_id.clone(), txn);
            }
            if let Some(add) = action.add {
                self.removes.remove(&add.path);
                self.adds.insert(add.path.clone(), add);
            }
            if let Some(remove) = action.remove {
                self.adds.remove(&remove.path);
                self.removes.insert(remove.path.clone(), remove);
            }
        }
    }

    /// In the order of paths, so that the same log gives the same checkpoint. Files in a checkpoint are no change of
    /// data by themselves.
    fn into_actions(self) -> Vec<Action> {
        let keep_from_ms =
            self.newest_ms.saturating_sub(self.metadata.as_ref().map_or(KEEP_REMOVED_MS, keep_removed_ms));
        let mut adds: Vec<Add> = self.adds.into_values().map(|add| Add { data_change: false, ..add }).collect();
        adds.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let removes =
            self.removes.into_values().filter(|remove| remove.deletion_timestamp.unwrap_or(0) >= keep_from_ms);
        let mut removes: Vec<Remove> = removes.map(|remove| Remove { data_change: false, ..remove }).collect();
        removes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let mut actions = vec![Action::from(self.protocol.unwrap_or(PROTOCOL))];
        actions.extend(self.metadata.map(Action::from));
        actions.extend(self.txns.into_values().map(Action::from));
        actions.extend(removes.into_iter().map(Action::from));
        actions.extend(adds.into_iter().map(Action::from));
        actions
    }
}

/// How long a table remembers removed files. What is not understood is taken for longer than anything.
fn keep_removed_ms(metadata: &Metadata) -> i64 {
    let Some(text) = metadata.configuration.get(KEEP_REMOVED) else { return KEEP_REMOVED_MS };
    interval_ms(text).unwrap_or(i64::MAX)
}

fn interval_ms(text: &str) -> Option<i64> {
    let mut words = text.split_whitespace().filter(|word| !word.eq_ignore_ascii_case("interval"));
    let (number, unit): (i64, &str) = (words.next()?.parse().ok()?, words.next()?);
    let of_unit = match unit.to_ascii_lowercase().trim_end_matches('s') {
        "millisecond" => 1,
        "second" => 1_000,
        "minute" => 60_000,
        "hour" => 3_600_000,
        "day" => 86_400_000,
        "week" => 7 * 86_400_000,
        _ => return None,
    };
    words.next().is_none().then(|| number.checked_mul(of_unit)).flatten()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    #[test]
    fn removed_files_are_remembered_as_long_as_the_table_says() {
        const DAY_MS: i64 = 86_400_000;
        let check = |retention: Option<&str>, age_days: i64, expected: bool| {
            let metadata = retention.map_or_else(String::new, |text| format!(r#""{KEEP_REMOVED}":"{text}""#));
            let lines = format!(
                r#"{{"metaData":{{"id":"1","format":{{"provider":"parquet"}},"schemaString":"{{}}","partitionColumns":[],"configuration":{{{metadata}}}}}}}
                {{"txn":{{"appId":"job","version":1,"lastUpdated":{}}}}}
                {{"remove":{{"path":"gone","deletionTimestamp":{},"dataChange":false}}}}"#,
                100 * DAY_MS,
                (100 - age_days) * DAY_MS
            );
            let mut state = State::default();
            state.apply(crate::delta::actions::from_lines(lines.as_bytes()).unwrap());
            let kept = state.into_actions().iter().any(|action| action.remove.is_some());
            assert_eq!(kept, expected, "{retention:?}, {age_days} days");
        };
        for (age_days, expected) in [(6, true), (8, false)] {
            check(None, age_days, expected);
            check(Some("interval 1 week"), age_days, expected);
        }
        check(Some("interval 30 days"), 29, true);
        check(Some("INTERVAL 30 DAYS"), 31, false);
        check(Some("48 hours"), 3, false);
        check(Some("interval of some kind"), 99, true);
    }

    #[test]
    fn a_hint_of_a_checkpoint_that_cannot_be_is_no_hint() {
        let check = |hint: &str, expected: Option<usize>| {
            let store = MemoryStore::new();
            store.put(&hint_name("clicks_agg"), hint.as_bytes().to_vec()).unwrap();
            let files = hinted(&store, "clicks_agg").unwrap();
            assert_eq!(files.map(|files| files.names.len()), expected, "{hint}");
        };
        check(r#"{"version":1,"size":3}"#, Some(1));
        check(r#"{"version":1,"size":3,"parts":2}"#, Some(2));
        // Without files it would be an empty table; and the names alone of so many would fill the memory.
        check(r#"{"version":1,"size":3,"parts":0}"#, None);
        check(r#"{"version":1,"size":3,"parts":4294967295}"#, None);
        check(r#"{"version":18446744073709551615,"size":3}"#, None);
        check(r#"{"version":"#, None);
    }
}
