//! What a client is told about its clicks.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use weir_dataflow::Rejection;

use crate::http::Answer;

/// The answer to one click.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClickVerdict {
    /// The click's id: its own, that of the header, or the one that it was given.
    pub click_id: String,
    /// What became of it.
    pub status: ClickStatus,
}

/// What became of a click.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClickStatus {
    /// It is in the log, and will be counted once.
    Accepted,
    /// It was in the log already.
    Duplicate,
}

/// The answer to several clicks. Every click is in one of the three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct BatchVerdict {
    /// How many are in the log now.
    pub accepted: u64,
    /// How many were in the log already.
    pub duplicate: u64,
    /// Those that are no clicks.
    pub rejected: Vec<RejectedClick>,
}

/// A click that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RejectedClick {
    /// Its place in the batch, counted from 0; empty lines do not count.
    pub index: u64,
    /// `invalid_json`, `missing_field`, `invalid_field` or `too_large`.
    pub reason: &'static str,
    /// What is wrong, and with which field.
    pub detail: String,
}

impl RejectedClick {
    pub(super) fn new(index: u64, rejection: Rejection) -> Self {
        Self { index, reason: rejection.reason.as_str(), detail: rejection.detail.into_owned() }
    }
}

impl ClickVerdict {
    pub(super) fn into_answer(self) -> Answer {
        let status = match self.status {
            ClickStatus::Accepted => StatusCode::ACCEPTED,
            ClickStatus::Duplicate => StatusCode::OK,
        };
        json(status, &self)
    }
}

impl BatchVerdict {
    pub(super) fn into_answer(self) -> Answer {
        json(StatusCode::OK, &self)
    }
}

fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    // Texts and numbers are always JSON.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
