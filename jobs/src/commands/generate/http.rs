//! `weir generate --to http://…`: what is told only to that, and what it prints.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{GenerateArgs, duration_ms, options, progress_bar};
use crate::Failure;
use crate::commands::signals;
use crate::generate::http::{Compression, HttpAddress, HttpOptions, HttpReport, post};
use crate::generate::{Header, StreamOptions};
use crate::output::{Output, facts, grouped, instant};

/// A closed loop that ends by time makes no more clicks a second than that.
const MOST_CLICKS_PER_SECOND: u64 = 10_000_000;

/// Over HTTP only.
#[derive(Debug, Args)]
#[command(next_help_heading = "Over HTTP")]
pub(super) struct HttpArgs {
    /// Clicks in a request: 1 is posted as an object, more as lines (application/x-ndjson) [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: Option<u32>,
    /// Posts JSON arrays instead of lines
    #[arg(long)]
    array: bool,
    /// Connections to the server [default: 64]
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u32).range(1..=16_384))]
    connections: Option<u32>,
    /// Requests on their way on one connection [default: 1]
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pipeline: Option<u32>,
    /// Compresses bodies
    #[arg(long, value_enum)]
    compress: Option<Compression>,
    /// A further header, such as --header "Authorization: Bearer KEY"
    #[arg(long = "header", value_name = "NAME:VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Measures the first part of the run apart; it comes on top of --for, and out of --clicks
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    warm_up: Option<u64>,
    /// Goes on for so long, instead of for so many clicks
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "clicks", value_parser = duration_ms)]
    duration: Option<u64>,
    /// Sends a request that got 503, 429 or no answer again, for so long [without a value: 1m]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "1m", value_parser = duration_ms)]
    retry: Option<u64>,
    /// How long an answer may take [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    timeout: Option<u64>,
    /// Notes each click that the server says is in its log, one a line: its id, or its record if it is in a batch and has
    /// no id
    #[arg(long, value_name = "FILE")]
    accepted: Option<PathBuf>,
}

impl HttpArgs {
    /// For another target there must be none of them.
    pub(super) fn refuse(&self) -> Result<(), Failure> {
        let given = [
            ("--batch", self.batch.is_some()),
            ("--array", self.array),
            ("--connections", self.connections.is_some()),
            ("--pipeline", self.pipeline.is_some()),
            ("--compress", self.compress.is_some()),
            ("--header", !self.headers.is_empty()),
            ("--warm-up", self.warm_up.is_some()),
            ("--for", self.duration.is_some()),
            ("--retry", self.retry.is_some()),
            ("--timeout", self.timeout.is_some()),
            ("--accepted", self.accepted.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(Failure::usage(format!("{flag} is for --to http://… only"))),
            None => Ok(()),
        }
    }

    fn options(&self, address: HttpAddress, rate: Option<f64>) -> HttpOptions {
        let defaults = HttpOptions::new(address);
        HttpOptions {
            batch: self.batch.unwrap_or(defaults.batch),
            array: self.array,
            connections: self.connections.unwrap_or(defaults.connections),
            pipeline: self.pipeline.unwrap_or(defaults.pipeline),
            compression: self.compress,
            headers: self.headers.clone(),
            rate,
            warm_up: Duration::from_millis(self.warm_up.unwrap_or(0)),
            // An open loop ends by its number of clicks.
            duration: self.duration.filter(|_| rate.is_none()).map(Duration::from_millis),
            timeout: self.timeout.map_or(defaults.timeout, Duration::from_millis),
            retry: self.retry.map(Duration::from_millis),
            accepted: self.accepted.clone(),
            address: defaults.address,
        }
    }

    /// How many clicks there are to be.
    fn clicks(&self, args: &GenerateArgs) -> u64 {
        let Some(duration_ms) = self.duration else { return args.clicks };
        let milliseconds = duration_ms + self.warm_up.unwrap_or(0);
        match args.rate {
            Some(rate) => (rate * milliseconds as f64 / 1000.0).ceil() as u64,
            None => MOST_CLICKS_PER_SECOND * milliseconds.div_ceil(1000),
        }
    }
}

pub(super) fn run(args: &GenerateArgs, earlier: Option<&Header>, output: Output) -> Result<(), Failure> {
    let http = &args.http;
    let address = HttpAddress::parse(&args.to).map_err(Failure::Usage)?;
    check(args)?;
    let options_of_post = http.options(address, args.rate);
    let stream = stream(args, earlier)?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    signals::watch("stopping: what was sent is waited for", move || told.store(true, Ordering::Relaxed))?;
    let bar = if options_of_post.duration.is_some() { spinner() } else { progress_bar(stream.records) };
    let show = |done| bar.set_position(done);
    let posted = post(&options_of_post, &stream, earlier, args.oracle.as_deref(), &stop, show);
    bar.finish_and_clear();
    let report = posted?;
    output.print(&report, |told| describe(told, &stream))?;
    if report.failures.is_empty() {
        return Ok(());
    }
    Err(anyhow::anyhow!("{}", report.failures.join("\n")).into())
}

fn check(args: &GenerateArgs) -> Result<(), Failure> {
    if args.partitions.is_some() {
        return Err(Failure::usage("--partitions is not for http://…: the server finds the partition of a click"));
    }
    if !args.settings.is_empty() {
        return Err(Failure::usage("-X is for kafka://… only"));
    }
    if args.oracle.is_some() && args.http.duration.is_some() && args.rate.is_none() {
        return Err(Failure::usage(
            "with --for and no --rate nobody knows how many clicks there will be: \
                                   --oracle needs --clicks or --rate",
        ));
    }
    Ok(())
}

/// The clicks lie in event time up to now, or from now on with a rate.
fn stream(args: &GenerateArgs, earlier: Option<&Header>) -> Result<StreamOptions, Failure> {
    let parts = earlier.map_or(&[][..], |header| &header.parts);
    let records = args.http.clicks(args);
    options(args, records, (1, false), parts)
}

/// For a run of which nobody knows how many clicks it will have.
fn spinner() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {human_pos} clicks, {per_sec}") {
        spinner.set_style(style);
    }
    spinner
}

fn describe(report: &HttpReport, stream: &StreamOptions) -> String {
    let measured = &report.measured;
    let mut lines = vec![
        ("to", report.to.clone()),
        ("requests", format!("{}, {} clicks in each", grouped(measured.requests), report.batch)),
        ("clicks", grouped(measured.clicks)),
        ("took", format!("{:.2} s", measured.seconds)),
        ("requests/s", grouped(measured.requests_per_second as u64)),
        ("clicks/s", grouped(measured.clicks_per_second as u64)),
    ];
    if let Some(warm_up) = &report.warm_up {
        lines.push(("before that", format!("{} requests in {:.2} s", grouped(warm_up.requests), warm_up.seconds)));
    }
    lines.push(("event time", format!("from {}", instant(stream.start_ms))));
    lines.extend(verdicts(report));
    lines.push(("answers", listed(report.answers.iter().map(|(status, count)| (status.to_string(), *count)))));
    let errors = report.transport_errors.iter().map(|(kind, count)| ((*kind).to_owned(), *count));
    lines.push(("transport errors", listed(errors)));
    if report.resent_requests > 0 {
        lines.push(("sent again", format!("{} requests", grouped(report.resent_requests))));
    }
    lines.extend(speed(report));
    if let (Some(totals), Some(path), Some(windows)) = (&report.totals, &report.oracle, report.windows) {
        lines.push(("oracle", format!("{}, {} windows", path.display(), grouped(windows))));
        lines.push(("clicks that count", grouped(totals.counted)));
    }
    facts(&lines)
}

fn verdicts(report: &HttpReport) -> Vec<(&'static str, String)> {
    let rejected = report.rejected.iter().map(|(reason, count)| (reason.clone(), *count));
    let mut lines = vec![
        ("accepted", grouped(report.accepted)),
        ("duplicate", grouped(report.duplicate)),
        ("rejected", listed(rejected)),
    ];
    let rare = [
        ("turned away", report.turned_away),
        ("server errors", report.server_error),
        ("unanswered", report.unanswered),
        ("wrong verdicts", report.wrong_verdicts),
    ];
    lines.extend(rare.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name, grouped(count))));
    lines
}

fn speed(report: &HttpReport) -> Vec<(&'static str, String)> {
    let latency = &report.latency;
    let from = if report.open_loop.is_some() { "from when a request was due" } else { "service time" };
    let mut lines = vec![(
        "latency",
        format!(
            "p50 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2} ms ({from})",
            latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms
        ),
    )];
    if let Some(open) = &report.open_loop {
        let held = if open.held { "held" } else { "NOT HELD" };
        let rate = grouped(open.rate as u64);
        lines.push((
            "rate",
            format!("{rate} clicks/s, {held}; the last request went out {:.1} ms late", open.last_late_ms),
        ));
        lines.push((
            "sent late",
            format!(
                "{} requests, by {:.1} ms at most; {} waited at a time",
                grouped(open.sent_late),
                open.latest_ms,
                grouped(open.most_waiting)
            ),
        ));
    }
    if let (Some(seconds), Some(each)) = (report.cpu_seconds, report.cpu_us_per_request) {
        lines.push(("own CPU", format!("{seconds:.2} s, {each:.1} us a request")));
    }
    lines
}

/// Counts with their names on one line.
fn listed(counts: impl Iterator<Item = (String, u64)>) -> String {
    let texts: Vec<String> = counts.map(|(name, count)| format!("{} {name}", grouped(count))).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| "write NAME:VALUE".to_owned())?;
    let (name, value) = (name.trim(), value.trim());
    let token = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) || value.bytes().any(|byte| byte < b' ') {
        return Err("this is no header".to_owned());
    }
    if ["host", "content-length", "content-type", "content-encoding"].contains(&name.to_ascii_lowercase().as_str()) {
        return Err("this header is set already".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}
