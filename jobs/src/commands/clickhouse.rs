//! `weir clickhouse`: what is in ClickHouse, and how to fill it again.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use weir_connectors::clickhouse::{
    ClickHouseConfig, ClickHouseReader, Coverage, RebuildProgress, Rebuilt, Span, rebuild,
};
use weir_dataflow::Window;

use crate::Failure;
use crate::cli::JobArgs;
use crate::commands::time_arg::parse_time;
use crate::commands::{load, open_store};
use crate::output::{Output, facts, grouped, instant};
use crate::reconcile::DaysToClickHouse;

/// Shows what a job has in ClickHouse, and fills it again
#[derive(Debug, Subcommand)]
pub(crate) enum ClickHouseCommand {
    /// Shows the server's version, and which windows are there for certain
    #[command(after_help = "Example:\n  weir clickhouse status job.toml")]
    Status(JobArgs),
    /// Inserts the closed windows of the Delta table, and the days that billing has closed
    #[command(after_help = REBUILD)]
    Rebuild(RebuildArgs),
}

const REBUILD: &str = "\
Examples:
  weir clickhouse rebuild job.toml
  weir clickhouse rebuild job.toml --from 2025-01-01 --to 2025-02-01

Nothing has to be emptied or stopped before: a row that is there already is the same row, and the job may be running.
Windows that have expired by clickhouse.retention are left out.
Exit codes: 0 done, 1 ClickHouse or a store failed; running it again is safe.";

#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    job: JobArgs,
    /// The first day, or instant in RFC 3339, whose windows are inserted [default: all]
    #[arg(long, value_name = "DATE", value_parser = parse_time)]
    from: Option<i64>,
    /// The first day or instant whose windows are left out [default: none]
    #[arg(long, value_name = "DATE", value_parser = parse_time)]
    to: Option<i64>,
}

pub(crate) fn run(command: &ClickHouseCommand, output: Output) -> Result<(), Failure> {
    match command {
        ClickHouseCommand::Status(args) => status(args, output),
        ClickHouseCommand::Rebuild(args) => fill(args, output),
    }
}

/// The server's version, to see that it can be reached.
pub(super) fn version(config: &ClickHouseConfig) -> anyhow::Result<String> {
    let runtime = runtime()?;
    Ok(runtime.block_on(ClickHouseReader::new(config.clone()).version())?)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")
}

#[derive(Debug, Serialize)]
struct Status {
    url: String,
    database: String,
    version: String,
    complete_from_ms: i64,
    complete_until_ms: i64,
}

fn status(args: &JobArgs, output: Output) -> Result<(), Failure> {
    let config = configured(args)?;
    let reader = ClickHouseReader::new(config.clone());
    let asked = async { Ok::<_, anyhow::Error>((reader.version().await?, reader.coverage().await?)) };
    let (version, Coverage { from_ms, until_ms }) = runtime()?.block_on(asked)?;
    let (url, database) = (config.url.to_string(), config.database);
    let status = Status { url, database, version, complete_from_ms: from_ms, complete_until_ms: until_ms };
    Ok(output.print(&status, |status| {
        facts(&[
            ("server", format!("{}, version {}", status.url, status.version)),
            ("database", status.database.clone()),
            ("complete", complete(Coverage { from_ms, until_ms })),
        ])
    })?)
}

#[derive(Debug, Serialize)]
struct Summary {
    rows: u64,
    left_out: u64,
    days: u64,
    seconds: f64,
    complete_from_ms: i64,
    complete_until_ms: i64,
}

fn fill(args: &RebuildArgs, output: Output) -> Result<(), Failure> {
    let job = load(&args.job)?;
    let config = configured(&args.job)?;
    let span = Span { from_ms: args.from.unwrap_or(0), to_ms: args.to.unwrap_or(i64::MAX) };
    if span.from_ms >= span.to_ms {
        return Err(Failure::usage("--from must be before --to"));
    }
    let checkpoints = open_store(job.checkpoint.url.as_str())?;
    let tables = open_store(job.tables.url.as_str())?;
    let started = Instant::now();
    let mut bar = Bar::new();
    let rebuilt =
        rebuild(&config, &checkpoints, (&tables, job.tables.url.as_str()), span, |progress| bar.show(progress));
    bar.clear();
    let Rebuilt { rows, left_out, coverage } =
        rebuilt.map_err(anyhow::Error::from).context("the rebuild is not complete")?;
    let days = DaysToClickHouse { checkpoints: checkpoints.as_ref(), tables: &tables, config: &config };
    let days = days.write_all(span.from_ms, span.to_ms).context("the windows are there, but not all closed days")?;
    let (complete_from_ms, complete_until_ms) = (coverage.from_ms, coverage.until_ms);
    let seconds = started.elapsed().as_secs_f64();
    let summary = Summary { rows, left_out, days, seconds, complete_from_ms, complete_until_ms };
    Ok(output.print(&summary, |summary| {
        facts(&[
            ("inserted", format!("{} rows", grouped(summary.rows))),
            ("left out", format!("{} rows, expired or after the year 2099", grouped(summary.left_out))),
            ("closed days", grouped(summary.days)),
            ("took", format!("{:.1} s", summary.seconds)),
            ("complete", complete(coverage)),
        ])
    })?)
}

fn configured(args: &JobArgs) -> Result<ClickHouseConfig, Failure> {
    load(args)?.clickhouse.ok_or_else(|| {
        Failure::usage(
            "the job file has no clickhouse.url: there is no ClickHouse to ask; weir check --defaults shows how",
        )
    })
}

fn complete(coverage: Coverage) -> String {
    if coverage.is_empty() {
        return "nothing for certain".to_owned();
    }
    format!("all windows from {} until {}", instant(coverage.from_ms), instant(coverage.until_ms))
}

/// Rows on a terminal; a line in the log now and then where there is none.
struct Bar {
    bar: Option<ProgressBar>,
    window: Option<Window>,
    logged: Instant,
}

impl Bar {
    const LOG_EVERY: Duration = Duration::from_secs(10);

    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {elapsed} {human_pos} rows, {per_sec}, {msg}");
            let bar = ProgressBar::new_spinner();
            style.map_or(bar.clone(), |style| bar.with_style(style))
        });
        Self { bar, window: None, logged: Instant::now() }
    }

    fn show(&mut self, progress: RebuildProgress) {
        if let Some(bar) = &self.bar {
            bar.set_position(progress.rows);
            if self.window != Some(progress.window) {
                bar.set_message(format!("windows of {}", progress.window.as_str()));
                self.window = Some(progress.window);
            }
        } else if self.logged.elapsed() >= Self::LOG_EVERY {
            tracing::info!(rows = progress.rows, windows = progress.window.as_str(), "rebuilding");
            self.logged = Instant::now();
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
