//! `weir up`: everything in one process.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use weir_dataflow::{HotWindows, JobMetrics, Layout, run as run_job};

use crate::Failure;
use crate::commands::{ingest_wiring, signals, wiring};
use crate::config::{SourceConfig, UpConfig};
use crate::generate::http::{Demo, HttpAddress, demo};
use crate::ingest::Ingest;
use crate::output::{Output, facts};

/// Runs everything in one process: takes clicks over HTTP, counts them, writes tables
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpArgs {
    /// A job file, for whatever shall be other than by default
    #[arg(value_name = "JOB.toml")]
    job: Option<PathBuf>,
    /// Sets a key of the job file, before the environment (WEIR_JOB__WORKERS=4) and the file
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    definitions: Vec<String>,
    /// The folder of the log, the checkpoints and the tables
    #[arg(long, value_name = "FOLDER", default_value = "weir-data")]
    data: PathBuf,
    /// Posts synthetic clicks to itself, 500 a second in waves
    #[arg(long)]
    demo: bool,
}

const EXAMPLES: &str = "\
Examples:
  weir up
  weir up --demo
  weir up --data /var/lib/weir -D ingest.listen=0.0.0.0:8080
  weir up job.toml

Without a job file the clicks go into an embedded log below the folder: nothing else has to run. Everything goes on where it
was when it is started again, also after a crash. With --demo windows close 30 seconds after their end instead of 10 minutes.
The first SIGINT or SIGTERM stops in order: requests that have begun are answered, then the job takes a last checkpoint.";

/// A demo is looked at for minutes, not for hours.
const DEMO_DEFAULTS: &str =
    "time.allowed_lateness = \"30s\"\ncheckpoint.interval = \"5s\"\ntables.roll_interval = \"10s\"\n";

#[derive(Debug, Serialize)]
struct Started {
    clicks: String,
    queries: String,
    log: String,
    tables: String,
    checkpoints: String,
    metrics: String,
}

/// Why the process is to end.
enum End {
    Told,
    JobEnded(Result<()>),
}

pub(crate) fn run(args: &UpArgs, output: Output) -> Result<(), Failure> {
    let more_defaults = if args.demo { DEMO_DEFAULTS } else { "" };
    let config = UpConfig::load(&args.data, more_defaults, args.job.as_deref(), &args.definitions)?;
    let (ends, end) = mpsc::channel();
    let told = ends.clone();
    signals::watch("stopping: requests that have begun are answered, then a last checkpoint is taken", move || {
        // Where nobody listens any more, the end has come already.
        let _ = told.send(End::Told);
    })?;
    let metrics: Arc<JobMetrics> = Arc::default();
    // The log first: the job finds its partitions there.
    let (log, mut watched) = ingest_wiring::log(&config.ingest)?;
    watched.job = Some((config.job.name.clone(), Arc::clone(&metrics)));
    let stop = Arc::new(AtomicBool::new(false));
    let hot = wiring::hot(&config.job, true);
    let queries = wiring::queries(&config.serve, Some(wiring::in_process(&config.job, &metrics, &hot)))?;
    let job = start_job(&config, metrics, Arc::clone(&hot), &stop, ends)?;
    wiring::restore_hot(&config.job, &hot, &stop)?;
    let ingest = Ingest::start(config.ingest.clone(), log, watched, Some(Arc::new(queries)))?;
    output.print(&started(&config, &ingest), describe)?;
    let traffic = args.demo.then(|| start_demo(&ingest)).transpose()?;

    // A sender is kept by the signals for ever.
    let reason = end.recv().unwrap_or(End::Told);
    if let Some((stop_demo, posting)) = traffic {
        stop_demo.store(true, Ordering::Relaxed);
        // A panic has ended the process already.
        let _ = posting.join();
    }
    let drained = ingest.stop();
    stop.store(true, Ordering::Relaxed);
    let ended = match reason {
        End::JobEnded(outcome) => outcome,
        End::Told => match end.recv() {
            Ok(End::JobEnded(outcome)) => outcome,
            Ok(End::Told) | Err(_) => Ok(()),
        },
    };
    // A panic has ended the process already.
    let _ = job.join();
    ended?;
    drained?;
    tracing::info!("stopped; the next start goes on from here");
    Ok(())
}

fn start_job(
    config: &UpConfig,
    metrics: Arc<JobMetrics>,
    hot: Arc<HotWindows>,
    stop: &Arc<AtomicBool>,
    ends: Sender<End>,
) -> Result<thread::JoinHandle<()>> {
    let job = wiring::job(&config.job, metrics, hot, Arc::clone(stop))?;
    let (name, workers) = (config.job.name.clone(), config.job.workers as usize);
    let work = move || {
        let finished = run_job(job, Layout::Threads(workers)).map(|_| ()).map_err(anyhow::Error::from);
        // The other end waits for this.
        let _ = ends.send(End::JobEnded(finished.with_context(|| format!("job {name} failed"))));
    };
    thread::Builder::new().name("weir-job".to_owned()).spawn(work).context("cannot start a thread")
}

type Traffic = (Arc<AtomicBool>, thread::JoinHandle<()>);

fn start_demo(ingest: &Ingest) -> Result<Traffic> {
    let mut address = ingest.address();
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let address = HttpAddress::parse(&format!("http://{address}"))?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let work = move || match demo(&address, &Demo::default(), &told) {
        Ok(clicks) => tracing::info!(clicks, "the demo has ended"),
        Err(error) => tracing::warn!("the demo has ended: {error:#}"),
    };
    let thread = thread::Builder::new().name("weir-demo".to_owned()).spawn(work).context("cannot start a thread")?;
    Ok((stop, thread))
}

fn started(config: &UpConfig, ingest: &Ingest) -> Started {
    let scheme = if config.ingest.tls.is_some() { "https" } else { "http" };
    let at = |path: &str| format!("{scheme}://{}{path}", ingest.address());
    Started {
        clicks: format!("POST {}", at("/v1/clicks")),
        queries: format!("GET {}", at("/v1/stats")),
        log: match &config.job.source {
            SourceConfig::Kafka(kafka) => format!("kafka://{}/{}", kafka.brokers, kafka.topic),
            SourceConfig::Ndjson { url, .. } => url.to_string(),
        },
        tables: config.job.tables.url.to_string(),
        checkpoints: config.job.checkpoint.url.to_string(),
        metrics: at("/metrics"),
    }
}

fn describe(started: &Started) -> String {
    facts(&[
        ("clicks", started.clicks.clone()),
        ("queries", started.queries.clone()),
        ("log", started.log.clone()),
        ("tables", started.tables.clone()),
        ("checkpoints", started.checkpoints.clone()),
        ("metrics", started.metrics.clone()),
    ])
}
