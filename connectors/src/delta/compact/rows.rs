//! From columns back to rows, as the sink was given them.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, BinaryArray, PrimitiveArray, RecordBatch, StringArray};
use weir_checkpoints::{Epoch, Offset, PartitionId};
use weir_dataflow::{Click, ClickRow, LateReason, Row, Window, WindowRow};

use crate::delta::Table;

/// Takes a row.
pub(super) type TakeRow<'t> = dyn FnMut(&Row<'_>) -> Result<(), String> + 't;

/// Hands out the rows of a batch. `window` is the length of a table of windows.
pub(super) fn each_row(
    table: Table,
    window: Option<Window>,
    batch: &RecordBatch,
    take: &mut TakeRow<'_>,
) -> Result<(), String> {
    match (table, window) {
        (Table::Agg, Some(window)) => each_window(window, batch, take),
        (Table::Agg, None) => Err("its windows have no length that is known".to_owned()),
        (Table::Raw | Table::Late, _) => each_click(table == Table::Late, batch, take),
    }
}

/// The topic of all its rows; none of windows, and of no rows.
pub(super) fn topic_of(table: Table, batch: &RecordBatch) -> Result<Option<&str>, String> {
    if table == Table::Agg || batch.num_rows() == 0 {
        return Ok(None);
    }
    let topics = texts(batch, "topic")?;
    let first = text(topics, "topic", 0)?;
    let same = (1..topics.len()).all(|at| topics.is_valid(at) && topics.value(at) == first);
    if same { Ok(Some(first)) } else { Err("its rows are of several topics".to_owned()) }
}

fn each_window(window: Window, batch: &RecordBatch, take: &mut TakeRow<'_>) -> Result<(), String> {
    let (ads, regions) = (texts(batch, "ad_id")?, maybe_texts(batch, "region")?);
    let starts = times(batch, "window_start")?;
    let (clicks, users, epochs) = (longs(batch, "click_count")?, longs(batch, "unique_users")?, longs(batch, "epoch")?);
    let sketches = bytes(batch, "user_sketch")?;
    for at in 0..batch.num_rows() {
        take(&Row::Window(WindowRow {
            ad_id: text(ads, "ad_id", at)?,
            region: maybe_text(regions, at),
            window,
            start_ms: millis(starts.value(at))?,
            click_count: unsigned(clicks.value(at), "click_count")?,
            unique_users: unsigned(users.value(at), "unique_users")?,
            user_sketch: sketches.value(at),
            epoch: Epoch(unsigned(epochs.value(at), "epoch")?),
        }))?;
    }
    Ok(())
}

fn each_click(with_reason: bool, batch: &RecordBatch, take: &mut TakeRow<'_>) -> Result<(), String> {
    let (ads, users) = (texts(batch, "ad_id")?, texts(batch, "user_id")?);
    let [ids, addresses, agents, extras, regions] =
        ["click_id", "ip_address", "user_agent", "extra", "region"].map(|name| maybe_texts(batch, name));
    let (ids, addresses, agents, extras, regions) = (ids?, addresses?, agents?, extras?, regions?);
    let (timestamps, offsets, epochs) = (longs(batch, "timestamp")?, longs(batch, "offset")?, longs(batch, "epoch")?);
    let partitions = column(batch, "partition")?.as_primitive_opt::<Int32Type>();
    let partitions = without_nulls(partitions.ok_or_else(|| wrong_type("partition"))?, "partition")?;
    let reasons = if with_reason { Some(texts(batch, "reason")?) } else { None };
    for at in 0..batch.num_rows() {
        let row = ClickRow {
            click: Click {
                ad_id: text(ads, "ad_id", at)?,
                user_id: text(users, "user_id", at)?,
                timestamp: timestamps.value(at),
                click_id: maybe_text(ids, at),
                ip_address: maybe_text(addresses, at),
                user_agent: maybe_text(agents, at),
            },
            extra: maybe_text(extras, at),
            region: maybe_text(regions, at),
            partition: PartitionId(partitions.value(at) as u32),
            offset: Offset(offsets.value(at) as u64),
            epoch: Epoch(unsigned(epochs.value(at), "epoch")?),
        };
        match reasons {
            Some(reasons) => take(&Row::Late(row, reason(text(reasons, "reason", at)?)?))?,
            None => take(&Row::Archive(row))?,
        }
    }
    Ok(())
}

fn reason(text: &str) -> Result<LateReason, String> {
    let known = [LateReason::Late, LateReason::Future].into_iter().find(|known| known.as_str() == text);
    known.ok_or_else(|| format!("a row has the unknown reason `{text}`"))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array, String> {
    batch.column_by_name(name).map(AsRef::as_ref).ok_or_else(|| format!("column {name} is missing"))
}

fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, String> {
    column(batch, name)?.as_string_opt::<i32>().ok_or_else(|| wrong_type(name))
}

/// A column that older files do not have.
fn maybe_texts<'a>(batch: &'a RecordBatch, name: &str) -> Result<Option<&'a StringArray>, String> {
    batch.column_by_name(name).map(|_| texts(batch, name)).transpose()
}

fn text<'a>(column: &'a StringArray, name: &str, at: usize) -> Result<&'a str, String> {
    if column.is_valid(at) { Ok(column.value(at)) } else { Err(format!("column {name} lacks a value")) }
}

fn maybe_text(column: Option<&StringArray>, at: usize) -> Option<&str> {
    column.filter(|column| column.is_valid(at)).map(|column| column.value(at))
}

fn bytes<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a BinaryArray, String> {
    let bytes = column(batch, name)?.as_binary_opt::<i32>().ok_or_else(|| wrong_type(name))?;
    if bytes.null_count() == 0 { Ok(bytes) } else { Err(format!("column {name} lacks a value")) }
}

fn longs<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a PrimitiveArray<Int64Type>, String> {
    without_nulls(column(batch, name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong_type(name))?, name)
}

fn times<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a PrimitiveArray<TimestampMicrosecondType>, String> {
    let times = column(batch, name)?.as_primitive_opt::<TimestampMicrosecondType>();
    without_nulls(times.ok_or_else(|| wrong_type(name))?, name)
}

fn without_nulls<'a, T: arrow_array::ArrowPrimitiveType>(
    column: &'a PrimitiveArray<T>,
    name: &str,
) -> Result<&'a PrimitiveArray<T>, String> {
    if column.null_count() == 0 { Ok(column) } else { Err(format!("column {name} lacks a value")) }
}

fn unsigned(number: i64, name: &str) -> Result<u64, String> {
    u64::try_from(number).map_err(|_| format!("column {name} has a negative number"))
}

/// Our times are whole milliseconds; of finer ones something would be lost.
fn millis(micros: i64) -> Result<i64, String> {
    if micros.rem_euclid(1000) == 0 {
        Ok(micros.div_euclid(1000))
    } else {
        Err("a time is no whole millisecond".to_owned())
    }
}

fn wrong_type(name: &str) -> String {
    format!("column {name} is of another type than weir writes")
}
