//! What is answered where.

use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};
use weir_dataflow::{TopQuery, WindowQuery};

use super::access::Access;
use super::answers::{AllSeries, IngestStatus, Series, Status, TierStatus, TopEntry, TopList, UniqueUsers};
use super::cache::{Answers, Kept, Valid};
use super::engine::{Engine, Known, damaged};
use super::job_status::shown_seconds;
use super::merge::series;
use super::metrics::ServeMetrics;
use super::params::{Params, bad};
use crate::http::Answer;
use crate::http::problem::{Problem, method_not_allowed};

/// The most minutes of one question for unique users.
const MAX_UNIQUES_MS: i64 = 366 * 86_400_000;

/// Answers questions about windows.
pub struct Queries {
    pub(super) engine: Engine,
    pub(super) answers: Answers,
    pub(super) access: Access,
    pub(super) max_points: usize,
    pub(super) metrics: Arc<ServeMetrics>,
    pub(super) ingest: OnceLock<IngestFigures>,
}

/// Says what ingest in the same process has taken.
pub type IngestFigures = Box<dyn Fn() -> IngestStatus + Send + Sync>;

/// What was found for a request: what is sent but for the watermark, and whether all of it is final.
struct Made {
    data: Bytes,
    truth: Known,
    is_final: bool,
}

impl Queries {
    /// Ingest runs in the same process.
    pub(crate) fn set_ingest(&self, figures: IngestFigures) {
        // There is one ingest in a process.
        let _ = self.ingest.set(figures);
    }

    /// Figures of what is answered.
    #[must_use]
    pub fn metrics(&self) -> &Arc<ServeMetrics> {
        &self.metrics
    }

    /// What is to be done every second or so.
    pub(crate) fn maintain(&self) {
        self.access.reload_keys();
    }

    /// The answer to a request, if its path is one of these.
    pub(crate) async fn answer(&self, request: &Request<Incoming>) -> Option<Answer> {
        let path = request.uri().path();
        if !matches!(path, "/v1/stats" | "/v1/top" | "/v1/uniques" | "/v1/status") {
            return None;
        }
        let started = std::time::Instant::now();
        if let Some(answer) = self.access.preflight(request) {
            return Some(answer);
        }
        let mut answer = match self.admitted(request).await {
            Ok(answer) => answer,
            Err(problem) => problem.into_answer(),
        };
        self.access.allow_origin(request.headers(), &mut answer);
        self.metrics.answered(path, answer.status(), started.elapsed());
        Some(answer)
    }

    async fn admitted(&self, request: &Request<Incoming>) -> Result<Answer, Problem> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(method_not_allowed("GET, HEAD, OPTIONS"));
        }
        let (headers, uri) = (request.headers(), request.uri());
        self.access.admit(headers, uri.query())?;
        if uri.path() == "/v1/status" {
            Params::of(uri.query()).finish()?;
            return Ok(json(&self.status().await));
        }
        let asked = uri.path_and_query().map_or("", |asked| asked.as_str());
        // Before anything is looked at: what changes meanwhile makes the answer old.
        let changes = self.engine.changes();
        if let Some(kept) = self.answers.get(asked, changes) {
            self.metrics.answered_from_cache();
            let watermark = self.engine.watermark_ms().and_then(shown_seconds).or(kept.watermark);
            return Ok(send(headers, &Kept { watermark, ..kept }, false));
        }
        let made = match uri.path() {
            "/v1/stats" => self.stats(uri.query()).await?,
            "/v1/top" => self.top(uri.query()).await?,
            _ => self.uniques(uri.query()).await?,
        };
        let Made { data, truth, is_final } = made;
        let digest = Sha256::digest(&data);
        let kept = Kept {
            etag: digest.iter().take(12).fold("W/\"".to_owned(), |text, byte| format!("{text}{byte:02x}")) + "\"",
            data,
            watermark: truth.watermark_ms.and_then(shown_seconds),
            valid: Valid::of(is_final && !truth.partial, changes),
        };
        if !truth.partial {
            self.answers.keep(asked.to_owned(), kept.clone());
        }
        Ok(send(headers, &kept, truth.partial))
    }

    async fn stats(&self, query: Option<&str>) -> Result<Made, Problem> {
        let mut params = Params::of(query);
        let (ads, several) = params.ads()?;
        let window = params.window()?;
        let starts_ms = params.range_ms()?;
        let (region, fill) = (params.region()?, params.fill()?);
        params.finish()?;
        let length_ms = window.length_ms();
        let points =
            (starts_ms.end - starts_ms.start).div_euclid(length_ms).saturating_add(1) as u128 * ads.len() as u128;
        if points > self.max_points as u128 {
            let limit = self.max_points;
            let detail = format!(
                "{points} windows are asked for, {limit} at most are possible; ask for a shorter time, for fewer ads, or for longer windows"
            );
            return Err(bad("too_much", detail));
        }
        let query = WindowQuery {
            ads: ads.clone(),
            window,
            start_ms: starts_ms.start,
            end_ms: starts_ms.end,
            region,
            sketches: false,
        };
        let found = self.engine.windows(query).await?;
        let fill = fill.then_some((starts_ms.clone(), found.truth.closed_until_ms));
        let series_of = |ad: &Arc<str>| {
            Ok(series(
                ad,
                window,
                found.merged.points(ad).map_err(|error| damaged(&error))?,
                fill.clone(),
                &found.closed,
            ))
        };
        let all: Vec<Series> = ads.iter().map(series_of).collect::<Result<_, Problem>>()?;
        // A window that has no click yet may still get one.
        let last_end_ms = starts_ms.end.saturating_add(length_ms);
        let is_final = last_end_ms <= found.truth.closed_until_ms
            && all.iter().flat_map(|series| &series.data).all(|point| point.is_final);
        let data = match all.as_slice() {
            [one] if !several => encoded(one),
            _ => encoded(&AllSeries { series: all }),
        };
        Ok(Made { data, truth: found.truth, is_final })
    }

    async fn top(&self, query: Option<&str>) -> Result<Made, Problem> {
        let mut params = Params::of(query);
        let window = params.window()?;
        let at_ms = params.optional_time_ms("at")?;
        let (region, limit) = (params.region()?, params.limit()?);
        params.finish()?;
        let given = at_ms.is_some();
        let at_ms = match at_ms {
            Some(at_ms) => Some(at_ms),
            // The newest window that is not in the future of the clicks.
            None => self.engine.truth().await?.watermark_ms.filter(|at_ms| shown_seconds(*at_ms).is_some()),
        };
        let Some(at_ms) = at_ms else {
            let list = TopList {
                window: window.as_str(),
                timestamp: None,
                is_final: false,
                reconciled: false,
                data: Vec::new(),
            };
            return Ok(Made { data: encoded(&list), truth: self.engine.truth().await?, is_final: false });
        };
        let mut start_ms = window.start_of(at_ms);
        let question = |start_ms| TopQuery { window, start_ms, region: region.clone(), limit };
        let mut top = self.engine.top(question(start_ms)).await?;
        if top.ads.is_empty() && !given {
            // The watermark is behind the newest clicks: the first ones of all may be in the next window.
            start_ms += window.length_ms();
            top = self.engine.top(question(start_ms)).await?;
        }
        let ads = top.ads.iter().map(|ad| Arc::clone(&ad.ad_id)).collect::<Vec<_>>();
        let query = WindowQuery { ads, window, start_ms, end_ms: start_ms + 1, region, sketches: false };
        // No ads would be all ads.
        let users = if query.ads.is_empty() { None } else { Some(self.engine.windows(query).await?) };
        let mut data = Vec::with_capacity(top.ads.len());
        for ad in top.ads {
            let points = users.as_ref().map(|found| found.merged.points(&ad.ad_id)).transpose();
            let points = points.map_err(|error| damaged(&error))?.unwrap_or_default();
            let unique_users = points.first().map_or(0, |point| point.unique_users);
            data.push(TopEntry { ad_id: ad.ad_id.to_string(), click_count: ad.click_count, unique_users });
        }
        let is_final = start_ms + window.length_ms() <= top.truth.closed_until_ms;
        let list = TopList {
            window: window.as_str(),
            timestamp: Some(start_ms / 1000),
            is_final,
            reconciled: top.reconciled,
            data,
        };
        Ok(Made { data: encoded(&list), truth: top.truth, is_final })
    }

    async fn uniques(&self, query: Option<&str>) -> Result<Made, Problem> {
        let mut params = Params::of(query);
        let ad = params.ad()?;
        let starts_ms = params.range_ms()?;
        let region = params.region()?;
        params.finish()?;
        if starts_ms.end - starts_ms.start > MAX_UNIQUES_MS {
            return Err(bad("too_much", "366 days at most are possible".to_owned()));
        }
        let (users, truth) = self.engine.users(&ad, starts_ms.clone(), region).await?;
        let is_final = starts_ms.end.saturating_add(60_000) <= truth.closed_until_ms;
        let users = UniqueUsers {
            ad_id: ad.to_string(),
            start: starts_ms.start.div_euclid(1000),
            end: starts_ms.end.div_euclid(1000),
            unique_users: users.estimate(),
        };
        Ok(Made { data: encoded(&users), truth, is_final })
    }

    async fn status(&self) -> Status {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs() as i64);
        let (has_hot, from_ms) = self.engine.hot_from_ms().await;
        let state = |configured, ok| match (configured, ok) {
            (false, _) => "absent",
            (true, true) => "ok",
            (true, false) => "away",
        };
        let (has_warm, warm_from_ms) = self.engine.warm_from_ms().await;
        let shown = |from_ms: Option<i64>| from_ms.and_then(shown_seconds).filter(|from| *from > 0);
        let cold = self.engine.cold_answers().await;
        Status {
            version: env!("CARGO_PKG_VERSION"),
            now,
            jobs: self.engine.jobs().await,
            ingest: self.ingest.get().map(|figures| figures()),
            tiers: vec![
                TierStatus { tier: "hot", state: state(has_hot, from_ms.is_some()), from: shown(from_ms) },
                TierStatus { tier: "warm", state: state(has_warm, warm_from_ms.is_some()), from: shown(warm_from_ms) },
                TierStatus { tier: "cold", state: state(true, cold), from: None },
            ],
        }
    }
}

/// The body of an answer up to what it is true for.
fn encoded(data: &impl Serialize) -> Bytes {
    // Texts, numbers and lists are always JSON.
    let mut bytes = serde_json::to_vec(data).unwrap_or_default();
    bytes.pop();
    bytes.into()
}

fn send(request: &HeaderMap, kept: &Kept, partial: bool) -> Answer {
    let mut answer = Answer::default();
    let cache_control = match kept.valid {
        Valid::Final(_) => HeaderValue::from_static("private, max-age=60"),
        Valid::Changes(..) | Valid::Until(_) => HeaderValue::from_static("private, no-cache"),
    };
    answer.headers_mut().insert(CACHE_CONTROL, cache_control);
    if let Ok(etag) = HeaderValue::from_str(&kept.etag) {
        answer.headers_mut().insert(ETAG, etag);
    }
    let known = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    if !partial && known.flat_map(|value| value.split(',')).any(|etag| etag.trim() == kept.etag || etag.trim() == "*") {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        return answer;
    }
    let watermark = kept.watermark.map_or_else(|| "null".to_owned(), |seconds| seconds.to_string());
    let mut body = BytesMut::with_capacity(kept.data.len() + 64);
    body.put_slice(&kept.data);
    body.put_slice(format!(",\"watermark\":{watermark},\"partial\":{partial}}}").as_bytes());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *answer.body_mut() = Full::new(body.freeze());
    answer
}

fn json(value: &impl Serialize) -> Answer {
    // Texts, numbers and lists are always JSON.
    let mut answer = Response::new(Full::new(Bytes::from(serde_json::to_vec(value).unwrap_or_default())));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
