//! `weir topics`: the Kafka topics of a job, made so that no broker takes a click with it.
//!
//! ```text
//!   create     a topic that is not there is made; one that is there is left alone, and what differs is said
//!   describe   both topics as they are, and whether they keep what was accepted
//! ```

use clap::{Args, Subcommand};
use serde::Serialize;
use weir_connectors::kafka::{KafkaConfig, KafkaTopics, TopicCreated, TopicDescription, TopicSpec};

use crate::Failure;
use crate::cli::JobArgs;
use crate::commands::load;
use crate::config::{SourceConfig, format_duration_ms, parse_duration_ms};
use crate::output::{Output, table};

/// What the two topics hold.
const CLICKS: &str = "clicks";
const LETTERS: &str = "dead letters";

/// The state of a topic that is not there.
const MISSING: &str = "missing";

/// Letters are evidence and are kept whole, however large; one partition holds them.
const LETTER_BYTES: &str = "10000000";
const LETTER_PARTITIONS: u32 = 1;

/// Creates and describes the Kafka topics of a job
#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Creates the topic of clicks and that of dead letters, where they are missing
    #[command(after_help = CREATE_HELP)]
    Create(CreateArgs),
    /// Shows both topics as they are, and whether a broker can be lost without a click
    #[command(after_help = DESCRIBE_HELP)]
    Describe(DescribeArgs),
}

const CREATE_HELP: &str = "\
Examples:
  weir topics create job.toml
  weir topics create job.toml --partitions 24 --retention 14d
  weir topics create job.toml --replication-factor 1 --min-insync-replicas 1    on a single broker, to try things

With the defaults a click that was accepted is on two brokers at least, and any one broker may be lost. A topic that is
there is left as it is. The topic of dead letters has one partition.
Exit codes: 0 both topics are as asked for, 1 one differs or cannot be made, 2 bad usage or configuration.";

const DESCRIBE_HELP: &str = "\
Example:
  weir topics describe job.toml

A click that was answered as accepted can be lost with one broker where the replication factor is below 3, or
min.insync.replicas below 2, or unclean.leader.election.enable is true.
Exit codes: 0 both topics are there, 1 one is missing or cannot be looked at, 2 bad usage or configuration.";

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    job: JobArgs,
    /// Partitions of the topic of clicks
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: u32,
    /// On how many brokers each record is kept
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    replication_factor: u32,
    /// How many of them must have a record before it counts as written
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    min_insync_replicas: u32,
    /// How long records are kept, such as 7d or 12h
    #[arg(long, default_value = "7d", value_name = "DURATION", value_parser = retention)]
    retention: u64,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    #[command(flatten)]
    job: JobArgs,
}

pub(crate) fn run(command: &TopicsCommand, output: Output) -> Result<(), Failure> {
    match command {
        TopicsCommand::Create(args) => create(args, output),
        TopicsCommand::Describe(args) => describe(args, output),
    }
}

/// A topic, as it is now.
#[derive(Debug, Serialize)]
struct Line {
    topic: String,
    holds: &'static str,
    /// `created`, `exists` or `missing`.
    state: &'static str,
    partitions: Option<u32>,
    replication_factor: Option<u32>,
    in_sync: Option<u32>,
    min_insync_replicas: Option<u32>,
    unclean_leader_election: Option<bool>,
    retention_ms: Option<i64>,
    /// What is not as it was asked for.
    differs: Vec<String>,
    /// Why a click that was accepted can be lost with one broker.
    risks: Vec<String>,
}

impl Line {
    fn of(topic: &str, holds: &'static str, state: &'static str, found: Option<&TopicDescription>) -> Self {
        Self {
            topic: topic.to_owned(),
            holds,
            state,
            partitions: found.map(|found| found.partitions),
            replication_factor: found.map(|found| found.replicas),
            in_sync: found.map(|found| found.in_sync),
            min_insync_replicas: found.map(|found| found.min_insync_replicas),
            unclean_leader_election: found.map(|found| found.unclean_leader_election),
            retention_ms: found.map(|found| found.retention_ms),
            differs: Vec::new(),
            risks: found.map(TopicDescription::risks).unwrap_or_default(),
        }
    }

    /// What becomes of the topic's records when a broker is lost.
    fn verdict(&self) -> Option<String> {
        match (self.state, self.risks.is_empty(), self.holds) {
            (MISSING, ..) => None,
            (_, true, _) => Some("any one broker may be lost, and no record with it".to_owned()),
            (_, false, LETTERS) => {
                Some(format!("a dead letter can be lost when one broker is lost: {}", self.risks.join(", ")))
            }
            (_, false, _) => Some(warning(&self.risks)),
        }
    }

    fn row(&self) -> Vec<String> {
        let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        vec![
            self.topic.clone(),
            self.holds.to_owned(),
            self.state.to_owned(),
            number(self.partitions),
            number(self.replication_factor),
            number(self.in_sync),
            number(self.min_insync_replicas),
            self.unclean_leader_election.map_or("-", |unclean| if unclean { "yes" } else { "no" }).to_owned(),
            self.retention_ms.map_or_else(|| "-".to_owned(), kept),
        ]
    }
}

fn print(lines: &Vec<Line>, output: Output) -> Result<(), Failure> {
    const HEADINGS: [&str; 9] =
        ["topic", "holds", "", "partitions", "replicas", "in sync", "min in sync", "unclean election", "kept"];
    output.print(lines, |lines| {
        let mut text = table(&HEADINGS, &[3, 4, 5, 6], lines.iter().map(Line::row));
        text.push('\n');
        for line in lines {
            for difference in &line.differs {
                text.push_str(&format!("topic {} differs: {difference}\n", line.topic));
            }
            if let Some(verdict) = line.verdict() {
                text.push_str(&format!("topic {}: {verdict}\n", line.topic));
            }
        }
        text
    })?;
    Ok(())
}

/// What the risks of a topic mean for its clicks.
pub(super) fn warning(risks: &[String]) -> String {
    format!("a click answered as accepted can be lost when one broker is lost: {}", risks.join(", "))
}

fn create(args: &CreateArgs, output: Output) -> Result<(), Failure> {
    if args.min_insync_replicas > args.replication_factor {
        return Err(Failure::usage(format!(
            "--min-insync-replicas {} cannot be more than --replication-factor {}: nothing could be written",
            args.min_insync_replicas, args.replication_factor
        )));
    }
    let config = load(&args.job)?;
    let kafka = kafka(&config.source)?;
    let topics = KafkaTopics::new(kafka).map_err(anyhow::Error::from)?;
    let mut lines = Vec::new();
    for (topic, holds, partitions) in
        [(&kafka.topic, CLICKS, args.partitions), (&kafka.dead_letter_topic, LETTERS, LETTER_PARTITIONS)]
    {
        lines.push(ensure(&topics, topic, holds, partitions, args)?);
    }
    print(&lines, output)?;
    let differing: Vec<&str> =
        lines.iter().filter(|line| !line.differs.is_empty()).map(|line| line.topic.as_str()).collect();
    if differing.is_empty() {
        return Ok(());
    }
    Err(anyhow::anyhow!("there already, and not as asked for: {}; change it by hand", differing.join(", ")).into())
}

/// Makes a topic, unless it is there.
fn ensure(
    topics: &KafkaTopics,
    topic: &str,
    holds: &'static str,
    partitions: u32,
    args: &CreateArgs,
) -> anyhow::Result<Line> {
    let before = topics.describe(topic)?;
    let state = match before {
        Some(_) => "exists",
        None => match make(topics, topic, holds, partitions, args)? {
            TopicCreated::New => "created",
            TopicCreated::Exists => "exists",
        },
    };
    let found = topics.describe(topic)?;
    let mut line = Line::of(topic, holds, state, found.as_ref());
    line.differs = found.map(|found| differences(&found, partitions, args)).unwrap_or_default();
    Ok(line)
}

fn make(
    topics: &KafkaTopics,
    topic: &str,
    holds: &str,
    partitions: u32,
    args: &CreateArgs,
) -> anyhow::Result<TopicCreated> {
    let brokers = topics.brokers()?;
    let wanted = args.replication_factor;
    if brokers < wanted as usize {
        let insync = brokers.min(args.min_insync_replicas as usize);
        anyhow::bail!(
            "cannot create topic {topic}: each record is to be kept on {wanted} brokers, and the cluster has {brokers} at \
             present; start more, or choose --replication-factor {brokers} --min-insync-replicas {insync}"
        );
    }
    let (insync, retention) = (args.min_insync_replicas.to_string(), args.retention.to_string());
    let mut settings = vec![
        ("min.insync.replicas", insync.as_str()),
        ("retention.ms", retention.as_str()),
        ("unclean.leader.election.enable", "false"),
    ];
    if holds == LETTERS {
        settings.push(("max.message.bytes", LETTER_BYTES));
    }
    Ok(topics.create(&TopicSpec { name: topic, partitions, replicas: Some(wanted), settings: &settings })?)
}

fn differences(found: &TopicDescription, partitions: u32, args: &CreateArgs) -> Vec<String> {
    let mut differs = Vec::new();
    let mut compare = |what: &str, is: String, asked: String| {
        if is != asked {
            differs.push(format!("{what} is {is}, not {asked}"));
        }
    };
    compare("the number of partitions", found.partitions.to_string(), partitions.to_string());
    compare("the replication factor", found.replicas.to_string(), args.replication_factor.to_string());
    compare("min.insync.replicas", found.min_insync_replicas.to_string(), args.min_insync_replicas.to_string());
    compare("retention.ms", found.retention_ms.to_string(), args.retention.to_string());
    compare("unclean.leader.election.enable", found.unclean_leader_election.to_string(), false.to_string());
    differs
}

fn describe(args: &DescribeArgs, output: Output) -> Result<(), Failure> {
    let config = load(&args.job)?;
    let kafka = kafka(&config.source)?;
    let topics = KafkaTopics::new(kafka).map_err(anyhow::Error::from)?;
    let mut lines = Vec::new();
    for (topic, holds) in [(&kafka.topic, CLICKS), (&kafka.dead_letter_topic, LETTERS)] {
        let found = topics.describe(topic).map_err(anyhow::Error::from)?;
        let state = if found.is_some() { "exists" } else { MISSING };
        lines.push(Line::of(topic, holds, state, found.as_ref()));
    }
    print(&lines, output)?;
    let missing: Vec<&str> =
        lines.iter().filter(|line| line.state == MISSING).map(|line| line.topic.as_str()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(anyhow::anyhow!("missing: {}; `weir topics create` makes it", missing.join(", ")).into())
}

fn kafka(source: &SourceConfig) -> Result<&KafkaConfig, Failure> {
    match source {
        SourceConfig::Kafka(kafka) => Ok(kafka),
        SourceConfig::Ndjson { .. } => {
            Err(Failure::usage("the job reads NDJSON files: it has no topics; set source.kind to \"kafka\""))
        }
    }
}

fn retention(text: &str) -> Result<u64, String> {
    let parsed = parse_duration_ms(text).filter(|ms| (1_000..=i64::MAX as u64).contains(ms));
    parsed.ok_or_else(|| "a duration of a second or more, such as 7d or 12h".to_owned())
}

fn kept(retention_ms: i64) -> String {
    u64::try_from(retention_ms).map_or_else(|_| "for ever".to_owned(), format_duration_ms)
}
