//! `weir run`: one process of a job.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use weir_checkpoints::{Manifest, Totals};
use weir_dataflow::{JobMetrics, run as run_job};

use crate::Failure;
use crate::cli::JobArgs;
use crate::commands::cluster::ClusterArgs;
use crate::commands::from::Start;
use crate::commands::{load, signals, wiring};
use crate::config::{JobConfig, SourceConfig};
use crate::metrics::MetricsServer;
use crate::output::{Output, facts, grouped, instant};
use crate::progress::Progress;

/// Runs a job until its source ends, or until it is told to stop
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Begins a new job with the state of another one's savepoint (or checkpoint, by its number): JOB/NAME, or URL/JOB/NAME
    #[arg(long, value_name = "SAVEPOINT")]
    from: Option<Start>,
}

const EXAMPLES: &str = "\
Examples:
  weir run job.toml
  weir run job.toml -D job.workers=4 -D metrics.listen=127.0.0.1:9900
  weir run job.toml --process 0 --hosts hosts.txt     and the same with --process 1 on the other machine
  weir run fork.toml --from clicks/before-upgrade     a new job with other tables goes on from a savepoint of job clicks

A job goes on from its newest checkpoint; after a crash, start it again. When one process of several is lost, hangs or cannot
be reached, all others stop with exit code 1 and name it: start all of them again, or fewer with another list of hosts. The first SIGINT or SIGTERM takes a last checkpoint,
the second stops at once. Starting a job a second time takes over: the first process stops.
With --from NAME a job begins at its own savepoint only where it has not gone on since: its tables have what came after. A
fork (another job.name and tables.url) may begin anywhere. Once it has begun, the same command lets it go on.
Exit codes: 0 the source has ended or the job was told to stop, 1 it failed, 2 the configuration is wrong.";

/// How a run ended.
#[derive(Debug, Serialize)]
struct Summary {
    job: String,
    ended: bool,
    seconds: f64,
    /// Records read by this process.
    read_here: u64,
    attempt: u64,
    epoch: u64,
    watermark_ms: Option<i64>,
    totals: Totals,
    tables: String,
}

pub(crate) fn run(args: &RunArgs, output: Output) -> Result<(), Failure> {
    let config = load(&args.job)?;
    let layout = args.cluster.layout(&config, "run")?;
    let metrics: Arc<JobMetrics> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    signals::watch("stopping: the last checkpoint is being taken", move || told.store(true, Ordering::Relaxed))?;
    let hot = wiring::hot(&config, config.metrics_listen.is_some());
    let job = wiring::job(&config, Arc::clone(&metrics), Arc::clone(&hot), Arc::clone(&stop))?;
    // What all processes do together is begun by the first.
    if let Some(start) = args.from.as_ref().filter(|_| layout.process().0 == 0) {
        start.prepare(&config, &job.settings)?;
    }
    let server = config
        .metrics_listen
        .map(|listen| MetricsServer::start(listen, wiring::in_process(&config, &metrics, &hot)))
        .transpose()?;
    if server.is_some() {
        wiring::restore_hot(&config, &hot, &stop)?;
    }
    tracing::info!(
        job = config.name,
        workers = config.workers,
        source = place(&config),
        metrics = server.as_ref().map(|server| server.address().to_string()),
        "job starts"
    );
    let started = Instant::now();
    let progress = Progress::start(Arc::clone(&metrics));
    let finished = run_job(job, layout);
    drop(progress);
    drop(server);
    let manifest =
        finished.map_err(anyhow::Error::from).with_context(|| format!("job {} failed", config.name))?.manifest;
    let Some(last) = manifest else {
        // Only the process of worker 0 knows what was committed.
        return Ok(());
    };
    let summary = summary(&config, &last, started.elapsed().as_secs_f64(), metrics.read());
    Ok(output.print(&summary, describe)?)
}

fn place(config: &JobConfig) -> String {
    match &config.source {
        SourceConfig::Kafka(kafka) => format!("kafka://{}/{}", kafka.brokers, kafka.topic),
        SourceConfig::Ndjson { url, .. } => url.to_string(),
    }
}

fn summary(config: &JobConfig, last: &Manifest, seconds: f64, read_here: u64) -> Summary {
    Summary {
        job: config.name.clone(),
        ended: last.ended,
        seconds,
        read_here,
        attempt: last.attempt.0,
        epoch: last.epoch.0,
        watermark_ms: last.watermark_ms,
        totals: last.totals(),
        tables: config.tables.url.to_string(),
    }
}

fn describe(summary: &Summary) -> String {
    let totals = &summary.totals;
    let state = if summary.ended { "the source has ended, every window is closed" } else { "stopped, to go on later" };
    let per_second = summary.read_here as f64 / summary.seconds.max(1e-9);
    facts(&[
        ("job", format!("{}: {state}", summary.job)),
        (
            "this run",
            format!(
                "{} records in {:.2} s, {} a second",
                grouped(summary.read_here),
                summary.seconds,
                grouped(per_second as u64)
            ),
        ),
        ("committed", format!("epoch {}, attempt {}", summary.epoch, summary.attempt)),
        ("watermark", summary.watermark_ms.map_or_else(|| "none yet".to_owned(), instant)),
        ("clicks read", grouped(totals.read)),
        ("counted", grouped(totals.counted)),
        ("duplicate", grouped(totals.duplicate)),
        ("late", grouped(totals.late)),
        ("future", grouped(totals.future)),
        ("rejected", grouped(totals.rejected)),
        ("tables", summary.tables.clone()),
    ])
}
