//! Showing what the record of a day lists.

use std::sync::Arc;

use serde_json::json;
use weir_checkpoints::{DayRecord, Store};
use weir_dataflow::SinkError;

use super::BillingTable;
use crate::delta::actions::{Action, Remove, Txn};
use crate::delta::commit::{add_of, checkpoint_if_due, commit_info, missing_columns, plan_schema};
use crate::delta::live::LiveTable;
use crate::delta::log::Log;
use crate::delta::{Clock, refused, wall_clock_ms};

/// Makes the files of a revision visible, unless they are: repeating it changes nothing. Revisions are committed in order.
pub fn commit_day(store: &Arc<dyn Store>, record: &DayRecord) -> Result<(), SinkError> {
    let app = format!("{}/{}", record.job, record.date);
    let clock: Clock = Arc::new(wall_clock_ms);
    for table in BillingTable::ALL {
        let columns = table.columns();
        let mut log = Log::open(Arc::clone(store), table.name(), &app)?;
        log.append(|log| plan_schema(log, &columns, &clock))?;
        log.append(|log| {
            if log.committed >= Some(u64::from(record.revision)) {
                return Ok(None);
            }
            missing_columns(log, &columns)?;
            still_there(store, table, record)?;
            actions(table, &app, record).map(Some)
        })?;
        checkpoint_if_due(&mut log);
    }
    Ok(())
}

/// Whether a revision can be committed, as the tables are now. To be asked before its record exists.
pub fn check_day(store: &Arc<dyn Store>, record: &DayRecord) -> Result<(), SinkError> {
    BillingTable::ALL.into_iter().try_for_each(|table| still_there(store, table, record))
}

/// What a revision replaces must be what the table shows: else every ad of the day would be there twice.
fn still_there(store: &Arc<dyn Store>, table: BillingTable, record: &DayRecord) -> Result<(), SinkError> {
    let mut replaced = record.replaced.iter().filter(|name| is_of(table, name)).peekable();
    if replaced.peek().is_none() {
        return Ok(());
    }
    let live = LiveTable::read(store.as_ref(), table.name(), None)?;
    let shown = |name: &str| live.files().any(|file| *file.name == *name);
    match replaced.find(|name| !shown(name)) {
        None => Ok(()),
        Some(name) => Err(refused(
            table.name(),
            format!(
                "`{name}` of {} is not in it any more: another engine has rewritten it; restore the table to its version \
                 before, and leave it as it is",
                record.date
            ),
        )),
    }
}

fn is_of(table: BillingTable, name: &str) -> bool {
    name.strip_prefix(table.name()).is_some_and(|rest| rest.starts_with('/'))
}

/// A revision without entries for a table has a version all the same: it says that the revision was seen.
fn actions(table: BillingTable, app: &str, record: &DayRecord) -> Result<Vec<Action>, SinkError> {
    let removes = record.replaced.iter().filter(|name| is_of(table, name));
    let removes: Vec<Action> = removes.map(|name| remove(table, name, record).into()).collect();
    let outputs = record.outputs.iter().filter(|output| output.sink == table.name());
    let adds = outputs.map(|output| add_of(output, record.written_ms).map(Action::from));
    let parameters = json!({
        "date": record.date,
        "revision": record.revision.to_string(),
        "run": record.run,
    });
    let txn =
        Txn { app_id: app.to_owned(), version: i64::from(record.revision), last_updated: Some(record.written_ms) };
    let info = commit_info("RECONCILE", parameters, record.written_ms, removes.is_empty());
    [Ok(info), Ok(txn.into())].into_iter().chain(removes.into_iter().map(Ok)).chain(adds).collect()
}

fn remove(table: BillingTable, name: &str, record: &DayRecord) -> Remove {
    let path = name.strip_prefix(table.name()).and_then(|path| path.strip_prefix('/')).unwrap_or(name);
    Remove {
        path: path.to_owned(),
        deletion_timestamp: Some(record.written_ms),
        data_change: true,
        extended_file_metadata: None,
        partition_values: None,
        size: None,
    }
}
