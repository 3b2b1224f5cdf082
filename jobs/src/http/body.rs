//! Bodies: read within limits of size, time and memory, and decompressed on the way.
//!
//! ```text
//!   frames ──▶ [gzip | zstd, step by step] ──▶ fill(buffer, up to N bytes)
//!      │ bytes as sent              │ bytes decompressed           │ Reservation in the Budget of all bodies
//!      ▼ limit                      ▼ limit                        ▼ limit
//! ```
//!
//! A decompressor is asked for a few KiB at a time, so a bomb is found out after as much as is allowed, not after it has
//! gone off.

use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use tokio::time::timeout;

use super::budget::Reservation;
use super::inflate::Decoder;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is larger than allowed.
    #[error("the body is larger than {limit_bytes} bytes{}", if *.inflated { " after decompression" } else { "" })]
    TooLarge {
        /// How much is allowed.
        limit_bytes: u64,
        /// Whether that is meant after decompression.
        inflated: bool,
    },
    /// Nothing came for too long.
    #[error("nothing came of the body for {} s", after.as_secs_f64())]
    TimedOut {
        /// For how long.
        after: Duration,
    },
    /// It cannot be decompressed.
    #[error("the body is no valid {encoding}: {reason}")]
    Corrupt {
        /// What it should be.
        encoding: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// It is compressed in a way that is not understood.
    #[error("content-encoding `{encoding}` is not known; send gzip, zstd or none")]
    UnknownEncoding {
        /// What the request says.
        encoding: String,
    },
    /// The connection broke, or its framing did.
    #[error("the body broke off: {reason}")]
    Broken {
        /// What the connection said.
        reason: String,
    },
    /// All bodies together take as much memory as they may.
    #[error("too many bodies are being read at this moment")]
    NoMemory,
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Encoding {
    /// What the request's headers say.
    pub fn of(headers: &HeaderMap) -> Result<Self, BodyError> {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Self::Identity) };
        let known = [("gzip", Self::Gzip), ("x-gzip", Self::Gzip), ("zstd", Self::Zstd), ("identity", Self::Identity)];
        let named = |(name, _): &&(&str, Self)| value.as_bytes().eq_ignore_ascii_case(name.as_bytes());
        let unknown =
            || BodyError::UnknownEncoding { encoding: String::from_utf8_lossy(value.as_bytes()).into_owned() };
        known.iter().find(named).map(|(_, encoding)| *encoding).ok_or_else(unknown)
    }
}

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// As it is sent, in bytes.
    pub sent_bytes: u64,
    /// Decompressed, in bytes.
    pub inflated_bytes: u64,
    /// How long nothing may come.
    pub timeout: Duration,
}

/// How long the rest of a body that nobody wants may take.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Reads the rest of a body that nobody wants, if it is not too much. Whether its end was reached.
///
/// A connection that is closed with something unread is reset, and takes an answer with it that is still on its way.
pub async fn discard(body: &mut Incoming, most_bytes: u64) -> bool {
    let mut left_bytes = most_bytes;
    let read = async {
        while !body.is_end_stream() {
            if body.size_hint().lower() > left_bytes {
                return false;
            }
            match body.frame().await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(frame)) => {
                    let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                    let Some(less) = left_bytes.checked_sub(bytes) else { return false };
                    left_bytes = less;
                }
            }
        }
        true
    };
    timeout(DISCARD_TIME, read).await.unwrap_or(false)
}

/// Reads one body.
pub struct BodyReader<'b> {
    body: &'b mut Incoming,
    decoder: Decoder,
    limits: BodyLimits,
    /// What came and is not decompressed yet.
    frame: Bytes,
    sent_bytes: u64,
    inflated_bytes: u64,
    ended: bool,
}

impl<'b> BodyReader<'b> {
    /// A reader; nothing is read yet.
    pub fn new(body: &'b mut Incoming, encoding: Encoding, limits: BodyLimits) -> Result<Self, BodyError> {
        if body.size_hint().lower() > limits.sent_bytes {
            return Err(BodyError::TooLarge { limit_bytes: limits.sent_bytes, inflated: false });
        }
        let decoder = Decoder::new(encoding)?;
        Ok(Self { body, decoder, limits, frame: Bytes::new(), sent_bytes: 0, inflated_bytes: 0, ended: false })
    }

    /// The whole body. One that came in one piece and is not compressed is not copied.
    pub async fn whole(mut self, reservation: &mut Reservation) -> Result<Bytes, BodyError> {
        if let Decoder::Identity = self.decoder {
            self.next_frame().await?;
            if self.ended || self.body.is_end_stream() {
                reservation.grow(self.frame.len())?;
                self.count_inflated(self.frame.len())?;
                return Ok(self.frame);
            }
        }
        let mut whole = Vec::new();
        while self.fill(&mut whole, usize::MAX, reservation).await? {}
        Ok(whole.into())
    }

    /// Appends to `buffer` until it holds at least `target_bytes` or the body has ended. Whether there may be more.
    pub async fn fill(
        &mut self,
        buffer: &mut Vec<u8>,
        target_bytes: usize,
        reservation: &mut Reservation,
    ) -> Result<bool, BodyError> {
        while buffer.len() < target_bytes {
            if self.frame.is_empty() {
                if self.ended {
                    let before = buffer.len();
                    self.decoder.finish(buffer)?;
                    return self.count(buffer.len() - before, reservation).map(|()| false);
                }
                self.next_frame().await?;
                continue;
            }
            let before = buffer.len();
            let taken = self.decoder.step(&self.frame, buffer)?;
            self.frame.advance(taken);
            self.count(buffer.len() - before, reservation)?;
        }
        Ok(true)
    }

    async fn next_frame(&mut self) -> Result<(), BodyError> {
        while self.frame.is_empty() && !self.ended {
            let after = self.limits.timeout;
            match timeout(after, self.body.frame()).await.map_err(|_| BodyError::TimedOut { after })? {
                None => self.ended = true,
                Some(Err(error)) => return Err(BodyError::Broken { reason: error.to_string() }),
                // Trailers mean nothing here.
                Some(Ok(frame)) => self.frame = frame.into_data().unwrap_or_default(),
            }
            self.sent_bytes += self.frame.len() as u64;
            if self.sent_bytes > self.limits.sent_bytes {
                return Err(BodyError::TooLarge { limit_bytes: self.limits.sent_bytes, inflated: false });
            }
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize, reservation: &mut Reservation) -> Result<(), BodyError> {
        reservation.grow(bytes)?;
        self.count_inflated(bytes)
    }

    fn count_inflated(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.inflated_bytes += bytes as u64;
        let limit_bytes = self.limits.inflated_bytes;
        if self.inflated_bytes > limit_bytes {
            Err(BodyError::TooLarge { limit_bytes, inflated: true })
        } else {
            Ok(())
        }
    }
}
