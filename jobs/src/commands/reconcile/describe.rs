//! What came of a day, for people.

use crate::config::format_duration_ms;
use crate::output::{facts, grouped, instant, table};
use crate::reconcile::{DayReport, DayStatus, WhatIf};

use super::{BOUND, LATENESS};

/// Ads that --what-if shows on a terminal; as JSON it shows all.
const ADS_SHOWN: usize = 20;

pub(super) fn describe(report: &DayReport) -> String {
    let newest = report.revision.map_or_else(String::new, |revision| format!(" (revision {revision})"));
    let status = match report.status {
        DayStatus::Open => "open: it is not complete",
        DayStatus::Closed => "closed",
        DayStatus::Restated => "restated",
        DayStatus::Unchanged => "closed before, nothing is new",
    };
    let mut lines = vec![("day", format!("{} in {}: {status}{newest}", report.date, report.timezone))];
    if report.revision.is_some() {
        lines.extend([
            ("streamed", signed(report.streamed)),
            ("billed", format!("{} clicks of {} ads", signed(report.billed), grouped(report.ads))),
            ("rows read", grouped(report.rows)),
            ("run", report.run.clone().unwrap_or_default()),
            ("manifest", report.manifest_hash.clone().unwrap_or_default()),
            ("root of clicks", report.root.clone().unwrap_or_else(|| "none".to_owned())),
        ]);
    }
    if !report.excluded.is_empty() {
        lines.push(("taken out", report.excluded.join(", ")));
    }
    let mut text = facts(&lines);
    if report.status == DayStatus::Unchanged && !report.missing.is_empty() {
        text.push_str("More is on its way:\n");
    }
    for missing in &report.missing {
        text.push_str(&format!("  {missing}\n"));
    }
    if !report.corrections.is_empty() {
        let rows = report.corrections.iter();
        let rows = rows.map(|sum| vec![sum.reason.clone(), grouped(sum.ads), signed(sum.delta)]);
        text.push_str(&format!("\n{}\n", table(&["reason", "ads", "clicks"], &[1, 2], rows)));
    }
    if report.wrong_windows_count > 0 {
        text.push_str(&format!(
            "\nThe stream has counted wrong in {} minutes of ads. What is billed is right; look into this:\n",
            grouped(report.wrong_windows_count)
        ));
        for wrong in &report.wrong_windows {
            let when = instant(wrong.timestamp * 1000);
            text.push_str(&format!("  {} at {when}: {} instead of {}\n", wrong.ad_id, wrong.streamed, wrong.expected));
        }
        for epoch in &report.wrong_epochs {
            text.push_str(&format!(
                "Epoch {} seems to be {}: that explains {} of its {} minutes of ads, {} clicks\n",
                epoch.epoch,
                epoch.mistake,
                grouped(epoch.explained),
                grouped(epoch.minutes),
                signed(epoch.clicks)
            ));
        }
    }
    text
}

pub(super) fn describe_what_if(day: &WhatIf) -> String {
    let mut text = facts(&[
        ("day", format!("{} in {}", day.date, day.timezone)),
        (
            "what if",
            format!(
                "{LATENESS} were {} and {BOUND} {}",
                format_duration_ms(day.allowed_lateness_ms),
                format_duration_ms(day.out_of_orderness_ms)
            ),
        ),
        ("streamed", format!("{}, it would be {}", signed(day.streamed), signed(day.would_be))),
        ("late", format!("{}, it would be {}", signed(day.late), signed(day.would_be_late))),
        ("ads that differ", grouped(day.ads.len() as u64)),
    ]);
    if !day.ads.is_empty() {
        let rows = day.ads.iter().take(ADS_SHOWN);
        let rows = rows.map(|ad| vec![ad.ad_id.clone(), signed(ad.streamed), signed(ad.would_be)]);
        text.push_str(&format!("\n{}\n", table(&["ad", "streamed", "would be"], &[1, 2], rows)));
    }
    text
}

fn signed(number: i64) -> String {
    let digits = grouped(number.unsigned_abs());
    if number < 0 { format!("-{digits}") } else { digits }
}
