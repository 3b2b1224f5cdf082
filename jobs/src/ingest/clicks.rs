//! `POST /v1/clicks`.
//!
//! ```text
//!   overload? ─▶ content type ─▶ client, key ─▶ body ─▶ rate ─▶ intake ─▶ log ─▶ settled ─▶ answer
//!      503           415            401       400 413    429      400      503
//! ```
//!
//! - A click is settled in [`Recent`] when the log answers, whether or not its client still waits.
//! - An answer other than 2xx says nothing of what was accepted before it, in a batch. Sending all of it again is always
//!   right: what was accepted is then a duplicate.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, EXPECT, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, StatusCode, Version};
use tokio::sync::oneshot;
use weir_connectors::log::{Log, LogError, Settled};

use super::batch::{Batch, Pending};
use super::clients::{Client, Clients};
use super::intake::{Collected, Intake, Item};
use super::items::{array_items, lines};
use super::metrics::IngestMetrics;
use super::overload::Overload;
use super::rate::Standing;
use super::recent::Recent;
use super::refusals::{refuse_key_for_many, refused, unreadable};
use super::sender::{Sender, Shape};
use super::verdict::{ClickStatus, ClickVerdict, RejectedClick};
use crate::config::RequestLimits;
use crate::http::body::{BodyLimits, BodyReader, Encoding, discard};
use crate::http::budget::{Budget, Reservation};
use crate::http::client::TrustedProxies;
use crate::http::problem::Problem;
use crate::http::{Answer, Peer};

/// How many clicks of an array, or bytes of lines, go into the log together.
const GROUP_CLICKS: usize = 1024;
const GROUP_BYTES: usize = 512 << 10;

/// What listing one rejected click takes in memory, about.
const REJECTED_BYTES: usize = 160;

/// What a request takes in memory besides its body, about. It bounds how many there are at a time.
const REQUEST_BYTES: usize = 4096;

/// The endpoint.
pub(super) struct Clicks {
    pub(super) log: Arc<dyn Log>,
    pub(super) recent: Arc<Recent>,
    pub(super) overload: Arc<Overload>,
    pub(super) clients: Clients,
    pub(super) proxies: TrustedProxies,
    pub(super) limits: RequestLimits,
    pub(super) budget: Budget,
    pub(super) metrics: Arc<IngestMetrics>,
}

/// A request whose body is still to be read.
struct Posted<'r> {
    sender: Sender<'r>,
    client: Client,
    reservation: Reservation,
    standing: Option<Standing>,
}

impl Clicks {
    /// Answers a request.
    pub(super) async fn post(&self, peer: Peer, request: Request<Incoming>) -> Answer {
        let (head, mut body) = request.into_parts();
        match self.take(peer, &head, &mut body).await {
            Ok(answer) => answer,
            Err(problem) => self.refuse(&head, &mut body, problem).await,
        }
    }

    /// Answers a request whose body may not have been read. Where too much of it is left, the connection cannot go on.
    async fn refuse(&self, head: &Parts, body: &mut Incoming, problem: Problem) -> Answer {
        let mut answer = problem.into_answer();
        // Who waits to be asked for the body is not asked.
        let may_come = !head.headers.contains_key(EXPECT);
        let read = body.is_end_stream() || (may_come && discard(body, self.limits.body_bytes as u64).await);
        if !read && head.version == Version::HTTP_11 {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    async fn take(&self, peer: Peer, head: &Parts, body: &mut Incoming) -> Result<Answer, Problem> {
        if let Some(cause) = self.overload.check() {
            return Err(refused(cause));
        }
        let mut reservation = self.budget.reservation();
        reservation.grow(REQUEST_BYTES).map_err(unreadable)?;
        let shape = Shape::of(&head.headers)?;
        let address = self.proxies.client(peer.address.ip(), &head.headers);
        let mut request = Posted {
            client: self.clients.admit(head, address)?,
            sender: Sender::of(address, &head.headers)?,
            reservation,
            standing: None,
        };
        let reader = self.reader(&head.headers, body, shape)?;
        let mut answer = match shape {
            Shape::Json => self.take_json(&mut request, reader).await?,
            Shape::Lines => self.take_lines(&mut request, reader).await?,
        };
        if let Some(standing) = request.standing {
            standing.write(answer.headers_mut());
        }
        Ok(answer)
    }

    fn reader<'b>(&self, headers: &HeaderMap, body: &'b mut Incoming, shape: Shape) -> Result<BodyReader<'b>, Problem> {
        let (sent_bytes, inflated_bytes) = match shape {
            Shape::Json => (self.limits.body_bytes as u64, self.limits.inflated_bytes as u64),
            Shape::Lines => (self.limits.stream_bytes, self.limits.stream_bytes),
        };
        let limits = BodyLimits { sent_bytes, inflated_bytes, timeout: self.limits.body_timeout };
        Encoding::of(headers).and_then(|encoding| BodyReader::new(body, encoding, limits)).map_err(unreadable)
    }

    async fn take_json(&self, request: &mut Posted<'_>, reader: BodyReader<'_>) -> Result<Answer, Problem> {
        let body = reader.whole(&mut request.reservation).await.map_err(unreadable)?;
        self.metrics.body(body.len());
        if body.trim_ascii_start().starts_with(b"[") {
            return self.take_array(request, &body).await;
        }
        self.charge(request, 1)?;
        self.take_one(request, &body).await
    }

    async fn take_one(&self, request: &Posted<'_>, body: &[u8]) -> Result<Answer, Problem> {
        let mut click_id = String::new();
        let mut intake = Intake::new(&request.sender, &self.recent, 1, body.len());
        let item = intake.take(body, |id| id.clone_into(&mut click_id));
        let collected = intake.finish();
        let status = match item {
            Item::Click if collected.group.is_empty() => ClickStatus::Duplicate,
            Item::Click => ClickStatus::Accepted,
            Item::Rejected(rejection) => {
                let reason = rejection.reason.as_str();
                self.metrics.rejected(reason);
                let too_large = reason == "too_large";
                let code = if too_large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
                return Err(Problem::new(code, reason, rejection.detail));
            }
            Item::OtherId => {
                let detail = "header Idempotency-Key and the click's click_id differ";
                return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "id_mismatch", detail));
            }
        };
        self.append(collected).done().await?;
        let accepted = u64::from(status == ClickStatus::Accepted);
        self.metrics.taken(accepted, 1 - accepted);
        Ok(ClickVerdict { click_id, status }.into_answer())
    }

    async fn take_array(&self, request: &mut Posted<'_>, body: &[u8]) -> Result<Answer, Problem> {
        let items = array_items(body).map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is no JSON array: {}", error.0))
        })?;
        if items.len() > self.limits.clicks {
            let detail = format!("{} clicks in one array; at most {} are allowed", items.len(), self.limits.clicks);
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
        }
        refuse_key_for_many(&request.sender)?;
        self.charge(request, items.len())?;
        let mut batch = Batch::default();
        for group in items.chunks(GROUP_CLICKS) {
            self.take_group(request, &mut batch, group).await?;
        }
        self.finish(batch).await
    }

    async fn take_lines(&self, request: &mut Posted<'_>, mut reader: BodyReader<'_>) -> Result<Answer, Problem> {
        refuse_key_for_many(&request.sender)?;
        let mut batch = Batch::default();
        let mut buffer = Vec::new();
        let mut target_bytes = GROUP_BYTES;
        loop {
            let mut chunk = self.budget.reservation();
            chunk.grow(buffer.len()).map_err(unreadable)?;
            let more = reader.fill(&mut buffer, target_bytes, &mut chunk).await.map_err(unreadable)?;
            let whole = if more { memchr::memrchr(b'\n', &buffer).map_or(0, |at| at + 1) } else { buffer.len() };
            if whole == 0 && more {
                // A line that is longer than a chunk: it is read to its end and found to be too large.
                if buffer.len() > self.limits.inflated_bytes {
                    let detail = format!("a line is longer than {} bytes", self.limits.inflated_bytes);
                    return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
                }
                target_bytes = buffer.len() + GROUP_BYTES;
                continue;
            }
            target_bytes = GROUP_BYTES;
            self.take_chunk(request, &mut batch, buffer.get(..whole).unwrap_or_default()).await?;
            buffer.drain(..whole);
            if !more {
                return self.finish(batch).await;
            }
        }
    }

    async fn take_chunk(&self, request: &mut Posted<'_>, batch: &mut Batch, chunk: &[u8]) -> Result<(), Problem> {
        self.metrics.body(chunk.len());
        let items: Vec<&[u8]> = lines(chunk).collect();
        while let Err((problem, wait)) = self.clients.take(&request.client, items.len()).map(|standing| {
            request.standing = standing;
        }) {
            // A stream that has begun is slowed down rather than broken off.
            if batch.next_index == 0 {
                return Err(problem);
            }
            tokio::time::sleep(wait).await;
        }
        for group in items.chunks(GROUP_CLICKS) {
            self.take_group(request, batch, group).await?;
        }
        Ok(())
    }

    async fn take_group(&self, request: &mut Posted<'_>, batch: &mut Batch, items: &[&[u8]]) -> Result<(), Problem> {
        if let Some(cause) = self.overload.check() {
            return Err(refused(cause));
        }
        let bytes = items.iter().map(|item| item.len()).sum();
        let mut intake = Intake::new(&request.sender, &self.recent, items.len(), bytes);
        let rejected_before = batch.verdict.rejected.len();
        for item in items {
            let index = batch.next_index;
            batch.next_index += 1;
            // There is no key for many clicks, so none can differ from it.
            if let Item::Rejected(rejection) = intake.take(item, |_| {}) {
                self.metrics.rejected(rejection.reason.as_str());
                batch.verdict.rejected.push(RejectedClick::new(index, rejection));
            }
        }
        let collected = intake.finish();
        batch.verdict.duplicate += collected.duplicates;
        let group = self.append(collected);
        let rejected = batch.verdict.rejected.len() - rejected_before;
        request.reservation.grow(rejected * REJECTED_BYTES).map_err(unreadable)?;
        batch.push(group).await?;
        // Other requests have their turn between two groups of a large one.
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn finish(&self, batch: Batch) -> Result<Answer, Problem> {
        let verdict = batch.finish().await?;
        self.metrics.taken(verdict.accepted, verdict.duplicate);
        Ok(verdict.into_answer())
    }

    fn charge(&self, request: &mut Posted<'_>, clicks: usize) -> Result<(), Problem> {
        request.standing = self.clients.take(&request.client, clicks).map_err(|(problem, _)| problem)?;
        Ok(())
    }

    /// Hands clicks to the log. They are settled whether or not anybody waits for it.
    fn append(&self, collected: Collected) -> Pending {
        let Collected { group, keys, twins, .. } = collected;
        let (sender, settled) = oneshot::channel();
        let records = group.len() as u64;
        let pending = Pending { records, settled, twins };
        if group.is_empty() {
            let _ = sender.send(Settled::default());
            return pending;
        }
        if !self.overload.breaker.permits() {
            let now = self.recent.now();
            self.recent.settle_all(&keys, now, |_| false);
            let _ = sender.send(Settled::all_failed(records as usize, self.left_alone()));
            return pending;
        }
        let (recent, overload, metrics) =
            (Arc::clone(&self.recent), Arc::clone(&self.overload), Arc::clone(&self.metrics));
        let started = Instant::now();
        let settle = move |settled: Settled| {
            let now = recent.now();
            let failed = &settled.failed;
            recent.settle_all(&keys, now, |index| failed.binary_search(&(index as u32)).is_err());
            match &settled.error {
                None => {
                    overload.breaker.succeeded();
                    metrics.in_log(started.elapsed());
                }
                Some(LogError::Unavailable { reason, .. }) => overload.breaker.failed(reason),
                // The log is there, and says no.
                Some(LogError::Full { .. } | LogError::Refused { .. }) => {}
            }
            // The client may be gone.
            let _ = sender.send(settled);
        };
        self.log.append(group, Box::new(settle));
        pending
    }

    fn left_alone(&self) -> LogError {
        let reason = "it has taken nothing lately, and is tried again soon".to_owned();
        LogError::Unavailable { place: self.log.place().to_owned(), reason }
    }
}
