//! Whether a day is complete: every click of it that will ever count in the stream is in the tables.

use std::collections::BTreeMap;

use anyhow::Result;
use weir_checkpoints::{Manifest, Store};
use weir_connectors::delta::{ClicksTable, held_back, held_back_clicks};
use weir_dataflow::Window;

use super::calendar::LocalDay;
use crate::config::{TimeConfig, format_duration_ms};
use crate::output::instant;

/// What a day lacks, one sentence each; nothing of one that is complete.
pub(super) fn missing(
    day: &LocalDay,
    margin_ms: i64,
    time: &TimeConfig,
    manifest: &Manifest,
    checkpoints: &dyn Store,
) -> Result<Vec<String>> {
    let mut missing: Vec<String> = before_fork(day.start_ms - margin_ms, manifest).into_iter().collect();
    if missing.is_empty() {
        missing = unread(day.end_ms + margin_ms, time, manifest);
    }
    if missing.is_empty() {
        missing = held(day, margin_ms, manifest, checkpoints)?;
    }
    Ok(missing)
}

/// Clicks from `since_ms` on must all be in this job's archive. The first ones may be in that of the job it was forked from.
fn before_fork(since_ms: i64, manifest: &Manifest) -> Option<String> {
    let origin = manifest.origin.as_ref()?;
    let read_ms = origin.max_event_time_ms.filter(|read_ms| *read_ms >= since_ms)?;
    Some(format!(
        "this job was forked from job {} when that had read clicks until {}: clicks of this day, or copies of them, are in \
         its tables; let that job go on and close the day there",
        origin.job,
        instant(read_ms)
    ))
}

/// Windows must be closed until `until_ms`. Where they are not, the partitions are named that hold them back.
fn unread(until_ms: i64, time: &TimeConfig, manifest: &Manifest) -> Vec<String> {
    let closed = manifest.closed_until_ms.is_some_and(|closed_ms| closed_ms >= until_ms);
    if manifest.ended || closed {
        return Vec::new();
    }
    let wait_ms = time.out_of_orderness_ms + time.allowed_lateness_ms;
    let needed_ms = until_ms.saturating_add(i64::try_from(wait_ms).unwrap_or(i64::MAX));
    let mut missing = Vec::new();
    for (partition, cut) in &manifest.partitions {
        let offset = cut.position.next_offset;
        match cut.max_event_time_ms {
            Some(seen_ms) if seen_ms >= needed_ms => {}
            Some(seen_ms) => missing.push(format!(
                "partition {partition} is read up to offset {offset} and {}: {} before {}, when the last window is closed",
                instant(seen_ms),
                format_duration_ms((needed_ms - seen_ms).unsigned_abs()),
                instant(needed_ms)
            )),
            None => missing.push(format!("partition {partition} is read up to offset {offset}, without any click")),
        }
    }
    if missing.is_empty() {
        missing
            .push(format!("windows are not closed until {} yet; the next checkpoint should do it", instant(until_ms)));
    }
    missing
}

/// Rows that wait for a file of useful size are in no table.
fn held(day: &LocalDay, margin_ms: i64, manifest: &Manifest, checkpoints: &dyn Store) -> Result<Vec<String>> {
    let mut waiting: BTreeMap<String, u64> = BTreeMap::new();
    for (table, name) in [(ClicksTable::Archive, "clicks_raw"), (ClicksTable::Late, "clicks_late")] {
        held_back_clicks(checkpoints, manifest, table, |row| {
            let time_ms = row.click.event_time_ms();
            if (day.start_ms - margin_ms..day.end_ms + margin_ms).contains(&time_ms) {
                let place = format!("partition {} for {name}", row.partition);
                *waiting.entry(place).or_default() += 1;
            }
        })?;
    }
    held_back(checkpoints, manifest, |row| {
        if row.window == Window::OneMinute && (day.start_ms..day.end_ms).contains(&row.start_ms) {
            *waiting.entry("windows for clicks_agg".to_owned()).or_default() += 1;
        }
    })?;
    let sentence = |(what, rows)| {
        format!("{rows} rows of {what} wait for a data file: at most tables.roll_interval, or until the job is stopped")
    };
    Ok(waiting.into_iter().map(sentence).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    const TIME: TimeConfig = TimeConfig {
        out_of_orderness_ms: 10_000,
        allowed_lateness_ms: 600_000,
        idle_timeout_ms: 30_000,
        max_future_skew_ms: 0,
        max_partition_lead_ms: 0,
    };

    #[test]
    fn partitions_that_are_behind_are_named() {
        let manifest = |closed_until_ms: i64, ended: bool| -> Manifest {
            let cut = |offset: u64, time_ms: Option<i64>| {
                json!({ "position": { "next_offset": offset }, "max_event_time_ms": time_ms, "totals":
                    { "read": 0, "rejected": 0, "future": 0, "late": 0, "duplicate": 0, "counted": 0 } })
            };
            serde_json::from_value(json!({
                "format": 1, "job": "clicks", "sequence": 1, "previous": null, "attempt": 1, "owner": "", "workers": 1,
                "epoch": 1, "written_ms": 0, "settings": {}, "watermark_ms": null, "closed_until_ms": closed_until_ms,
                "ended": ended, "state": [], "outputs": [],
                "partitions": { "0": cut(17, Some(86_400_000)), "1": cut(4, Some(90_000_000)), "2": cut(0, None) },
            }))
            .unwrap()
        };
        let check = |manifest: &Manifest, expect: &[&str]| {
            let missing = unread(86_400_000, &TIME, manifest);
            assert_eq!(missing.len(), expect.len(), "{missing:?}");
            missing.iter().zip(expect).for_each(|(found, expect)| assert!(found.starts_with(expect), "{found}"));
        };
        check(&manifest(86_400_000, false), &[]);
        check(&manifest(0, true), &[]);
        let expect = [
            "partition 0 is read up to offset 17 and 1970-01-02T00:00:00Z: 10m10s before",
            "partition 2 is read up to offset 0, without any click",
        ];
        check(&manifest(86_399_999, false), &expect);
    }
}
