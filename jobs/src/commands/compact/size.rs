//! Sizes in bytes, as people write them.

use std::ops::RangeInclusive;

/// As in the job file.
const POSSIBLE: RangeInclusive<u64> = 1 << 16..=1 << 32;

const UNITS: [(&str, u64); 7] = [
    ("", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KIB", 1 << 10),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
];

/// Bytes of `134217728`, `128MiB`, `100MB`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()));
    let bytes = number.parse::<u64>().ok().zip(unit).and_then(|(number, (_, bytes))| number.checked_mul(*bytes));
    bytes.filter(|bytes| POSSIBLE.contains(bytes)).ok_or_else(|| {
        format!("`{text}` is no size from 64KiB to 4GiB: write a number with KiB, MiB, GiB, KB, MB, GB, or of bytes")
    })
}

/// A size in few digits.
pub(super) fn size(bytes: u64) -> String {
    let (unit, of_unit) = match bytes {
        0..1_000_000 => ("KB", 1e3),
        1_000_000..1_000_000_000 => ("MB", 1e6),
        _ => ("GB", 1e9),
    };
    format!("{:.1} {unit}", bytes as f64 / of_unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_units() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(parse_size(text).ok(), expected, "{text}");
        check("134217728", Some(1 << 27));
        check("128MiB", Some(1 << 27));
        check("100 mb", Some(100_000_000));
        check("64KiB", Some(1 << 16));
        for wrong in ["", "MiB", "63KiB", "5GiB", "1.5GiB", "10x", "-1", "99999999999999999999GB"] {
            check(wrong, None);
        }
    }

    #[test]
    fn sizes_are_shown_in_few_digits() {
        for (bytes, expected) in [(0, "0.0 KB"), (1_500, "1.5 KB"), (999_999, "1000.0 KB"), (134_217_728, "134.2 MB")] {
            assert_eq!(size(bytes), expected);
        }
    }
}
