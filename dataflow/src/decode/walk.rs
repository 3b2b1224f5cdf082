//! Goes through a plain record from quote to quote.
//!
//! ```text
//!   {"ad_id":"a-1","timestamp":1736952000,"price":0.25}
//!    ^open ^close
//!           :                                            one byte, and at most one space behind it
//!            "^first ^last    or a number, true, false, null
//!                    ,        or } at the record's end; at most one space behind a comma
//! ```

use super::bytes::load_8;
use super::fast::{Place, Values};
use super::number::{literal_end, timestamp};
use super::validate::Field;

/// As many unknown keys are told apart.
const MAX_UNKNOWN_KEYS: usize = 32;

/// The members of the record that was walked last.
pub(super) type Trace = Vec<Member>;

/// Where a member is.
#[derive(Debug)]
pub(super) struct Member {
    /// Behind the value before, or 0.
    pub(super) start: usize,
    /// Where the value is; of a string, behind its quote.
    pub(super) value: usize,
    pub(super) place: Place,
    pub(super) is_string: bool,
}

/// Where the record's values are, if it is a flat object whose keys are surely different from each other. Leaves its
/// members in the trace.
pub(super) fn walk(bytes: &[u8], quotes: &[u16], trace: &mut Trace) -> Option<Values> {
    if *bytes.first()? != b'{' {
        return None;
    }
    trace.clear();
    let mut values = Values::none();
    let mut unknown = UnknownKeys::default();
    let mut left = quotes;
    let mut start = 0;
    loop {
        let (open, close, behind_key) = next_string(left)?;
        // The first byte is the brace or the comma that led here.
        if open != skip_space(bytes, start + 1) || *bytes.get(close + 1)? != b':' {
            return None;
        }
        let place = match Field::named(bytes.get(open + 1..close)?) {
            Some(field) if values.has(field) => return None,
            Some(field) => Place::of(field),
            None => {
                unknown.add(bytes, open + 1, close)?;
                Place::UNKNOWN
            }
        };
        let value = skip_space(bytes, close + 2);
        let is_string = *bytes.get(value)? == b'"';
        let end;
        if is_string {
            let (first, last, behind_value) = next_string(behind_key)?;
            if place == Place::TIMESTAMP {
                return None;
            }
            values.set_string(place, first + 1, last);
            trace.push(Member { start, value: first + 1, place, is_string });
            end = last + 1;
            left = behind_value;
        } else {
            end = literal(bytes, value, place, &mut values)?;
            trace.push(Member { start, value, place, is_string });
            left = behind_key;
        }
        match *bytes.get(end)? {
            b',' => start = end,
            b'}' if end + 1 == bytes.len() => return Some(values),
            _ => return None,
        }
    }
}

/// Reads a value that is no string, and returns where it ends.
#[inline]
pub(super) fn literal(bytes: &[u8], start: usize, place: Place, values: &mut Values) -> Option<usize> {
    match place {
        Place::UNKNOWN => literal_end(bytes, start),
        Place::TIMESTAMP => {
            let (timestamp, end) = timestamp(bytes, start)?;
            values.set_timestamp(timestamp);
            Some(end)
        }
        _ => None,
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
