//! The columns of a batch, by name and type.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, PrimitiveArray, RecordBatch, StringArray};
use weir_dataflow::Click;
use weir_dataflow::LateReason;
use weir_dataflow::reconcile::{ArchivedClick, StreamedWindow};

/// What is read of a table of clicks.
pub(super) const OF_CLICKS: [&str; 9] =
    ["ad_id", "user_id", "timestamp", "click_id", "ip_address", "user_agent", "partition", "offset", "epoch"];

/// What is read of it where every click has an id, and nobody asks for addresses.
pub(super) const OF_CLICKS_WITH_IDS: [&str; 7] =
    ["ad_id", "user_id", "timestamp", "click_id", "partition", "offset", "epoch"];

/// The same, to make an index.
pub(super) const OF_CLICKS_FOR_INDEX: [&str; 9] =
    ["ad_id", "user_id", "timestamp", "click_id", "ip_address", "partition", "offset", "epoch", REGION];

/// What is read of it to count windows.
pub(super) const OF_CLICKS_BY_WINDOW: [&str; 7] =
    ["ad_id", "user_id", "timestamp", "partition", "offset", "epoch", REGION];

/// Beside these, in the table of late clicks.
pub(super) const OF_LATE: &str = "reason";

/// What is read of the table of windows.
pub(super) const OF_WINDOWS: [&str; 4] = ["ad_id", "window_start", "click_count", "epoch"];

/// The region, in all tables.
pub(super) const REGION: &str = "region";

/// Clicks in columns.
pub(super) struct Clicks<'a> {
    ad_id: &'a StringArray,
    user_id: &'a StringArray,
    timestamp: &'a PrimitiveArray<Int64Type>,
    click_id: Option<&'a StringArray>,
    ip_address: Option<&'a StringArray>,
    user_agent: Option<&'a StringArray>,
    partition: &'a PrimitiveArray<Int32Type>,
    offset: &'a PrimitiveArray<Int64Type>,
    epoch: &'a PrimitiveArray<Int64Type>,
    reason: Option<&'a StringArray>,
    region: Option<&'a StringArray>,
}

impl<'a> Clicks<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Result<Self, String> {
        let optional = |name: &str| batch.column_by_name(name).map(|_| text(batch, name)).transpose();
        Ok(Self {
            ad_id: text(batch, "ad_id")?,
            user_id: text(batch, "user_id")?,
            timestamp: long(batch, "timestamp")?,
            click_id: optional("click_id")?,
            ip_address: optional("ip_address")?,
            user_agent: optional("user_agent")?,
            partition: column(batch, "partition")?
                .as_primitive_opt::<Int32Type>()
                .ok_or_else(|| "column partition is no integer".to_owned())?,
            offset: long(batch, "offset")?,
            epoch: long(batch, "epoch")?,
            reason: optional("reason")?,
            region: optional(REGION)?,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.offset.len()
    }

    /// Whether some clicks have no id of their own.
    pub(super) fn lack_ids(&self) -> bool {
        self.click_id.is_some_and(|ids| ids.null_count() > 0)
    }

    /// A row; the batch must have it.
    #[inline]
    pub(super) fn row(&self, at: usize) -> ArchivedClick<'a> {
        let optional = |column: &'a StringArray| (!column.is_null(at)).then(|| column.value(at));
        let click = Click {
            ad_id: self.ad_id.value(at),
            user_id: self.user_id.value(at),
            timestamp: self.timestamp.value(at),
            click_id: self.click_id.and_then(optional),
            ip_address: self.ip_address.and_then(optional),
            user_agent: self.user_agent.and_then(optional),
        };
        ArchivedClick {
            click,
            partition: self.partition.value(at) as u32,
            offset: self.offset.value(at) as u64,
            epoch: self.epoch.value(at) as u64,
            excluded: false,
            region: self.region.and_then(optional),
        }
    }

    /// Why a row of the late table was not counted.
    pub(super) fn reason(&self, at: usize) -> Result<LateReason, String> {
        let reason = self.reason.map(|reasons| reasons.value(at)).unwrap_or_default();
        let known = [LateReason::Late, LateReason::Future].into_iter().find(|known| known.as_str() == reason);
        known.ok_or_else(|| format!("row {at} has the unknown reason `{reason}`"))
    }
}

/// Windows in columns.
pub(super) struct Windows<'a> {
    ad_id: &'a StringArray,
    window_start: &'a PrimitiveArray<TimestampMicrosecondType>,
    click_count: &'a PrimitiveArray<Int64Type>,
    epoch: &'a PrimitiveArray<Int64Type>,
    region: Option<&'a StringArray>,
}

impl<'a> Windows<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Result<Self, String> {
        Ok(Self {
            ad_id: text(batch, "ad_id")?,
            window_start: column(batch, "window_start")?
                .as_primitive_opt::<TimestampMicrosecondType>()
                .ok_or_else(|| "column window_start has no times in microseconds".to_owned())?,
            click_count: long(batch, "click_count")?,
            epoch: long(batch, "epoch")?,
            region: batch.column_by_name(REGION).map(|_| text(batch, REGION)).transpose()?,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.epoch.len()
    }

    /// A row and its epoch; the batch must have it.
    pub(super) fn row(&self, at: usize) -> (StreamedWindow<'a>, u64) {
        let start_ms = self.window_start.value(at).div_euclid(1000);
        let region = self.region.filter(|regions| !regions.is_null(at)).map(|regions| regions.value(at));
        let window =
            StreamedWindow { ad_id: self.ad_id.value(at), start_ms, clicks: self.click_count.value(at), region };
        (window, self.epoch.value(at) as u64)
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array, String> {
    batch.column_by_name(name).map(AsRef::as_ref).ok_or_else(|| format!("column {name} is missing"))
}

fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, String> {
    column(batch, name)?.as_string_opt::<i32>().ok_or_else(|| format!("column {name} is no text"))
}

fn long<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a PrimitiveArray<Int64Type>, String> {
    column(batch, name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| format!("column {name} is no long"))
}
