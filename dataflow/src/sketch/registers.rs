//! The 4096 registers of a large sketch, one a byte.
//!
//! ```text
//! register[slot mod 4096] = the largest value of a coupon with that slot
//! ```
//!
//! A maximum forgets the order and the number of its arguments, so the registers are a pure function of the users.
//! Six bits would do for a register; a byte makes an update one load and one compare, and a merge a vector maximum.

use super::coupon::Coupon;
use super::error::SketchError;

pub(super) const LG_K: u8 = 12;
pub(super) const REGISTERS: usize = 1 << LG_K;
/// The largest value of a coupon.
pub(super) const MAX_REGISTER: u8 = 63;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registers {
    values: Box<[u8; REGISTERS]>,
}

impl Registers {
    pub(super) fn new() -> Self {
        Self { values: Box::new([0; REGISTERS]) }
    }

    /// Registers that were stored.
    pub(super) fn from_values(values: Box<[u8; REGISTERS]>) -> Result<Self, SketchError> {
        if let Some(register) = values.iter().position(|&value| value > MAX_REGISTER) {
            return Err(SketchError::BadRegister { register });
        }
        if values.iter().all(|&value| value == 0) {
            return Err(SketchError::EmptyRegisters);
        }
        Ok(Self { values })
    }

    #[inline]
    pub(super) fn update(&mut self, coupon: Coupon) {
        let register = &mut self.values[coupon.slot() as usize % REGISTERS];
        if coupon.value() > *register {
            *register = coupon.value();
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (register, &value) in self.values.iter_mut().zip(other.values.iter()) {
            *register = (*register).max(value);
        }
    }

    pub(super) fn values(&self) -> &[u8; REGISTERS] {
        &self.values
    }
}
