//! The checkpoint form of a sketch: canonical, and about half of what DataSketches writes. Little endian.
//!
//! ```text
//! small   │ count u16, 0 ..= 384 │ count × coupon u32, ascending by slot, then value
//! large   │ 0xffff u16 │ base u8 │ 2048 × (nibble, nibble) │ one byte for every nibble that is 15
//! ```
//!
//! The registers of a large sketch lie close together: base is the smallest of them, a nibble is a register minus
//! base, the first of two in the low half. Where that is 15 or more the nibble is 15 and the register follows, in the
//! order of the registers: about one in five thousand.
//!
//! Invariant: a sketch has one encoding, and `decode` takes no other, so that equal state is equal bytes.

use super::UserSketch;
use super::coupon::Coupon;
use super::error::{SketchError, take, take_array};
use super::registers::{REGISTERS, Registers};
use super::table::MAX_COUPONS;

const LARGE: u16 = u16::MAX;
const FAR: u8 = 15;

/// Appends a small sketch; the coupons are in canonical order and at most 384.
pub(super) fn encode_coupons(coupons: &[Coupon], out: &mut Vec<u8>) {
    out.extend_from_slice(&(coupons.len() as u16).to_le_bytes());
    out.extend(coupons.iter().flat_map(|coupon| coupon.0.to_le_bytes()));
}

/// Appends a large sketch.
pub(super) fn encode_registers(registers: &Registers, out: &mut Vec<u8>) {
    let values = registers.values();
    let base = values.iter().fold(u8::MAX, |least, &value| least.min(value));
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
        return Err(SketchError::TooManyCoupons { count: u32::from(count) });
    }
    let (words, _) = take(rest, usize::from(count) * size_of::<u32>(), "its coupons")?.as_chunks::<4>();
    let coupons = words.iter().map(|&word| Coupon::from_bytes(word)).collect::<Result<Vec<_>, _>>()?;
    let mut neighbours = coupons.iter().zip(coupons.iter().skip(1));
    if let Some((_, unsorted)) = neighbours.find(|(before, after)| before.sort_key() >= after.sort_key()) {
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
        let stored = match nibble {
            FAR => take_array::<1>(rest, "a far register")?[0].checked_sub(base).filter(|&above| above >= FAR),
            _ => Some(nibble),
        };
        let above_base = stored.ok_or(SketchError::BadRegister { register })?;
        *place = above_base.saturating_add(base);
        has_base |= nibble == 0;
    }
    if !has_base {
        return Err(SketchError::WrongBase { base });
    }
    Registers::from_values(values)
}
