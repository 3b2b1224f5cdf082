//! `weir serve`: questions about windows over HTTP.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use clap::Args;

use crate::Failure;
use crate::commands::{signals, wiring};
use crate::config::ServeConfig;
use crate::serve::Serve;

/// Answers questions about windows over HTTP (GET /v1/stats, /v1/top, /v1/uniques)
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// The job file: whose windows, and where they are
    #[arg(value_name = "JOB.toml")]
    job: Option<PathBuf>,
    /// Sets a key of the job file, before the environment (WEIR_SERVE__LISTEN=…) and the file
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    definitions: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  weir serve job.toml
  weir serve job.toml -D serve.listen=0.0.0.0:8081 -D serve.jobs=http://10.0.0.7:9900,http://10.0.0.8:9900
  curl 'http://127.0.0.1:8081/v1/stats?ad_id=ad-1&window=1m&start=2025-01-15T14:00:00Z&end=2025-01-15T15:00:00Z'
  curl 'http://127.0.0.1:8081/v1/top?window=1m&limit=10'

The current minutes come from the memory of the job's processes, which have metrics.listen set; everything older comes from
the tables. Where a process cannot be asked, what only it knows is missing, and the answer says \"partial\":true.
The first SIGINT or SIGTERM stops in order: requests that have begun are answered.";

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let config = ServeConfig::load(args.job.as_deref(), &args.definitions)?;
    let (told, stop) = mpsc::channel();
    signals::watch("stopping: requests that have begun are answered", move || {
        // The receiver is waiting below, or everything is over.
        let _ = told.send(());
    })?;
    let serve = Serve::start(&config, Arc::new(wiring::queries(&config, None)?))?;
    tracing::info!(address = %serve.address(), job = config.job, "questions are answered");
    // An error means that nobody will ever tell: that cannot be while the signal thread lives.
    let _ = stop.recv();
    serve.stop();
    tracing::info!("stopped");
    Ok(())
}
