//! Records of the same shape as one before: the same keys in the same order, with the same kinds of values.
//!
//! ```text
//!   {"ad_id":"a-1","device":{"width":320,"touch":true},"price":0.25}
//!   ┗━━━━━━━━┛   ┗━━━━━━━━━━━━━━━━━━┛   ┗━━━━━━┛    ┗━━━━━━━━┛    ┃   seams: the same bytes in every record of the shape
//!             a-1                    320        true          0.25     values: a string up to the next quote, or a literal
//! ```
//!
//! A producer writes millions of records of a few shapes. Where the seams are those of a record that was walked and
//! accepted, what was found out about them holds again: that they are JSON with its nesting, which field each value is,
//! and that no key comes twice. That leaves one comparison a value.
//!
//! - A seam before a string ends with its quote. The next quote is the string's end, because plain text has no escapes.
//! - Whatever does not fit is left to the walk; nothing is decided here.

use super::fast::{Place, Values};
use super::scan::Quotes;
use super::walk::{Member, Trace, literal};

/// Shapes that are remembered at a time, each in the slot of its number of strings.
const SLOTS: usize = 16;

/// So much of a seam is compared at once; that is all of most.
const HEAD_BYTES: usize = 32;

/// A shape gives up its slot after so many records in a row that did not fit it: two shapes in turn would otherwise
/// be remembered anew for each record.
const MISSES_TO_REPLACE: u32 = 32;

/// The shapes of records that were accepted.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    slots: [Shape; SLOTS],
}

impl Shapes {
    /// Where the record's values are, if it has the shape that is remembered for its number of quotes.
    #[inline]
    pub(super) fn walk(&mut self, bytes: &[u8], quotes: &Quotes) -> Option<Values> {
        let shape = self.slots.get_mut(slot_of(quotes))?;
        let values = shape.walk(bytes, quotes);
        if values.is_some() {
            shape.misses = 0;
        }
        values
    }

    /// Remembers the shape of a record that was accepted and did not fit.
    pub(super) fn remember(&mut self, bytes: &[u8], quotes: &Quotes, trace: &Trace) {
        let Some(shape) = self.slots.get_mut(slot_of(quotes)) else { return };
        shape.misses += 1;
        if shape.seams.is_empty() || shape.misses >= MISSES_TO_REPLACE {
            shape.learn(bytes, trace);
        }
    }
}

#[inline]
fn slot_of(quotes: &Quotes) -> usize {
    quotes.count() / 2 % SLOTS
}

#[derive(Debug, Default)]
struct Shape {
    /// In their order; empty where nothing is remembered.
    seams: Vec<Seam>,
    /// What stands behind the last value.
    tail: Box<[u8]>,
    /// Records in a row that did not fit.
    misses: u32,
}

impl Shape {
    #[inline]
    fn walk(&self, bytes: &[u8], quotes: &Quotes) -> Option<Values> {
        let mut values = Values::none();
        let mut at = 0;
        for seam in &self.seams {
            if !seam.is_at(bytes, at) {
                return None;
            }
            let start = at + seam.length;
            if seam.is_string {
                let end = quotes.next(start)?;
                values.set_string(seam.place, start, end);
                at = end + 1;
            } else {
                at = literal(bytes, start, seam.place, &mut values)?;
            }
        }
        // Nothing has a tail only where nothing is remembered.
        (!self.tail.is_empty() && bytes.get(at..)? == &*self.tail).then_some(values)
    }

    fn learn(&mut self, bytes: &[u8], trace: &Trace) {
        self.misses = 0;
        let seams = trace.members.iter().map(|member| Some(Seam::new(bytes.get(member.start..member.value)?, member)));
        self.seams = seams.collect::<Option<_>>().unwrap_or_default();
        self.tail = bytes.get(trace.end..).unwrap_or_default().into();
    }
}

/// What stands before a value, from the end of the value before.
#[derive(Debug)]
struct Seam {
    /// Its first bytes, and zeros behind them.
    head: [u8; HEAD_BYTES],
    /// All ones for each byte of the head.
    mask: [u8; HEAD_BYTES],
    /// What the head has no room for.
    rest: Box<[u8]>,
    length: usize,
    place: Place,
    is_string: bool,
}

impl Seam {
    fn new(bytes: &[u8], member: &Member) -> Self {
        let (mut head, mut mask) = ([0; HEAD_BYTES], [0; HEAD_BYTES]);
        for ((head_byte, mask_byte), byte) in head.iter_mut().zip(&mut mask).zip(bytes) {
            *head_byte = *byte;
            *mask_byte = 0xff;
        }
        let rest = bytes.get(HEAD_BYTES..).unwrap_or_default().into();
        Self { head, mask, rest, length: bytes.len(), place: member.place, is_string: member.is_string }
    }

    #[inline]
    fn is_at(&self, bytes: &[u8], at: usize) -> bool {
        let behind = bytes.get(at..).unwrap_or_default();
        let head_fits = match behind.first_chunk() {
            Some(chunk) => masked_equal(chunk, &self.head, &self.mask),
            None => self.head.get(..self.length).is_some_and(|head| behind.starts_with(head)),
        };
        head_fits && (self.rest.is_empty() || behind.get(HEAD_BYTES..).is_some_and(|more| more.starts_with(&self.rest)))
    }
}

/// Whether the bytes are equal where the mask says. In words, which need no sum over the lanes of a vector.
#[inline]
fn masked_equal(left: &[u8; HEAD_BYTES], right: &[u8; HEAD_BYTES], mask: &[u8; HEAD_BYTES]) -> bool {
    let (left, right, mask) = (left.as_chunks().0, right.as_chunks().0, mask.as_chunks().0);
    let words = left.iter().zip(right).zip(mask);
    let differences = words.fold(0, |differences, ((left, right), mask)| {
        differences | (u64::from_ne_bytes(*left) ^ u64::from_ne_bytes(*right)) & u64::from_ne_bytes(*mask)
    });
    differences == 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::super::scan::plain_text;
    use super::super::tests::records;
    use super::super::walk;
    use super::*;

    /// Remembers the first record's shape, and walks the second one by it and member by member.
    fn by_shape_and_by_walk(first: &[u8], second: &[u8]) -> Option<(Option<Values>, Option<Values>)> {
        let (mut quotes, mut trace, mut shapes) = (Quotes::default(), Trace::default(), Shapes::default());
        plain_text(first, &mut quotes)?;
        walk::walk(first, &quotes, &mut trace)?;
        shapes.remember(first, &quotes, &trace);
        plain_text(second, &mut quotes)?;
        Some((shapes.walk(second, &quotes), walk::walk(second, &quotes, &mut trace)))
    }

    #[track_caller]
    fn check(second: &str, fits: bool) {
        let long = "k".repeat(70);
        let first =
            format!(r#"{{"ad_id":"a","timestamp":1, "n":null,"s": "x","{long}":"y","user_id":"u","last":true}}"#);
        let (by_shape, by_walk) =
            by_shape_and_by_walk(first.as_bytes(), second.replace("LONG", &long).as_bytes()).unwrap();
        assert_eq!(by_shape.is_some(), fits, "{second}");
        if fits {
            assert_eq!(by_shape, by_walk, "{second}");
        }
    }

    #[test]
    fn what_fits() {
        check(r#"{"ad_id":"a","timestamp":1, "n":null,"s": "x","LONG":"y","user_id":"u","last":true}"#, true);
        check(
            r#"{"ad_id":"","timestamp":1736952000123, "n":-1.5e7,"s": "{}:,","LONG":"","user_id":"ü","last":0}"#,
            true,
        );
        check(r#"{"ad_id":"a","timestamp":1, "n":null,"s": "x","LONG":"y","user_id":"u","last":tru}"#, false);
        check(r#"{"ad_id":"a","timestamp":1, "n":null,"s": "x","LONG":"y","user_id":"u","last":true},"#, false);
        check(r#"{"ad_id":"a","timestamp":1, "n":null,"s": "x","LONG":"y","user_id":"u","last":true"#, false);
        check(r#"{"ad_id":"a","timestamp":-1, "n":null,"s": "x","LONG":"y","user_id":"u","last":true}"#, false);
        check(r#"{"ad_id":"a","timestamp":1,"n":null,"s": "x","LONG":"y","user_id":"u","last":true}"#, false);
        check(r#"{"ad_id":"a","timestamp":1, "n":null,"s": "x","LONGk":"y","user_id":"u","last":true}"#, false);
        check(r#"{"ad_id":"a","timestamp":1, "n":null,"s": "x","LONG":"y","user_id":"u","lost":true}"#, false);
        check(r#"{"user_id":"a","timestamp":1, "n":null,"s": "x","LONG":"y","ad_id":"u","last":true}"#, false);
        check(r#"{"ad_id":"a","timestamp":1, "n":null,"s": "x","LONG":"y","user_id":"u","last":"true"}"#, false);
    }

    #[test]
    fn what_is_nested_belongs_to_the_shape() {
        let first = br#"{"ad_id":"a","timestamp":1,"user_id":"u","d":{"w":320,"t":[true,{}]}}"#;
        let check = |second: &str, fits: bool| {
            let (by_shape, by_walk) = by_shape_and_by_walk(first, second.as_bytes()).unwrap();
            assert_eq!(by_shape.is_some(), fits, "{second}");
            assert!(!fits || by_shape == by_walk, "{second}");
        };
        check(r#"{"ad_id":"b","timestamp":2,"user_id":"v","d":{"w":1.5,"t":[null,{}]}}"#, true);
        check(r#"{"ad_id":"b","timestamp":2,"user_id":"v","d":{"w":1,"t":[true,{}]}"#, false);
        check(r#"{"ad_id":"b","timestamp":2,"user_id":"v","d":{"w":1,"t":[true,{}]}}}"#, false);
        check(r#"{"ad_id":"b","timestamp":2,"user_id":"v","d":{"w":1,"t":[true,[]]}}"#, false);
        check(r#"{"ad_id":"b","timestamp":2,"user_id":"v","d":{"w":1},"t":[true,{}]}"#, false);
        check(r#"{"ad_id":"b","timestamp":2,"user_id":"v","d":{"w":1,"t":[true,3,{}]}}"#, false);
    }

    #[test]
    fn what_fits_is_what_the_walk_takes() {
        let (mut fits, mut others) = (0, 0);
        for seed in 0..100_000 {
            let mut random = SmallRng::seed_from_u64(seed);
            let first = records::likely(&mut random);
            let mut second = first.clone();
            for _ in 0..random.random_range(1..4) {
                records::damage(&mut second, &mut random);
            }
            let Some((by_shape, by_walk)) = by_shape_and_by_walk(&first, &second) else { continue };
            if by_shape.is_some() {
                fits += 1;
                assert_eq!(by_shape, by_walk, "seed {seed}: {}", String::from_utf8_lossy(&second));
            } else {
                others += 1;
            }
        }
        assert!(fits > 1_000 && others > 1_000, "{fits} fit, {others} did not");
    }
}
