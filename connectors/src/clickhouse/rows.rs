//! Rows as an insert wants them: RowBinary in LZ4 frames, ready to be sent.
//!
//! ```text
//!   body  = frame…             frames of any number of workers and checkpoints, one behind the other
//!   frame = checksum u128 │ 0x82 │ size u32, with these 9 bytes │ unpacked size u32 │ LZ4 block
//!   row   = window i8 │ ad │ start u32 │ end u32 │ clicks u64 │ users u64 │ sketch │ region │ epoch u64 │ final u8
//! ```
//!
//! Texts have their length in front, as a variable-length integer. No region is the empty text.

use weir_dataflow::{Window, WindowRow};

/// Windows must end by then, the year 2100, unix time in milliseconds: ClickHouse's `DateTime` counts seconds in 32 bits,
/// and a retention is added to it. Later ones are not in ClickHouse; they are in the Delta table.
pub const LATEST_MS: i64 = 4_102_444_800_000;

/// Rows are packed in frames of this size: the size of ClickHouse's own blocks.
const FRAME_BYTES: usize = 1 << 20;

/// Checksum and header.
const CHECKSUM_BYTES: usize = 16;
const HEADER_BYTES: usize = 9;
const LZ4: u8 = 0x82;

/// Rows on their way into a body.
#[derive(Default)]
pub(super) struct Packed {
    /// Rows that are in no frame yet.
    loose: Vec<u8>,
    frames: Vec<u8>,
}

impl Packed {
    /// Adds a row, which `encode` writes.
    #[inline]
    pub(super) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.loose);
        if self.loose.len() >= FRAME_BYTES {
            self.pack();
        }
    }

    /// What it takes packed, as far as it is.
    pub(super) fn bytes(&self) -> usize {
        self.frames.len()
    }

    /// The bytes to be sent; the memory for the next rows is kept.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.pack();
        let room = self.frames.len();
        std::mem::replace(&mut self.frames, Vec::with_capacity(room))
    }

    fn pack(&mut self) {
        if !self.loose.is_empty() {
            add_frame(&self.loose, &mut self.frames);
            self.loose.clear();
        }
    }
}

/// Rows of `clicks_agg` on their way into a body.
#[derive(Default)]
pub(super) struct Body {
    packed: Packed,
    rows: u64,
}

impl Body {
    /// Adds a row; whether it can be written at all.
    #[inline]
    pub(super) fn push(&mut self, row: &WindowRow<'_>, is_final: bool) -> bool {
        self.push_with(row, is_final, &[])
    }

    /// Adds a final row with a revision of its own, which is the last column; whether it can be written at all.
    pub(super) fn push_revised(&mut self, row: &WindowRow<'_>, revision: u64) -> bool {
        self.push_with(row, true, &revision.to_le_bytes())
    }

    #[inline]
    fn push_with(&mut self, row: &WindowRow<'_>, is_final: bool, more: &[u8]) -> bool {
        let end_ms = row.start_ms.saturating_add(row.window.length_ms());
        if row.start_ms < 0 || end_ms > LATEST_MS {
            return false;
        }
        self.packed.push(|out| {
            out.push(number_of(row.window));
            push_text(out, row.ad_id.as_bytes());
            out.extend_from_slice(&seconds(row.start_ms).to_le_bytes());
            out.extend_from_slice(&seconds(end_ms).to_le_bytes());
            out.extend_from_slice(&row.click_count.to_le_bytes());
            out.extend_from_slice(&row.unique_users.to_le_bytes());
            // An open window's sketch would be most of what is written at every checkpoint, and be of use until the next.
            push_text(out, if is_final { row.user_sketch } else { &[] });
            push_text(out, row.region.unwrap_or_default().as_bytes());
            out.extend_from_slice(&row.epoch.0.to_le_bytes());
            out.push(u8::from(is_final));
            out.extend_from_slice(more);
        });
        self.rows += 1;
        true
    }

    /// What it takes packed, as far as it is.
    pub(super) fn packed_bytes(&self) -> usize {
        self.packed.bytes()
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The bytes to be sent; the memory for the next rows is kept.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.rows = 0;
        self.packed.take()
    }
}

fn add_frame(rows: &[u8], frames: &mut Vec<u8>) {
    let start = frames.len();
    let block = start + CHECKSUM_BYTES + HEADER_BYTES;
    frames.resize(block + lz4_flex::block::get_maximum_output_size(rows.len()), 0);
    let (head, room) = frames.split_at_mut(block);
    // The room is large enough for whatever comes out.
    let packed = lz4_flex::block::compress_into(rows, room).unwrap_or_default();
    let header = head.get_mut(start + CHECKSUM_BYTES..).unwrap_or_default();
    header[0] = LZ4;
    header[1..5].copy_from_slice(&((packed + HEADER_BYTES) as u32).to_le_bytes());
    header[5..9].copy_from_slice(&(rows.len() as u32).to_le_bytes());
    frames.truncate(block + packed);
    let checked = frames.get(start + CHECKSUM_BYTES..).unwrap_or_default();
    let checksum = cityhash_rs::cityhash_102_128(checked).rotate_right(64).to_le_bytes();
    if let Some(place) = frames.get_mut(start..start + CHECKSUM_BYTES) {
        place.copy_from_slice(&checksum);
    }
}

pub(super) fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(text);
}

/// The value of column `window`: its length in minutes.
fn number_of(window: Window) -> u8 {
    (window.length_ms() / 60_000) as u8
}

fn seconds(time_ms: i64) -> u32 {
    (time_ms / 1000) as u32
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use weir_checkpoints::Epoch;

    use super::*;

    fn row(ad_id: &str, start_ms: i64) -> WindowRow<'_> {
        WindowRow {
            ad_id,
            region: Some("eu-1"),
            window: Window::OneHour,
            start_ms,
            click_count: 258,
            unique_users: 3,
            user_sketch: &[7, 8],
            epoch: Epoch(5),
        }
    }

    #[test]
    fn a_row_is_as_the_format_says() {
        let ad = "x".repeat(200);
        let mut body = Body::default();
        assert!(body.push(&row(&ad, 3_600_000), true));
        assert!(body.push(&row("a", 0), false));
        let mut expected = vec![60, 0xc8, 1];
        expected.extend_from_slice(ad.as_bytes());
        expected.extend_from_slice(&[0x10, 0x0e, 0, 0, 0x20, 0x1c, 0, 0]);
        expected.extend_from_slice(&[2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 7, 8, 4]);
        expected.extend_from_slice(b"eu-1\x05\0\0\0\0\0\0\0\x01");
        expected.extend_from_slice(&[60, 1, b'a', 0, 0, 0, 0, 0x10, 0x0e, 0, 0]);
        expected.extend_from_slice(&[2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 4]);
        expected.extend_from_slice(b"eu-1\x05\0\0\0\0\0\0\0\0");
        assert_eq!(body.packed.loose, expected);
        let packed = body.take();
        assert_eq!(packed.get(16), Some(&LZ4));
        assert_eq!(packed.get(21..25), Some((expected.len() as u32).to_le_bytes().as_slice()));
        assert_eq!(body.rows(), 0);
    }

    #[test]
    fn windows_that_a_datetime_cannot_hold_are_declined() {
        let mut body = Body::default();
        assert!(body.push(&row("a", LATEST_MS - 3_600_000), true));
        assert!(!body.push(&row("a", LATEST_MS), true));
        assert!(!body.push(&row("a", -3_600_000), true));
        assert_eq!(body.rows(), 1);
    }

    #[test]
    fn many_rows_become_several_frames() {
        let mut body = Body::default();
        for _ in 0..50_000 {
            body.push(&row("an ad", 0), false);
        }
        let packed = body.take();
        let (mut at, mut unpacked) = (0, 0);
        while at < packed.len() {
            let size = |from: usize| u32::from_le_bytes(packed[from..from + 4].try_into().unwrap()) as usize;
            unpacked += size(at + 21);
            at += CHECKSUM_BYTES + size(at + 17);
        }
        assert_eq!((at, unpacked), (packed.len(), 50_000 * 46));
    }
}
