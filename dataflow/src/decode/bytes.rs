//! Eight bytes of a record as one number.

/// The bytes from there on, the first one lowest; zeros behind the record's end.
#[inline]
pub(super) fn load_8(bytes: &[u8], at: usize) -> u64 {
    let behind = bytes.get(at..).unwrap_or_default();
    match behind.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => behind.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)),
    }
}
