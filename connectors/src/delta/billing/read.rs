//! Rows of a revision, read back.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use weir_checkpoints::{OutputPart, Store, content_hash};
use weir_dataflow::reconcile::BilledWindow;
use weir_dataflow::{SinkError, Window};

use super::{BilledAd, CorrectedAd};
use crate::delta::details::Details;
use crate::delta::refused;

/// What a file of `billing_daily` says.
pub fn billed(store: &dyn Store, file: &OutputPart) -> Result<Vec<BilledAd>, SinkError> {
    let mut rows = Vec::new();
    each_batch(store, file, |batch| {
        for at in 0..batch.num_rows() {
            rows.push(BilledAd {
                ad_id: text(batch, "ad_id", at)?.ok_or("an ad has no name")?,
                click_count: long(batch, "click_count", at)?,
                unique_users: long(batch, "unique_users", at)?,
                clicks_root: text(batch, "clicks_root", at)?,
            });
        }
        Ok(())
    })?;
    Ok(rows)
}

/// What a file of `corrections` says.
pub fn corrected(store: &dyn Store, file: &OutputPart) -> Result<Vec<CorrectedAd>, SinkError> {
    let mut rows = Vec::new();
    each_batch(store, file, |batch| {
        for at in 0..batch.num_rows() {
            rows.push(CorrectedAd {
                ad_id: text(batch, "ad_id", at)?.ok_or("an ad has no name")?,
                streamed: long(batch, "streamed", at)?,
                recounted: long(batch, "recounted", at)?,
                reason: text(batch, "reason", at)?.ok_or("a correction has no reason")?,
                offsets: text(batch, "offsets", at)?.unwrap_or_default(),
            });
        }
        Ok(())
    })?;
    Ok(rows)
}

/// What a file of `clicks_agg_corrected` says.
pub fn corrected_windows(store: &dyn Store, file: &OutputPart) -> Result<Vec<BilledWindow>, SinkError> {
    let details = Details::deserialize(&file.details).map_err(|error| refused(&file.sink, error.to_string()))?;
    let window = details.partition.get("window").and_then(Option::as_deref);
    let window = Window::ALL.into_iter().find(|known| Some(known.as_str()) == window);
    let window =
        window.ok_or_else(|| refused(&file.sink, format!("`{}` has windows of an unknown length", file.name)))?;
    let mut rows = Vec::new();
    each_batch(store, file, |batch| {
        for at in 0..batch.num_rows() {
            rows.push(BilledWindow {
                ad_id: text(batch, "ad_id", at)?.ok_or("an ad has no name")?,
                region: text(batch, "region", at)?,
                window,
                start_ms: time_ms(batch, "window_start", at)?,
                click_count: long(batch, "click_count", at)?.unsigned_abs(),
                unique_users: long(batch, "unique_users", at)?.unsigned_abs(),
                user_sketch: bytes(batch, "user_sketch", at)?,
            });
        }
        Ok(())
    })?;
    Ok(rows)
}

/// The file is compared with its hash before anything of it is believed.
fn each_batch(
    store: &dyn Store,
    file: &OutputPart,
    mut take: impl FnMut(&RecordBatch) -> Result<(), String>,
) -> Result<(), SinkError> {
    let wrong = |reason: String| refused(&file.sink, format!("data file `{}`: {reason}", file.name));
    let bytes = store.get(&file.name).map_err(|error| wrong(error.to_string()))?;
    let bytes = bytes.ok_or_else(|| wrong("it is missing; bring it back from a copy".to_owned()))?;
    let details = Details::deserialize(&file.details).map_err(|error| wrong(error.to_string()))?;
    if details.sha256.as_deref() != Some(content_hash(&bytes).as_str()) {
        return Err(wrong(
            "it is not what its day's record says: somebody has changed it; bring it back from a copy".to_owned(),
        ));
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).and_then(|builder| builder.build());
    for batch in reader.map_err(|error| wrong(error.to_string()))? {
        take(&batch.map_err(|error| wrong(error.to_string()))?).map_err(wrong)?;
    }
    Ok(())
}

fn text(batch: &RecordBatch, column: &str, at: usize) -> Result<Option<String>, String> {
    let array = batch.column_by_name(column).and_then(|array| array.as_string_opt::<i32>());
    let array = array.ok_or_else(|| format!("it has no column {column} of text"))?;
    Ok((!array.is_null(at)).then(|| array.value(at).to_owned()))
}

fn long(batch: &RecordBatch, column: &str, at: usize) -> Result<i64, String> {
    let array = batch.column_by_name(column).and_then(|array| array.as_primitive_opt::<Int64Type>());
    array.map(|array| array.value(at)).ok_or_else(|| format!("it has no column {column} of numbers"))
}

fn time_ms(batch: &RecordBatch, column: &str, at: usize) -> Result<i64, String> {
    let array = batch.column_by_name(column).and_then(|array| array.as_primitive_opt::<TimestampMicrosecondType>());
    array.map(|array| array.value(at).div_euclid(1000)).ok_or_else(|| format!("it has no column {column} of times"))
}

fn bytes(batch: &RecordBatch, column: &str, at: usize) -> Result<Vec<u8>, String> {
    let array = batch.column_by_name(column).and_then(|array| array.as_binary_opt::<i32>());
    array.map(|array| array.value(at).to_vec()).ok_or_else(|| format!("it has no column {column} of bytes"))
}
