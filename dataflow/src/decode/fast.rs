//! The fast path: a record as producers write it, one object without escapes.
//!
//! ```text
//!   payload ──▶ scan: plain text? where are the quotes? ──▶ shape: like one before? ──▶ the fields' rules ──▶ Click
//!                                                             │ no                           ▲
//!                                                             ▼                              │
//!                                                           walk: member by member ──────────┘
//!                                                             └─▶ the shape is remembered
//! ```
//!
//! Every byte outside the strings is looked at and must be what JSON has there, so what is accepted is JSON. All else
//! is declined, which costs time but decides nothing: unusual white space, numbers with a large exponent, many unknown
//! keys, deep nesting, and whatever is wrong.

use super::scan::{self, Quotes};
use super::shape::Shapes;
use super::validate::Field;
use super::walk::{self, Trace};
use crate::click::Click;

/// What is kept from record to record.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    quotes: Quotes,
    shapes: Shapes,
    trace: Trace,
}

/// Decodes the payload, or declines.
#[inline]
pub(super) fn decode<'a>(payload: &'a [u8], buffers: &mut Buffers) -> Option<Click<'a>> {
    let Buffers { quotes, shapes, trace } = buffers;
    let text = scan::plain_text(trim_end(payload), quotes)?;
    let bytes = text.as_bytes();
    if let Some(values) = shapes.walk(bytes, quotes) {
        return values.click(text);
    }
    let values = walk::walk(bytes, quotes, trace)?;
    let click = values.click(text)?;
    shapes.remember(bytes, quotes, trace);
    Some(click)
}

/// Without the white space that JSON allows at the end, a line feed in most cases.
#[inline]
fn trim_end(payload: &[u8]) -> &[u8] {
    let mut trimmed = payload;
    while let [before @ .., b' ' | b'\n' | b'\r' | b'\t'] = trimmed {
        trimmed = before;
    }
    trimmed
}

/// Where a value goes: a known field, or [`Place::UNKNOWN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u8);

impl Place {
    /// For values that are not kept.
    pub(super) const UNKNOWN: Self = Self(7);
    pub(super) const TIMESTAMP: Self = Self(Field::Timestamp as u8);

    pub(super) const fn of(field: Field) -> Self {
        Self(field as u8)
    }
}

/// Where the values of a record are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Values {
    /// Start and end of each string, by [`Place`]. No string starts at 0: that is a field that did not come.
    strings: [(usize, usize); 8],
    timestamp: Option<i64>,
}

impl Values {
    #[inline]
    pub(super) const fn none() -> Self {
        Self { strings: [(0, 0); 8], timestamp: None }
    }

    #[inline]
    pub(super) const fn has(&self, field: Field) -> bool {
        match field {
            Field::Timestamp => self.timestamp.is_some(),
            _ => self.strings[field as usize].0 != 0,
        }
    }

    #[inline]
    pub(super) const fn set_string(&mut self, place: Place, start: usize, end: usize) {
        self.strings[(place.0 & 7) as usize] = (start, end);
    }

    #[inline]
    pub(super) const fn set_timestamp(&mut self, timestamp: i64) {
        self.timestamp = Some(timestamp);
    }

    /// The click, if every field keeps its rule and none is missing.
    #[inline]
    fn click<'a>(&self, text: &'a str) -> Option<Click<'a>> {
        Some(Click {
            ad_id: self.string(text, Field::AdId)??,
            user_id: self.string(text, Field::UserId)??,
            timestamp: self.timestamp?,
            click_id: self.string(text, Field::ClickId)?,
            ip_address: self.string(text, Field::IpAddress)?,
            user_agent: self.string(text, Field::UserAgent)?,
        })
    }

    /// The field's text, where there is one; `None` outside where it breaks the field's rule.
    #[inline]
    fn string<'a>(&self, text: &'a str, field: Field) -> Option<Option<&'a str>> {
        let (start, end) = self.strings[field as usize];
        if start == 0 {
            return Some(None);
        }
        let value = text.get(start..end)?;
        field.accepts(value).then_some(Some(value))
    }
}
