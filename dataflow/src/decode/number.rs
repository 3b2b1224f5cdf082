//! Numbers and literals for the fast path.

use super::bytes::load_8;
use super::validate::timestamp_in_range;

/// Digits of a number that cannot bring it beyond `f64`, together with an exponent of two digits.
const MAX_DIGITS: usize = 64;
const MAX_EXPONENT_DIGITS: usize = 2;

const POWERS_OF_TEN: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// Where `true`, `false`, `null` or a number ends.
#[inline]
pub(super) fn literal_end(bytes: &[u8], start: usize) -> Option<usize> {
    let behind = bytes.get(start..)?;
    match behind.first()? {
        b't' => behind.starts_with(b"true").then_some(start + 4),
        b'f' => behind.starts_with(b"false").then_some(start + 5),
        b'n' => behind.starts_with(b"null").then_some(start + 4),
        _ => number_end(bytes, start),
    }
}

/// Where a number ends: `-`, digits without a leading zero, a fraction, an exponent.
#[inline]
fn number_end(bytes: &[u8], start: usize) -> Option<usize> {
    let first_digit = start + usize::from(bytes.get(start) == Some(&b'-'));
    let mut end = digits_end(bytes, first_digit, MAX_DIGITS)?;
    if end > first_digit + 1 && bytes.get(first_digit) == Some(&b'0') {
        return None;
    }
    if bytes.get(end) == Some(&b'.') {
        end = digits_end(bytes, end + 1, MAX_DIGITS)?;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        end = digits_end(bytes, end + 1 + sign, MAX_EXPONENT_DIGITS)?;
    }
    Some(end)
}

/// Where the digits end, of which there must be at least one and at most so many.
#[inline]
fn digits_end(bytes: &[u8], start: usize, max: usize) -> Option<usize> {
    let count = bytes.get(start..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..=max).contains(&count).then_some(start + count)
}

/// The value of the `timestamp` field, if it is in range, and where it ends. It has at most 15 digits.
#[inline]
pub(super) fn timestamp(bytes: &[u8], start: usize) -> Option<(i64, usize)> {
    let (high, high_digits) = leading_digits(load_8(bytes, start));
    let (low, low_digits) = if high_digits == 8 { leading_digits(load_8(bytes, start + 8)) } else { (0, 0) };
    let digits = high_digits + low_digits;
    let leading_zero = digits > 1 && bytes.get(start) == Some(&b'0');
    if digits == 0 || digits == 16 || leading_zero {
        return None;
    }
    let number = high * POWERS_OF_TEN.get(low_digits as usize)? + low;
    Some((timestamp_in_range(number)?, start + digits as usize))
}

/// The number that eight bytes of text begin with, and of how many digits it is.
#[inline]
fn leading_digits(text: u64) -> (u64, u32) {
    let values = text ^ 0x3030_3030_3030_3030;
    // The highest bit of a byte says that it is no digit, up to the first one that is none.
    let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    let digits = others.trailing_zeros() / 8;
    if digits == 0 {
        return (0, 0);
    }
    // Moved to the end, with zeros before them; then pairs, fours and the whole are added up at once.
    let ones = values << (64 - digits * 8);
    let pairs = (ones.wrapping_mul(10) + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    ((fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff, digits)
}
