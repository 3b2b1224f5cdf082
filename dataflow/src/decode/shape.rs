//! Records of the same shape as one before: the same keys in the same order, with the same kinds of values.
//!
//! ```text
//!   {"ad_id":"a-1","timestamp":1736952000,"price":0.25}
//!   ┗━━━━━━━━┛   ┗━━━━━━━━━━━━┛          ┗━━━━━━━┛    ┃   seams: the same bytes in every record of the shape
//!             a-1              1736952000         0.25     values: a string up to the next quote, or a literal
//! ```
//!
//! A producer writes millions of records of a few shapes. Where the seams are those of a record that was walked and
//! accepted, what was found out about them holds again: that they are JSON, which field each value is, and that no
//! key comes twice. That leaves one comparison a member.
//!
//! - A seam lies between two values, and its quotes are counted: three where a string follows, two where none does. So
//!   the quote behind them is the string's end.
//! - Whatever does not fit is left to the walk; nothing is decided here.

use super::fast::{Place, Values};
use super::walk::{Trace, literal};

/// Shapes that are remembered at a time, each in the slot of its number of strings.
const SLOTS: usize = 16;

/// A seam longer than this, or an object of more members, is not remembered.
const MAX_SEAM_BYTES: usize = 32;
const MAX_MEMBERS: usize = 40;

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
    pub(super) fn walk(&mut self, bytes: &[u8], quotes: &[u16]) -> Option<Values> {
        let shape = self.slots.get_mut(slot_of(quotes))?;
        let values = shape.walk(bytes, quotes);
        if values.is_some() {
            shape.misses = 0;
        }
        values
    }

    /// Remembers the shape of a record that was accepted and did not fit.
    pub(super) fn remember(&mut self, bytes: &[u8], quotes: &[u16], trace: &Trace) {
        let Some(shape) = self.slots.get_mut(slot_of(quotes)) else { return };
        shape.misses += 1;
        if shape.seams.is_empty() || shape.misses >= MISSES_TO_REPLACE {
            shape.learn(bytes, trace);
        }
    }
}

#[inline]
fn slot_of(quotes: &[u16]) -> usize {
    quotes.len() / 2 % SLOTS
}

#[derive(Debug, Default)]
struct Shape {
    /// In their order; empty where nothing is remembered.
    seams: Vec<Seam>,
    /// Records in a row that did not fit.
    misses: u32,
}

impl Shape {
    #[inline]
    fn walk(&self, bytes: &[u8], quotes: &[u16]) -> Option<Values> {
        let mut values = Values::none();
        let mut left = quotes;
        let mut at = 0;
        for seam in &self.seams {
            if !seam.is_at(bytes, at) {
                return None;
            }
            let start = at + seam.length;
            if seam.is_string {
                let (&[_, _, _, last], behind) = left.split_first_chunk()?;
                let end = usize::from(last);
                values.set_string(seam.place, start, end);
                at = end + 1;
                left = behind;
            } else {
                at = literal(bytes, start, seam.place, &mut values)?;
                left = left.get(2..)?;
            }
        }
        (bytes.get(at..)? == b"}").then_some(values)
    }

    fn learn(&mut self, bytes: &[u8], trace: &Trace) {
        self.misses = 0;
        self.seams.clear();
        if trace.len() <= MAX_MEMBERS {
            let seams = trace.iter().map(|member| {
                let text = bytes.get(member.start..member.value)?;
                Seam::new(text, member.place, member.is_string)
            });
            self.seams = seams.collect::<Option<_>>().unwrap_or_default();
        }
    }
}

/// What stands before a value, from the end of the value before.
#[derive(Debug)]
struct Seam {
    /// Its bytes, and zeros behind them.
    text: [u8; MAX_SEAM_BYTES],
    /// All ones for each of its bytes.
    mask: [u8; MAX_SEAM_BYTES],
    length: usize,
    place: Place,
    is_string: bool,
}

impl Seam {
    fn new(bytes: &[u8], place: Place, is_string: bool) -> Option<Self> {
        let mut seam =
            Self { text: [0; MAX_SEAM_BYTES], mask: [0; MAX_SEAM_BYTES], length: bytes.len(), place, is_string };
        seam.text.get_mut(..bytes.len())?.copy_from_slice(bytes);
        seam.mask.get_mut(..bytes.len())?.fill(0xff);
        Some(seam)
    }

    #[inline]
    fn is_at(&self, bytes: &[u8], at: usize) -> bool {
        let behind = bytes.get(at..).unwrap_or_default();
        match behind.first_chunk() {
            Some(chunk) => masked_equal(chunk, &self.text, &self.mask),
            None => self.text.get(..self.length).is_some_and(|text| behind.starts_with(text)),
        }
    }
}

/// Whether the bytes are equal where the mask says.
#[inline]
fn masked_equal(left: &[u8; MAX_SEAM_BYTES], right: &[u8; MAX_SEAM_BYTES], mask: &[u8; MAX_SEAM_BYTES]) -> bool {
    let mut differences = 0;
    for ((left, right), mask) in left.iter().zip(right).zip(mask) {
        differences |= (left ^ right) & mask;
    }
    differences == 0
}
