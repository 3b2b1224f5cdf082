//! Values that are written as differences: numbers are looked through, and texts turned into plain ones.
//!
//! ```text
//!   numbers  = values in a block · parts of a block · numbers in all · the first │ block │ block …
//!   block    = smallest difference · width of each part │ part │ part …     a part: differences less the smallest, packed
//!   lengths  = numbers │ all texts in a row
//!   prefixes = numbers, how much each text has in common with the one before │ lengths, of what is different
//! ```
//!
//! The decoders of the crate panic where these are damaged, or take as much memory as they are told to.

use parquet::basic::{Encoding, Type};

/// More than any writer puts into a page; a few bytes can claim to stand for more.
const MOST_VALUES: usize = 1 << 22;
const MOST_BYTES: usize = 64 << 20;

/// How many numbers a page has, no more than `most`; `None` where it is damaged.
pub(super) fn count_numbers(kind: Type, mut values: &[u8], most: usize) -> Option<usize> {
    Some(&mut values)
        .filter(|_| matches!(kind, Type::INT32 | Type::INT64))
        .and_then(|values| walk(values, most, |_| {}))
}

/// A page of texts in the plain encoding, no more than `most` of them; `None` where it is damaged.
pub(super) fn plain_texts(kind: Type, encoding: Encoding, mut values: &[u8], most: usize) -> Option<Vec<u8>> {
    match encoding {
        _ if kind != Type::BYTE_ARRAY => None,
        Encoding::DELTA_LENGTH_BYTE_ARRAY => {
            let mut plain = Vec::new();
            for text in texts(&mut values, most)? {
                put(&mut plain, &[], text)?;
            }
            Some(plain)
        }
        Encoding::DELTA_BYTE_ARRAY => with_prefixes(values, most),
        _ => None,
    }
}

fn with_prefixes(mut values: &[u8], most: usize) -> Option<Vec<u8>> {
    let prefixes = numbers(&mut values, most)?;
    let suffixes = texts(&mut values, most)?;
    if prefixes.len() != suffixes.len() {
        return None;
    }
    let (mut plain, mut before) = (Vec::new(), Vec::new());
    for (prefix, suffix) in prefixes.into_iter().zip(suffixes) {
        before.truncate(usize::try_from(prefix).ok().filter(|&prefix| prefix <= before.len())?);
        put(&mut plain, &before, suffix)?;
        before.extend_from_slice(suffix);
    }
    Some(plain)
}

fn put(plain: &mut Vec<u8>, prefix: &[u8], suffix: &[u8]) -> Option<()> {
    let length = prefix.len() + suffix.len();
    if plain.len() + length > MOST_BYTES {
        return None;
    }
    plain.extend_from_slice(&(length as u32).to_le_bytes());
    plain.extend_from_slice(prefix);
    plain.extend_from_slice(suffix);
    Some(())
}

fn texts<'a>(values: &mut &'a [u8], most: usize) -> Option<Vec<&'a [u8]>> {
    let lengths = numbers(values, most)?;
    lengths.into_iter().map(|length| take(values, usize::try_from(length).ok()?)).collect()
}

/// Lengths, of 32 bits each.
fn numbers(values: &mut &[u8], most: usize) -> Option<Vec<i32>> {
    let (mut numbers, mut last) = (Vec::new(), 0_i32);
    walk(values, most, |step| match step {
        Step::First(first) => {
            last = first as i32;
            numbers.push(last);
        }
        Step::Part { smallest, packed, width, wanted } => {
            for place in 0..wanted {
                last = last.wrapping_add(smallest as i32).wrapping_add(unpack(packed, place * width, width) as i32);
                numbers.push(last);
            }
        }
    })?;
    Some(numbers)
}

enum Step<'a> {
    First(i64),
    Part { smallest: i64, packed: &'a [u8], width: usize, wanted: usize },
}

/// Goes through numbers, ends behind them, and says how many there are.
fn walk(values: &mut &[u8], most: usize, mut each: impl FnMut(Step<'_>)) -> Option<usize> {
    let block = usize::try_from(varint(values)?).ok()?;
    let parts = usize::try_from(varint(values)?).ok().filter(|&parts| parts > 0 && parts <= block)?;
    let count = usize::try_from(varint(values)?).ok().filter(|&count| count <= most.min(MOST_VALUES))?;
    let first = zigzag(values)?;
    let in_part = block / parts;
    if !block.is_multiple_of(parts) || !in_part.is_multiple_of(32) {
        return None;
    }
    if count > 0 {
        each(Step::First(first));
    }
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let smallest = zigzag(values)?;
        // The widths of parts that are not needed are there, and say nothing.
        for &width in take(values, parts)? {
            let wanted = in_part.min(left);
            if wanted == 0 {
                break;
            }
            let width = Some(usize::from(width)).filter(|&width| width <= 64)?;
            // At the end of a page some writers leave out what would only fill the part.
            let packed = take(values, values.len().min(in_part.checked_mul(width)? / 8))?;
            if packed.len() * 8 < wanted * width {
                return None;
            }
            each(Step::Part { smallest, packed, width, wanted });
            left -= wanted;
        }
    }
    Some(count)
}

/// So many bits, the lowest first.
fn unpack(packed: &[u8], from: usize, width: usize) -> u64 {
    let mut window = [0; 16];
    let bytes = packed.get(from / 8..).unwrap_or_default();
    window.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    let bits = u128::from_le_bytes(window) >> (from % 8);
    (bits & ((1 << width) - 1)) as u64
}

fn zigzag(values: &mut &[u8]) -> Option<i64> {
    let number = varint(values)?;
    Some((number >> 1) as i64 ^ -((number & 1) as i64))
}

/// The next number, in groups of seven bits.
pub(super) fn varint(values: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(values, 1)?.first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// The next bytes.
pub(super) fn take<'a>(values: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, rest) = values.split_at_checked(bytes)?;
    *values = rest;
    Some(taken)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::{WriterProperties, WriterVersion};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::schema::types::ColumnPath;

    use super::super::pages::PlainTexts;
    use super::*;

    /// The pages that the crate writes of a column, with how many values each of them has.
    fn written(column: ArrayRef, encoding: Encoding) -> Vec<(Bytes, usize)> {
        let rows = RecordBatch::try_from_iter_with_nullable([("x", column, false)]).unwrap();
        let properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_dictionary_enabled(false)
            .set_column_encoding(ColumnPath::from("x"), encoding)
            .set_data_page_row_count_limit(300)
            .set_write_batch_size(100)
            .build();
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut file, rows.schema(), Some(properties)).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        let reader = SerializedFileReader::new(Bytes::from(file)).unwrap();
        let pages = reader.get_row_group(0).unwrap().get_column_page_reader(0).unwrap();
        let pages = pages.map(Result::unwrap).inspect(|page| assert_eq!(page.encoding(), encoding));
        pages.map(|page| (page.buffer().clone(), page.num_values() as usize)).collect()
    }

    fn numbers_of(rows: usize) -> impl Iterator<Item = i64> {
        (0..rows as i64).map(|row| match row % 7 {
            0 => i64::MIN + row,
            1 => i64::MAX - row,
            other => 1_736_949_600_000_000 + other * row,
        })
    }

    const ROWS: [usize; 8] = [1, 2, 31, 33, 128, 129, 160, 1_000];

    #[test]
    fn numbers_of_other_writers_fit() {
        for rows in ROWS {
            let longs = Arc::new(Int64Array::from_iter_values(numbers_of(rows)));
            let integers = Arc::new(Int32Array::from_iter_values(numbers_of(rows).map(|number| number as i32)));
            for (kind, column) in [(Type::INT64, longs as ArrayRef), (Type::INT32, integers)] {
                for (page, count) in written(column, Encoding::DELTA_BINARY_PACKED) {
                    let found = |kind, page: &[u8], most| count_numbers(kind, page, most);
                    assert_eq!(found(kind, &page, count), Some(count), "{rows} of {kind}");
                    assert_eq!(found(kind, &page, count - 1), None, "{rows} of {kind}, one more than there may be");
                    assert_eq!(found(kind, page.get(..3).unwrap(), count), None, "{rows} of {kind}, cut short");
                    assert_eq!(found(Type::BYTE_ARRAY, &page, count), None, "{rows} of {kind}, as texts");
                }
            }
        }
    }

    #[test]
    fn there_may_be_no_number() {
        assert_eq!(count_numbers(Type::INT64, &[0x80, 1, 4, 0, 0], 10), Some(0));
    }

    #[test]
    fn texts_of_other_writers_are_read() {
        for rows in ROWS {
            let texts: Vec<String> = (0..rows).map(|row| format!("ad-{:05}{}", row / 3, "x".repeat(row % 5))).collect();
            for encoding in [Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY] {
                let pages = written(Arc::new(StringArray::from(texts.clone())), encoding);
                let plain = |(page, count): &(Bytes, usize)| plain_texts(Type::BYTE_ARRAY, encoding, page, *count);
                let found: Vec<u8> = pages.iter().flat_map(|page| plain(page).unwrap()).collect();
                assert!(PlainTexts(&found).eq(texts.iter().map(String::as_bytes)), "{rows} {encoding}");
            }
        }
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let refused = |encoding: Encoding, values: &[u8]| match encoding {
            Encoding::DELTA_BINARY_PACKED => assert_eq!(count_numbers(Type::INT64, values, 1_000), None, "{values:?}"),
            _ => assert_eq!(plain_texts(Type::BYTE_ARRAY, encoding, values, 1_000), None, "{encoding} {values:?}"),
        };
        let numbers = Encoding::DELTA_BINARY_PACKED;
        refused(numbers, &[]);
        refused(numbers, &[0x80; 20]);
        // Blocks of nothing, in no parts, more numbers than there may be, and widths and parts that are not there.
        refused(numbers, &[0, 0, 3, 0]);
        refused(numbers, &[0x80, 1, 0, 3, 0]);
        refused(numbers, &[0x80, 1, 4, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0, 0]);
        refused(numbers, &[0x80, 1, 4, 3, 0, 0, 65, 0, 0, 0]);
        refused(numbers, &[0x80, 1, 4, 3, 0, 0, 8, 0, 0, 0]);
        // One text of ten bytes, of which two are there; of a negative length; with a prefix of nothing.
        refused(Encoding::DELTA_LENGTH_BYTE_ARRAY, &[0x80, 1, 4, 1, 20, b'a', b'b']);
        refused(Encoding::DELTA_LENGTH_BYTE_ARRAY, &[0x80, 1, 4, 1, 1]);
        refused(Encoding::DELTA_BYTE_ARRAY, &[0x80, 1, 4, 1, 2, 0x80, 1, 4, 1, 2, b'a']);
    }

    #[test]
    fn few_bytes_do_not_stand_for_many() {
        // Each text is the one before and a byte more; all differences are the same, and take no room.
        let rows = 100_000_u32;
        let mut count = vec![0x80, 1, 4, 0xa0, 0x8d, 6];
        let blocks = vec![[2, 0, 0, 0, 0]; (rows as usize).div_ceil(128)].concat();
        let lengths = [count.clone(), vec![2], vec![[0, 0, 0, 0, 0]; blocks.len() / 5].concat()].concat();
        count.push(0);
        let values = [count, blocks, lengths, vec![b'x'; rows as usize]].concat();
        assert_eq!(plain_texts(Type::BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY, &values, rows as usize), None);
        let few = plain_texts(Type::BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY, &values, rows as usize - 1);
        assert_eq!(few, None, "more than the page says there are");
    }
}
