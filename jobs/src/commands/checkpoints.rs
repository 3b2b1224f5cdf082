//! `weir checkpoints`: what a restart would use.

use clap::{Args, Subcommand};
use serde::Serialize;
use weir_checkpoints::{Manifest, Names, Origin, Savepoints, Sequence};

use crate::Failure;
use crate::cli::JobArgs;
use crate::commands::from::{Which, unknown};
use crate::commands::savepoint::savepoint_name;
use crate::commands::{load, open_store};
use crate::output::{Output, facts, grouped, instant, table};

/// Shows a job's checkpoints and savepoints
#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointsCommand {
    /// Lists them, newest first; savepoints always
    #[command(after_help = "Example:\n  weir checkpoints list job.toml")]
    List(ListArgs),
    /// Shows one: where each partition stands, and what became of its records
    #[command(
        after_help = "Examples:\n  weir checkpoints show job.toml\n  weir checkpoints show job.toml 42 --output json\n  weir checkpoints show job.toml before-upgrade"
    )]
    Show(ShowArgs),
    /// Removes a savepoint; the job's next sweep deletes what nothing else needs of it
    #[command(after_help = "Example:\n  weir checkpoints remove job.toml before-upgrade")]
    Remove(RemoveArgs),
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
    /// Which one, by its number or the name of a savepoint [default: the newest, which a restart would use]
    which: Option<Which>,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    job: JobArgs,
    /// The savepoint
    #[arg(value_parser = savepoint_name)]
    name: String,
}

pub(crate) fn run(command: &CheckpointsCommand, output: Output) -> Result<(), Failure> {
    match command {
        CheckpointsCommand::List(args) => list(args, output),
        CheckpointsCommand::Show(args) => show(args, output),
        CheckpointsCommand::Remove(args) => remove(args, output),
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
    /// The names that it is kept under.
    savepoints: Vec<String>,
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
            savepoints: Vec::new(),
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
            self.savepoints.join(", "),
        ]
    }
}

fn list(args: &ListArgs, output: Output) -> Result<(), Failure> {
    let config = load(&args.job)?;
    let store = open_store(config.checkpoint.url.as_str())?;
    let names = Names::new(&config.name);
    let savepoints = Savepoints::new(store.clone(), names.clone()).list().map_err(anyhow::Error::from)?;
    let objects = store.list(&names.manifests()).map_err(anyhow::Error::from)?;
    let sequences = objects.iter().rev().filter_map(|object| names.sequence_of(&object.name));
    let mut lines = Vec::new();
    for sequence in sequences.take(args.limit) {
        // Retention may remove a manifest between the listing and the reading.
        if let Some(manifest) = read(&config.name, store.as_ref(), sequence)? {
            lines.push(Line::of(&manifest));
        }
    }
    for savepoint in savepoints {
        let sequence = savepoint.manifest.sequence.0;
        let at = match lines.iter().position(|line| line.sequence <= sequence) {
            Some(at) if lines.get(at).is_some_and(|line| line.sequence == sequence) => at,
            at => {
                let at = at.unwrap_or(lines.len());
                lines.insert(at, Line::of(&savepoint.manifest));
                at
            }
        };
        if let Some(line) = lines.get_mut(at) {
            line.savepoints.push(savepoint.name);
        }
    }
    if lines.is_empty() {
        tracing::warn!("job {} has no checkpoint under {}", config.name, config.checkpoint.url);
    }
    const HEADINGS: [&str; 10] = [
        "sequence",
        "epoch",
        "attempt",
        "written",
        "watermark",
        "read",
        "counted",
        "state bytes",
        "source",
        "savepoint",
    ];
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
    let sequence = match &args.which {
        Some(Which::Named(name)) => {
            let savepoints = Savepoints::new(store, names);
            let found = savepoints.get(name).map_err(anyhow::Error::from)?;
            let found = found.ok_or_else(|| unknown(&config.name, name, &savepoints))?;
            return Ok(output.print(&found.manifest, describe)?);
        }
        Some(Which::Number(number)) => Some(*number),
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

/// What was removed.
#[derive(Debug, Serialize)]
struct Removed {
    job: String,
    savepoint: String,
}

fn remove(args: &RemoveArgs, output: Output) -> Result<(), Failure> {
    let config = load(&args.job)?;
    let savepoints = Savepoints::new(open_store(config.checkpoint.url.as_str())?, Names::new(&config.name));
    if !savepoints.remove(&args.name).map_err(anyhow::Error::from)? {
        return Err(unknown(&config.name, &args.name, &savepoints).into());
    }
    let removed = Removed { job: config.name, savepoint: args.name.clone() };
    Ok(output
        .print(&removed, |removed| format!("savepoint {} of job {} is removed", removed.savepoint, removed.job))?)
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
    let mut lines = vec![("job", manifest.job.clone())];
    lines.extend(manifest.origin.as_ref().map(|origin| ("forked from", describe_origin(origin))));
    lines.extend([
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
    let mut text = facts(&lines);
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

/// In a few words, where a fork comes from.
pub(crate) fn describe_origin(origin: &Origin) -> String {
    let name = origin.savepoint.as_ref().map_or_else(String::new, |name| format!("savepoint {name}, "));
    format!("job {}, {name}checkpoint {}, epoch {}, SHA-256 {}", origin.job, origin.sequence, origin.epoch, origin.hash)
}

fn state_bytes(manifest: &Manifest) -> u64 {
    manifest.state.iter().map(|part| part.size_bytes).sum()
}

fn watermark(watermark_ms: Option<i64>) -> String {
    watermark_ms.map_or_else(|| "none yet".to_owned(), instant)
}
