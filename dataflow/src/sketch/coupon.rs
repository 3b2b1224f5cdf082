//! A user as a sketch sees it: 32 bits of its hash, which DataSketches calls a coupon.
//!
//! ```text
//!  31      26 25                              0
//! ┌──────────┬────────────────────────────────┐
//! │  value   │              slot              │    hash = MurmurHash3 x64 128 (seed 9001) of the user id's bytes
//! └──────────┴────────────────────────────────┘
//!  leading     low 26 bits of the hash's
//!  zeros of    first half; its low 12 bits
//!  the second  are the register at lgK = 12
//!  half + 1
//! ```
//!
//! Invariants: the value is 1 to 63, so no coupon is 0, and the seed and the layout are those of every DataSketches
//! library: what they make of a user id and what we make of it is the same coupon.

use super::error::SketchError;
use super::murmur::murmur3_x64_128;

const DATASKETCHES_SEED: u64 = 9001;
const SLOT_BITS: u32 = 26;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
const VALUE_BITS: u32 = u32::BITS - SLOT_BITS;
const MAX_VALUE: u32 = (1 << VALUE_BITS) - 1;

/// The hash of a user, small enough to travel and to be kept: slot in the low 26 bits, value in the upper six.
/// Any other number than [`Coupon::of_user`] has made is no user, and not to be put into a sketch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Coupon(pub u32);

impl Coupon {
    /// The coupon of a user. DataSketches skips empty strings; a click never has an empty user id.
    #[inline]
    #[must_use]
    pub fn of_user(user_id: &str) -> Self {
        let (slot_hash, value_hash) = murmur3_x64_128(user_id.as_bytes(), DATASKETCHES_SEED);
        let value = (value_hash.leading_zeros() + 1).min(MAX_VALUE);
        Self((value << SLOT_BITS) | (slot_hash as u32 & SLOT_MASK))
    }

    /// The coupon of its four bytes in either format.
    pub(super) fn from_bytes(bytes: [u8; 4]) -> Result<Self, SketchError> {
        let coupon = Self(u32::from_le_bytes(bytes));
        if coupon.value() == 0 {
            return Err(SketchError::EmptyCoupon { coupon: coupon.0 });
        }
        Ok(coupon)
    }

    /// The hash bits that choose a place.
    #[inline]
    pub(super) const fn slot(self) -> u32 {
        self.0 & SLOT_MASK
    }

    /// What the register of that place must at least be.
    #[inline]
    pub(super) const fn value(self) -> u8 {
        (self.0 >> SLOT_BITS) as u8
    }

    /// The canonical order: by slot, then by value.
    #[inline]
    pub(super) const fn sort_key(self) -> u32 {
        self.0.rotate_left(VALUE_BITS)
    }
}
