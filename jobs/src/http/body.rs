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

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use tokio::time::timeout;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, Operation};

/// The largest zstd window, as a power of two: 8 MiB, which is what every decoder must be able to do.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How much a decompressor gives in one step.
const STEP_BYTES: usize = 32 << 10;

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

/// How much memory all bodies together may take.
#[derive(Debug, Clone)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    limit_bytes: usize,
}

impl Budget {
    /// So many bytes.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self { used: Arc::default(), limit_bytes }
    }

    /// Nothing yet; it grows with what is read.
    #[must_use]
    pub fn reservation(&self) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }

    /// How much is in use.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Reservation {
    /// Takes more, if there is more.
    pub fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        // What was taken too much is given back with the rest.
        if before + bytes > self.budget.limit_bytes { Err(BodyError::NoMemory) } else { Ok(()) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
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

enum Decoder {
    Identity,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd { decoder: ZstdDecoder<'static>, step: Vec<u8>, whole: bool },
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

impl Decoder {
    fn new(encoding: Encoding) -> Result<Self, BodyError> {
        Ok(match encoding {
            Encoding::Identity => Self::Identity,
            Encoding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::with_capacity(STEP_BYTES)))),
            Encoding::Zstd => {
                let mut decoder = ZstdDecoder::new().map_err(|error| corrupt("zstd", &error))?;
                decoder
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
                    .map_err(|error| corrupt("zstd", &error))?;
                Self::Zstd { decoder, step: vec![0; STEP_BYTES], whole: true }
            }
        })
    }

    /// Takes some of the input, and gives what it makes of it. How much it took; it may take none while it still gives.
    fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, BodyError> {
        match self {
            Self::Identity => {
                output.extend_from_slice(input);
                Ok(input.len())
            }
            Self::Gzip(decoder) => {
                let taken = decoder.write(input).map_err(|error| corrupt("gzip", &error))?;
                let given = decoder.get_mut();
                if taken == 0 && given.is_empty() {
                    return Err(corrupt("gzip", &io::Error::other("something stands behind its end")));
                }
                output.append(given);
                Ok(taken)
            }
            Self::Zstd { decoder, step, whole } => {
                let status = decoder.run_on_buffers(input, step).map_err(|error| corrupt("zstd", &error))?;
                *whole = status.remaining == 0;
                output.extend_from_slice(step.get(..status.bytes_written).unwrap_or_default());
                Ok(status.bytes_read)
            }
        }
    }

    /// The input has ended: gives the rest.
    fn finish(&mut self, output: &mut Vec<u8>) -> Result<(), BodyError> {
        match self {
            Self::Identity => Ok(()),
            Self::Gzip(decoder) => {
                decoder.try_finish().map_err(|error| corrupt("gzip", &error))?;
                output.append(decoder.get_mut());
                Ok(())
            }
            Self::Zstd { decoder, step, whole } => {
                while !*whole {
                    let status = decoder.run_on_buffers(&[], step).map_err(|error| corrupt("zstd", &error))?;
                    output.extend_from_slice(step.get(..status.bytes_written).unwrap_or_default());
                    *whole = status.remaining == 0;
                    if status.bytes_written == 0 && !*whole {
                        return Err(corrupt("zstd", &io::Error::other("it breaks off")));
                    }
                }
                Ok(())
            }
        }
    }
}

fn corrupt(encoding: &'static str, error: &io::Error) -> BodyError {
    BodyError::Corrupt { encoding, reason: error.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// Decompresses in pieces of `piece` bytes; the most that one step gave, and everything.
    fn inflate(encoding: Encoding, sent: &[u8], piece: usize) -> Result<(usize, Vec<u8>), BodyError> {
        let mut decoder = Decoder::new(encoding)?;
        let (mut most, mut output) = (0, Vec::new());
        for mut rest in sent.chunks(piece) {
            while !rest.is_empty() {
                let before = output.len();
                let taken = decoder.step(rest, &mut output)?;
                most = most.max(output.len() - before);
                rest = &rest[taken..];
            }
        }
        let before = output.len();
        decoder.finish(&mut output)?;
        Ok((most.max(output.len() - before), output))
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn compressed(bytes: &[u8]) -> [(Encoding, Vec<u8>); 2] {
        [(Encoding::Gzip, gzip(bytes)), (Encoding::Zstd, zstd::encode_all(bytes, 3).unwrap())]
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let text: Vec<u8> = (0..300_000u32).map(|number| ((number * number) >> 7) as u8).collect();
        for bytes in [&text[..], b"", b"x"] {
            for (encoding, sent) in compressed(bytes) {
                for piece in [1, 7, 1000, usize::MAX] {
                    assert_eq!(inflate(encoding, &sent, piece).unwrap().1, bytes, "{encoding:?} by {piece}");
                }
                let twice = [sent.clone(), sent].concat();
                assert_eq!(inflate(encoding, &twice, 100).unwrap().1, [bytes, bytes].concat(), "{encoding:?} twice");
            }
        }
    }

    #[test]
    fn a_bomb_goes_off_in_small_steps() {
        let zeros = vec![0; 50_000_000];
        for (encoding, sent) in compressed(&zeros) {
            let (most, output) = inflate(encoding, &sent, usize::MAX).unwrap();
            assert_eq!(output.len(), zeros.len());
            assert!(most <= 4 * STEP_BYTES, "{encoding:?}: {most} bytes in one step");
        }
    }

    #[test]
    fn what_breaks_off_or_is_no_such_thing_is_refused() {
        for (encoding, sent) in compressed(&b"click".repeat(1000)) {
            for cut in [1, 5, sent.len() / 2, sent.len() - 1] {
                assert!(inflate(encoding, &sent[..cut], 64).is_err(), "{encoding:?} cut to {cut}");
            }
            assert!(inflate(encoding, b"{\"ad_id\":\"A\"}", 64).is_err(), "{encoding:?}");
            let behind = [&sent[..], b"garbage"].concat();
            assert!(inflate(encoding, &behind, 64).is_err(), "{encoding:?} with garbage behind");
        }
        let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        wide.window_log(27).unwrap();
        wide.write_all(b"x").unwrap();
        assert!(inflate(Encoding::Zstd, &wide.finish().unwrap(), 64).is_err(), "a window of 128 MiB");
    }

    #[test]
    fn the_budget_comes_back() {
        let budget = Budget::new(100);
        let mut first = budget.reservation();
        first.grow(60).unwrap();
        let mut second = budget.reservation();
        assert!(second.grow(50).is_err());
        drop(second);
        first.grow(40).unwrap();
        drop(first);
        assert_eq!(budget.used_bytes(), 0);
    }
}
