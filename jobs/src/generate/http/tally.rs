//! What is counted while requests are answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::request::Request;
use super::verdict::{Rejected, Verdict};

/// Three digits of every latency are kept, up to an hour in microseconds.
const DIGITS: u8 = 3;
const LONGEST: u64 = 3_600_000_000;
/// How many things that went wrong are kept in words.
const MOST_PROBLEMS: usize = 5;

/// Everything that is counted: verdicts and errors of the whole run, speed and latency apart for the warm-up.
pub(super) struct Tally {
    pub(super) verdicts: Verdicts,
    /// Answers by status, also those after which the request was sent again.
    pub(super) answers: BTreeMap<u16, u64>,
    /// Connections that broke, by how.
    pub(super) transport: BTreeMap<&'static str, u64>,
    /// Answers that were not what they should be.
    pub(super) malformed: u64,
    /// Requests sent again, and the clicks in them.
    pub(super) resent: u64,
    pub(super) resent_clicks: u64,
    /// The first things that went wrong, in words.
    pub(super) problems: Vec<String>,
    pub(super) warm_up: Phase,
    pub(super) measured: Phase,
}

/// Clicks by what became of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdicts {
    pub(super) accepted: u64,
    pub(super) duplicate: u64,
    pub(super) rejected: BTreeMap<String, u64>,
    /// Answered with 503 or 429 at last.
    pub(super) turned_away: u64,
    /// Answered with another 5xx.
    pub(super) server_error: u64,
    /// Not answered, or not in a way that can be understood.
    pub(super) unanswered: u64,
    /// Clicks that were rejected, and records that are no clicks and were not.
    pub(super) wrong: u64,
}

/// A part of the run.
pub(super) struct Phase {
    pub(super) requests: u64,
    pub(super) clicks: u64,
    pub(super) bytes: u64,
    /// In microseconds.
    pub(super) latency: Histogram<u64>,
    pub(super) last: Option<Instant>,
}

impl Tally {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            verdicts: Verdicts::default(),
            answers: BTreeMap::new(),
            transport: BTreeMap::new(),
            malformed: 0,
            resent: 0,
            resent_clicks: 0,
            problems: Vec::new(),
            warm_up: Phase::new()?,
            measured: Phase::new()?,
        })
    }

    pub(super) fn problem(&mut self, text: String) {
        if self.problems.len() < MOST_PROBLEMS && !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }

    /// Clicks with a verdict, or without hope of one.
    pub(super) fn settled(&self) -> u64 {
        let verdicts = &self.verdicts;
        let rejected: u64 = verdicts.rejected.values().sum();
        let in_log = verdicts.accepted + verdicts.duplicate;
        in_log + rejected + verdicts.turned_away + verdicts.server_error + verdicts.unanswered
    }

    pub(super) fn verdict(&mut self, request: &Request, verdict: &Verdict<'_>) {
        let clicks = u64::from(request.clicks);
        let poison = request.poison.len() as u64;
        let verdicts = &mut self.verdicts;
        match verdict {
            Verdict::Single { duplicate, .. } => {
                *(if *duplicate { &mut verdicts.duplicate } else { &mut verdicts.accepted }) += 1;
                verdicts.wrong += poison;
            }
            Verdict::Batch { accepted, duplicate, rejected } => {
                verdicts.accepted += accepted;
                verdicts.duplicate += duplicate;
                rejected.iter().for_each(|one| verdicts.reject(&one.reason, 1));
                verdicts.wrong += differences(&request.poison, rejected);
            }
            Verdict::Refused(reason) => {
                verdicts.reject(reason, clicks);
                verdicts.wrong += clicks - poison;
            }
            Verdict::TurnedAway => verdicts.turned_away += clicks,
            Verdict::ServerError(status) => {
                verdicts.server_error += clicks;
                self.problem(format!("the server answered {status}"));
            }
            Verdict::Malformed(problem) => {
                verdicts.unanswered += clicks;
                self.malformed += 1;
                self.problem(problem.clone());
            }
        }
    }
}

impl Verdicts {
    fn reject(&mut self, reason: &str, clicks: u64) {
        match self.rejected.get_mut(reason) {
            Some(count) => *count += clicks,
            None => {
                self.rejected.insert(reason.to_owned(), clicks);
            }
        }
    }
}

/// How many indices are in one of the two lists only, both ascending.
fn differences(poison: &[u32], rejected: &[Rejected<'_>]) -> u64 {
    let both = rejected.iter().filter(|one| poison.binary_search(&one.index).is_ok()).count();
    (poison.len() + rejected.len() - 2 * both) as u64
}

impl Phase {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { requests: 0, clicks: 0, bytes: 0, latency: Histogram::new_with_max(LONGEST, DIGITS)?, last: None })
    }

    pub(super) fn answered(&mut self, request: &Request, latency: Duration, now: Instant) {
        self.requests += 1;
        self.clicks += u64::from(request.clicks);
        self.bytes += request.bytes.len() as u64;
        self.latency.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        self.last = Some(now);
    }
}
