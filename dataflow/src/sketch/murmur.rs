//! MurmurHash3, the 128-bit variant for 64-bit machines, of bytes that are in memory as a whole.
//!
//! ```text
//! h1 = h2 = seed
//! every 16 bytes    (k1, k2) ─scramble▶ xor into (h1, h2) ─▶ mix (h1, h2) with each other
//! the last 0..=15   as above, filled up with zeros, and no mixing
//! the length        xor into (h1, h2) ─▶ finish ─▶ (h1, h2)
//! ```
//!
//! The `datasketches` crate has the same hash behind [`std::hash::Hasher`], which buffers what it is given; user ids
//! are short, so the buffer costs more than the hash. Here the tail is read with loads that overlap.

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The hash of `bytes` as its two halves.
#[inline]
pub(super) fn murmur3_x64_128(bytes: &[u8], seed: u64) -> (u64, u64) {
    let (mut h1, mut h2) = (seed, seed);
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let (k1, k2) = halves(u128::from_le_bytes(*block));
        h1 = (h1 ^ scramble_1(k1)).rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ scramble_2(k2)).rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }

    // Zeros scramble to zero, so an empty tail needs no branch of its own.
    let (k1, k2) = halves(read_tail(bytes, tail));
    let length = bytes.len() as u64;
    finish(h1 ^ scramble_1(k1) ^ length, h2 ^ scramble_2(k2) ^ length)
}

/// The tail as a little-endian number, zeros above it.
#[inline]
fn read_tail(bytes: &[u8], tail: &[u8]) -> u128 {
    if tail.is_empty() {
        return 0;
    }
    // With a whole block before it, the tail is the upper end of the last 16 bytes.
    if let Some(last) = bytes.last_chunk::<16>() {
        return u128::from_le_bytes(*last) >> (8 * (16 - tail.len()));
    }
    if let (Some(first), Some(last)) = (tail.first_chunk::<8>(), tail.last_chunk::<8>()) {
        let last_at = 8 * (tail.len() - 8);
        return u128::from(u64::from_le_bytes(*first)) | (u128::from(u64::from_le_bytes(*last)) << last_at);
    }
    if let (Some(first), Some(last)) = (tail.first_chunk::<4>(), tail.last_chunk::<4>()) {
        let last_at = 8 * (tail.len() - 4);
        return u128::from(u32::from_le_bytes(*first)) | (u128::from(u32::from_le_bytes(*last)) << last_at);
    }
    tail.iter().rev().fold(0, |number, &byte| (number << 8) | u128::from(byte))
}

#[inline]
const fn halves(block: u128) -> (u64, u64) {
    (block as u64, (block >> 64) as u64)
}

#[inline]
const fn scramble_1(k1: u64) -> u64 {
    k1.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

#[inline]
const fn scramble_2(k2: u64) -> u64 {
    k2.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

#[inline]
const fn finish(h1: u64, h2: u64) -> (u64, u64) {
    let sum = h1.wrapping_add(h2);
    let mixed_1 = avalanche(sum);
    let mixed_2 = avalanche(sum.wrapping_add(h2));
    let half_1 = mixed_1.wrapping_add(mixed_2);
    (half_1, half_1.wrapping_add(mixed_2))
}

#[inline]
const fn avalanche(word: u64) -> u64 {
    let once = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let twice = (once ^ (once >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    twice ^ (twice >> 33)
}

#[cfg(test)]
mod tests {
    use super::murmur3_x64_128;

    /// Known values of MurmurHash3 x64 128 with seed 0.
    #[test]
    fn known_hashes() {
        let fox = b"The quick brown fox jumps over the lazy dog";
        assert_eq!(murmur3_x64_128(fox, 0), (0xe34b_bc7b_bc07_1b6c, 0x7a43_3ca9_c49a_9347));
        assert_eq!(murmur3_x64_128(b"", 0), (0, 0));
    }

    /// Every length of tail, against the tail read byte by byte.
    #[test]
    fn tails_of_every_length() {
        let bytes: Vec<u8> = (1..=80).collect();
        for length in 0..=bytes.len() {
            let tail = &bytes[length - length % 16..length];
            let plain = tail.iter().rev().fold(0, |number, &byte| (number << 8) | u128::from(byte));
            assert_eq!(super::read_tail(&bytes[..length], tail), plain, "length {length}");
        }
    }
}
