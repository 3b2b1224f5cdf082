//! What a request says of its sender and its clicks, apart from the clicks themselves.

use std::net::IpAddr;

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, USER_AGENT};

use crate::http::problem::Problem;

/// The longest user agent and the longest click id that a click may have, in bytes.
const MAX_USER_AGENT_BYTES: usize = 2048;
const MAX_CLICK_ID_BYTES: usize = 128;

/// How clicks are put into a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One object, or an array of them.
    Json,
    /// One object a line.
    Lines,
}

impl Shape {
    /// What the content type says. `text/plain` is what `navigator.sendBeacon` sends for a text, without asking first.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let unsupported = |detail: &str| {
            let accepted = "send application/json, application/x-ndjson or text/plain";
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", format!("{detail}; {accepted}"))
        };
        let Some(value) = headers.get(CONTENT_TYPE) else { return Err(unsupported("there is no content-type")) };
        let text = value.to_str().unwrap_or_default();
        let media_type = text.split(';').next().unwrap_or_default().trim();
        let is = |name: &&str| media_type.eq_ignore_ascii_case(name);
        if ["application/json", "text/plain"].iter().any(is) {
            return Ok(Self::Json);
        }
        if ["application/x-ndjson", "application/ndjson", "application/jsonl"].iter().any(is) {
            return Ok(Self::Lines);
        }
        Err(unsupported(&format!("content-type `{media_type}` is not understood")))
    }
}

/// What is filled in where a click lacks it.
#[derive(Debug)]
pub(super) struct Sender<'r> {
    pub(super) ip_address: String,
    pub(super) user_agent: Option<&'r str>,
    pub(super) idempotency_key: Option<&'r str>,
}

impl<'r> Sender<'r> {
    pub(super) fn of(client: IpAddr, headers: &'r HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            ip_address: client.to_string(),
            user_agent: user_agent(headers),
            idempotency_key: idempotency_key(headers)?,
        })
    }
}

fn user_agent(headers: &HeaderMap) -> Option<&str> {
    let text = std::str::from_utf8(headers.get(USER_AGENT)?.as_bytes()).ok()?;
    let cut = text.floor_char_boundary(MAX_USER_AGENT_BYTES);
    text.get(..cut).filter(|text| !text.is_empty())
}

/// The key, with or without the quotes that a structured header has.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let (Some(value), other) = (values.next(), values.next()) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).ok();
    let bare = text.map(|text| text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text));
    match bare {
        Some(key) if (1..=MAX_CLICK_ID_BYTES).contains(&key.len()) && other.is_none() => Ok(Some(key)),
        _ => {
            let detail = format!("header Idempotency-Key must come once, as 1 to {MAX_CLICK_ID_BYTES} bytes of UTF-8");
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_field", detail))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, hyper::header::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn the_content_type_says_what_is_sent() {
        let check = |text: &str, expected: Option<Shape>| {
            assert_eq!(Shape::of(&headers(&[("content-type", text)])).ok(), expected, "{text}");
        };
        check("application/json", Some(Shape::Json));
        check("Application/JSON; charset=utf-8", Some(Shape::Json));
        check("text/plain;charset=UTF-8", Some(Shape::Json));
        check("application/x-ndjson", Some(Shape::Lines));
        check("application/xml", None);
        check("", None);
        assert!(Shape::of(&HeaderMap::new()).is_err());
    }

    #[test]
    fn keys_may_be_quoted() {
        let key = |values: &[&str]| {
            let pairs: Vec<_> = values.iter().map(|value| ("idempotency-key", *value)).collect();
            idempotency_key(&headers(&pairs)).map(|key| key.map(str::to_owned)).map_err(|problem| problem.reason())
        };
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&["abc"]), Ok(Some("abc".to_owned())));
        assert_eq!(key(&["\"abc\""]), Ok(Some("abc".to_owned())));
        for wrong in [&[""][..], &["\"\""], &["a", "b"], &[&"k".repeat(129)]] {
            assert_eq!(key(wrong), Err("invalid_field"), "{wrong:?}");
        }
    }

    #[test]
    fn a_long_user_agent_is_cut() {
        let long = "ü".repeat(2000);
        assert_eq!(user_agent(&headers(&[("user-agent", &long)])).unwrap().len(), 2048);
        assert_eq!(user_agent(&headers(&[("user-agent", "")])), None);
    }
}
