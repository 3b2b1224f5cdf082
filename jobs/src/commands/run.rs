//! `weir run`: one process of a job, in the foreground.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use weir_checkpoints::Manifest;
use weir_dataflow::{JobMetrics, Layout};

use crate::Failure;
use crate::cli::JobArgs;
use crate::commands::{load, wiring};
use crate::config::JobConfig;
use crate::metrics::MetricsServer;
use crate::output::{Output, grouped, instant, table};
use crate::progress::Progress;

/// Runs a job: reads, counts, commits
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    job: JobArgs,
    /// Which process of a cluster this is, counted from 0
    #[arg(long, value_name = "I", requires = "hosts")]
    process: Option<usize>,
    /// A file with the address (host:port) of each process of the cluster, one a line
    #[arg(long, value_name = "FILE", requires = "process")]
    hosts: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  weir run job.toml
  weir run job.toml -D job.workers=4
  weir run job.toml --process 0 --hosts hosts.txt      (and --process 1 … on the other machines)

The job goes on where its newest checkpoint ends, with any number of workers. SIGTERM and Ctrl-C end it with a checkpoint;
at the end of a bounded source everything is committed. Starting it a second time takes over: the first one stops.
Exit codes: 0 ended or stopped in order, 1 failed, 2 the configuration is wrong.";

/// What a run comes to, since the job's first attempt.
#[derive(Debug, Serialize)]
struct Summary {
    job: String,
    ended: bool,
    attempt: u64,
    epoch: u64,
    watermark_ms: Option<i64>,
    read: u64,
    counted: u64,
    duplicate: u64,
    late: u64,
    future: u64,
    rejected: u64,
    tables: String,
}

pub(crate) fn run(args: &RunArgs, output: Output) -> Result<(), Failure> {
    let config = load(&args.job)?;
    let layout = layout(args, &config)?;
    let metrics = Arc::new(JobMetrics::default());
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(Arc::clone(&stop))?;
    let server = config
        .metrics_listen
        .map(|listen| MetricsServer::start(listen, &config.name, Arc::clone(&metrics)))
        .transpose()?;
    if let Some(server) = &server {
        tracing::info!("metrics on http://{}/metrics", server.address());
    }
    let job = wiring::job(&config, Arc::clone(&metrics), stop)?;
    let progress = Progress::start(metrics);
    let finished = weir_dataflow::run(job, layout);
    drop(progress);
    let finished = finished.map_err(|error| Failure::Failed(anyhow::Error::new(error).context(failed(&config))))?;
    // Only the process of worker 0 knows.
    if let Some(manifest) = finished.manifest {
        output.print(&summary(&config, &manifest), |summary| table(&["", ""], &[], rows(summary).into_iter()))?;
    }
    Ok(())
}

fn failed(config: &JobConfig) -> String {
    format!("job {} stopped; what it had committed stands, and `weir run` goes on from there", config.name)
}

fn layout(args: &RunArgs, config: &JobConfig) -> Result<Layout, Failure> {
    let threads = config.workers as usize;
    let (Some(process), Some(path)) = (args.process, &args.hosts) else { return Ok(Layout::Threads(threads)) };
    let hosts = hosts(path)?;
    if process >= hosts.len() {
        let count = hosts.len();
        return Err(Failure::usage(format!(
            "--process {process}: {} has {count} hosts, 0 to {}",
            path.display(),
            count.saturating_sub(1)
        )));
    }
    Ok(Layout::Cluster { process, hosts, threads })
}

fn hosts(path: &Path) -> Result<Vec<String>, Failure> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("--hosts {}", path.display())).map_err(Failure::Usage)?;
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect())
}

/// SIGTERM and SIGINT set `stop`; a second one ends the process at once, which loses nothing that was committed.
fn stop_on_signals(stop: Arc<AtomicBool>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot wait for signals")?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let wait = move || {
        runtime.block_on(async {
            for first in [true, false] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if first {
                    tracing::info!("stopping: the epoch is finished and a checkpoint taken; once more ends at once");
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        std::process::exit(1);
    };
    std::thread::Builder::new().name("weir-signals".to_owned()).spawn(wait).context("cannot wait for signals")?;
    Ok(())
}

fn summary(config: &JobConfig, manifest: &Manifest) -> Summary {
    let totals = manifest.totals();
    Summary {
        job: config.name.clone(),
        ended: manifest.ended,
        attempt: manifest.attempt.0,
        epoch: manifest.epoch.0,
        watermark_ms: manifest.watermark_ms,
        read: totals.read,
        counted: totals.counted,
        duplicate: totals.duplicate,
        late: totals.late,
        future: totals.future,
        rejected: totals.rejected,
        tables: config.tables.url.to_string(),
    }
}

fn rows(summary: &Summary) -> Vec<Vec<String>> {
    let watermark = if summary.ended {
        "the end: every window is closed".to_owned()
    } else {
        summary.watermark_ms.map_or_else(|| "none yet".to_owned(), instant)
    };
    [
        ("job", format!("{}, attempt {}", summary.job, summary.attempt)),
        ("read", grouped(summary.read)),
        ("counted", grouped(summary.counted)),
        ("duplicate", grouped(summary.duplicate)),
        ("late", grouped(summary.late)),
        ("future", grouped(summary.future)),
        ("rejected", grouped(summary.rejected)),
        ("watermark", watermark),
        ("tables", summary.tables.clone()),
    ]
    .map(|(what, value)| vec![what.to_owned(), value])
    .into()
}
