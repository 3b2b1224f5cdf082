//! From the bytes of a record to a [`Click`], or to the reason why it is none.
//!
//! ```text
//!   payload ──▶ size ──▶ fast path ───────────────────────────────────▶ Click
//!                            │ declines: an escape, anything unusual or wrong
//!                            ▼
//!                        strict path: syntax ──▶ doubled keys ──▶ fields ──▶ Click or Rejection
//! ```
//!
//! - The strict path is the definition. It reads with `serde_json`; what it says of a record is what is true of it.
//! - The fast path is for records as producers write them, one object without escapes. It accepts or declines,
//!   and never rejects: whatever it accepts, the strict path accepts with the same fields.
//! - Neither allocates for a click, once the buffers have grown. Both borrow from the payload; only a text with
//!   escapes is borrowed from the decoder.
//! - A rejection names one reason, by a fixed order: size, syntax of the whole record, doubled keys, fields that break
//!   their rule, fields that are missing. Among fields the order is that of [`Click`].

mod bytes;
mod extra;
mod fast;
mod ip;
mod number;
mod rejection;
mod scan;
mod shape;
mod strict;
#[cfg(test)]
mod tests;
mod validate;
mod walk;

pub use extra::extra_fields;
pub use rejection::{RejectReason, Rejection};

use crate::click::Click;

/// The largest record that is looked at.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

/// Decodes records one after another. It owns the buffers that decoding needs, so keep one a worker.
#[derive(Debug, Default)]
pub struct Decoder {
    fast: fast::Buffers,
    strict: strict::Buffers,
}

impl Decoder {
    /// A decoder with empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The click in a record's value; `None` is a record without one, a tombstone.
    #[inline]
    pub fn decode<'a>(&'a mut self, payload: Option<&'a [u8]>) -> Result<Click<'a>, Rejection> {
        let bytes = presentable(payload)?;
        match fast::decode(bytes, &mut self.fast) {
            Some(click) => Ok(click),
            None => strict::decode(bytes, &mut self.strict),
        }
    }

    /// The same by the strict path alone, for tests and comparison.
    pub fn decode_strict<'a>(&'a mut self, payload: Option<&'a [u8]>) -> Result<Click<'a>, Rejection> {
        strict::decode(presentable(payload)?, &mut self.strict)
    }
}

/// The payload, if it is there and not too large to be looked at.
#[inline]
fn presentable(payload: Option<&[u8]>) -> Result<&[u8], Rejection> {
    let Some(bytes) = payload else {
        return Err(Rejection::new(RejectReason::InvalidJson, "no value (tombstone)"));
    };
    if bytes.is_empty() {
        return Err(Rejection::new(RejectReason::InvalidJson, "empty value"));
    }
    if bytes.len() > MAX_PAYLOAD_BYTES {
        let detail = format!("{} bytes; at most {MAX_PAYLOAD_BYTES} are allowed", bytes.len());
        return Err(Rejection::new(RejectReason::TooLarge, detail));
    }
    Ok(bytes)
}
