//! The header in front of each page: a Thrift structure in the compact protocol.
//!
//! ```text
//!   byte: field number − the one before │ type      then, by type: a zigzag varint, a length and bytes, fields, …
//!   0: the end
//! ```

use parquet::basic::Encoding;

/// What stands in front of a page, as far as it matters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub(super) kind: PageKind,
    pub(super) uncompressed_bytes: usize,
    pub(super) compressed_bytes: usize,
    pub(super) values: u32,
    pub(super) encoding: Option<Encoding>,
    pub(super) level_encoding: Option<Encoding>,
    pub(super) nulls: u32,
    pub(super) level_bytes: [u32; 2],
    pub(super) is_stored: bool,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub(super) enum PageKind {
    #[default]
    Other,
    Data,
    DataV2,
    Dictionary,
}

/// More than this deep nothing in a header lies.
const MAX_DEPTH: u32 = 8;

mod types {
    pub(super) const STOP: u8 = 0;
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const STRUCT: u8 = 12;
}

impl PageHeader {
    /// Reads a header from the front of `bytes`, which are then what follows it. `None` where there is none.
    pub(super) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut header = Self::default();
        let mut field = 0;
        while let Some((number, kind)) = next_field(bytes, &mut field)? {
            match number {
                1 => {
                    header.kind = match integer(bytes, kind)? {
                        0 => PageKind::Data,
                        2 => PageKind::Dictionary,
                        3 => PageKind::DataV2,
                        _ => PageKind::Other,
                    }
                }
                2 => header.uncompressed_bytes = usize::try_from(integer(bytes, kind)?).ok()?,
                3 => header.compressed_bytes = usize::try_from(integer(bytes, kind)?).ok()?,
                5 | 7 | 8 if kind == types::STRUCT => header.read_details(bytes, number)?,
                _ => skip(bytes, kind, MAX_DEPTH)?,
            }
        }
        Some(header)
    }

    /// The fields of a data page's header (5), a dictionary's (7) or that of a data page of version 2 (8).
    fn read_details(&mut self, bytes: &mut &[u8], page: i16) -> Option<()> {
        let mut field = 0;
        while let Some((number, kind)) = next_field(bytes, &mut field)? {
            match (page, number) {
                (_, 1) => self.values = u32::try_from(integer(bytes, kind)?).ok()?,
                (5 | 7, 2) | (8, 4) => self.encoding = encoding(integer(bytes, kind)?),
                (5, 3) => self.level_encoding = encoding(integer(bytes, kind)?),
                (8, 2) => self.nulls = u32::try_from(integer(bytes, kind)?).ok()?,
                (8, 5) => self.level_bytes[0] = u32::try_from(integer(bytes, kind)?).ok()?,
                (8, 6) => self.level_bytes[1] = u32::try_from(integer(bytes, kind)?).ok()?,
                (8, 7) => self.is_stored = kind == types::FALSE,
                _ => skip(bytes, kind, MAX_DEPTH)?,
            }
        }
        Some(())
    }
}

fn encoding(number: i64) -> Option<Encoding> {
    Some(match number {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        _ => return None,
    })
}

/// The next field's number and type; the inner `None` is the structure's end.
#[allow(clippy::option_option, reason = "bytes that end are not a structure that ends")]
fn next_field(bytes: &mut &[u8], last: &mut i16) -> Option<Option<(i16, u8)>> {
    let head = byte(bytes)?;
    if head == types::STOP {
        return Some(None);
    }
    let step = i16::from(head >> 4);
    *last = if step == 0 { i16::try_from(zigzag(bytes)?).ok()? } else { last.checked_add(step)? };
    Some(Some((*last, head & 15)))
}

fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let next = byte(bytes)?;
        number |= u64::from(next & 0x7f) << shift;
        if next < 0x80 {
            return Some(number);
        }
    }
    None
}

fn zigzag(bytes: &mut &[u8]) -> Option<i64> {
    let number = varint(bytes)?;
    Some((number >> 1) as i64 ^ -((number & 1) as i64))
}

fn integer(bytes: &mut &[u8], kind: u8) -> Option<i64> {
    if (types::I16..=types::I64).contains(&kind) { zigzag(bytes) } else { None }
}

fn skip(bytes: &mut &[u8], kind: u8, depth: u32) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match kind {
        types::TRUE | types::FALSE => Some(()),
        types::BYTE => skip_bytes(bytes, 1),
        types::I16..=types::I64 => zigzag(bytes).map(drop),
        types::DOUBLE => skip_bytes(bytes, 8),
        types::BINARY => {
            let length = varint(bytes)?;
            skip_bytes(bytes, length)
        }
        types::LIST | types::SET => {
            let head = byte(bytes)?;
            let length = if head >> 4 == 15 { varint(bytes)? } else { u64::from(head >> 4) };
            // In a list a truth value has a byte of its own.
            let element = if head & 15 <= types::FALSE { types::BYTE } else { head & 15 };
            (0..length).try_for_each(|_| skip(bytes, element, depth))
        }
        types::STRUCT => {
            let mut field = 0;
            while let Some((_, kind)) = next_field(bytes, &mut field)? {
                skip(bytes, kind, depth)?;
            }
            Some(())
        }
        _ => None,
    }
}

fn skip_bytes(bytes: &mut &[u8], length: u64) -> Option<()> {
    *bytes = bytes.get(usize::try_from(length).ok()?..)?;
    Some(())
}
