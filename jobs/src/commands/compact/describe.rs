//! What came of a pass, for people.

use super::pass::{CompactReport, TableReport};
use super::size::size;
use crate::output::{facts, grouped, instant, table};

pub(super) fn describe(report: &CompactReport) -> String {
    let mut lines =
        vec![("job", report.job.clone()), ("partitions", format!("up to {}", instant(report.settled_until_ms)))];
    if report.dry_run {
        lines.push(("dry run", "nothing was changed; sizes after it are not known".to_owned()));
    }
    let rows: u64 = report.tables.iter().map(|table| table.rows).sum();
    let rate = (rows as f64 / report.seconds.max(1e-3)) as u64;
    let rate = if rows > 0 { format!(", {} rows/s", grouped(rate)) } else { String::new() };
    lines.push(("took", format!("{:.1} s{rate}", report.seconds)));
    let mut text = facts(&lines);
    text.push('\n');
    text.push_str(&table(
        &["table", "files", "", "bytes", "", "merged", "into", "rows", "given up", "deleted"],
        &[1, 2, 3, 4, 5, 6, 7, 8, 9],
        report.tables.iter().map(line),
    ));
    text.push('\n');
    for table in &report.tables {
        if table.too_large_in_memory > 0 {
            let (files, name) = (grouped(table.too_large_in_memory), table.table);
            text.push_str(&format!(
                "\n{name}: {files} small files stay, the rows of two take more than six times --target in memory; \
                 a larger one may have them\n"
            ));
        }
        for failed in &table.failed {
            text.push_str(&format!("\nnot compacted: {failed}\n"));
        }
    }
    text
}

fn line(table: &TableReport) -> Vec<String> {
    vec![
        table.table.to_owned(),
        grouped(table.files_before),
        format!("→ {}", grouped(table.files_after)),
        size(table.bytes_before),
        format!("→ {}", size(table.bytes_after)),
        grouped(table.merged_files),
        grouped(table.new_files),
        grouped(table.rows),
        grouped(table.dropped),
        grouped(table.deleted_files),
    ]
}
