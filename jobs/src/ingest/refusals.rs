//! Why clicks are not taken, as their senders are told.

use hyper::StatusCode;
use weir_connectors::log::LogError;

use super::overload::Cause;
use super::sender::Sender;
use crate::http::body::BodyError;
use crate::http::problem::Problem;

pub(super) fn refused(cause: Cause) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", cause.detail()).retry_after(cause.retry_after_seconds())
}

/// A valid click that the log refuses is nothing that its sender could change: somebody must set the log right, and until
/// then the click is kept by its sender.
pub(super) fn not_in_log(error: LogError) -> Problem {
    match error {
        LogError::Full { .. } => refused(Cause::Buffer),
        LogError::Unavailable { .. } => refused(Cause::Log),
        LogError::Refused { .. } => {
            tracing::error!(%error, "valid clicks are refused by the log; for Kafka, see the topic's max.message.bytes");
            refused(Cause::Log)
        }
    }
}

pub(super) fn refuse_key_for_many(sender: &Sender<'_>) -> Result<(), Problem> {
    if sender.idempotency_key.is_none() {
        return Ok(());
    }
    let detail = "header Idempotency-Key names one click; in a batch each click has its own click_id";
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "id_mismatch", detail))
}

pub(super) fn unreadable(error: BodyError) -> Problem {
    let (status, reason) = match &error {
        BodyError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        BodyError::TimedOut { .. } => (StatusCode::REQUEST_TIMEOUT, "timeout"),
        BodyError::Corrupt { .. } | BodyError::Broken { .. } => (StatusCode::BAD_REQUEST, "invalid_body"),
        BodyError::UnknownEncoding { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
        BodyError::NoMemory => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
    };
    let problem = Problem::new(status, reason, error.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE { problem.retry_after(1) } else { problem }
}
