//! Whether the tables of clicks hold every click that belongs there, partition by partition.
//!
//! ```text
//!   clicks_raw    rows in files + rows held back  =  read − rejected
//!   clicks_late   rows in files + rows held back  =  late + future       all at the newest manifest
//! ```
//!
//! Of a fork, less what is in the tables of the job that it comes from.

use weir_checkpoints::{Manifest, PartitionId, Totals};

use super::data_file::PartitionRows;
use super::report::{CheckResult, Rule};
use crate::output::grouped;

/// Compares rows with what the newest manifest says was read.
pub(super) struct Conservation<'a> {
    manifest: &'a Manifest,
    rule: Rule,
}

impl<'a> Conservation<'a> {
    pub(super) fn new(manifest: &'a Manifest) -> Self {
        let rule = Rule::new("clicks_raw and clicks_late hold every click that belongs there, in each partition");
        Self { manifest, rule }
    }

    /// One table: the rows in its files, and those that wait for a file.
    pub(super) fn table(&mut self, table: &str, in_files: &PartitionRows, held_back: &PartitionRows) {
        let mut partitions: Vec<u32> = self.manifest.partitions.keys().map(|partition| partition.0).collect();
        partitions.extend(in_files.keys().chain(held_back.keys()));
        partitions.sort_unstable();
        partitions.dedup();
        for partition in partitions {
            let totals =
                self.manifest.partitions.get(&PartitionId(partition)).map(|cut| cut.totals).unwrap_or_default();
            let elsewhere = self.manifest.rows_elsewhere(table, PartitionId(partition));
            let expected = belongs(table, &totals).saturating_sub(elsewhere);
            let rows = |by_partition: &PartitionRows| by_partition.get(&partition).copied().unwrap_or_default();
            let (filed, held) = (rows(in_files), rows(held_back));
            self.rule.check(filed + held == expected, || {
                let difference = grouped(expected.abs_diff(filed + held));
                let what = if filed + held < expected { "missing" } else { "too many" };
                format!(
                    "{table}, partition {partition}: {difference} {what}: {} in files and {} held back, {} expected",
                    grouped(filed),
                    grouped(held),
                    grouped(expected)
                )
            });
        }
    }

    pub(super) fn done(self) -> CheckResult {
        self.rule.done()
    }
}

fn belongs(table: &str, totals: &Totals) -> u64 {
    match table {
        "clicks_late" => totals.late + totals.future,
        _ => totals.read.saturating_sub(totals.rejected),
    }
}
