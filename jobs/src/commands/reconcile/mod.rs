//! `weir reconcile`: closes days, and restates them when more is known.

mod describe;
mod progress;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use chrono::{Days, NaiveDate};
use chrono_tz::Tz;
use clap::Args;
use weir_dataflow::Layout;
use weir_dataflow::reconcile::RecountError;

use crate::Failure;
use crate::cli::JobArgs;
use crate::commands::cluster::ClusterArgs;
use crate::commands::dates::{Dates, dates};
use crate::commands::{load, open_store, signals};
use crate::config::{JobConfig, parse_duration_ms};
use crate::output::Output;
use crate::reconcile::{DayReport, DayStatus, ExclusionList, OtherTime, Reconciler, Wanted, WhatIf, date_at};

use describe::{describe, describe_what_if};
use progress::Progress;

/// Closes a day: recounts it from the archive, and writes what each ad is billed for
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReconcileArgs {
    #[command(flatten)]
    job: JobArgs,
    /// The day, or the first and the last of several: 2025-01-15, 2025-01-01..2025-01-31
    #[arg(long, value_name = "DATE", value_parser = dates, required_unless_present = "watch")]
    date: Option<Dates>,
    /// Closes each day as soon as it is complete, and restates it when more is known, until it is told to stop
    #[arg(long, conflicts_with_all = ["date", "exclude", "include"])]
    watch: bool,
    /// With --watch: how many days back are looked at
    #[arg(long, value_name = "N", default_value_t = 3, requires = "watch")]
    days: u64,
    /// Takes traffic out: a file with lines like {"click_id":"…"}, {"user_id":"…"} or {"ip_address":"203.0.113.0/24"}, a
    /// Parquet file or the folder of a Delta table with such columns, by its path or URL. The file's name names the list;
    /// it stays in use for later runs
    #[arg(long, value_name = "FILE")]
    exclude: Vec<String>,
    /// No longer takes out what the list of this name says
    #[arg(long, value_name = "LIST")]
    include: Vec<String>,
    /// Says what the stream would have counted with other settings, and writes nothing: allowed_lateness=1h,
    /// out_of_orderness=1m
    #[arg(long, value_name = "KEY=DURATION", value_parser = other_setting, requires = "date",
        conflicts_with_all = ["exclude", "include", "exact_users"])]
    what_if: Vec<(String, u64)>,
    /// Counts users one by one, instead of estimating them
    #[arg(long)]
    exact_users: bool,
    /// Counts the archive anew, even if nothing has changed since, or traffic is to be taken out that the day's index knows:
    /// nothing is written if it comes to the same
    #[arg(long, conflicts_with_all = ["watch", "what_if"])]
    recount: bool,
    /// About how much memory the copies of clicks may take, in MiB; a larger day is read in several passes
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(64..))]
    memory: u64,
    /// The time zone whose days are billed, before billing.timezone of the job file
    #[arg(long, value_name = "ZONE")]
    timezone: Option<Tz>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

const EXAMPLES: &str = "\
Examples:
  weir reconcile job.toml --date 2025-01-15
  weir reconcile job.toml --date 2025-01-01..2025-01-31 --timezone Europe/Berlin
  weir reconcile job.toml --date 2025-01-15 --exclude bots.ndjson
  weir reconcile job.toml --date 2025-01-15 --what-if allowed_lateness=1h
  weir reconcile job.toml --watch
  weir reconcile job.toml --date 2025-01-15 --process 0 --hosts hosts.txt     and --process 1 on the other machine

Reads clicks_raw and clicks_late, counts the distinct clicks of the day, compares with clicks_agg, and writes billing_daily,
corrections and clicks_agg_corrected; into ClickHouse too, where the job file has one. It can run beside the job. A second run over the same clicks writes nothing.
Exit codes: 0 all days are closed, 1 one of them is not (what is missing is named) or failed, 2 bad usage.";

/// How often --watch looks.
const WATCH_EVERY: Duration = Duration::from_secs(30);

/// The settings that --what-if knows, as in [time] of the job file.
const LATENESS: &str = "allowed_lateness";
const BOUND: &str = "out_of_orderness";

const REFRESH: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &ReconcileArgs, output: Output) -> Result<(), Failure> {
    let config = load(&args.job)?;
    if config.archive.is_none() {
        return Err(Failure::usage(
            "archive.enabled is false: without clicks_raw there is nothing to recount a day from".to_owned(),
        ));
    }
    let timezone = args.timezone.unwrap_or(config.billing.timezone);
    let layout = args.cluster.layout(&config, "reconcile")?;
    let (process, processes) = layout.process();
    if processes > 1 && (args.watch || !args.what_if.is_empty()) {
        return Err(Failure::usage("--watch and --what-if are for one process: leave out --process and --hosts"));
    }
    let reconciler = reconciler(&config, args.memory << 20, layout)?;
    if process > 0 {
        return follow(args, &reconciler);
    }
    if args.watch {
        return watch(args, &config, &reconciler, timezone);
    }
    if !args.what_if.is_empty() {
        return what_if(args, &config, &reconciler, timezone, output);
    }
    let wanted = Wanted {
        // Lists are read and understood before anything is done.
        exclude: args
            .exclude
            .iter()
            .map(|place| ExclusionList::read(place))
            .collect::<anyhow::Result<_>>()
            .map_err(Failure::Usage)?,
        include: args.include.clone(),
        exact_users: args.exact_users,
        anew: args.recount,
    };
    let Some(Dates(first, last)) = args.date else { return Ok(()) };
    let mut reports = Vec::new();
    let mut failed = 0_u64;
    for date in first.iter_days().take_while(|date| *date <= last) {
        let progress = Progress::start(date, Arc::clone(&reconciler.progress));
        let report = reconciler.reconcile(date, timezone, &wanted);
        drop(progress);
        match report {
            Ok(report) => reports.push(report),
            // The process must end then: workers that could not be stopped may still be there.
            Err(error) if first == last || is_of_cluster(&error) => {
                return Err(error.context(format!("{date} could not be reconciled")).into());
            }
            Err(error) => {
                tracing::error!("{date} could not be reconciled: {error:#}");
                failed += 1;
            }
        }
    }
    output.print(&reports, |reports| reports.iter().map(describe).collect::<Vec<_>>().join("\n"))?;
    if failed > 0 {
        return Err(anyhow!("{failed} days could not be reconciled").into());
    }
    let open = reports.iter().filter(|report| report.status == DayStatus::Open).count();
    if open == 0 {
        return Ok(());
    }
    Err(anyhow!("{open} of {} days cannot be closed yet", reports.len()).into())
}

/// Does for each day what process 0 says.
fn follow(args: &ReconcileArgs, reconciler: &Reconciler) -> Result<(), Failure> {
    let Some(Dates(first, last)) = args.date else { return Ok(()) };
    let mut failed = 0;
    for date in first.iter_days().take_while(|date| *date <= last) {
        let progress = Progress::start(date, Arc::clone(&reconciler.progress));
        let followed = reconciler.follow();
        drop(progress);
        if let Err(error) = followed {
            if is_of_cluster(&error) {
                return Err(error.context(format!("{date} could not be recounted")).into());
            }
            tracing::error!("{date} could not be recounted: {error:#}");
            failed += 1;
        }
    }
    if failed == 0 {
        return Ok(());
    }
    Err(anyhow!("{failed} days could not be recounted").into())
}

/// Whether the processes could not meet, or have lost one another.
fn is_of_cluster(error: &anyhow::Error) -> bool {
    let is = |cause: &(dyn std::error::Error + 'static)| {
        matches!(cause.downcast_ref::<RecountError>(), Some(RecountError::Cluster(_)))
    };
    error.chain().any(is)
}

pub(super) fn reconciler(config: &JobConfig, memory_bytes: u64, layout: Layout) -> Result<Reconciler, Failure> {
    Ok(Reconciler {
        job: config.name.clone(),
        checkpoints: open_store(config.checkpoint.url.as_str())?,
        tables: open_store(config.tables.url.as_str())?,
        time: config.time,
        clickhouse: config.clickhouse.clone(),
        margin_ms: i64::try_from(config.billing.margin_ms).unwrap_or(i64::MAX),
        index: config.billing.index,
        workers: config.workers as usize,
        layout,
        memory_bytes,
        progress: Arc::default(),
    })
}

fn what_if(
    args: &ReconcileArgs,
    config: &JobConfig,
    reconciler: &Reconciler,
    timezone: Tz,
    output: Output,
) -> Result<(), Failure> {
    let setting = |name: &str, own_ms: u64| {
        let given = args.what_if.iter().rev().find(|(key, _)| key == name);
        given.map_or(own_ms, |(_, duration_ms)| *duration_ms)
    };
    let other = OtherTime {
        allowed_lateness_ms: setting(LATENESS, config.time.allowed_lateness_ms),
        out_of_orderness_ms: setting(BOUND, config.time.out_of_orderness_ms),
    };
    let idle_epochs = config.time.idle_timeout_ms.div_ceil(config.epoch.interval_ms);
    let Some(Dates(first, last)) = args.date else { return Ok(()) };
    let days = first.iter_days().take_while(|date| *date <= last);
    let days = days.map(|date| reconciler.what_if(date, timezone, other, idle_epochs));
    let days = days.collect::<anyhow::Result<Vec<WhatIf>>>()?;
    Ok(output.print(&days, |days| days.iter().map(describe_what_if).collect::<Vec<_>>().join("\n"))?)
}

fn other_setting(text: &str) -> Result<(String, u64), String> {
    let wanted = || format!("`{text}` is not {LATENESS}=… or {BOUND}=… with a duration like 1h");
    let (key, value) = text.split_once('=').ok_or_else(wanted)?;
    let duration_ms = parse_duration_ms(value).filter(|_| [LATENESS, BOUND].contains(&key)).ok_or_else(wanted)?;
    Ok((key.to_owned(), duration_ms))
}

/// Days are closed as they become complete. What fails is told, and tried again.
fn watch(args: &ReconcileArgs, config: &JobConfig, reconciler: &Reconciler, timezone: Tz) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    signals::watch("stopping: the day at hand is finished", move || told.store(true, Ordering::Relaxed))?;
    let wanted = Wanted { exact_users: args.exact_users, ..Wanted::default() };
    tracing::info!(
        job = config.name,
        timezone = timezone.name(),
        days = args.days,
        "days are closed as they are complete"
    );
    while !stop.load(Ordering::Relaxed) {
        let now_ms = chrono::Utc::now().timestamp_millis();
        let today = date_at(now_ms, timezone).context("the clock is wrong")?;
        for back in (1..=args.days).rev() {
            let Some(date) = today.checked_sub_days(Days::new(back)) else { continue };
            if stop.load(Ordering::Relaxed) {
                break;
            }
            tell(date, reconciler.reconcile(date, timezone, &wanted));
        }
        let mut waited = Duration::ZERO;
        while waited < WATCH_EVERY && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(REFRESH);
            waited += REFRESH;
        }
    }
    Ok(())
}

fn tell(date: NaiveDate, report: anyhow::Result<DayReport>) {
    match report {
        Ok(report) => match report.status {
            DayStatus::Unchanged if report.missing.is_empty() => {}
            DayStatus::Unchanged | DayStatus::Open => {
                tracing::info!(%date, missing = report.missing.join("; "), "not complete")
            }
            DayStatus::Closed | DayStatus::Restated => tracing::info!(
                %date,
                revision = report.revision,
                streamed = report.streamed,
                billed = report.billed,
                wrong_windows = report.wrong_windows_count,
                "closed"
            ),
        },
        Err(error) => tracing::error!(%date, "{error:#}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn other_settings_are_durations_of_known_keys() {
        assert_eq!(other_setting("allowed_lateness=1h"), Ok(("allowed_lateness".to_owned(), 3_600_000)));
        for wrong in ["allowed_lateness", "allowed_lateness=x", "lateness=1h", ""] {
            assert!(other_setting(wrong).is_err(), "{wrong}");
        }
    }
}
