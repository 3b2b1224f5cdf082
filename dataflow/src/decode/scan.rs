//! One pass over a record: is it plain text, and where are its quotes?
//!
//! ```text
//!   {"ad_id":"a1","n":7}        64 bytes at a time
//!    ^     ^ ^  ^ ^ ^           quotes: a bit mask a block, written out as positions
//! ```
//!
//! Plain text is valid UTF-8 without a backslash and without a byte below 0x20. So every quote in it begins or ends a
//! string, and what stands between two quotes is the string. Anything else is declined.
//!
//! This is the only module of the crate that is `unsafe`, in two ways: it calls a function compiled for AVX2 after
//! asking the processor for it, and it loads vectors from arrays that it borrows, which are as long as the loads.
//! Every other way of scanning gives the same answers; the tests compare them with the portable one.

#![allow(unsafe_code, reason = "vector loads, and a call after a check of the processor's features")]

/// As many quotes as are looked at: more than the fields that the fast path takes have. More are declined.
const CAPACITY: usize = 256;

const BLOCK_BYTES: usize = 64;

/// The positions of a record's quotes, ascending. `u16` is enough for the largest record.
#[derive(Debug)]
pub(super) struct Quotes {
    at: [u16; CAPACITY],
}

impl Default for Quotes {
    fn default() -> Self {
        Self { at: [0; CAPACITY] }
    }
}

/// The payload as text with the positions of its quotes, if it is plain.
#[inline]
pub(super) fn plain_text<'a, 'q>(payload: &'a [u8], quotes: &'q mut Quotes) -> Option<(&'a str, &'q [u16])> {
    let scanned = scan(payload, quotes)?;
    let text = if scanned.ascii {
        // SAFETY: no byte of the payload has its highest bit set, and such bytes alone are valid UTF-8.
        unsafe { std::str::from_utf8_unchecked(payload) }
    } else {
        simdutf8::basic::from_utf8(payload).ok()?
    };
    Some((text, quotes.at.get(..scanned.quotes)?))
}

/// What a scan found in a payload without backslashes and control bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scanned {
    quotes: usize,
    ascii: bool,
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn scan(payload: &[u8], quotes: &mut Quotes) -> Option<Scanned> {
    if std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("popcnt")
    {
        // SAFETY: the processor has the features.
        return unsafe { x86::scan_avx2(payload, quotes) };
    }
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { x86::scan_sse2(payload, quotes) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn scan(payload: &[u8], quotes: &mut Quotes) -> Option<Scanned> {
    scan_portable(payload, quotes)
}

/// The same byte by byte.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn scan_portable(payload: &[u8], quotes: &mut Quotes) -> Option<Scanned> {
    let mut strange = false;
    let mut ascii = true;
    let count = collect(payload, quotes, |block| {
        let mut mask = 0;
        for (bit, &byte) in block.iter().enumerate() {
            mask |= u64::from(byte == b'"') << bit;
            strange |= byte == b'\\' || byte < 0x20;
            ascii &= byte.is_ascii();
        }
        mask
    })?;
    (!strange).then_some(Scanned { quotes: count, ascii })
}

/// Gives `mask_of` every block of the payload, and writes out the positions of the bits that it answers. The last
/// block is one that overlaps the one before, or where the payload is shorter than a block, is filled with spaces.
#[inline(always)]
fn collect(payload: &[u8], quotes: &mut Quotes, mut mask_of: impl FnMut(&[u8; BLOCK_BYTES]) -> u64) -> Option<usize> {
    let (blocks, tail) = payload.as_chunks::<BLOCK_BYTES>();
    let mut count = 0;
    let mut base = 0;
    for block in blocks {
        count = write_positions(quotes, count, base, mask_of(block))?;
        base += BLOCK_BYTES;
    }
    if tail.is_empty() {
        return Some(count);
    }
    let mask = match payload.last_chunk() {
        Some(last) => mask_of(last) >> (BLOCK_BYTES - tail.len()),
        None => {
            let mut padded = [b' '; BLOCK_BYTES];
            padded.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
            mask_of(&padded)
        }
    };
    write_positions(quotes, count, base, mask)
}

/// Appends the positions of a mask's bits, and returns the new count. It writes them eight at a time, whether there
/// are so many or not: what stands behind the count means nothing.
#[inline(always)]
fn write_positions(quotes: &mut Quotes, count: usize, base: usize, mask: u64) -> Option<usize> {
    let room: &mut [u16; BLOCK_BYTES] = quotes.at.get_mut(count..)?.first_chunk_mut()?;
    let mut left = mask;
    for batch in room.as_chunks_mut::<8>().0 {
        for slot in batch {
            *slot = (base + left.trailing_zeros() as usize) as u16;
            left &= left.wrapping_sub(1);
        }
        if left == 0 {
            break;
        }
    }
    Some(count + mask.count_ones() as usize)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Quotes, Scanned, collect};

    /// 32 bytes at a time.
    #[target_feature(enable = "avx2,bmi1,popcnt")]
    pub(super) fn scan_avx2(payload: &[u8], quotes: &mut Quotes) -> Option<Scanned> {
        let (quote, backslash, last_control) = (_mm256_set1_epi8(0x22), _mm256_set1_epi8(0x5c), _mm256_set1_epi8(0x1f));
        let mut strange = _mm256_setzero_si256();
        let mut all = _mm256_setzero_si256();
        let count = collect(payload, quotes, |block| {
            let mut mask = 0;
            for (part, bytes) in block.as_chunks::<32>().0.iter().enumerate() {
                // SAFETY: the array is 32 bytes long, as the load is; it may stand at any address.
                let vector = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
                let control = _mm256_cmpeq_epi8(_mm256_min_epu8(vector, last_control), vector);
                strange = _mm256_or_si256(strange, _mm256_or_si256(control, _mm256_cmpeq_epi8(vector, backslash)));
                all = _mm256_or_si256(all, vector);
                let quote_bits = _mm256_movemask_epi8(_mm256_cmpeq_epi8(vector, quote)) as u32;
                mask |= u64::from(quote_bits) << (part * 32);
            }
            mask
        })?;
        let plain = _mm256_testz_si256(strange, strange) == 1;
        plain.then_some(Scanned { quotes: count, ascii: _mm256_movemask_epi8(all) == 0 })
    }

    /// 16 bytes at a time.
    #[target_feature(enable = "sse2")]
    pub(super) fn scan_sse2(payload: &[u8], quotes: &mut Quotes) -> Option<Scanned> {
        let (quote, backslash, last_control) = (_mm_set1_epi8(0x22), _mm_set1_epi8(0x5c), _mm_set1_epi8(0x1f));
        let mut strange = _mm_setzero_si128();
        let mut all = _mm_setzero_si128();
        let count = collect(payload, quotes, |block| {
            let mut mask = 0;
            for (part, bytes) in block.as_chunks::<16>().0.iter().enumerate() {
                // SAFETY: the array is 16 bytes long, as the load is; it may stand at any address.
                let vector = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
                let control = _mm_cmpeq_epi8(_mm_min_epu8(vector, last_control), vector);
                strange = _mm_or_si128(strange, _mm_or_si128(control, _mm_cmpeq_epi8(vector, backslash)));
                all = _mm_or_si128(all, vector);
                let quote_bits = _mm_movemask_epi8(_mm_cmpeq_epi8(vector, quote)) as u16;
                mask |= u64::from(quote_bits) << (part * 16);
            }
            mask
        })?;
        let plain = _mm_movemask_epi8(strange) == 0;
        plain.then_some(Scanned { quotes: count, ascii: _mm_movemask_epi8(all) == 0 })
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    type Way = fn(&[u8], &mut Quotes) -> Option<Scanned>;

    /// Every way of scanning that this processor has.
    fn ways() -> Vec<(&'static str, Way)> {
        let mut ways: Vec<(&'static str, Way)> = vec![("portable", scan_portable), ("chosen", scan)];
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: every x86-64 processor has SSE2.
            ways.push(("sse2", |payload, quotes| unsafe { x86::scan_sse2(payload, quotes) }));
        }
        ways
    }

    #[test]
    fn every_way_finds_the_same() {
        for seed in 0..20_000 {
            let mut random = SmallRng::seed_from_u64(seed);
            let mut payload = vec![b'x'; random.random_range(0..400)];
            let share = random.random_range(0.0..0.5);
            for byte in &mut payload {
                if random.random_bool(share) {
                    *byte = b'"';
                } else if random.random_bool(0.001) {
                    *byte = random.random();
                }
            }
            let wanted: Vec<u16> =
                (0..).zip(&payload).filter(|(_, byte)| **byte == b'"').map(|(at, _)| at as u16).collect();
            let plain = payload.iter().all(|byte| *byte != b'\\' && *byte >= 0x20);
            for (name, way) in ways() {
                let mut quotes = Quotes::default();
                match way(&payload, &mut quotes) {
                    Some(scanned) => {
                        assert!(plain, "seed {seed}, {name}");
                        assert_eq!(quotes.at[..scanned.quotes], wanted, "seed {seed}, {name}");
                        assert_eq!(scanned.ascii, payload.is_ascii(), "seed {seed}, {name}");
                    }
                    None => assert!(!plain || wanted.len() > CAPACITY - BLOCK_BYTES, "seed {seed}, {name}"),
                }
            }
        }
    }
}
