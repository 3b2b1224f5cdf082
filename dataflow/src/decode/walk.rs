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
use super::scan::Quotes;
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
pub(super) fn walk(bytes: &[u8], quotes: &Quotes, trace: &mut Trace) -> Option<Values> {
    if *bytes.first()? != b'{' {
        return None;
    }
    trace.clear();
    let mut values = Values::none();
    let mut unknown = UnknownKeys::default();
    let mut start = 0;
    loop {
        // The first byte is the brace or the comma that led here.
        let open = skip_space(bytes, start + 1);
        if *bytes.get(open)? != b'"' {
            return None;
        }
        let close = quotes.next(open + 1)?;
        if *bytes.get(close + 1)? != b':' {
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
        let before_value = skip_space(bytes, close + 2);
        let is_string = *bytes.get(before_value)? == b'"';
        let value = before_value + usize::from(is_string);
        trace.push(Member { start, value, place, is_string });
        let end = if is_string {
            let last = quotes.next(value)?;
            if place == Place::TIMESTAMP {
                return None;
            }
            values.set_string(place, value, last);
            last + 1
        } else {
            literal(bytes, value, place, &mut values)?
        };
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

/// A key of less than eight bytes itself, or else a hash of all its bytes and its length.
#[inline]
fn signature(bytes: &[u8], start: usize, end: usize) -> u64 {
    let length = end - start;
    if length < 8 {
        return load_8(bytes, start) & ((1 << (length * 8)) - 1);
    }
    let words = (start..end - 8).step_by(8).map(|at| load_8(bytes, at));
    let hash =
        words.fold(length as u64, |hash, word| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
    hash ^ load_8(bytes, end - 8)
}
