//! `weir ingest`: clicks over HTTP into the log.

use std::path::PathBuf;
use std::sync::mpsc;

use clap::Args;
use serde::Serialize;

use crate::Failure;
use crate::commands::{ingest_wiring, signals};
use crate::config::IngestConfig;
use crate::ingest::{Ingest, new_key};
use crate::output::Output;

/// Takes clicks over HTTP (POST /v1/clicks) into the log that a job reads
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct IngestArgs {
    /// The job file: [source] says where clicks go, [ingest] how they are taken
    #[arg(value_name = "JOB.toml")]
    job: Option<PathBuf>,
    /// Sets a key of the job file, before the environment (WEIR_INGEST__LISTEN=…) and the file
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    definitions: Vec<String>,
    /// Makes an API key: prints it once, and the entry for ingest.auth.keys_file that lets it in
    #[arg(long, value_name = "NAME", exclusive = true)]
    new_key: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  weir ingest job.toml
  weir ingest job.toml -D ingest.listen=0.0.0.0:8080 -D ingest.cors.origins=https://shop.example
  weir ingest -D source.kind=kafka -D source.brokers=127.0.0.1:9092 -D source.topic=clicks
  weir ingest --new-key web-sdk
  curl -d '{\"ad_id\":\"a\",\"user_id\":\"u\",\"timestamp\":'$(date +%s)'}' -H content-type:application/json \\
    http://127.0.0.1:8080/v1/clicks

A click that is answered `accepted` is on every in-sync replica of its Kafka partition, or on the disk, and will be counted
once. After 429, 503 or no answer at all, send it again with the same click_id.
The first SIGINT or SIGTERM stops in order: requests that have begun are answered, then the log is closed. The second one
stops at once; that loses nothing that was accepted. `weir check --defaults` shows all keys.";

#[derive(Debug, Serialize)]
struct NewKey {
    name: String,
    key: String,
    entry: String,
}

pub(crate) fn run(args: &IngestArgs, output: Output) -> Result<(), Failure> {
    if let Some(name) = &args.new_key {
        return print_new_key(name, output);
    }
    let config = IngestConfig::load(args.job.as_deref(), &args.definitions)?;
    let (told, stop) = mpsc::channel();
    signals::watch("stopping: requests that have begun are answered", move || {
        // The receiver is waiting below, or everything is over.
        let _ = told.send(());
    })?;
    let (log, watched) = ingest_wiring::log(&config)?;
    let place = log.place().to_owned();
    let ingest = Ingest::start(config, log, watched, None)?;
    tracing::info!(address = %ingest.address(), log = place, "clicks are taken");
    // An error means that nobody will ever tell: that cannot be while the signal thread lives.
    let _ = stop.recv();
    ingest.stop()?;
    tracing::info!("stopped; everything that was accepted is in the log");
    Ok(())
}

fn print_new_key(name: &str, output: Output) -> Result<(), Failure> {
    let (key, entry) = new_key(name).map_err(Failure::Usage)?;
    let made = NewKey { name: name.to_owned(), key, entry };
    Ok(output.print(&made, |made| {
        format!("# the key, shown this once:\n# {}\n# its entry for ingest.auth.keys_file:\n{}", made.key, made.entry)
    })?)
}
