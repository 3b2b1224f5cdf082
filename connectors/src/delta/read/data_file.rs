//! What the log says of a data file.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use weir_dataflow::Window;
use xxhash_rust::xxh3::xxh3_128;

use super::error::ReadError;
use super::query::Wanted;
use crate::delta::actions::Add;
use crate::delta::table::DAYS_BEFORE_1970;

/// The partition of a file: the windows' length, and the day that they start on, counted from 1970.
pub(super) type Partition = (Window, u32);

/// A data file.
#[derive(Debug)]
pub(super) struct DataFile {
    /// Its whole name in the store.
    pub(super) name: Arc<str>,
    pub(super) size_bytes: u64,
    /// Stands for its contents: a name may come again only in a table that was begun anew.
    pub(super) identity: u128,
    ads: Option<(String, Option<String>)>,
    starts_ms: Option<(i64, i64)>,
}

/// The ranges in the log, as far as they matter. Texts may be shortened: they are bounds, not values.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    #[serde(default)]
    min_values: Values,
    #[serde(default)]
    max_values: Values,
}

#[derive(Default, Deserialize)]
struct Values {
    ad_id: Option<String>,
    window_start: Option<String>,
}

impl DataFile {
    pub(super) fn of(table: &str, add: &Add) -> Result<(Partition, Self), ReadError> {
        let unfit = |what: &str| ReadError::log(table, format_args!("its log has a file `{}` {what}", add.path));
        let value = |name: &str| add.partition_values.get(name).and_then(Option::as_deref);
        let window = Window::ALL.into_iter().find(|window| value("window") == Some(window.as_str()));
        let window = window.ok_or_else(|| unfit("of an unknown window"))?;
        let day = value("date").and_then(day_of_date).ok_or_else(|| unfit("without a date"))?;
        let name = name_of(table, &add.path)?;
        let size_bytes = u64::try_from(add.size).map_err(|_| unfit("of no possible size"))?;
        // Ranges that are not understood leave nothing out.
        let stats = add.stats.as_deref().and_then(|stats| serde_json::from_str::<Stats>(stats).ok());
        let (ads, starts_ms) = stats.map(ranges).unwrap_or_default();
        let identity = xxh3_128(format!("{name} {size_bytes} {}", add.modification_time).as_bytes());
        Ok(((window, day), Self { name: name.into(), size_bytes, identity, ads, starts_ms }))
    }

    /// Whether it may have rows that are wanted, by the log's ranges.
    pub(super) fn may_have(&self, wanted: &Wanted<'_>) -> bool {
        let ads = self.ads.as_ref();
        ads.is_none_or(|(min, max)| wanted.ads_within(min.as_bytes(), max.as_deref().map(str::as_bytes)))
            && self.starts_ms.is_none_or(|(min, max)| wanted.starts_within(min, max))
    }
}

/// The name in the store of a file with this path in the log, where special characters are escaped.
pub(super) fn name_of(table: &str, path: &str) -> Result<String, ReadError> {
    let unfit = |what: &str| ReadError::log(table, format_args!("its log has a file `{path}` {what}"));
    Ok(format!("{table}/{}", plain_path(path).map_err(unfit)?))
}

/// A path of the log, where special characters are escaped, as it is in the store; or what is wrong with it.
pub(in crate::delta) fn plain_path(path: &str) -> Result<String, &'static str> {
    let decoded = percent_decode_str(path).decode_utf8().map_err(|_| "whose name is no text")?;
    if decoded.starts_with('/') || decoded.contains("://") || decoded.split('/').any(|part| part == "..") {
        return Err("outside its folder");
    }
    Ok(decoded.into_owned())
}

type Ranges = (Option<(String, Option<String>)>, Option<(i64, i64)>);

fn ranges(stats: Stats) -> Ranges {
    let ads = stats.min_values.ad_id.map(|min| (min, stats.max_values.ad_id));
    let time = |text: Option<String>| Some(DateTime::parse_from_rfc3339(&text?).ok()?.timestamp_millis());
    (ads, time(stats.min_values.window_start).zip(time(stats.max_values.window_start)))
}

pub(super) fn day_of_date(text: &str) -> Option<u32> {
    use chrono::Datelike;
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    u32::try_from(date.num_days_from_ce().checked_sub(DAYS_BEFORE_1970)?).ok()
}
