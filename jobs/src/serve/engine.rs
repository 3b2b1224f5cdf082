//! Finds windows wherever they are: in the jobs' memory first, then in what is stored for all that is not complete there.
//!
//! The order matters. A window leaves the memory only after the tables show it, so whoever looks there last misses nothing.

use std::sync::Arc;

use hyper::StatusCode;
use tokio::sync::{Semaphore, SemaphorePermit};
use weir_connectors::delta::{DeltaReader, ReadError};
use weir_dataflow::{SketchError, TopAd, TopQuery, UserSketch, Window, WindowQuery, WindowStats};

use super::answers::JobStatus;
use super::corrected::{ClosedDays, Corrected};
use super::hot::{Hot, Truth};
use super::manifests::Manifests;
use super::merge::Merged;
use super::plan::{Covered, Part, Stored, plan};
use super::uniques;
use super::warm::Warm;
use crate::http::problem::Problem;

/// Questions that the tables answer at a time; others wait. Each may take the memory of `serve.query_bytes`.
const TABLE_QUESTIONS: usize = 8;

/// A question's place among those that the tables answer, once it has one.
type Place<'e> = Option<SemaphorePermit<'e>>;

/// All tiers.
pub(super) struct Engine {
    hot: Option<Hot>,
    warm: Option<Warm>,
    cold: Arc<DeltaReader>,
    corrected: Arc<Corrected>,
    manifests: Arc<Manifests>,
    job: String,
    places: Semaphore,
}

/// Windows, and what they are true for.
pub(super) struct Found {
    pub(super) merged: Merged,
    pub(super) truth: Known,
    /// The closed days that some of the windows may be in.
    pub(super) closed: ClosedDays,
}

/// The ads with the most clicks, and what that is true for.
pub(super) struct FoundTop {
    pub(super) ads: Vec<TopAd>,
    pub(super) truth: Known,
    /// Whether its window is in a closed day.
    pub(super) reconciled: bool,
}

/// What is known of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) watermark_ms: Option<i64>,
    /// Windows that end here or earlier are final.
    pub(super) closed_until_ms: i64,
    /// Something may be missing.
    pub(super) partial: bool,
}

impl Engine {
    pub(super) fn new(
        hot: Option<Hot>,
        warm: Option<Warm>,
        cold: Arc<DeltaReader>,
        corrected: Corrected,
        manifests: Manifests,
        job: String,
    ) -> Self {
        let places = Semaphore::new(TABLE_QUESTIONS);
        let (corrected, manifests) = (Arc::new(corrected), Arc::new(manifests));
        Self { hot, warm, cold, corrected, manifests, job, places }
    }

    /// The windows that are asked for, with sketches where an ad's users cannot be had without.
    pub(super) async fn windows(&self, query: WindowQuery) -> Result<Found, Problem> {
        let mut found = self.rows(query.clone()).await?;
        if !query.sketches {
            let ads = found.merged.need_sketches();
            if !ads.is_empty() {
                let again = self.rows(WindowQuery { ads, sketches: true, ..query }).await?;
                found.merged.replace(again.merged);
            }
        }
        Ok(found)
    }

    /// The ads with the most clicks in a window.
    pub(super) async fn top(&self, query: TopQuery) -> Result<FoundTop, Problem> {
        let all = WindowQuery {
            ads: Vec::new(),
            window: query.window,
            start_ms: query.start_ms,
            end_ms: query.start_ms.saturating_add(1),
            region: query.region.clone(),
            sketches: false,
        };
        let mut place = None;
        let (closed, corrected) = self.corrected(all.clone(), &mut place).await?;
        let reconciled = closed.have(query.window, query.start_ms);
        // The tiers have lists of what was counted: where some of it was corrected, only all rows tell.
        if corrected.is_empty() {
            place = None;
            if let Some((ads, truth)) = self.counted_top(&query).await? {
                return Ok(FoundTop { ads, truth, reconciled });
            }
        }
        let (mut rows, truth) = self.counted(&all, &mut place).await?;
        rows.extend(corrected);
        let mut ads = Merged::of(rows).clicks();
        TopAd::rank(&mut ads, query.limit);
        Ok(FoundTop { ads, truth, reconciled })
    }

    /// The list of a window that one tier has all of. Some may be in memory and the rest in the tables: then there is none.
    async fn counted_top(&self, query: &TopQuery) -> Result<Option<(Vec<TopAd>, Known)>, Problem> {
        if let Some(hot) = &self.hot {
            let answer = hot.top(query).await;
            let from_ms = answer.progress.and_then(|truth| truth.complete_from_ms);
            if let Some(truth) = answer.progress.filter(|_| from_ms.is_some_and(|from_ms| from_ms <= query.start_ms)) {
                let mut ads = answer.found;
                TopAd::sum(&mut ads);
                TopAd::rank(&mut ads, query.limit);
                return Ok(Some((ads, known(truth))));
            }
        }
        self.warm_top(query).await
    }

    /// The list of a window that ClickHouse is sure to have.
    async fn warm_top(&self, query: &TopQuery) -> Result<Option<(Vec<TopAd>, Known)>, Problem> {
        let Some(warm) = &self.warm else { return Ok(None) };
        let end_ms = query.start_ms.saturating_add(query.window.length_ms());
        let covers = |covered: Covered| covered.from_ms <= query.start_ms && end_ms <= covered.until_ms;
        if !warm.covered().await.is_some_and(covers) {
            return Ok(None);
        }
        let Some(ads) = warm.top(query).await else { return Ok(None) };
        Ok(Some((ads, self.truth().await?)))
    }

    /// Whether ClickHouse should be there, and from where on it has all windows if it answers.
    pub(super) async fn warm_from_ms(&self) -> (bool, Option<i64>) {
        match &self.warm {
            Some(warm) => (true, warm.covered().await.map(|covered| covered.from_ms)),
            None => (false, None),
        }
    }

    /// The distinct users of an ad over a range.
    pub(super) async fn users(
        &self,
        ad: &Arc<str>,
        starts_ms: std::ops::Range<i64>,
        region: Option<Arc<str>>,
    ) -> Result<(UserSketch, Known), Problem> {
        let mut users = UserSketch::new();
        let mut truth: Option<Known> = None;
        for (window, starts_ms) in uniques::cover(starts_ms) {
            let query = WindowQuery {
                ads: vec![Arc::clone(ad)],
                window,
                start_ms: starts_ms.start,
                end_ms: starts_ms.end,
                region: region.clone(),
                sketches: true,
            };
            let found = self.rows(query).await?;
            users.merge(&found.merged.users(ad).map_err(|error| damaged(&error))?);
            truth = Some(truth.map_or(found.truth, |truth| truth.and(found.truth)));
        }
        match truth {
            Some(truth) => Ok((users, truth)),
            None => Ok((users, self.truth().await?)),
        }
    }

    /// What an answer would be true for.
    pub(super) async fn truth(&self) -> Result<Known, Problem> {
        match self.hot.as_ref().and_then(Hot::truth) {
            Some(truth) => Ok(known(truth)),
            None => {
                let nothing = WindowQuery {
                    ads: vec!["".into()],
                    window: Window::OneMinute,
                    start_ms: 0,
                    end_ms: 0,
                    region: None,
                    sketches: false,
                };
                Ok(self.rows(nothing).await?.truth)
            }
        }
    }

    /// A number that is another one after every change of what is in memory.
    pub(super) fn changes(&self) -> Option<u64> {
        self.hot.as_ref().and_then(Hot::changes)
    }

    /// The watermark, where it is known without asking.
    pub(super) fn watermark_ms(&self) -> Option<i64> {
        self.hot.as_ref().and_then(Hot::truth).and_then(|truth| truth.watermark_ms)
    }

    pub(super) async fn jobs(&self) -> Vec<JobStatus> {
        match &self.hot {
            Some(hot) => hot.status().await,
            None => Vec::new(),
        }
    }

    /// Where the hot tier begins to be complete, if there is one and it answers; whether there should be one.
    pub(super) async fn hot_from_ms(&self) -> (bool, Option<i64>) {
        let Some(hot) = &self.hot else { return (false, None) };
        let nothing = TopQuery { window: Window::OneMinute, start_ms: 0, region: None, limit: 1 };
        let truth = match hot.truth() {
            Some(truth) => Some(truth),
            None => hot.top(&nothing).await.progress,
        };
        (true, truth.and_then(|truth| truth.complete_from_ms))
    }

    /// Whether the tables can be read.
    pub(super) async fn cold_answers(&self) -> bool {
        let cold = Arc::clone(&self.cold);
        tokio::task::spawn_blocking(move || cold.version().is_ok()).await.unwrap_or(false)
    }

    async fn rows(&self, query: WindowQuery) -> Result<Found, Problem> {
        let mut place = None;
        let (mut rows, truth) = self.counted(&query, &mut place).await?;
        // Looked at last: what is closed meanwhile was counted before.
        let (closed, corrected) = self.corrected(query, &mut place).await?;
        rows.extend(corrected);
        Ok(Found { merged: Merged::of(rows), truth, closed })
    }

    /// The windows as the stream has counted them.
    async fn counted<'e>(
        &'e self,
        query: &WindowQuery,
        place: &mut Place<'e>,
    ) -> Result<(Vec<WindowStats>, Known), Problem> {
        let (mut rows, truth) = match &self.hot {
            Some(hot) => {
                let answer = hot.windows(query).await;
                (answer.found, answer.progress)
            }
            None => (Vec::new(), None),
        };
        let hot_from_ms = truth.and_then(|truth| truth.complete_from_ms);
        let length_ms = query.window.length_ms();
        let asked_ms = query.start_ms..query.end_ms;
        let mut parts = plan(asked_ms.clone(), length_ms, hot_from_ms, None);
        if !parts.is_empty()
            && let Some(warm) = &self.warm
        {
            parts = plan(asked_ms, length_ms, hot_from_ms, warm.covered().await);
        }
        for Part { tier, starts_ms } in parts {
            let part = WindowQuery { start_ms: starts_ms.start, end_ms: starts_ms.end, ..query.clone() };
            rows.extend(self.stored(tier, part, place).await?);
        }
        let truth = match truth {
            Some(truth) if hot_from_ms.is_some() => known(truth),
            truth => self.without_hot(query, truth).await?,
        };
        Ok((rows, truth))
    }

    /// What reconciliation has found for some windows.
    async fn corrected<'e>(
        &'e self,
        query: WindowQuery,
        place: &mut Place<'e>,
    ) -> Result<(ClosedDays, Vec<WindowStats>), Problem> {
        let closed = self.closed(&query).await?;
        if closed.is_empty() || self.corrected.has_none(&query) {
            return Ok((closed, Vec::new()));
        }
        self.take_place(place).await?;
        let corrected = Arc::clone(&self.corrected);
        let read = tokio::task::spawn_blocking(move || corrected.windows(&query)).await;
        let rows = read.map_err(|_| unavailable("the question was given up"))?.map_err(|error| of_table(&error))?;
        Ok((closed, rows))
    }

    /// The closed days that the windows may be in. Where the store does not answer, what was last known is as good if it says
    /// that there are none: what is in memory can be answered without any store.
    async fn closed(&self, query: &WindowQuery) -> Result<ClosedDays, Problem> {
        if let Some(closed) = self.corrected.closed_if_known(query) {
            return Ok(closed);
        }
        let (corrected, asked) = (Arc::clone(&self.corrected), query.clone());
        let looked = tokio::task::spawn_blocking(move || corrected.look(&asked)).await;
        looked.map_err(|_| unavailable("the question was given up"))?.or_else(|error| {
            match self.corrected.closed_as_last_known(query).filter(ClosedDays::is_empty) {
                Some(none) => Ok(none),
                None => Err(unavailable(format!("the closed days cannot be read: {error:#}"))),
            }
        })
    }

    async fn stored<'e>(
        &'e self,
        tier: Stored,
        query: WindowQuery,
        place: &mut Place<'e>,
    ) -> Result<Vec<WindowStats>, Problem> {
        if let (Stored::Warm, Some(warm)) = (tier, &self.warm)
            && let Some(rows) = warm.windows(&query).await
        {
            return Ok(rows);
        }
        self.take_place(place).await?;
        let cold = Arc::clone(&self.cold);
        let read = tokio::task::spawn_blocking(move || cold.windows(&query)).await;
        read.map_err(|_| unavailable("the question was given up"))?.map_err(|error| of_table(&error))
    }

    /// A question has one place for all that it reads of the tables, and keeps it: else those that wait would hold rows.
    async fn take_place<'e>(&'e self, place: &mut Place<'e>) -> Result<(), Problem> {
        if place.is_none() {
            *place = Some(self.places.acquire().await.map_err(|_| unavailable("the service stops"))?);
        }
        Ok(())
    }

    /// Not all jobs can be asked: what is beyond the tables may be missing.
    async fn without_hot(&self, query: &WindowQuery, truth: Option<Truth>) -> Result<Known, Problem> {
        let (cold, manifests, job) = (Arc::clone(&self.cold), Arc::clone(&self.manifests), self.job.clone());
        let read = move || {
            let in_table = cold.version().map_err(|error| of_table(&error))?.epochs.get(&job).copied();
            manifests
                .newest(in_table)
                .map_err(|error| unavailable(format!("the checkpoints cannot be read: {error:#}")))
        };
        let stored =
            tokio::task::spawn_blocking(read).await.map_err(|_| unavailable("the question was given up"))??;
        let last_end_ms =
            query.window.start_of(query.end_ms.saturating_sub(1)).saturating_add(query.window.length_ms());
        let asks_for_something = query.start_ms < query.end_ms;
        let until_ms = stored.map_or(i64::MIN, |stored| stored.in_table_until_ms);
        Ok(Known {
            watermark_ms: stored.and_then(|stored| stored.watermark_ms).max(truth.and_then(|truth| truth.watermark_ms)),
            closed_until_ms: stored.map_or(i64::MIN, |stored| stored.closed_until_ms),
            partial: asks_for_something && last_end_ms > until_ms,
        })
    }
}

impl Known {
    fn and(self, other: Self) -> Self {
        Self {
            watermark_ms: self.watermark_ms.min(other.watermark_ms),
            closed_until_ms: self.closed_until_ms.min(other.closed_until_ms),
            partial: self.partial || other.partial,
        }
    }
}

fn known(truth: Truth) -> Known {
    Known { watermark_ms: truth.watermark_ms, closed_until_ms: truth.closed_until_ms, partial: false }
}

fn of_table(error: &ReadError) -> Problem {
    match error {
        ReadError::TooMuch { .. } => Problem::new(StatusCode::BAD_REQUEST, "too_much", error.to_string()),
        _ => {
            tracing::warn!(%error, "a question could not be answered from the tables");
            unavailable(error.to_string())
        }
    }
}

pub(super) fn damaged(error: &SketchError) -> Problem {
    tracing::error!(%error, "a stored sketch cannot be read");
    unavailable(format!("a stored sketch cannot be read: {error}"))
}

fn unavailable(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).retry_after(1)
}
