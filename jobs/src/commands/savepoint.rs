//! `weir savepoint`: keeps a job's newest checkpoint under a name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use weir_checkpoints::{Epoch, Follower, Names, Savepoint, Savepoints, Store};

use crate::Failure;
use crate::cli::JobArgs;
use crate::commands::from::is_savepoint_name;
use crate::commands::{load, open_store};
use crate::config::{JobConfig, format_duration_ms};
use crate::output::{Output, facts, grouped, instant};

/// How much longer than its interval a checkpoint may take.
const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(100);

/// Keeps the newest checkpoint under a name, until it is removed
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SavepointArgs {
    #[command(flatten)]
    job: JobArgs,
    /// Letters, digits, `-`, `_` and `.`; not only digits
    #[arg(value_parser = savepoint_name)]
    name: String,
    /// Waits for the next checkpoint of the running job, which has all that was read by now
    #[arg(long)]
    next: bool,
}

const EXAMPLES: &str = "\
Examples:
  weir savepoint job.toml before-upgrade
  weir savepoint job.toml before-upgrade --next     of a running job: not the last checkpoint but the one to come
  weir checkpoints list job.toml                    lists checkpoints and savepoints
  weir checkpoints remove job.toml before-upgrade
  weir run fork.toml --from clicks/before-upgrade   a new job, with its own tables, goes on from there

The job may be running or stopped; told to stop (SIGTERM), it has a checkpoint of everything it read. Retention keeps the
state of a savepoint. The log is kept by whoever keeps the log: what comes after the savepoint must still be in it.";

/// A name that a savepoint may have.
pub(crate) fn savepoint_name(text: &str) -> Result<String, String> {
    if is_savepoint_name(text) {
        return Ok(text.to_owned());
    }
    Err("a name has up to 64 letters, digits, `-`, `_` and `.`, and is no number".to_owned())
}

/// What is kept.
#[derive(Debug, Serialize)]
struct Kept {
    job: String,
    savepoint: String,
    sequence: u64,
    epoch: u64,
    watermark_ms: Option<i64>,
    read: u64,
    counted: u64,
    state_bytes: u64,
    manifest_hash: String,
    /// What `weir run --from` takes, from wherever.
    from: String,
}

pub(crate) fn run(args: &SavepointArgs, output: Output) -> Result<(), Failure> {
    let config = load(&args.job)?;
    let store = open_store(config.checkpoint.url.as_str())?;
    if args.next {
        wait_for_next(&config, &store)?;
    }
    let savepoints = Savepoints::new(store, Names::new(&config.name));
    let taken = savepoints.take(&args.name).map_err(anyhow::Error::from)?;
    Ok(output.print(&kept(&config, taken), describe)?)
}

/// Waits until the job is further than now.
fn wait_for_next(config: &JobConfig, store: &Arc<dyn Store>) -> anyhow::Result<()> {
    let mut chain = Follower::new(Arc::clone(store), &config.name);
    let mut epoch = || -> anyhow::Result<Option<Epoch>> { Ok(chain.newest()?.map(|newest| newest.epoch)) };
    let (before, started) = (epoch()?, Instant::now());
    let patience = Duration::from_millis(config.checkpoint.interval_ms) + PATIENCE;
    while epoch()? <= before {
        if started.elapsed() > patience {
            let waited = format_duration_ms(patience.as_millis() as u64);
            anyhow::bail!(
                "job {} has taken no checkpoint for {waited}: is it running? Of a stopped job, keep the newest one, without --next",
                config.name
            );
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn kept(config: &JobConfig, savepoint: Savepoint) -> Kept {
    let Savepoint { name, manifest, hash } = savepoint;
    let totals = manifest.totals();
    let url = config.checkpoint.url.as_str().trim_end_matches('/');
    Kept {
        from: format!("{url}/{}/{name}", config.name),
        job: config.name.clone(),
        savepoint: name,
        sequence: manifest.sequence.0,
        epoch: manifest.epoch.0,
        watermark_ms: manifest.watermark_ms,
        read: totals.read,
        counted: totals.counted,
        state_bytes: manifest.state.iter().map(|part| part.size_bytes).sum(),
        manifest_hash: hash,
    }
}

fn describe(kept: &Kept) -> String {
    facts(&[
        ("savepoint", format!("{} of job {}", kept.savepoint, kept.job)),
        ("checkpoint", format!("{}, epoch {}", kept.sequence, kept.epoch)),
        ("its manifest", format!("SHA-256 {}", kept.manifest_hash)),
        ("watermark", kept.watermark_ms.map_or_else(|| "none yet".to_owned(), instant)),
        ("clicks read", grouped(kept.read)),
        ("counted", grouped(kept.counted)),
        ("state", format!("{} bytes", grouped(kept.state_bytes))),
        ("start a fork", format!("weir run FORK.toml --from {}", kept.from)),
    ])
}
