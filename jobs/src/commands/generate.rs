//! `weir generate`: synthetic clicks with a known right answer.

mod http;

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::Failure;
use crate::config::parse_duration_ms;
use crate::generate::http::HttpAddress;
use crate::generate::{Generated, Header, OracleReader, PartitionBy, Shares, StreamOptions, Target, generate};
use crate::output::{Output, facts, grouped, instant};

/// Writes synthetic clicks to an NDJSON log or a Kafka topic, or posts them to ingest
#[derive(Debug, Args)]
#[command(after_help = GUARANTEES)]
pub(crate) struct GenerateArgs {
    /// Records to write, all kinds together
    #[arg(long, default_value_t = 1_000_000)]
    clicks: u64,
    /// Where to: a folder (path or file:///…), kafka://HOST:PORT/TOPIC, or http://HOST:PORT[/v1/clicks]
    #[arg(long, value_name = "URL")]
    to: String,
    /// Writes the right answer to this file, for `weir verify --oracle`
    #[arg(long, value_name = "FILE")]
    oracle: Option<PathBuf>,
    /// Adds to a log that is there; with --oracle, FILE must be that log's, and covers both parts afterwards
    #[arg(long)]
    append: bool,
    /// The same seed and options give the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Partitions of the log [default: as many as it has, or 8]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    partitions: Option<u32>,
    /// A setting for librdkafka, such as -X compression.type=lz4
    #[arg(short = 'X', value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// How clicks find their partition
    #[arg(long, value_enum, default_value = "ad")]
    partition_by: PartitionBy,
    /// Different ads
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=99_999_999))]
    ads: u32,
    /// Zipf exponent of the ads: 0 makes all alike, 1.05 gives the first of 100,000 a tenth of all clicks
    #[arg(long, default_value_t = 1.05, value_parser = skew)]
    ad_skew: f64,
    /// Different users
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    users: u32,
    /// Event time of the first click, RFC 3339 or unix time [default: now minus the time that the clicks span; with
    /// --append where the log ended; with --rate now]
    #[arg(long, value_name = "TIME", value_parser = time_ms)]
    start: Option<i64>,
    /// How densely the clicks lie in event time [default: --rate, or 1,000,000]
    #[arg(long, value_name = "N", value_parser = positive)]
    events_per_second: Option<f64>,
    /// Records a second of the wall clock [default: as fast as possible]
    #[arg(long, value_name = "N", value_parser = positive)]
    rate: Option<f64>,
    /// Size of a record, filled up with fields that count for nothing
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    bytes: u32,
    /// Share of second copies: most to the same partition, some to another, some with another time of the same minute
    /// [default: 0.01, or what the other shares leave]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    duplicates: Option<f64>,
    /// How far clicks are out of order within a partition
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration_ms)]
    out_of_order: u64,
    /// Share of clicks from one to three hours before the log's start, in its second half and in appended parts
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    late: f64,
    /// Share of clicks from an hour after the log's end
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    future: f64,
    /// Share of records that are no clicks: broken JSON, wrong types, doubled fields, invalid UTF-8, too large, …
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    poison: f64,
    /// Share of the clicks that have no click_id
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, value_parser = share)]
    without_click_id: f64,
    #[command(flatten)]
    http: http::HttpArgs,
}

const GUARANTEES: &str = "\
Examples:
  weir generate --clicks 5000000 --to clicks/ --oracle oracle.ndjson
  weir generate --clicks 100000 --events-per-second 500 --to file:///tmp/clicks/ --poison 0.001 --late 0.001
  weir generate --rate 50000 --clicks 3000000 --to kafka://127.0.0.1:9092/clicks
  weir generate --append --late 1 --clicks 1000 --to clicks/ --oracle oracle.ndjson
  weir generate --rate 5000 --for 60s --to http://127.0.0.1:8080
  weir generate --batch 1000 --connections 4 --retry --to http://127.0.0.1:8080 --oracle oracle.ndjson

Over HTTP with --rate the loop is open: request i is due at start + i × batch / rate, and its latency counts from then to
the last byte of its answer, however late it could be sent. Without --rate it is closed: --connections × --pipeline
requests are always on their way, and latencies are service times.

What the oracle promises, for a job whose time.out_of_orderness is at least --out-of-order and which keeps the defaults
otherwise, however fast it reads each partition:
  - the counts and distinct users of every ad and window, and which records are rejected, duplicate or future, are exact.
    No plain click or copy is ever late, and it does not matter which copy is read first;
  - late clicks lie in windows of their own, long closed once a job has sealed its first epoch with clicks of every
    partition. A job that reads them before that counts them, so the oracle tells them apart, and `weir verify` accepts
    both. Written with --append after a checkpoint of everything before, they are late for certain:
    `weir verify --late-for-certain`;
  - future clicks count on the log's clock being that of the generator, as it is with Kafka's CreateTime and with
    NDJSON logs, or not after the log's end;
  - over HTTP the edge rejects and finds second copies too, so of these only the most is known that a job can meet; counts
    and users are as exact, as long as no request is held up for as long as time.allowed_lateness. An oracle is written
    only if every click got the verdict that it deserves: give --retry where the server may fail.";

pub(crate) fn run(args: &GenerateArgs, output: Output) -> Result<(), Failure> {
    let header = earlier_header(args)?;
    let earlier = header.as_ref().map_or(Vec::new(), |read| read.parts.clone());
    if HttpAddress::is_meant(&args.to) {
        return http::run(args, header.as_ref(), output);
    }
    args.http.refuse()?;
    if header.is_some_and(|read| read.over_http.is_some()) {
        return Err(Failure::usage("clicks came to this log over HTTP: append over HTTP too"));
    }
    let target = Target::parse(&args.to, &args.settings).map_err(Failure::Usage)?;
    let partitions = partitions(args, &target)?;
    let options = options(args, args.clicks, (partitions, target.holds_tombstones()), &earlier)?;
    let bar = progress_bar(args.clicks);
    let generated = generate(&options, &earlier, args.append, &target, args.oracle.as_deref(), args.rate, |done| {
        bar.set_position(done)
    });
    bar.finish_and_clear();
    Ok(output.print(&generated?, |summary| describe(summary, &options))?)
}

/// What the oracle of the log so far says of it.
fn earlier_header(args: &GenerateArgs) -> Result<Option<Header>, Failure> {
    match &args.oracle {
        Some(path) if args.append => {
            let reader =
                OracleReader::open(path).context("--append with --oracle needs the oracle of the log so far")?;
            Ok(Some(reader.header().clone()))
        }
        _ => Ok(None),
    }
}

/// `log` is how many partitions it has, and whether it can hold records without a value.
fn options(
    args: &GenerateArgs,
    records: u64,
    log: (u32, bool),
    earlier: &[StreamOptions],
) -> Result<StreamOptions, Failure> {
    const DUPLICATES: f64 = 0.01;
    let (partitions, tombstones) = log;
    let left = (1.0 - args.late - args.future - args.poison).max(0.0);
    let shares = Shares {
        duplicates: args.duplicates.unwrap_or(DUPLICATES.min(left)),
        late: args.late,
        future: args.future,
        poison: args.poison,
        without_click_id: args.without_click_id,
    };
    if shares.duplicates + shares.late + shares.future + shares.poison > 1.0 {
        return Err(Failure::usage("--duplicates, --late, --future and --poison together are more than 1"));
    }
    let events_per_second = args.events_per_second.or(args.rate).unwrap_or(1_000_000.0);
    let start_ms = args.start.unwrap_or_else(|| default_start_ms(args, records, earlier, events_per_second));
    // Where the oracle of the log so far is not known, ids must still differ from those that are in it.
    let generation = if args.append { earlier.len().max(1) as u32 } else { 0 };
    Ok(StreamOptions {
        seed: args.seed,
        generation,
        records,
        partitions,
        partition_by: args.partition_by,
        ads: args.ads,
        ad_skew: args.ad_skew,
        users: args.users,
        start_ms,
        log_start_ms: earlier.first().map_or(start_ms, |first| first.start_ms),
        events_per_second,
        record_bytes: args.bytes,
        out_of_order_ms: args.out_of_order,
        shares,
        tombstones,
    })
}

/// An appended part must find the partitions of the parts before it.
fn partitions(args: &GenerateArgs, target: &Target) -> anyhow::Result<u32> {
    const PARTITIONS: u32 = 8;
    match args.partitions {
        Some(count) => Ok(count),
        None => Ok(target.partitions()?.unwrap_or(PARTITIONS)),
    }
}

fn default_start_ms(args: &GenerateArgs, records: u64, earlier: &[StreamOptions], events_per_second: f64) -> i64 {
    const MINUTE_MS: i64 = 60_000;
    let now_ms = Utc::now().timestamp_millis();
    if let Some(last) = earlier.last() {
        return last.end_ms();
    }
    if args.rate.is_some() {
        return now_ms;
    }
    let span_ms = (records as f64 * 1000.0 / events_per_second) as i64;
    (now_ms - span_ms).div_euclid(MINUTE_MS) * MINUTE_MS
}

fn progress_bar(records: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(records);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} records, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}

fn describe(generated: &Generated, options: &StreamOptions) -> String {
    let per_second = generated.records as f64 / generated.seconds.max(1e-9);
    let mut lines = vec![
        ("log", generated.log.clone()),
        ("records", grouped(generated.records)),
        ("bytes", grouped(generated.bytes)),
        ("took", format!("{:.2} s, {} records/s", generated.seconds, grouped(per_second as u64))),
        ("event time", format!("{} to {}", instant(options.start_ms), instant(options.end_ms()))),
    ];
    if let (Some(totals), Some(path), Some(windows)) = (&generated.totals, &generated.oracle, generated.windows) {
        lines.push(("oracle", format!("{}, {} windows", path.display(), grouped(windows))));
        lines.push(("clicks that count", grouped(totals.counted)));
        lines.push(("duplicates", grouped(totals.duplicate)));
        lines.push(("late", grouped(totals.late)));
        lines.push(("future", grouped(totals.future)));
        lines.push(("no clicks", grouped(totals.rejected)));
    }
    facts(&lines)
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("a share is from 0 to 1".to_owned()) }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or_else(|| "write KEY=VALUE".to_owned())?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number > 0.0 && number.is_finite() { Ok(number) } else { Err("must be more than 0".to_owned()) }
}

fn skew(text: &str) -> Result<f64, String> {
    let exponent: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=4.0).contains(&exponent) { Ok(exponent) } else { Err("must be from 0 to 4".to_owned()) }
}

fn duration_ms(text: &str) -> Result<u64, String> {
    parse_duration_ms(text).ok_or_else(|| "write a duration such as 500ms, 5s or 1m".to_owned())
}

/// RFC 3339, or unix time in seconds or milliseconds.
pub(super) fn time_ms(text: &str) -> Result<i64, String> {
    if let Ok(number) = text.parse::<i64>() {
        return Ok(if number < 100_000_000_000 { number * 1000 } else { number });
    }
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.timestamp_millis())
        .map_err(|_| "write RFC 3339, such as 2026-11-24T12:00:00Z, or unix time".to_owned())
}
