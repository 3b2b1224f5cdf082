//! `weir compact`: merges the small files of the Delta tables.

mod describe;
mod pass;
mod progress;
mod size;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use weir_checkpoints::Follower;
use weir_connectors::delta::Table;

use crate::Failure;
use crate::cli::JobArgs;
use crate::commands::dates::{Dates, dates};
use crate::commands::{load, open_store, signals};
use crate::config::parse_duration_ms;
use crate::output::Output;

use describe::describe;
use pass::{CompactReport, Passes, Wanted};
use size::parse_size;

/// Merges the small files of the Delta tables into large ones, beside the running job or without it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompactArgs {
    #[command(flatten)]
    job: JobArgs,
    /// A table; may be given several times [default: all three that there are]
    #[arg(long, value_name = "TABLE", value_enum)]
    table: Vec<TableName>,
    /// Only partitions of this UTC day, or from the first until the last of several: 2025-01-15, 2025-01-01..2025-01-31
    #[arg(long, value_name = "DATE", value_parser = dates)]
    date: Option<Dates>,
    /// About how large files become, such as 256MiB: one of at least half of this is left as it is. Memory is up to ten times
    /// as much [default: tables.target_file_bytes]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    target: Option<u64>,
    /// Leaves partitions with fewer small files as they are
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..))]
    min_files: u64,
    /// How long the windows of a partition have been closed, by the time of the clicks, before it is compacted
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    older_than: u64,
    /// Also partitions whose windows are still open; they will get further small files
    #[arg(long, conflicts_with = "older_than")]
    open: bool,
    /// Goes on, with a look at the tables at this interval, until it is told to stop
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "5m", value_parser = duration)]
    watch: Option<u64>,
    /// Deletes files, of the days of --date if given, that were replaced by compaction this long ago; else they stay until
    /// an engine's VACUUM. Nobody may be reading a version of the tables that is older than this, such as a `weir
    /// reconcile` under way
    #[arg(long, value_name = "AGE", value_parser = duration)]
    delete_replaced: Option<u64>,
    /// Says what would be done, and does nothing
    #[arg(long, conflicts_with = "watch")]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  weir compact job.toml --dry-run
  weir compact job.toml
  weir compact job.toml --table clicks_agg --date 2025-01-01..2025-01-31 --target 256MiB
  weir compact job.toml --watch --delete-replaced 7d

Each merge is one version of the table's log, which takes the small files out and puts one with the same rows in: readers
see either, never both. The job, and another weir compact, may run beside it. It may be killed at any moment.
What a compacted file was made of stands in the table's log and in the file, and weir verify follows it.
billing_daily, corrections and clicks_agg_corrected are left alone.
Exit codes: 0 done, 1 something could not be compacted (it is named, and as it was), 2 bad usage.";

/// How often a process that waits looks whether it is to stop.
const REFRESH: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TableName {
    #[value(name = "clicks_agg")]
    Agg,
    #[value(name = "clicks_late")]
    Late,
    #[value(name = "clicks_raw")]
    Raw,
}

impl From<TableName> for Table {
    fn from(name: TableName) -> Self {
        match name {
            TableName::Agg => Self::Agg,
            TableName::Late => Self::Late,
            TableName::Raw => Self::Raw,
        }
    }
}

pub(crate) fn run(args: &CompactArgs, output: Output) -> Result<(), Failure> {
    let config = load(&args.job)?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    signals::watch("stopping: the merge at hand is finished", move || told.store(true, Ordering::Relaxed))?;
    let tables = if args.table.is_empty() { TableName::value_variants() } else { args.table.as_slice() };
    let mut passes = Passes::new(
        open_store(config.tables.url.as_str())?,
        Follower::new(open_store(config.checkpoint.url.as_str())?, &config.name),
        Wanted {
            tables: tables.iter().map(|name| Table::from(*name)).collect(),
            dates: args.date.map(|Dates(first, last)| (first, last)),
            target_bytes: args.target.unwrap_or(config.tables.target_file_bytes),
            min_files: usize::try_from(args.min_files).unwrap_or(usize::MAX),
            older_than_ms: (!args.open).then_some(args.older_than),
            delete_replaced_ms: args.delete_replaced,
            dry: args.dry_run,
        },
        Arc::clone(&stop),
    );
    if let Some(interval_ms) = args.watch {
        watch(&mut passes, Duration::from_millis(interval_ms), &stop);
        return Ok(());
    }
    let report = passes.pass()?;
    output.print(&report, describe)?;
    match report.failures() {
        0 => Ok(()),
        failures => Err(anyhow!("{failures} merges or tables could not be compacted, see above").into()),
    }
}

/// What fails is told, and tried again.
fn watch(passes: &mut Passes, interval: Duration, stop: &AtomicBool) {
    tracing::info!("small files are merged as their partitions are settled");
    while !stop.load(Ordering::Relaxed) {
        match passes.pass() {
            Ok(report) => tell(&report),
            Err(error) => tracing::error!("{error:#}"),
        }
        let mut waited = Duration::ZERO;
        while waited < interval && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(REFRESH);
            waited += REFRESH;
        }
    }
}

fn tell(report: &CompactReport) {
    for table in report.tables.iter().filter(|table| table.merged_files + table.deleted_files > 0) {
        tracing::info!(
            table = table.table,
            merged_files = table.merged_files,
            into = table.new_files,
            rows = table.rows,
            files = table.files_after,
            deleted_files = table.deleted_files,
            "compacted"
        );
    }
}

fn duration(text: &str) -> Result<u64, String> {
    parse_duration_ms(text).ok_or_else(|| format!("`{text}` is no duration like 30s, 5m or 7d"))
}
