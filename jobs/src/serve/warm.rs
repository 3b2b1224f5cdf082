//! The warm tier: ClickHouse, for what it is sure to have.
//!
//! Where it does not answer, the tables are asked instead: they have all of it, more slowly.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use weir_connectors::clickhouse::{ClickHouseError, ClickHouseReader};
use weir_dataflow::{TopAd, TopQuery, WindowQuery, WindowStats};

use super::plan::Covered;

/// How long what it covers is taken for known: it only grows, but for what its retention takes away, which is a matter of
/// days.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// How long it is left alone after it did not answer.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// How long it may take.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Warm {
    reader: ClickHouseReader,
    covered: Mutex<Option<(Instant, Option<Covered>)>>,
    away: AtomicBool,
}

impl Warm {
    pub(super) fn new(reader: ClickHouseReader) -> Self {
        Self { reader, covered: Mutex::default(), away: AtomicBool::new(false) }
    }

    /// What it is sure to have; none where it does not answer.
    pub(super) async fn covered(&self) -> Option<Covered> {
        let known = *self.covered.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |since: &Instant, covered: &Option<Covered>| {
            since.elapsed() < if covered.is_some() { KNOWN_FOR } else { LEFT_ALONE }
        };
        if let Some((_, covered)) = known.filter(|(since, covered)| fresh(since, covered)) {
            return covered;
        }
        let asked = self.noted(tokio::time::timeout(TIMEOUT, self.reader.coverage()).await);
        let covered = asked.map(|found| Covered { from_ms: found.from_ms, until_ms: found.until_ms });
        *self.covered.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), covered));
        covered
    }

    /// The windows; none where it does not answer.
    pub(super) async fn windows(&self, query: &WindowQuery) -> Option<Vec<WindowStats>> {
        self.answered(tokio::time::timeout(TIMEOUT, self.reader.windows(query)).await)
    }

    /// The ads with the most clicks; none where it does not answer.
    pub(super) async fn top(&self, query: &TopQuery) -> Option<Vec<TopAd>> {
        self.answered(tokio::time::timeout(TIMEOUT, self.reader.top(query)).await)
    }

    fn answered<T>(&self, asked: Asked<T>) -> Option<T> {
        let answer = self.noted(asked);
        if answer.is_none() {
            *self.covered.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), None));
        }
        answer
    }

    /// The answer, if there is one. What went wrong is logged when it begins, not at every question.
    fn noted<T>(&self, asked: Asked<T>) -> Option<T> {
        let error = match asked {
            Ok(Ok(answer)) => {
                if self.away.swap(false, Ordering::Relaxed) {
                    tracing::info!("ClickHouse answers again");
                }
                return Some(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(error, "ClickHouse does not answer; questions go to the tables");
        }
        None
    }
}

type Asked<T> = Result<Result<T, ClickHouseError>, tokio::time::error::Elapsed>;
