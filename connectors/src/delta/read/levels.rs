//! Definition levels of a column that may have nulls: one bit for each row, set where there is a value.
//!
//! ```text
//!   levels = run │ run │ …
//!   run    = 2 × rows · their level          or 2 × groups + 1 · a byte for each group of eight rows, the first in the lowest bit
//! ```
//!
//! How many values a page needs only they tell; the crate's decoder of texts panics where there are fewer.

use super::deltas::{take, varint};

/// How many of so many rows have a value; `None` where the levels are of fewer rows.
pub(super) fn values_of(mut levels: &[u8], rows: u32) -> Option<u32> {
    let (mut left, mut values) = (u64::from(rows), 0);
    while left > 0 {
        let header = varint(&mut levels)?;
        let length = header >> 1;
        if header & 1 == 0 {
            let rows = length.min(left);
            let &level = take(&mut levels, 1)?.first()?;
            values += if level == 0 { 0 } else { rows };
            left -= rows;
        } else {
            // What is beyond the last row may have been left out.
            let groups = usize::try_from(length).ok()?.min(levels.len());
            let groups = take(&mut levels, groups)?.iter().take(left.div_ceil(8) as usize);
            for group in groups {
                let rows = left.min(8);
                values += u64::from((group & (0xff >> (8 - rows))).count_ones());
                left -= rows;
            }
        }
    }
    u32::try_from(values).ok()
}

#[cfg(test)]
mod tests {
    use super::values_of;

    /// A run of `rows` rows with one level.
    fn run(rows: u8, level: u8) -> [u8; 2] {
        [rows << 1, level]
    }

    #[test]
    fn runs_and_groups_are_counted_up_to_the_last_row() {
        let check = |levels: &[u8], rows: u32, expected: Option<u32>| {
            assert_eq!(values_of(levels, rows), expected, "{levels:?} of {rows} rows");
        };
        check(&[], 0, Some(0));
        check(&[], 1, None);
        check(&run(10, 1), 10, Some(10));
        check(&run(10, 1), 7, Some(7));
        check(&run(10, 0), 10, Some(0));
        check(&run(10, 1), 11, None);
        check(&[0x05, 0b1010_1010, 0b0000_1111], 16, Some(8));
        check(&[0x05, 0b1010_1010, 0b1111_0001], 9, Some(5));
        // Eight groups, of which those that matter are there.
        check(&[0x11, 0b1010_1010, 0b0000_0001], 9, Some(5));
        check(&[0x11, 0b1010_1010, 0b0000_0001], 17, None);
        check(&[&run(3, 1)[..], &[0x03, 0b0000_0111], &run(60, 0)].concat(), 71, Some(6));
        // A run without its level, runs without rows, a length without an end.
        check(&[20], 10, None);
        check(&[0, 1, 0, 1, 1], 10, None);
        check(&[0x80; 12], 10, None);
    }
}
