//! An explanation in words, for people who have never seen Weir.

use serde_json::Value;
use weir_connectors::delta::LedgerRow;

use super::judge::{Code, Verdict};
use super::report::{
    Archive, CopyPlace, Explanation, FileRows, LateClicks, ListedClick, State, TableCount, WindowFacts,
};
use crate::output::{facts, grouped, instant, table};

/// Lines of a list that may be long; JSON has all of them.
const MOST_LINES: usize = 12;

/// The text of `weir explain`.
pub(crate) fn describe(explanation: &Explanation) -> String {
    let mut sections = vec![head(explanation), verdict(&explanation.verdict), of_table(explanation)];
    match &explanation.archive {
        Some(archive) => sections.extend(of_archive(archive)),
        None => sections.push(section("Archive (clicks_raw)", "  switched off: the clicks themselves are not kept\n")),
    }
    sections.extend(of_late(&explanation.late));
    sections.extend(explanation.clicks.as_deref().map(of_clicks));
    sections.extend(explanation.billing.as_ref().map(|row| ledger("Billed that day (billing_daily)", &[row])));
    let corrections = explanation.corrections.as_deref().map(|rows| rows.iter().collect::<Vec<_>>());
    sections.extend(corrections.map(|rows| ledger("Corrections of that day (corrections)", &rows)));
    sections.join("\n")
}

fn head(explanation: &Explanation) -> String {
    let count = explanation.table.click_count;
    let users = explanation.table.unique_users.map_or(String::new(), |users| format!(", {} users", grouped(users)));
    let mut lines = vec![
        ("ad", explanation.ad_id.clone()),
        ("window", format!("{} to {} (end not included)", instant(explanation.start_ms), instant(explanation.end_ms))),
    ];
    if let Some(region) = &explanation.region {
        lines.push(("region", region.clone()));
    }
    lines.push(("clicks", format!("{}{users}, in the table clicks_agg", grouped(count))));
    lines.push(("state", state(explanation)));
    facts(&lines)
}

fn state(explanation: &Explanation) -> String {
    let checkpoint = &explanation.checkpoint;
    let words = match explanation.state {
        State::Closed => "closed: the stream never changes it again".to_owned(),
        State::PartlyClosed => format!("closed until {}", instant(explanation.closed_part_end_ms)),
        State::Open => match checkpoint.closed_until_ms {
            Some(until) => format!("open: windows are closed until {}", instant(until)),
            None => "open: no window is closed yet".to_owned(),
        },
    };
    let end = if checkpoint.ended { "; the source has ended" } else { "" };
    format!("{words} (as of checkpoint {}, epoch {}{end})", checkpoint.sequence, checkpoint.epoch)
}

fn verdict(verdict: &Verdict) -> String {
    let mark = match (verdict.code, verdict.right) {
        (Code::NoClicks, _) => "NO CLICKS",
        (Code::Explained, _) => "EXPLAINED",
        (Code::Open, _) => "NOT FINAL",
        (_, Some(true)) => "RIGHT",
        (_, Some(false)) => "NOT EXPLAINED",
        (_, None) => "CANNOT BE SHOWN",
    };
    let mut text = format!("{mark}  {}\n", verdict.text);
    if let Some(difference) = verdict.difference.filter(|difference| *difference != 0) {
        text.push_str(&format!("  {} in the table, compared with the archive:\n", signed(difference)));
        for reason in &verdict.reasons {
            text.push_str(&format!("    {} clicks {}\n", signed(reason.clicks), reason.text));
        }
    }
    text
}

fn of_table(explanation: &Explanation) -> String {
    let TableCount { rows, held_back, .. } = &explanation.table;
    let lines = rows.iter().chain(held_back).map(|row| {
        vec![
            instant(row.start_ms),
            row.region.clone().unwrap_or_else(|| "-".to_owned()),
            grouped(row.click_count),
            grouped(row.unique_users),
            row.epoch.to_string(),
            place(row),
        ]
    });
    let lines: Vec<Vec<String>> = lines.collect();
    if lines.is_empty() {
        return section("Rows of the table (clicks_agg)", "  none\n");
    }
    const HEADINGS: [&str; 6] = ["from", "region", "clicks", "users", "closed in epoch", "data file"];
    section("Rows of the table (clicks_agg)", &indented(&table(&HEADINGS, &[2, 3, 4], lines)))
}

fn place(row: &WindowFacts) -> String {
    match &row.file {
        Some(file) if row.pending => format!("{file} (about to be shown)"),
        Some(file) => file.clone(),
        None => "held back for a file; not in the table yet".to_owned(),
    }
}

fn of_archive(archive: &Archive) -> Vec<String> {
    let mut lines = vec![("records of this ad and window", grouped(archive.records))];
    if archive.held_back > 0 {
        lines.push(("  held back for a file", grouped(archive.held_back)));
    }
    lines.extend([
        ("- late or from the future", grouped(archive.not_on_time)),
        ("- copies of another record", grouped(archive.duplicate_records)),
        ("= distinct clicks on time", grouped(archive.distinct)),
        ("  their users", grouped(archive.unique_users)),
    ]);
    if archive.records_stored_twice > 0 {
        lines.push(("STORED TWICE", format!("{}: run `weir verify`", grouped(archive.records_stored_twice))));
    }
    let mut sections = vec![section("Clicks in the archive (clicks_raw)", &indented(&facts(&lines)))];
    if archive.records == 0 {
        return sections;
    }
    sections.push(section("The count grew by", &epochs(archive)));
    sections.push(section("Where they are in the log", &partitions(archive)));
    sections.push(section("Where they are in the archive", &files(&archive.files)));
    sections.extend(duplicates(archive));
    sections
}

fn epochs(archive: &Archive) -> String {
    let lines = archive.epochs.iter().map(|epoch| vec![epoch.epoch.to_string(), grouped(epoch.clicks)]);
    listed(&["epoch", "clicks"], &[0, 1], lines.collect())
}

fn partitions(archive: &Archive) -> String {
    let lines = archive.partitions.iter().map(|range| {
        vec![
            range.topic.clone().unwrap_or_else(|| "-".to_owned()),
            range.partition.to_string(),
            range.first_offset.to_string(),
            range.last_offset.to_string(),
            grouped(range.records),
        ]
    });
    listed(&["topic", "partition", "first offset", "last offset", "records"], &[1, 2, 3, 4], lines.collect())
}

fn files(files: &[FileRows]) -> String {
    let lines = files.iter().map(|file| {
        let offsets = file.offsets.as_ref().map_or_else(|| "-".to_owned(), Value::to_string);
        let epoch = file.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
        let path = match file.compacted_from {
            Some(files) => format!("{} (compacted of {} files)", file.path, grouped(files as u64)),
            None => file.path.clone(),
        };
        vec![grouped(file.rows), epoch, path, offsets]
    });
    listed(&["records", "epoch", "data file", "offsets it was read between, by partition"], &[0, 1], lines.collect())
}

fn duplicates(archive: &Archive) -> Option<String> {
    let lines: Vec<Vec<String>> = archive
        .duplicates
        .iter()
        .flat_map(|duplicate| {
            let others = duplicate.others.iter().map(|other| (String::new(), "copy", other));
            std::iter::once((duplicate.click_id.clone(), "counts", &duplicate.first)).chain(others)
        })
        .map(|(click_id, what, place)| [vec![click_id, what.to_owned()], columns_of(place)].concat())
        .collect();
    if lines.is_empty() {
        return None;
    }
    const HEADINGS: [&str; 6] = ["click", "", "partition", "offset", "epoch", "time"];
    let title = "Clicks that came several times (--limit N for more)";
    Some(section(title, &indented(&table(&HEADINGS, &[2, 3, 4], lines))))
}

fn columns_of(place: &CopyPlace) -> Vec<String> {
    vec![place.partition.to_string(), place.offset.to_string(), place.epoch.to_string(), instant(place.event_time_ms)]
}

fn of_late(late: &LateClicks) -> Vec<String> {
    let reasons: Vec<(&str, String)> =
        late.reasons.iter().map(|(reason, count)| (reason.as_str(), grouped(*count))).collect();
    let mut text = indented(&facts(&reasons));
    if !late.clicks.is_empty() {
        let lines = late.clicks.iter().map(|click| {
            vec![
                click.click_id.clone(),
                click.reason.clone(),
                click.partition.to_string(),
                click.offset.to_string(),
                click.epoch.to_string(),
                instant(click.event_time_ms),
            ]
        });
        const HEADINGS: [&str; 6] = ["click", "reason", "partition", "offset", "epoch", "time"];
        text.push_str(&indented(&table(&HEADINGS, &[2, 3, 4], lines)));
    }
    vec![section("Not counted because of their time (clicks_late)", &text)]
}

fn of_clicks(clicks: &[ListedClick]) -> String {
    let lines = clicks.iter().map(|click| {
        vec![
            click.click_id.clone(),
            click.status.clone(),
            click.partition.to_string(),
            click.offset.to_string(),
            click.epoch.to_string(),
            instant(click.event_time_ms),
        ]
    });
    const HEADINGS: [&str; 6] = ["click", "", "partition", "offset", "epoch", "time"];
    section("The clicks, earliest first", &indented(&table(&HEADINGS, &[2, 3, 4], lines)))
}

/// Whatever columns a table by day has; the ad is known already.
fn ledger(title: &str, rows: &[&LedgerRow]) -> String {
    if rows.is_empty() {
        return section(title, "  none\n");
    }
    let mut names: Vec<&str> = rows.iter().flat_map(|row| row.keys().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| *name != "ad_id");
    let lines =
        rows.iter().map(|row| names.iter().map(|name| row.get(*name).map_or_else(String::new, plain)).collect());
    section(title, &indented(&table(&names, &[], lines)))
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A table of which only the first lines are shown.
fn listed(headings: &[&str], numbers: &[usize], mut lines: Vec<Vec<String>>) -> String {
    let more = lines.len().saturating_sub(MOST_LINES);
    lines.truncate(MOST_LINES);
    let mut text = indented(&table(headings, numbers, lines));
    if more > 0 {
        text.push_str(&format!("  and {} more (--output json has all)\n", grouped(more as u64)));
    }
    text
}

fn section(title: &str, text: &str) -> String {
    format!("{title}\n{text}")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn signed(number: i64) -> String {
    let digits = grouped(number.unsigned_abs());
    if number < 0 { format!("-{digits}") } else { format!("+{digits}") }
}
