//! `weir explain`: where a number comes from.

use anyhow::anyhow;
use chrono::NaiveDate;
use clap::Args;
use weir_dataflow::Layout;

use crate::Failure;
use crate::cli::JobArgs;
use crate::commands::generate::time_ms;
use crate::commands::reconcile::reconciler;
use crate::commands::{load, open_store};
use crate::config::JobConfig;
use crate::explain::{Code, Question, Sources, Span, SpanKind, Time, describe, explain};
use crate::output::Output;

/// Shows where a count comes from, down to the offsets of the clicks behind it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    job: JobArgs,
    /// The ad
    #[arg(long, value_name = "AD", required_unless_present = "click")]
    ad: Option<String>,
    /// The window's length
    #[arg(long, value_enum, required_unless_present = "click")]
    window: Option<SpanKind>,
    /// An instant within the window: RFC 3339, or unix time
    #[arg(long, value_name = "TIME", value_parser = event_time_ms, required_unless_present = "click")]
    at: Option<i64>,
    /// Instead of a count, proves that this click is among those that are billed on --date; see weir verify --proof
    #[arg(long, value_name = "ID", requires = "date", conflicts_with_all = ["ad", "window", "at", "region", "clicks"])]
    click: Option<String>,
    /// The closed day of --click
    #[arg(long, value_name = "DATE", requires = "click")]
    date: Option<NaiveDate>,
    /// Only clicks of this region
    #[arg(long)]
    region: Option<String>,
    /// Lists the clicks themselves
    #[arg(long)]
    clicks: bool,
    /// At most this many clicks, and clicks with several copies, are listed
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
}

const EXAMPLES: &str = "\
Examples:
  weir explain job.toml --ad ad-00000042 --window 1m --at 2026-11-24T12:03:00Z
  weir explain job.toml --ad ad-00000042 --window 1h --at 1795521600 --clicks --limit 100
  weir explain job.toml --ad ad-00000042 --window 1d --at 2026-11-24T00:00:00Z --region eu-1 --output json
  weir explain job.toml --click 0b7f3c --date 2026-11-24 > proof.json

Compares the count in the table clicks_agg with the clicks in the archive: how many records there are, which of them are
copies of the same click, which came too late, when the count grew, and where each click is in the log and in the tables.
A day (1d) is one of UTC, and the sum of its hours. It reads what the job's newest checkpoint covers, and only those parts
of files that may have the ad.
Exit codes: 0 the count is explained, 1 it is not, or something could not be read.";

/// A proof recounts the day.
const PROOF_MEMORY_BYTES: u64 = 2 << 30;

/// Minutes by which the times of copies may differ beyond what the settings say: they are kept by the minute.
const MINUTE_MS: u64 = 60_000;

pub(crate) fn run(args: &ExplainArgs, output: Output) -> Result<(), Failure> {
    let config = load(&args.job)?;
    if let (Some(click_id), Some(date)) = (&args.click, args.date) {
        return prove(&config, click_id, date);
    }
    let (Some(ad_id), Some(window), Some(at_ms)) = (&args.ad, args.window, args.at) else { return Ok(()) };
    let question = Question {
        ad_id: ad_id.clone(),
        span: Span::around(window, at_ms),
        region: args.region.clone(),
        clicks: args.clicks,
        limit: args.limit,
    };
    let explanation = explain(&sources(&config)?, &question)?;
    output.print(&explanation, describe)?;
    match explanation.verdict.code {
        Code::Unexplained => Err(anyhow!("the count of {ad_id} is not explained").into()),
        _ => Ok(()),
    }
}

/// A proof is for programs, in any case.
fn prove(config: &JobConfig, click_id: &str, date: NaiveDate) -> Result<(), Failure> {
    let proof =
        reconciler(config, PROOF_MEMORY_BYTES, Layout::Threads(config.workers as usize))?.prove(date, click_id)?;
    Ok(Output::Json.print(&proof, |_| String::new())?)
}

fn sources(config: &JobConfig) -> anyhow::Result<Sources<'_>> {
    let time = &config.time;
    let reach_ms = config.dedup_horizon_ms
        + time.allowed_lateness_ms
        + time.out_of_orderness_ms
        + time.max_future_skew_ms
        + MINUTE_MS;
    Ok(Sources {
        job: &config.name,
        checkpoints: open_store(config.checkpoint.url.as_str())?,
        tables: open_store(config.tables.url.as_str())?,
        tables_url: config.tables.url.as_str(),
        archive: config.archive.is_some(),
        time: Time {
            horizon_ms: signed(config.dedup_horizon_ms),
            lateness_ms: signed(time.allowed_lateness_ms),
            reach_ms: signed(reach_ms),
        },
    })
}

fn event_time_ms(text: &str) -> Result<i64, String> {
    let time = time_ms(text)?;
    let possible = 0..=weir_dataflow::MAX_EVENT_TIME_MS;
    if possible.contains(&time) { Ok(time) } else { Err("clicks happen between 1970 and 9999".to_owned()) }
}

/// Durations are checked to be far below where this would matter.
fn signed(duration_ms: u64) -> i64 {
    i64::try_from(duration_ms).unwrap_or(i64::MAX)
}
