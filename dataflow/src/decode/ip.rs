//! Whether a text is an IP address: what the standard library says, with shortcuts for the usual ways of writing one.
//!
//! A shortcut looks at all bytes at once where the standard library goes from byte to byte, which an address, being
//! random, makes slow. It only ever says yes where the standard library does; where it does not, that is asked.

use std::net::IpAddr;

/// Whether the standard library reads this as an IPv4 or an IPv6 address. Zone ids are none.
#[inline]
pub(super) fn is_ip_address(text: &str) -> bool {
    is_plain_ipv4(text.as_bytes()) || is_plain_ipv6(text.as_bytes()) || text.parse::<IpAddr>().is_ok()
}

/// Four numbers up to 255 without leading zeros, of 8 to 15 bytes together.
#[inline]
fn is_plain_ipv4(text: &[u8]) -> bool {
    if text.len() > 15 {
        return false;
    }
    let (Some(first_8), Some(last_8)) = (text.first_chunk(), text.last_chunk()) else { return false };
    // All bytes in one number, the first one lowest. The halves overlap in equal bytes. A dot is added at the end.
    let length_bits = text.len() * 8;
    let first_half = u128::from(u64::from_le_bytes(*first_8));
    let last_half = u128::from(u64::from_le_bytes(*last_8)) << (length_bits - 64);
    let bytes = first_half | last_half | u128::from(b'.') << length_bits;

    let mut dots = bytes_equal(bytes, b'.');
    let mut start = 0;
    let mut valid = true;
    for _ in 0..4 {
        let end = dots.trailing_zeros() & !7;
        dots &= dots.wrapping_sub(1);
        valid &= is_octet((bytes >> (start & 127)) as u32, end.wrapping_sub(start));
        start = end + 8;
    }
    valid && dots == 0
}

/// The highest bit of each byte that equals this one.
#[inline]
fn bytes_equal(bytes: u128, byte: u8) -> u128 {
    const LOW_7_BITS: u128 = u128::from_ne_bytes([0x7f; 16]);
    let differences = bytes ^ u128::from_ne_bytes([byte; 16]);
    !((differences & LOW_7_BITS).wrapping_add(LOW_7_BITS) | differences | LOW_7_BITS)
}

/// Whether the lowest bytes, so many bits of them, are the digits of a number up to 255 without a leading zero. All is
/// computed and nothing skipped: which of it would say no, no processor can guess.
#[inline]
fn is_octet(bytes: u32, bits: u32) -> bool {
    let right_length = (bits == 8) | (bits == 16) | (bits == 24);
    let digits = (bytes ^ 0x0030_3030) & (1_u32.wrapping_shl(bits).wrapping_sub(1));
    let others = (digits.wrapping_add(0x0076_7676) | digits) & 0x0080_8080;
    let leading_zero = (bits > 8) & (digits & 0xff == 0);
    let [hundreds, tens, ones, _] = digits.wrapping_shl(24_u32.wrapping_sub(bits)).to_le_bytes().map(u32::from);
    right_length & (others == 0) & !leading_zero & (hundreds * 100 + tens * 10 + ones <= 255)
}

const DIGIT: u8 = 1;
const COLON: u8 = 2;

/// What a byte is in an IPv6 address.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        if byte.is_ascii_hexdigit() {
            classes[byte as usize] = DIGIT;
        }
        byte += 1;
    }
    classes[b':' as usize] = COLON;
    classes
};

/// Eight groups of one to four hexadecimal digits, or at most seven with one `::`. The groups are found as runs of bits.
#[inline]
fn is_plain_ipv6(text: &[u8]) -> bool {
    if !(2..=39).contains(&text.len()) {
        return false;
    }
    let mut digits: u64 = 0;
    let mut colons: u64 = 0;
    for (bit, byte) in text.iter().enumerate() {
        let class = CLASSES[usize::from(*byte)];
        digits |= u64::from(class & DIGIT) << bit;
        colons |= u64::from(class / COLON) << bit;
    }
    let all = (1 << text.len()) - 1;
    let runs_of_5 = digits & digits >> 1 & digits >> 2 & digits >> 3 & digits >> 4;
    let double_colons = colons & colons >> 1;
    let groups = (digits & !(digits << 1)).count_ones();
    // A colon at an end must be one of two.
    let first_alone = colons & !double_colons & 1;
    let last_alone = colons & !(double_colons << 1) & 1 << (text.len() - 1);
    let right_number = match double_colons.count_ones() {
        0 => groups == 8,
        1 => groups <= 7,
        _ => false,
    };
    digits | colons == all && runs_of_5 == 0 && first_alone == 0 && last_alone == 0 && right_number
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use rand::rngs::SmallRng;
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn check(text: &str) -> bool {
        let wanted = text.parse::<IpAddr>();
        if is_plain_ipv4(text.as_bytes()) {
            assert!(matches!(wanted, Ok(IpAddr::V4(_))), "{text:?}");
        }
        if is_plain_ipv6(text.as_bytes()) {
            assert!(matches!(wanted, Ok(IpAddr::V6(_))), "{text:?}");
        }
        wanted.is_ok()
    }

    /// Each octet that is one, and some that are none, in each place.
    #[test]
    fn every_octet() {
        for octet in (0..1200)
            .map(|number: u32| number.to_string())
            .chain(["00", "01", "001", "0255", "", "1a", "a1", ":1", "/", "-1", "2 5"].map(str::to_owned))
        {
            for text in [
                format!("{octet}.20.30.40"),
                format!("1.{octet}.200.3"),
                format!("10.2.{octet}.4"),
                format!("100.20.30.{octet}"),
            ] {
                let valid = octet.len() <= 3 && octet.parse::<u8>().is_ok_and(|number| number.to_string() == octet);
                assert_eq!(check(&text), valid, "{text}");
                assert!(!valid || is_plain_ipv4(text.as_bytes()) || text.len() < 8, "{text} is not taken");
            }
        }
    }

    #[test]
    fn addresses_as_they_are_usually_written() {
        let mut random = SmallRng::seed_from_u64(1);
        for _ in 0..100_000 {
            let ipv4 = std::net::Ipv4Addr::from_bits(random.random()).to_string();
            assert!(check(&ipv4) && (is_plain_ipv4(ipv4.as_bytes()) || ipv4.len() < 8), "{ipv4}");
            let segments: [u16; 8] = random.random();
            let mask = random.random::<u8>();
            let ipv6 = std::net::Ipv6Addr::from(std::array::from_fn::<u16, 8, _>(|segment| {
                segments[segment] * u16::from(mask >> segment & 1)
            }))
            .to_string();
            assert!(check(&ipv6) && (is_plain_ipv6(ipv6.as_bytes()) || ipv6.contains('.')), "{ipv6}");
        }
    }

    #[test]
    fn texts_near_to_addresses() {
        let pieces = [
            "0", "1", "25", "255", "256", ".", ".", ".", ":", ":", "::", "f", "Fe", "abcd", "12345", "g", " ", "%",
            "é", "\u{ae}", "/", "\0",
        ];
        let mut valid = 0;
        for seed in 0..1_000_000 {
            let mut random = SmallRng::seed_from_u64(seed);
            let separated = random.random_bool(0.5);
            let mut text = String::new();
            for piece in 0..random.random_range(0..14) {
                let usual =
                    if piece % 2 == 0 { pieces[..5].choose(&mut random) } else { pieces[5..11].choose(&mut random) };
                let any = pieces.choose(&mut random);
                text += if separated && random.random_bool(0.97) { usual.unwrap() } else { any.unwrap() };
            }
            valid += u32::from(check(&text));
        }
        assert!(valid > 10_000, "only {valid} were addresses");
    }
}
