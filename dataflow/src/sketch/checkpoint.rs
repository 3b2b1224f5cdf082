//! The checkpoint form of a sketch: canonical, and about half of what DataSketches writes. Little endian.
//!
//! ```text
//! small   │ count u16, 0 ..= 384 │ count × coupon u32, ascending by slot, then value
//! large   │ 0xffff u16 │ base u8 │ 2048 × (nibble, nibble) │ one byte for every nibble that is 15
//! ```
//!
//! The registers of a large sketch lie close together: base is the smallest of them, a nibble is a register minus
//! base, the first of two in the low half. Where that is 15 or more the nibble is 15 and the register follows, in the
//! order of the registers: one in ten thousand.
//!
//! Invariant: a sketch has one encoding, and `decode` takes no other, so that equal state is equal bytes.

use thiserror::Error;

use super::UserSketch;
use super::coupon::Coupon;
use super::registers::{REGISTERS, Registers};
use super::table::MAX_COUPONS;

const LARGE: u16 = u16::MAX;
const FAR: u8 = 15;
const MAX_REGISTER: u8 = 63;

/// Why bytes are not a sketch.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SketchError {
    #[error("user sketch ends early: {part} needs {needed_bytes} bytes, {left_bytes} are left")]
    Truncated { part: &'static str, needed_bytes: usize, left_bytes: usize },
    #[error("user sketch claims {count} coupons, at most {MAX_COUPONS} are kept one by one")]
    TooManyCoupons { count: u16 },
    #[error("user sketch has coupon {coupon:#010x} whose value is 0")]
    EmptyCoupon { coupon: u32 },
    #[error("user sketch has coupon {coupon:#010x} out of order")]
    UnsortedCoupon { coupon: u32 },
    #[error("user sketch has no register equal to its base {base}, or only zeros")]
    WrongBase { base: u8 },
    #[error("user sketch has {value} in register {register}, which does not fit base {base} and the largest value 63")]
    BadRegister { register: usize, value: u16, base: u8 },
}

/// Appends a small sketch; the coupons are in canonical order and at most 384.
pub(super) fn encode_coupons(coupons: &[Coupon], out: &mut Vec<u8>) {
    out.extend_from_slice(&(coupons.len() as u16).to_le_bytes());
    coupons.iter().for_each(|coupon| out.extend_from_slice(&coupon.0.to_le_bytes()));
}

/// Appends a large sketch.
pub(super) fn encode_registers(registers: &Registers, out: &mut Vec<u8>) {
    let values = registers.values();
    let base = values.iter().copied().min().unwrap_or_default();
    let nibble = |value: u8| (value - base).min(FAR);
    out.extend_from_slice(&LARGE.to_le_bytes());
    out.push(base);
    let (pairs, _) = values.as_chunks::<2>();
    out.extend(pairs.iter().map(|&[first, second]| nibble(first) | (nibble(second) << 4)));
    out.extend(values.iter().filter(|&&value| nibble(value) == FAR));
}

/// Takes a sketch off the front of `bytes`, which stays as it was if there is none.
pub(super) fn decode(bytes: &mut &[u8]) -> Result<UserSketch, SketchError> {
    let mut rest = *bytes;
    let count = u16::from_le_bytes(take_array(&mut rest, "its count")?);
    let sketch = match count {
        LARGE => UserSketch::of_registers(decode_registers(&mut rest)?),
        _ => decode_coupons(&mut rest, count)?,
    };
    *bytes = rest;
    Ok(sketch)
}

fn decode_coupons(rest: &mut &[u8], count: u16) -> Result<UserSketch, SketchError> {
    if usize::from(count) > MAX_COUPONS {
        return Err(SketchError::TooManyCoupons { count });
    }
    let (words, _) = take(rest, usize::from(count) * size_of::<u32>(), "its coupons")?.as_chunks::<4>();
    let coupons: Vec<Coupon> = words.iter().map(|&word| Coupon(u32::from_le_bytes(word))).collect();
    if let Some(empty) = coupons.iter().find(|coupon| coupon.value() == 0) {
        return Err(SketchError::EmptyCoupon { coupon: empty.0 });
    }
    let pairs = coupons.iter().zip(coupons.iter().skip(1));
    if let Some((_, unsorted)) = pairs.into_iter().find(|(before, after)| before.sort_key() >= after.sort_key()) {
        return Err(SketchError::UnsortedCoupon { coupon: unsorted.0 });
    }
    Ok(UserSketch::of_coupons(&coupons))
}

fn decode_registers(rest: &mut &[u8]) -> Result<Registers, SketchError> {
    let [base] = take_array(rest, "its base")?;
    let nibbles = take(rest, REGISTERS / 2, "its registers")?.iter().flat_map(|&pair| [pair & 0x0f, pair >> 4]);

    let mut values = Box::new([0_u8; REGISTERS]);
    let mut has_base = false;
    for (register, (place, nibble)) in values.iter_mut().zip(nibbles).enumerate() {
        let value = match nibble {
            FAR => u16::from(take_array::<1>(rest, "a far register")?[0]),
            _ => u16::from(base) + u16::from(nibble),
        };
        let is_far = value >= u16::from(base) + u16::from(FAR);
        if value > u16::from(MAX_REGISTER) || is_far != (nibble == FAR) {
            return Err(SketchError::BadRegister { register, value, base });
        }
        has_base |= nibble == 0;
        *place = value as u8;
    }
    if !has_base || values.iter().all(|&value| value == 0) {
        return Err(SketchError::WrongBase { base });
    }
    Ok(Registers::from_values(values))
}

fn take_array<const N: usize>(rest: &mut &[u8], part: &'static str) -> Result<[u8; N], SketchError> {
    let (array, behind) = rest.split_first_chunk::<N>().ok_or_else(|| truncated(part, N, rest))?;
    *rest = behind;
    Ok(*array)
}

fn take<'a>(rest: &mut &'a [u8], needed_bytes: usize, part: &'static str) -> Result<&'a [u8], SketchError> {
    let (taken, behind) = rest.split_at_checked(needed_bytes).ok_or_else(|| truncated(part, needed_bytes, rest))?;
    *rest = behind;
    Ok(taken)
}

fn truncated(part: &'static str, needed_bytes: usize, rest: &[u8]) -> SketchError {
    SketchError::Truncated { part, needed_bytes, left_bytes: rest.len() }
}
