//! What a run over HTTP came to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use super::super::oracle::ExpectedTotals;
use super::HttpOptions;
use super::request::BodyForm;
use super::run::State;
use super::tally::Phase;

/// An open loop held its rate if its last request was late by no more than this share of the run, or these milliseconds.
const LATE_SHARE: f64 = 0.01;
const LATE_MS: f64 = 10.0;

/// A run. Verdicts, answers and errors are those of the whole run, the speed and the latency those of its measured part.
#[derive(Debug, Clone, Serialize)]
pub struct HttpReport {
    /// Where the clicks went.
    pub to: String,
    /// How they lay in the requests.
    pub form: BodyForm,
    /// How many lay in one.
    pub batch: u32,
    /// The measured part.
    pub measured: Speed,
    /// The part before it.
    pub warm_up: Option<Speed>,
    /// Clicks that the server has put into the log.
    pub accepted: u64,
    /// Clicks that it had seen before.
    pub duplicate: u64,
    /// Records that it refused, by its reason.
    pub rejected: BTreeMap<String, u64>,
    /// Clicks that it could not take then: 503 or 429, at last.
    pub turned_away: u64,
    /// Clicks that it answered with another 5xx.
    pub server_error: u64,
    /// Clicks without an answer.
    pub unanswered: u64,
    /// Clicks that were rejected, and records that are no clicks and were not.
    pub wrong_verdicts: u64,
    /// Answers by their status.
    pub answers: BTreeMap<u16, u64>,
    /// Answers that were not what they should be.
    pub malformed: u64,
    /// Connections that broke or could not be made, by how.
    pub transport_errors: BTreeMap<&'static str, u64>,
    /// Requests that were sent again.
    pub resent_requests: u64,
    /// The clicks in them.
    pub resent_clicks: u64,
    /// From when a request was due, or in a closed loop from when it was sent, to the last byte of its answer.
    pub latency: Latency,
    /// How the rate was held; none in a closed loop.
    pub open_loop: Option<OpenLoop>,
    /// Processor time of the generator itself, in the measured part.
    pub cpu_seconds: Option<f64>,
    /// Of that, microseconds for each request.
    pub cpu_us_per_request: Option<f64>,
    /// Whether it was told to stop.
    pub stopped: bool,
    /// What a job must make of the whole log; none without an oracle.
    pub totals: Option<ExpectedTotals>,
    /// The oracle's file.
    pub oracle: Option<PathBuf>,
    /// The windows in it.
    pub windows: Option<u64>,
    /// What should not have happened.
    pub failures: Vec<String>,
}

/// How much, how fast.
#[derive(Debug, Clone, Serialize)]
pub struct Speed {
    /// Requests that were answered.
    pub requests: u64,
    /// The clicks in them.
    pub clicks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From the part's start to its last answer.
    pub seconds: f64,
    /// Answers a second.
    pub requests_per_second: f64,
    /// Clicks in them a second.
    pub clicks_per_second: f64,
}

/// Percentiles, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// The median.
    pub p50_ms: f64,
    /// Nine of ten are not longer.
    pub p90_ms: f64,
    /// 99 of a hundred.
    pub p99_ms: f64,
    /// 999 of a thousand.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// How an open loop held its rate.
#[derive(Debug, Clone, Serialize)]
pub struct OpenLoop {
    /// Clicks a second that were asked for.
    pub rate: f64,
    /// Whether they were sent as fast as that.
    pub held: bool,
    /// Requests that were sent more than a millisecond after they were due, since no connection had room.
    pub sent_late: u64,
    /// The most that waited for a connection at a time.
    pub most_waiting: u64,
    /// The longest that one waited.
    pub latest_ms: f64,
    /// How long the last one waited.
    pub last_late_ms: f64,
    /// How often a request was due that the generator had not made yet: then it is itself too slow.
    pub unmade: u64,
}

impl HttpReport {
    pub(super) fn new(options: &HttpOptions, state: &State, stopped: bool, cpu_seconds: Option<f64>) -> Self {
        let State { dispatch, tally, .. } = state;
        let measured = Speed::new(&tally.measured, dispatch.warm_until());
        let verdicts = tally.verdicts.clone();
        let requests = measured.requests.max(1) as f64;
        let mut report = Self {
            to: options.address.to_string(),
            form: options.form(),
            batch: options.batch,
            warm_up: (!options.warm_up.is_zero()).then(|| Speed::new(&tally.warm_up, dispatch.start())),
            accepted: verdicts.accepted,
            duplicate: verdicts.duplicate,
            rejected: verdicts.rejected,
            turned_away: verdicts.turned_away,
            server_error: verdicts.server_error,
            unanswered: verdicts.unanswered,
            wrong_verdicts: verdicts.wrong,
            answers: tally.answers.clone(),
            malformed: tally.malformed,
            transport_errors: tally.transport.clone(),
            resent_requests: tally.resent,
            resent_clicks: tally.resent_clicks,
            latency: Latency::new(&tally.measured),
            open_loop: OpenLoop::new(options, state, measured.seconds),
            cpu_seconds,
            cpu_us_per_request: cpu_seconds.map(|seconds| seconds * 1e6 / requests),
            measured,
            stopped,
            totals: None,
            oracle: None,
            windows: None,
            failures: Vec::new(),
        };
        report.failures = report.failures(state);
        report
    }

    /// Clicks of which nobody knows whether they are in the log.
    pub(super) fn lost(&self) -> u64 {
        self.turned_away + self.server_error + self.unanswered
    }

    fn failures(&self, state: &State) -> Vec<String> {
        let examples = state.tally.problems.join("; ");
        let mut failures: Vec<String> = state.failed.iter().map(|error| format!("{error:#}")).collect();
        let mut expect_none = |count: u64, what: &str, example: &str| {
            if count > 0 {
                failures.push(format!("{count} {what}{example}"));
            }
        };
        let example = format!(": {examples}");
        expect_none(self.malformed, "answers were not what they should be", &example);
        expect_none(self.server_error, "clicks met an error of the server", &example);
        expect_none(self.wrong_verdicts, "clicks were rejected, or were no clicks and were not", "");
        failures
    }
}

impl Speed {
    fn new(phase: &Phase, start: Instant) -> Self {
        let seconds = phase.last.map_or(0.0, |last| last.saturating_duration_since(start).as_secs_f64());
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        Self {
            requests: phase.requests,
            clicks: phase.clicks,
            bytes: phase.bytes,
            seconds,
            requests_per_second: per_second(phase.requests),
            clicks_per_second: per_second(phase.clicks),
        }
    }
}

impl Latency {
    fn new(phase: &Phase) -> Self {
        let milliseconds = |microseconds: u64| microseconds as f64 / 1000.0;
        let quantile = |share: f64| milliseconds(phase.latency.value_at_quantile(share));
        Self {
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            max_ms: milliseconds(phase.latency.max()),
        }
    }
}

impl OpenLoop {
    fn new(options: &HttpOptions, state: &State, seconds: f64) -> Option<Self> {
        let lateness = state.dispatch.lateness;
        let last_late_ms = lateness.last.as_secs_f64() * 1000.0;
        options.rate.map(|rate| Self {
            rate,
            held: last_late_ms <= LATE_MS.max(seconds * 1000.0 * LATE_SHARE),
            sent_late: lateness.requests,
            most_waiting: lateness.backlog,
            latest_ms: lateness.worst.as_secs_f64() * 1000.0,
            last_late_ms,
            unmade: lateness.unmade,
        })
    }
}
