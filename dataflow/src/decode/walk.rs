//! Goes through a plain record from quote to quote.
//!
//! ```text
//!   {"ad_id":"a-1","timestamp":1736952000,"device":{"width":320,"touch":true},"tags":["x","y"]}
//!    ^open ^close
//!           :                                            one byte, and at most one space behind it
//!            "^first ^last    or a number, true, false, null, or an object or array, gone into
//!                    ,        at most one space behind it, or } and ] that close what is open
//! ```
//!
//! What is inside a nested value is read as JSON and forgotten: its keys are no fields, and may come twice.

use super::bytes::load_8;
use super::fast::{Place, Values};
use super::number::{literal_end, timestamp};
use super::scan::Quotes;
use super::validate::Field;

/// As many unknown keys are told apart.
const MAX_UNKNOWN_KEYS: usize = 32;

/// The scalar values of the record that was walked last, nested ones too.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) members: Vec<Member>,
    /// Behind the last value.
    pub(super) end: usize,
}

/// Where a scalar value is.
#[derive(Debug)]
pub(super) struct Member {
    /// Behind the value before, or 0.
    pub(super) start: usize,
    /// Where the value is; of a string, behind its quote.
    pub(super) value: usize,
    pub(super) place: Place,
    pub(super) is_string: bool,
}

/// Where the record's values are, if it is an object whose own keys are surely different from each other. Leaves its
/// scalar values in the trace.
pub(super) fn walk(bytes: &[u8], quotes: &Quotes, trace: &mut Trace) -> Option<Values> {
    trace.members.clear();
    trace.end = 0;
    let mut values = Values::none();
    let mut unknown = UnknownKeys::default();
    let mut nesting = Nesting::default();
    let mut at = nesting.open(bytes, 0)?;
    let mut opened = true;
    loop {
        at = skip_space(bytes, at);
        if !(opened && nesting.closes(*bytes.get(at)?)) {
            let mut place = Place::UNKNOWN;
            if nesting.in_object() {
                let (key, behind) = (at + 1, key_end(bytes, quotes, at)?);
                if nesting.is_outermost() {
                    place = known(bytes.get(key..behind)?, &values)?;
                    if place == Place::UNKNOWN {
                        unknown.add(bytes, key, behind)?;
                    }
                }
                at = skip_space(bytes, behind + 2);
            }
            let byte = *bytes.get(at)?;
            if matches!(byte, b'{' | b'[') {
                if place != Place::UNKNOWN {
                    return None;
                }
                at = nesting.open(bytes, at)?;
                opened = true;
                continue;
            }
            let is_string = byte == b'"';
            let value = at + usize::from(is_string);
            trace.members.push(Member { start: trace.end, value, place, is_string });
            at = if is_string {
                string(quotes, value, place, &mut values)?
            } else {
                literal(bytes, value, place, &mut values)?
            };
            trace.end = at;
        }
        // Behind a value, or at the end of what was opened and is empty.
        while nesting.closes(*bytes.get(at)?) {
            at += 1;
            if nesting.close() {
                return (at == bytes.len()).then_some(values);
            }
        }
        if *bytes.get(at)? != b',' {
            return None;
        }
        at += 1;
        opened = false;
    }
}

/// The quote that ends the key whose first quote is there. A colon follows it.
#[inline]
fn key_end(bytes: &[u8], quotes: &Quotes, open: usize) -> Option<usize> {
    if *bytes.get(open)? != b'"' {
        return None;
    }
    let close = quotes.next(open + 1)?;
    (*bytes.get(close + 1)? == b':').then_some(close)
}

/// The place of a key's value; `None` where the field has one already.
#[inline]
fn known(key: &[u8], values: &Values) -> Option<Place> {
    match Field::named(key) {
        Some(field) if values.has(field) => None,
        Some(field) => Some(Place::of(field)),
        None => Some(Place::UNKNOWN),
    }
}

/// Reads a string, whose first byte is there, and returns where its value ends: behind its quote.
#[inline]
fn string(quotes: &Quotes, start: usize, place: Place, values: &mut Values) -> Option<usize> {
    let last = quotes.next(start)?;
    if place == Place::TIMESTAMP {
        return None;
    }
    values.set_string(place, start, last);
    Some(last + 1)
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

/// The objects and arrays that are open, the innermost last: a bit each, 1 for an object.
#[derive(Default)]
struct Nesting {
    objects: u32,
    depth: u32,
}

impl Nesting {
    /// Goes into the object or array that begins there, unless that is too deep.
    #[inline]
    fn open(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let is_object = *bytes.get(at)? == b'{';
        if self.depth == u32::BITS || !(is_object || self.depth > 0) {
            return None;
        }
        self.objects = self.objects << 1 | u32::from(is_object);
        self.depth += 1;
        Some(at + 1)
    }

    #[inline]
    const fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    #[inline]
    const fn is_outermost(&self) -> bool {
        self.depth == 1
    }

    /// Whether the byte closes the innermost.
    #[inline]
    const fn closes(&self, byte: u8) -> bool {
        byte == if self.in_object() { b'}' } else { b']' }
    }

    /// Leaves the innermost; whether that was the record.
    #[inline]
    const fn close(&mut self) -> bool {
        self.objects >>= 1;
        self.depth -= 1;
        self.depth == 0
    }
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
