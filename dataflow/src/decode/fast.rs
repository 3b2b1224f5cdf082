//! The fast path: a record as producers write it, from quote to quote.
//!
//! ```text
//!   {"ad_id":"a-1","timestamp":1736952000,"price":0.25}
//!    ^open ^close
//!           :                                            one byte, and at most one space behind it
//!            "^first ^last    or a number, true, false, null
//!                    ,        or } at the record's end; at most one space behind a comma
//! ```
//!
//! Every byte outside the strings is looked at here and must be what stands above, so what is accepted is JSON. All
//! else is declined, which costs time but decides nothing: a nested value, other white space, numbers with a large
//! exponent, many unknown keys, and whatever is wrong.

use super::scan::{self, Quotes};
use super::validate::{Field, timestamp_in_range};
use crate::click::Click;

/// As many unknown keys are compared with each other.
const MAX_UNKNOWN_KEYS: usize = 32;

/// Digits of a number that cannot bring it beyond `f64`, together with an exponent of two digits.
const MAX_DIGITS: usize = 64;
const MAX_EXPONENT_DIGITS: usize = 2;

const POWERS_OF_TEN: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// Decodes the payload, or declines.
#[inline]
pub(super) fn decode<'a>(payload: &'a [u8], quotes: &mut Quotes) -> Option<Click<'a>> {
    let (text, positions) = scan::plain_text(trim_end(payload), quotes)?;
    let found = walk(text.as_bytes(), positions)?;
    Some(Click {
        ad_id: found.text(text, Field::AdId)??,
        user_id: found.text(text, Field::UserId)??,
        timestamp: found.timestamp?,
        click_id: found.text(text, Field::ClickId)?,
        ip_address: found.text(text, Field::IpAddress)?,
        user_agent: found.text(text, Field::UserAgent)?,
    })
}

/// Where the fields' values are.
#[derive(Default)]
struct Found {
    /// Start and end of each string, by `Field as usize`. No string starts at 0.
    spans: [(usize, usize); Field::ALL.len()],
    timestamp: Option<i64>,
}

impl Found {
    /// The field's text, where there is one; `None` outside where it breaks the field's rule.
    #[inline]
    fn text<'a>(&self, text: &'a str, field: Field) -> Option<Option<&'a str>> {
        let (start, end) = *self.spans.get(field as usize)?;
        if start == 0 {
            return Some(None);
        }
        let value = text.get(start..end)?;
        field.accepts(value).then_some(Some(value))
    }
}

/// Goes through the object's members.
#[inline]
fn walk(bytes: &[u8], quotes: &[u16]) -> Option<Found> {
    if *bytes.first()? != b'{' {
        return None;
    }
    let mut found = Found::default();
    let mut unknown = UnknownKeys::default();
    let mut left = quotes;
    let mut at = 1;
    loop {
        let (open, close, behind_key) = next_string(left)?;
        if open != skip_space(bytes, at) || *bytes.get(close + 1)? != b':' {
            return None;
        }
        let field = Field::named(bytes.get(open + 1..close)?);
        let start = skip_space(bytes, close + 2);
        let end;
        if *bytes.get(start)? == b'"' {
            let (first, last, behind_value) = next_string(behind_key)?;
            match field {
                None => unknown.add(bytes, open + 1, close)?,
                Some(Field::Timestamp) => return None,
                Some(known) => {
                    let span = found.spans.get_mut(known as usize)?;
                    if span.0 != 0 {
                        return None;
                    }
                    *span = (first + 1, last);
                }
            }
            end = last + 1;
            left = behind_value;
        } else {
            match field {
                None => {
                    unknown.add(bytes, open + 1, close)?;
                    end = literal_end(bytes, start)?;
                }
                Some(Field::Timestamp) if found.timestamp.is_none() => {
                    let (number, behind) = integer(bytes, start)?;
                    found.timestamp = Some(timestamp_in_range(number)?);
                    end = behind;
                }
                Some(_) => return None,
            }
            left = behind_key;
        }
        match *bytes.get(end)? {
            b',' => at = end + 1,
            b'}' if end + 1 == bytes.len() => return Some(found),
            _ => return None,
        }
    }
}

/// The next two quotes, and those behind them.
#[inline]
fn next_string(quotes: &[u16]) -> Option<(usize, usize, &[u16])> {
    let (&[open, close], behind) = quotes.split_first_chunk()?;
    Some((usize::from(open), usize::from(close), behind))
}

#[inline]
fn skip_space(bytes: &[u8], at: usize) -> usize {
    at + usize::from(bytes.get(at) == Some(&b' '))
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

/// The unknown keys, each by a signature: equal keys have equal ones. Where two signatures are equal the keys may
/// be, and the record is declined.
#[derive(Default)]
struct UnknownKeys {
    signatures: [u64; MAX_UNKNOWN_KEYS],
    count: usize,
}

impl UnknownKeys {
    #[inline]
    fn add(&mut self, bytes: &[u8], start: usize, end: usize) -> Option<()> {
        let signature = signature(bytes, start, end);
        if self.signatures.get(..self.count)?.contains(&signature) {
            return None;
        }
        *self.signatures.get_mut(self.count)? = signature;
        self.count += 1;
        Some(())
    }
}

/// Of a key's first and last eight bytes and its length.
#[inline]
fn signature(bytes: &[u8], start: usize, end: usize) -> u64 {
    let length = end - start;
    let head = load_8(bytes, start);
    if length < 8 {
        return head & ((1 << (length * 8)) - 1);
    }
    let tail = load_8(bytes, end - 8);
    head.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ tail.rotate_left(29) ^ length as u64
}

/// Eight bytes, the first one lowest; zeros behind the end.
#[inline]
fn load_8(bytes: &[u8], at: usize) -> u64 {
    let behind = bytes.get(at..).unwrap_or_default();
    match behind.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => behind.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)),
    }
}

/// Where `true`, `false`, `null` or a number ends.
#[inline]
fn literal_end(bytes: &[u8], start: usize) -> Option<usize> {
    let behind = bytes.get(start..)?;
    match behind.first()? {
        b't' => behind.starts_with(b"true").then_some(start + 4),
        b'f' => behind.starts_with(b"false").then_some(start + 5),
        b'n' => behind.starts_with(b"null").then_some(start + 4),
        _ => number_end(bytes, start),
    }
}

/// Where a number ends: `-`, digits without a leading zero, a fraction, an exponent.
#[inline]
fn number_end(bytes: &[u8], start: usize) -> Option<usize> {
    let first_digit = start + usize::from(bytes.get(start) == Some(&b'-'));
    let mut end = digits_end(bytes, first_digit, MAX_DIGITS)?;
    if end > first_digit + 1 && bytes.get(first_digit) == Some(&b'0') {
        return None;
    }
    if bytes.get(end) == Some(&b'.') {
        end = digits_end(bytes, end + 1, MAX_DIGITS)?;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        end = digits_end(bytes, end + 1 + sign, MAX_EXPONENT_DIGITS)?;
    }
    Some(end)
}

/// Where the digits end, of which there must be at least one and at most so many.
#[inline]
fn digits_end(bytes: &[u8], start: usize, max: usize) -> Option<usize> {
    let count = bytes.get(start..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..=max).contains(&count).then_some(start + count)
}

/// An integer of at most 16 digits, and where it ends.
#[inline]
fn integer(bytes: &[u8], start: usize) -> Option<(u64, usize)> {
    let (high, high_digits) = leading_digits(load_8(bytes, start));
    let (low, low_digits) = if high_digits == 8 { leading_digits(load_8(bytes, start + 8)) } else { (0, 0) };
    let digits = high_digits + low_digits;
    let leading_zero = digits > 1 && bytes.get(start) == Some(&b'0');
    if digits == 0 || digits == 16 || leading_zero {
        return None;
    }
    Some((high * POWERS_OF_TEN.get(low_digits as usize)? + low, start + digits as usize))
}

/// The number that eight bytes of text begin with, and of how many digits it is.
#[inline]
fn leading_digits(text: u64) -> (u64, u32) {
    let values = text ^ 0x3030_3030_3030_3030;
    // The highest bit of a byte says that it is no digit, up to the first one that is none.
    let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    let digits = others.trailing_zeros() / 8;
    if digits == 0 {
        return (0, 0);
    }
    // Moved to the end, with zeros before them; then pairs, fours and the whole are added up at once.
    let ones = values << (64 - digits * 8);
    let pairs = (ones.wrapping_mul(10) + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    ((fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff, digits)
}
