//! `weir check`: whether a job could run, before anything runs.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use weir_checkpoints::{Created, Store, StoreError};
use weir_connectors::kafka::{KafkaConfig, KafkaTopics};

use crate::Failure;
use crate::cli::JobArgs;
use crate::commands::{clickhouse, load, open_store, resume, topics, wiring};
use crate::config::{DEFAULTS, IngestConfig, JobConfig, SourceConfig, format_duration_ms};
use crate::output::{Output, print_text, table};

/// Checks a job file, and whether its source and stores can be reached
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArgs {
    /// The job file
    #[arg(value_name = "JOB.toml", required_unless_present = "defaults")]
    job: Option<PathBuf>,
    /// Sets a key of the job file, before the environment (WEIR_JOB__WORKERS=4) and the file
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    definitions: Vec<String>,
    /// Prints all keys of a job file with their defaults, and checks nothing
    #[arg(long, conflicts_with = "job")]
    defaults: bool,
}

const EXAMPLES: &str = "\
Examples:
  weir check job.toml
  weir check job.toml -D source.brokers=127.0.0.1:9092
  weir check --defaults > job.toml

The stores are tried with a small object that is written, read and deleted again.
A warning says where a click that was answered as accepted can be lost: with a Kafka topic whose replication factor is
below 3, whose min.insync.replicas is below 2, or whose unclean leader election is on.
Of a job that has run, it says whether the log still holds what the job must read next, and is the same log.
Exit codes: 0 all is well or there are warnings only, 1 something cannot be reached, 2 the configuration is wrong.";

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    place: String,
    ok: bool,
    /// The job can run, but not as safely as it might.
    warning: bool,
    result: String,
}

impl Check {
    fn of(what: &'static str, place: String, outcome: Result<String, String>) -> Self {
        let ok = outcome.is_ok();
        let (Ok(result) | Err(result)) = outcome;
        Self { what, place, ok, warning: false, result }
    }

    fn warning(what: &'static str, place: String, result: String) -> Self {
        Self { what, place, ok: true, warning: true, result }
    }

    fn row(&self) -> Vec<String> {
        let mark = match (self.ok, self.warning) {
            (false, _) => "FAILED",
            (true, true) => "warning",
            (true, false) => "ok",
        };
        vec![mark.to_owned(), self.what.to_owned(), self.place.clone(), self.result.clone()]
    }
}

pub(crate) fn run(args: &CheckArgs, output: Output) -> Result<(), Failure> {
    let Some(job) = args.job.clone().filter(|_| !args.defaults) else {
        return Ok(print_text(DEFAULTS)?);
    };
    let arguments = JobArgs { job, definitions: args.definitions.clone() };
    let config = load(&arguments)?;
    let ingest = IngestConfig::load(Some(&arguments.job), &arguments.definitions)?;
    let source = check_source(&config);
    let durability = match &config.source {
        SourceConfig::Kafka(kafka) if source.ok => check_durability(kafka),
        _ => None,
    };
    let mut checks =
        vec![Check::of("configuration", arguments.job.display().to_string(), Ok(summary(&config))), source];
    checks.extend(durability);
    checks.push(check_store("checkpoints", config.checkpoint.url.as_str(), &config.name));
    checks.push(check_store("tables", config.tables.url.as_str(), &config.name));
    if checks.iter().all(|check| check.ok) {
        checks.extend(check_resume(&config));
    }
    if let Some(config) = &config.clickhouse {
        let version = clickhouse::version(config).map(|version| format!("version {version}"));
        let place = format!("{}, database {}", config.url, config.database);
        checks.push(Check::of("clickhouse", place, version.map_err(|error| format!("{error:#}"))));
    }
    let files = crate::ingest::check_files(&ingest).map_err(|error| format!("{error:#}"));
    checks.push(Check::of("ingest", ingest.listen.to_string(), files));
    output.print(&checks, |checks| table(&["", "what", "where", "result"], &[], checks.iter().map(Check::row)))?;
    let failed: Vec<&str> = checks.iter().filter(|check| !check.ok).map(|check| check.what).collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(anyhow::anyhow!("job {} cannot run: {}", config.name, failed.join(", "))).map_err(Failure::Failed)
    }
}

fn summary(config: &JobConfig) -> String {
    let lateness = format_duration_ms(config.time.allowed_lateness_ms);
    let checkpoints = format_duration_ms(config.checkpoint.interval_ms);
    format!("job {}, {} workers, lateness {lateness}, checkpoint every {checkpoints}", config.name, config.workers)
}

fn check_source(config: &JobConfig) -> Check {
    let place = match &config.source {
        SourceConfig::Kafka(kafka) => format!("kafka://{}/{}", kafka.brokers, kafka.topic),
        SourceConfig::Ndjson { url, .. } => url.to_string(),
    };
    let partitions = || -> anyhow::Result<String> {
        let partitions = wiring::source(config)?.partitions()?;
        Ok(format!("{} partitions", partitions.len()))
    };
    Check::of("source", place, partitions().map_err(|error| format!("{error:#}")))
}

/// Whether the job could go on where its newest checkpoint stands; none where it has nothing to go on from.
fn check_resume(config: &JobConfig) -> Option<Check> {
    let place = format!("{}/{}", config.checkpoint.url.as_str().trim_end_matches('/'), config.name);
    match resume::check(config) {
        Ok(None) => None,
        Ok(Some(found)) => Some(Check::of("resuming", place, found)),
        Err(error) => Some(Check::of("resuming", place, Err(format!("{error:#}")))),
    }
}

/// A warning where the topic may lose what it has acknowledged, or does not say.
fn check_durability(kafka: &KafkaConfig) -> Option<Check> {
    let described = KafkaTopics::new(kafka).and_then(|topics| topics.describe(&kafka.topic));
    let (what, place) = ("durability", format!("kafka://{}/{}", kafka.brokers, kafka.topic));
    match described {
        Ok(None) => None,
        Ok(Some(topic)) => {
            let risks = topic.risks();
            (!risks.is_empty()).then(|| Check::warning(what, place, topics::warning(&risks)))
        }
        Err(error) => Some(Check::warning(what, place, format!("not known: {error}"))),
    }
}

fn check_store(what: &'static str, url: &str, job: &str) -> Check {
    let probe = || -> anyhow::Result<String> {
        let store = open_store(url)?;
        probe_store(store.as_ref(), &format!("{job}/probe-{}-{}", std::process::id(), nanoseconds()))?;
        Ok("written, read, created once only, deleted".to_owned())
    };
    Check::of(what, url.to_owned(), probe().map_err(|error| format!("{error:#}")))
}

/// Does with a small object what a job does with its own. That it can be created once only is what fences attempts.
fn probe_store(store: &dyn Store, name: &str) -> anyhow::Result<()> {
    const CONTENTS: &[u8] = b"weir check\n";
    let tried = || -> anyhow::Result<()> {
        anyhow::ensure!(
            store.put_if_absent(name, CONTENTS.to_vec())? == Created::New,
            "object `{name}` is there already"
        );
        anyhow::ensure!(
            store.get(name)?.as_deref() == Some(CONTENTS),
            "object `{name}` reads back with other contents"
        );
        match store.put_if_absent(name, b"another".to_vec()) {
            Ok(Created::Exists) => Ok(()),
            Ok(Created::New) => anyhow::bail!(
                "object `{name}` could be created twice: the store ignores what a write asks of it (If-None-Match, or a \
                 generation), and two attempts of a job could both commit; use another store"
            ),
            Err(error) => Err(StoreError::into(error)),
        }
    };
    // What went wrong first says more than that it could not be cleaned up either.
    tried().and(store.delete(name).map_err(anyhow::Error::from))
}

fn nanoseconds() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_first_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let store = weir_connectors::objects::open(&format!("file://{}", folder.path().display())).unwrap();
        probe_store(store.as_ref(), "job/probe").unwrap();
        assert!(store.list("").unwrap().is_empty());
        // No store takes such a name, neither to create it nor to delete it.
        let said = probe_store(store.as_ref(), "job//probe").unwrap_err().to_string();
        assert!(said.starts_with("could not create object"), "{said}");
    }
}
