//! Why bytes are not a sketch, and how both formats take bytes apart.

use thiserror::Error;

use super::registers::MAX_REGISTER;
use super::table::MAX_COUPONS;

/// Why bytes are not a sketch.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SketchError {
    #[error("user sketch ends early: {part} needs {needed_bytes} bytes, {left_bytes} are left")]
    Truncated { part: &'static str, needed_bytes: usize, left_bytes: usize },
    #[error("user sketch is followed by {left_bytes} bytes that do not belong to it")]
    TrailingBytes { left_bytes: usize },
    #[error("user sketch is no compact DataSketches HLL_8 of version 1 with lgK 12, its header is {header:02x?}")]
    UnknownHeader { header: [u8; 8] },
    #[error("user sketch claims {count} coupons, at most {MAX_COUPONS} are kept one by one")]
    TooManyCoupons { count: u32 },
    #[error("user sketch has coupon {coupon:#010x} whose value is 0")]
    EmptyCoupon { coupon: u32 },
    #[error("user sketch has coupon {coupon:#010x} out of order or twice")]
    UnsortedCoupon { coupon: u32 },
    #[error(
        "user sketch has a wrong value in register {register}: at most {MAX_REGISTER}, and written as its base asks"
    )]
    BadRegister { register: usize },
    #[error("user sketch has no register equal to its base {base}")]
    WrongBase { base: u8 },
    #[error("user sketch has registers, but all of them are 0")]
    EmptyRegisters,
}

pub(super) fn take_array<const N: usize>(rest: &mut &[u8], part: &'static str) -> Result<[u8; N], SketchError> {
    let (array, behind) = rest.split_first_chunk::<N>().ok_or_else(|| truncated(part, N, rest))?;
    *rest = behind;
    Ok(*array)
}

pub(super) fn take<'a>(rest: &mut &'a [u8], bytes: usize, part: &'static str) -> Result<&'a [u8], SketchError> {
    let (taken, behind) = rest.split_at_checked(bytes).ok_or_else(|| truncated(part, bytes, rest))?;
    *rest = behind;
    Ok(taken)
}

fn truncated(part: &'static str, needed_bytes: usize, rest: &[u8]) -> SketchError {
    SketchError::Truncated { part, needed_bytes, left_bytes: rest.len() }
}
