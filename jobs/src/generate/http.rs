//! Synthetic clicks over HTTP: load for ingest, and the latency that its clients would see.
//!
//! ```text
//!   stream ──▶ ahead: requests in bytes ──▶ dispatch: due? ──▶ connections ──▶ POST /v1/clicks
//!                                              ▲    pace           │
//!                                              └── sent again ─────┴──▶ tally: verdicts, latency; accepted file
//! ```
//!
//! - With a rate the loop is open: request i is due at start + i × batch / rate, whatever the server does, and its latency
//!   counts from then. A server that pauses is measured as all the clients would see it who came in that time.
//! - Without one the loop is closed: connections × pipeline requests are always on their way, and a latency is only the
//!   time that the server took.
//! - Each click has one verdict, however often its request was sent.
//! - It shares the machine with the server that it measures: one thread sends and reads, one makes requests, one sleeps
//!   until the next is due. No HTTP library is between the bytes and the socket.

mod accepted;
mod address;
mod ahead;
mod answer;
mod connection;
mod cpu;
mod demo;
mod dispatch;
mod drive;
mod pace;
mod report;
mod request;
mod run;
mod tally;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Result;

use super::count;
use super::oracle::{Header, Oracle, OverHttp};
use super::stream::StreamOptions;
use accepted::AcceptedFile;
pub use address::HttpAddress;
use ahead::Ahead;
pub use demo::{Demo, demo};
use drive::{Drive, Driven, drive};
use pace::PaceKind;
pub use report::{HttpReport, Latency, OpenLoop, Speed};
pub use request::{BodyForm, Compression};

/// How clicks are posted.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Where to.
    pub address: HttpAddress,
    /// Clicks in a request.
    pub batch: u32,
    /// JSON arrays instead of lines.
    pub array: bool,
    /// Connections.
    pub connections: u32,
    /// Requests on their way on one connection.
    pub pipeline: u32,
    /// How bodies are compressed.
    pub compression: Option<Compression>,
    /// Names and values of further headers.
    pub headers: Vec<(String, String)>,
    /// Clicks a second; none: as fast as answers come.
    pub rate: Option<f64>,
    /// How long the beginning is that is measured apart.
    pub warm_up: Duration,
    /// When a closed loop ends, if its clicks do not end before.
    pub duration: Option<Duration>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// For how long a request is sent again that got 503, 429 or no answer; none: not at all.
    pub retry: Option<Duration>,
    /// Where the clicks are noted that the server said are in the log.
    pub accepted: Option<PathBuf>,
}

impl HttpOptions {
    /// With what `weir generate` takes where it is not told.
    #[must_use]
    pub fn new(address: HttpAddress) -> Self {
        Self {
            address,
            batch: 1,
            array: false,
            connections: 64,
            pipeline: 1,
            compression: None,
            headers: Vec::new(),
            rate: None,
            warm_up: Duration::ZERO,
            duration: None,
            timeout: Duration::from_secs(30),
            retry: None,
            accepted: None,
        }
    }

    /// How clicks lie in a body.
    #[must_use]
    pub const fn form(&self) -> BodyForm {
        match (self.array, self.batch) {
            (true, _) => BodyForm::Array,
            (false, 1) => BodyForm::Single,
            (false, _) => BodyForm::Lines,
        }
    }

    fn requests_per_second(&self) -> Option<f64> {
        self.rate.map(|rate| rate / f64::from(self.batch))
    }
}

/// Posts one part of a log, and reports how that went.
///
/// `earlier` is what the oracle of the log so far says of it; with an `oracle_path` the right answer for the whole log is
/// written there, if every click got a verdict that it deserves. Once `stop` is set nothing more is sent. `progress` is
/// told how many clicks have their verdict.
pub fn post(
    options: &HttpOptions,
    stream: &StreamOptions,
    earlier: Option<&Header>,
    oracle_path: Option<&Path>,
    stop: &AtomicBool,
    mut progress: impl FnMut(u64),
) -> Result<HttpReport> {
    let parts = earlier.map_or(&[][..], |header| &header.parts);
    let ahead = Ahead { stream: stream.clone(), oracle: oracle_path.map(|_| count(parts)), live: false };
    let accepted = options.accepted.as_deref().map(|path| AcceptedFile::create(path, stream)).transpose()?;
    let pace = options.requests_per_second().map_or(PaceKind::Closed, |rate| PaceKind::Steady(1.0 / rate));
    let what = Drive { options, pace, ahead, accepted, endless: false, stop };
    let Driven { mut state, oracle, stopped, cpu_seconds } = drive(what, &mut progress)?;
    if let Some(file) = state.accepted.take() {
        file.finish()?;
    }
    let mut report = HttpReport::new(options, &state, stopped, cpu_seconds);
    if let (Some(counted), Some(path)) = (oracle, oracle_path) {
        report.totals = Some(counted.totals());
        if report.failures.is_empty() && report.lost() == 0 && !stopped {
            report.windows = Some(write_oracle(counted, path, stream, earlier, &report)?);
            report.oracle = Some(path.to_owned());
        } else {
            report.failures.push("not every click is in the log for certain: no oracle was written".to_owned());
        }
    }
    Ok(report)
}

fn write_oracle(
    oracle: Oracle,
    path: &Path,
    stream: &StreamOptions,
    earlier: Option<&Header>,
    report: &HttpReport,
) -> Result<u64> {
    let before = earlier.map(|header| header.over_http.unwrap_or(OverHttp { accepted: header.totals.read, resent: 0 }));
    let OverHttp { accepted, resent } = before.unwrap_or(OverHttp { accepted: 0, resent: 0 });
    let over_http = OverHttp { accepted: accepted + report.accepted, resent: resent + report.resent_clicks };
    let parts: Vec<StreamOptions> = earlier.iter().flat_map(|header| &header.parts).chain([stream]).cloned().collect();
    oracle.write(path, &parts, Some(over_http))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
