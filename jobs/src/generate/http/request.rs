//! A request: some clicks of the stream as the bytes that go over the wire.
//!
//! ```text
//!   slots 40 41 42 43 ──▶ POST /v1/clicks HTTP/1.1 ⏎ Host ⏎ Content-Type ⏎ Content-Length ⏎⏎ 40 ⏎ 41 ⏎ 42 ⏎ 43
//! ```
//!
//! Head and body lie in one piece, so that a request is one write.

use std::io::Write;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::ValueEnum;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::super::poison;
use super::super::random::mix;
use super::super::record::RecordWriter;
use super::super::stream::{Holds, Slot, Stream};
use super::address::HttpAddress;

const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;

/// How clicks lie in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyForm {
    /// One click, as a JSON object.
    Single,
    /// Several, one a line.
    Lines,
    /// Several, as a JSON array.
    Array,
}

impl BodyForm {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Single | Self::Array => "application/json",
            Self::Lines => "application/x-ndjson",
        }
    }

    /// Whether a record that is no click can be sent in this form and still be answered as one record: an array would
    /// not be JSON with some of them in it, an empty line may be no record, and a single `[]` is an empty array.
    fn carries(self, record: &[u8]) -> bool {
        match self {
            Self::Single => record.trim_ascii().first() != Some(&b'['),
            Self::Lines => !record.trim_ascii().is_empty(),
            Self::Array => std::str::from_utf8(record)
                .is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()),
        }
    }
}

/// How bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// `Content-Encoding: gzip`
    Gzip,
    /// `Content-Encoding: zstd`
    Zstd,
}

/// A request, ready to be sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    /// Head and body.
    pub(super) bytes: Bytes,
    /// The slot of the first click.
    pub(super) first: u64,
    /// How many slots.
    pub(super) clicks: u32,
    /// Which of them are no clicks, counted from the first.
    pub(super) poison: Vec<u32>,
}

/// Makes requests.
pub(super) struct RequestWriter {
    records: RecordWriter,
    form: BodyForm,
    compression: Option<Compression>,
    /// The head up to the body's length, and behind it.
    head: (Vec<u8>, Vec<u8>),
    body: Vec<u8>,
    compressed: Vec<u8>,
    broken: Vec<u8>,
    poison: Vec<u32>,
    clicks: u32,
}

impl RequestWriter {
    pub(super) fn new(
        stream: &Stream,
        address: &HttpAddress,
        form: BodyForm,
        compression: Option<Compression>,
        headers: &[(String, String)],
    ) -> Self {
        let options = stream.options();
        Self {
            records: RecordWriter::new(options.record_bytes, options.seed, options.generation),
            form,
            compression,
            head: head(address, form, compression, headers),
            body: Vec::new(),
            compressed: Vec::new(),
            broken: Vec::new(),
            poison: Vec::new(),
            clicks: 0,
        }
    }

    /// Adds a slot to the request that is being made.
    pub(super) fn add(&mut self, slot: &Slot) {
        match (self.form, self.clicks) {
            (BodyForm::Lines, 1..) => self.body.push(b'\n'),
            (BodyForm::Array, 1..) => self.body.push(b','),
            (BodyForm::Array, 0) => self.body.push(b'['),
            _ => {}
        }
        match &slot.holds {
            Holds::Click(click) | Holds::Copy(click) | Holds::Late(click) | Holds::Future(click) => {
                self.body.extend_from_slice(self.records.click(click));
            }
            Holds::Poison(bits, click) => {
                let good = self.records.click(click);
                poison_that_fits(*bits, good, self.form, &mut self.broken);
                self.body.extend_from_slice(&self.broken);
                self.poison.push(self.clicks);
            }
        }
        self.clicks += 1;
    }

    /// Appends the request to `out`, and begins the next one. Returns it without its bytes, which are the end of `out`.
    pub(super) fn finish(&mut self, first: u64, out: &mut Vec<u8>) -> Result<Request> {
        if self.form == BodyForm::Array {
            self.body.push(b']');
        }
        let body = match self.compression {
            None => &self.body,
            Some(how) => {
                self.compressed.clear();
                compress(how, &self.body, &mut self.compressed).context("cannot compress a body")?;
                &self.compressed
            }
        };
        out.extend_from_slice(&self.head.0);
        // A Vec takes whatever is written to it.
        let _written = write!(out, "{}", body.len());
        out.extend_from_slice(&self.head.1);
        out.extend_from_slice(body);
        self.body.clear();
        let clicks = std::mem::take(&mut self.clicks);
        Ok(Request { bytes: Bytes::new(), first, clicks, poison: std::mem::take(&mut self.poison) })
    }
}

fn head(
    address: &HttpAddress,
    form: BodyForm,
    compression: Option<Compression>,
    headers: &[(String, String)],
) -> (Vec<u8>, Vec<u8>) {
    let content_type = form.content_type();
    let before = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: {content_type}\r\nContent-Length: ",
        address.path, address.authority
    );
    let mut behind = String::from("\r\n");
    match compression {
        None => {}
        Some(Compression::Gzip) => behind.push_str("Content-Encoding: gzip\r\n"),
        Some(Compression::Zstd) => behind.push_str("Content-Encoding: zstd\r\n"),
    }
    for (name, value) in headers {
        behind.extend([name.as_str(), ": ", value.as_str(), "\r\n"]);
    }
    behind.push_str("\r\n");
    (before.into_bytes(), behind.into_bytes())
}

/// Breaks a record in the way that the bits choose, or in the next one that the form of the body can carry.
fn poison_that_fits(bits: u64, good: &[u8], form: BodyForm, out: &mut Vec<u8>) {
    let mut drawn = bits;
    loop {
        poison::write(drawn, good, false, out);
        if form.carries(out) {
            return;
        }
        drawn = mix(drawn);
    }
}

fn compress(how: Compression, body: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    match how {
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
            encoder.write_all(body)?;
            encoder.finish()?;
        }
        Compression::Zstd => zstd::stream::copy_encode(body, out, ZSTD_LEVEL)?,
    }
    Ok(())
}
