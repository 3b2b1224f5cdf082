//! An answer out of the bytes of a connection.

use std::borrow::Cow;
use std::time::Duration;

use httparse::{EMPTY_HEADER, Response, Status, parse_chunk_size};

const MOST_HEADERS: usize = 48;
/// No answer to clicks has a reason to be larger.
const MOST_BYTES: usize = 64 << 20;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: Cow<'a, [u8]>,
    /// How long to wait before the request is sent again, if the server says so.
    pub(super) retry_after: Option<Duration>,
    /// Whether the connection is over with it.
    pub(super) closes: bool,
    /// How many bytes it took.
    pub(super) bytes: usize,
}

/// The answer that the bytes begin with; none if it is not whole yet, and what is wrong with it if it is no answer.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Answer<'_>>, String> {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut response = Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(Status::Complete(head)) => head,
        Ok(Status::Partial) if bytes.len() > MOST_BYTES => return Err("the answer is too large".to_owned()),
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("the answer is no HTTP: {error}")),
    };
    let status = response.code.unwrap_or_default();
    let framing = Framing::of(&response)?;
    let rest = bytes.get(head..).unwrap_or_default();
    let (body, body_bytes) = match framing.length {
        _ if status < 200 || status == 204 || status == 304 => (Cow::default(), 0),
        Length::Known(length) if length > MOST_BYTES => return Err("the answer is too large".to_owned()),
        Length::Known(length) => match rest.get(..length) {
            Some(body) => (Cow::Borrowed(body), length),
            None => return Ok(None),
        },
        Length::Chunked => match unchunk(rest)? {
            Some((body, length)) => (Cow::Owned(body), length),
            None => return Ok(None),
        },
        Length::Unknown => return Err(format!("an answer with {status} does not say how long it is")),
    };
    let Framing { closes, retry_after, .. } = framing;
    Ok(Some(Answer { status, body, retry_after, closes, bytes: head + body_bytes }))
}

enum Length {
    Unknown,
    Known(usize),
    Chunked,
}

struct Framing {
    length: Length,
    closes: bool,
    retry_after: Option<Duration>,
}

impl Framing {
    fn of(response: &Response<'_, '_>) -> Result<Self, String> {
        // HTTP/1.0 closes unless it says otherwise.
        let mut framing = Self { length: Length::Unknown, closes: response.version == Some(0), retry_after: None };
        for header in response.headers.iter() {
            let value = header.value.trim_ascii();
            if header.name.eq_ignore_ascii_case("content-length") {
                let length = number(value).ok_or("the answer's content-length is no number")?;
                framing.length = Length::Known(length as usize);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                framing.length = Length::Chunked;
            } else if header.name.eq_ignore_ascii_case("connection") {
                framing.closes = value.eq_ignore_ascii_case(b"close");
            } else if header.name.eq_ignore_ascii_case("retry-after") {
                framing.retry_after = number(value).map(Duration::from_secs);
            }
        }
        Ok(framing)
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Puts the chunks of a body together; returns how many bytes they took. None while the last one is missing.
fn unchunk(mut rest: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let all = rest.len();
    let mut body = Vec::new();
    loop {
        let (head, size) = match parse_chunk_size(rest) {
            Ok(Status::Complete(found)) => found,
            Ok(Status::Partial) => return Ok(None),
            Err(_) => return Err("the answer has a chunk without a size".to_owned()),
        };
        rest = rest.get(head..).unwrap_or_default();
        if size == 0 {
            return Ok(skip_trailers(rest).map(|left| (body, all - left)));
        }
        let size = usize::try_from(size).ok().filter(|size| *size <= MOST_BYTES).ok_or("the answer is too large")?;
        let Some((data, behind)) = rest.split_at_checked(size) else { return Ok(None) };
        let Some((end, next)) = behind.split_at_checked(2) else { return Ok(None) };
        if end != b"\r\n" {
            return Err("the answer has a chunk that is longer than its size".to_owned());
        }
        body.extend_from_slice(data);
        rest = next;
    }
}

/// How many bytes are left behind the trailers' empty line; none while it is missing.
fn skip_trailers(mut rest: &[u8]) -> Option<usize> {
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        rest = rest.get(line + 2..)?;
        if line == 0 {
            return Some(rest.len());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    const CHUNKED: &str =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: t\r\n\r\n";

    /// Whole only with its last byte, and read the same with another answer behind it.
    fn check(text: &str, status: u16, body: &[u8]) {
        for end in 0..text.len() {
            assert!(parse(&text.as_bytes()[..end]).unwrap().is_none(), "{end} bytes");
        }
        let two = format!("{text}{PLAIN}");
        let answer = parse(two.as_bytes()).unwrap().unwrap();
        assert_eq!((answer.status, answer.body.as_ref(), answer.bytes), (status, body, text.len()));
    }

    #[test]
    fn answers_end_where_they_say() {
        check(PLAIN, 200, b"hello");
        check(CHUNKED, 200, b"hello");
        check("HTTP/1.1 204 No Content\r\n\r\n", 204, b"");
        check("HTTP/1.1 100 Continue\r\n\r\n", 100, b"");
    }

    #[test]
    fn headers_are_heeded() {
        let text = "HTTP/1.1 503 Busy\r\nretry-after: 7\r\nconnection: Close\r\ncontent-length: 0\r\n\r\n";
        let answer = parse(text.as_bytes()).unwrap().unwrap();
        assert!(answer.closes);
        assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
        assert!(!parse(PLAIN.as_bytes()).unwrap().unwrap().closes);
    }

    #[test]
    fn what_is_no_answer_is_said() {
        let check = |text: &str, expected: &str| {
            let message = parse(text.as_bytes()).unwrap_err();
            assert!(message.contains(expected), "{message}");
        };
        check("SMTP ready\r\n", "no HTTP");
        check("HTTP/1.1 200 OK\r\n\r\n", "how long");
        check("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "no number");
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "without a size");
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "longer than its size");
    }
}
