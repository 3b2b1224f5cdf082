//! `weir checkpoints`: what a restart would use.

use clap::{Args, Subcommand};
use serde::Serialize;
use weir_checkpoints::{Manifest, Names, Sequence};

use crate::Failure;
use crate::cli::JobArgs;
use crate::commands::{load, open_store};
use crate::output::{Output, facts, grouped, instant, table};

/// Shows a job's checkpoints
#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointsCommand {
    /// Lists them, newest first
    #[command(after_help = "Example:\n  weir checkpoints list job.toml")]
    List(ListArgs),
    /// Shows one: where each partition stands, and what became of its records
    #[command(
        after_help = "Examples:\n  weir checkpoints show job.toml\n  weir checkpoints show job.toml 42 --output json"
    )]
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    job: JobArgs,
    /// At most this many
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    job: JobArgs,
    /// Which one [default: the newest, which a restart would use]
    sequence: Option<u64>,
}

pub(crate) fn run(command: &CheckpointsCommand, output: Output) -> Result<(), Failure> {
    match command {
        CheckpointsCommand::List(args) => list(args, output),
        CheckpointsCommand::Show(args) => show(args, output),
    }
}

/// One line of the list.
#[derive(Debug, Serialize)]
struct Line {
    sequence: u64,
    epoch: u64,
    attempt: u64,
    written_ms: i64,
    watermark_ms: Option<i64>,
    read: u64,
    counted: u64,
    state_bytes: u64,
    ended: bool,
}

impl Line {
    fn of(manifest: &Manifest) -> Self {
        let totals = manifest.totals();
        Self {
            sequence: manifest.sequence.0,
            epoch: manifest.epoch.0,
            attempt: manifest.attempt.0,
            written_ms: manifest.written_ms,
            watermark_ms: manifest.watermark_ms,
            read: totals.read,
            counted: totals.counted,
            state_bytes: state_bytes(manifest),
            ended: manifest.ended,
        }
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.sequence.to_string(),
            self.epoch.to_string(),
            self.attempt.to_string(),
            instant(self.written_ms),
            watermark(self.watermark_ms),
            grouped(self.read),
            grouped(self.counted),
            grouped(self.state_bytes),
            if self.ended { "ended" } else { "running" }.to_owned(),
        ]
    }
}

fn list(args: &ListArgs, output: Output) -> Result<(), Failure> {
    let config = load(&args.job)?;
    let store = open_store(config.checkpoint.url.as_str())?;
    let names = Names::new(&config.name);
    let objects = store.list(&names.manifests()).map_err(anyhow::Error::from)?;
    let sequences = objects.iter().rev().filter_map(|object| names.sequence_of(&object.name));
    let mut lines = Vec::new();
    for sequence in sequences.take(args.limit) {
        // Retention may remove a manifest between the listing and the reading.
        if let Some(manifest) = read(&config.name, store.as_ref(), sequence)? {
            lines.push(Line::of(&manifest));
        }
    }
    if lines.is_empty() {
        tracing::warn!("job {} has no checkpoint under {}", config.name, config.checkpoint.url);
    }
    const HEADINGS: [&str; 9] =
        ["sequence", "epoch", "attempt", "written", "watermark", "read", "counted", "state bytes", "source"];
    Ok(output.print(&lines, |lines| table(&HEADINGS, &[0, 1, 2, 5, 6, 7], lines.iter().map(Line::row)))?)
}

fn show(args: &ShowArgs, output: Output) -> Result<(), Failure> {
    let config = load(&args.job)?;
    let store = open_store(config.checkpoint.url.as_str())?;
    let names = Names::new(&config.name);
    let newest = || -> Result<Option<Sequence>, Failure> {
        let objects = store.list(&names.manifests()).map_err(anyhow::Error::from)?;
        Ok(objects.iter().rev().find_map(|object| names.sequence_of(&object.name)))
    };
    let sequence = match args.sequence {
        Some(number) => Some(Sequence(number)),
        None => newest()?,
    };
    let Some(wanted) = sequence else {
        return Err(anyhow::anyhow!("job {} has no checkpoint under {}", config.name, config.checkpoint.url).into());
    };
    let Some(manifest) = read(&config.name, store.as_ref(), wanted)? else {
        return Err(
            anyhow::anyhow!("job {} has no checkpoint {wanted}; see `weir checkpoints list`", config.name).into()
        );
    };
    Ok(output.print(&manifest, describe)?)
}

fn read(job: &str, store: &dyn weir_checkpoints::Store, sequence: Sequence) -> Result<Option<Manifest>, Failure> {
    let name = Names::new(job).manifest(sequence);
    let Some(bytes) = store.get(&name).map_err(anyhow::Error::from)? else {
        return Ok(None);
    };
    Ok(Some(Manifest::parse(&name, &bytes).map_err(anyhow::Error::from)?))
}

fn describe(manifest: &Manifest) -> String {
    let totals = manifest.totals();
    let mut text = facts(&[
        ("job", manifest.job.clone()),
        ("sequence", manifest.sequence.to_string()),
        ("epoch", manifest.epoch.to_string()),
        ("attempt", manifest.attempt.to_string()),
        ("workers", manifest.workers.to_string()),
        ("written", instant(manifest.written_ms)),
        ("watermark", watermark(manifest.watermark_ms)),
        ("closed until", watermark(manifest.closed_until_ms)),
        ("source", if manifest.ended { "ended: nothing is left to read" } else { "goes on" }.to_owned()),
        ("state", format!("{} parts, {} bytes", manifest.state.len(), grouped(state_bytes(manifest)))),
        ("outputs", format!("{} objects", manifest.outputs.len())),
        ("conserved", if totals.conserved() { "yes" } else { "NO" }.to_owned()),
    ]);
    const HEADINGS: [&str; 8] =
        ["partition", "next offset", "read", "counted", "duplicate", "late", "future", "rejected"];
    let rows = manifest.partitions.iter().map(|(partition, cut)| {
        let sums = &cut.totals;
        let numbers = [
            cut.position.next_offset.0,
            sums.read,
            sums.counted,
            sums.duplicate,
            sums.late,
            sums.future,
            sums.rejected,
        ];
        std::iter::once(partition.to_string()).chain(numbers.map(grouped)).collect()
    });
    text.push('\n');
    text.push_str(&table(&HEADINGS, &[0, 1, 2, 3, 4, 5, 6, 7], rows));
    text
}

fn state_bytes(manifest: &Manifest) -> u64 {
    manifest.state.iter().map(|part| part.size_bytes).sum()
}

fn watermark(watermark_ms: Option<i64>) -> String {
    watermark_ms.map_or_else(|| "none yet".to_owned(), instant)
}
