//! Cuts a stream of bytes into lines, without copying them.
//!
//! ```text
//! buffer   [ given | whole line\n whole line\n torn li | free ]
//!                    ▲ start                          ▲ end
//! ```
//!
//! When no whole line is left, the torn one moves to the front and the free part is filled. A line that does not fit
//! makes the buffer grow, up to [`MAX_LINE_BYTES`]; of a longer one only the beginning is kept, and the rest counted.

use memchr::memchr;

/// The buffer's usual size: what the file system gives at once without a system call showing up in profiles.
const BUFFER_BYTES: usize = 1 << 20;

/// Longer lines are given cut off.
pub(super) const MAX_LINE_BYTES: usize = 16 << 20;

/// How much of a cut line is given: just more than any decoder takes, so that it is rejected as too large.
pub(super) const CUT_LINE_BYTES: usize = (64 << 10) + 1;

/// A line, without its line break.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) bytes: &'a [u8],
    /// How many bytes it takes in the stream, line break included.
    pub(super) length: u64,
}

/// The bytes that were read and not yet given.
pub(super) struct Lines {
    buffer: Vec<u8>,
    start: usize,
    /// There is no line break between `start` and here.
    scanned: usize,
    end: usize,
    /// A line longer than the buffer may get.
    cut: Option<Cut>,
    /// The last cut line that was given.
    given: Vec<u8>,
}

struct Cut {
    beginning: Vec<u8>,
    /// How many of its bytes have left the buffer.
    length: u64,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { buffer: Vec::new(), start: 0, scanned: 0, end: 0, cut: None, given: Vec::new() }
    }

    /// Forgets everything: another segment begins.
    pub(super) fn clear(&mut self) {
        (self.start, self.scanned, self.end, self.cut) = (0, 0, 0, None);
    }

    /// The next whole line.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Line<'_>> {
        let Some(found) = self.buffer.get(self.scanned..self.end).and_then(|bytes| memchr(b'\n', bytes)) else {
            self.scanned = self.end;
            return None;
        };
        let (from, to) = (self.start, self.scanned + found);
        self.start = to + 1;
        self.scanned = self.start;
        let in_buffer = (self.start - from) as u64;
        if self.cut.is_some() {
            return self.give_cut(in_buffer);
        }
        let bytes = self.buffer.get(from..to)?;
        Some(Line { bytes: bytes.strip_suffix(b"\r").unwrap_or(bytes), length: in_buffer })
    }

    /// What is left when no more will come: a line without line break, if there is anything.
    pub(super) fn rest(&mut self) -> Option<Line<'_>> {
        let (from, to) = (self.start, self.end);
        (self.start, self.scanned) = (to, to);
        let in_buffer = (to - from) as u64;
        if self.cut.is_some() {
            return self.give_cut(in_buffer);
        }
        let bytes = self.buffer.get(from..to).filter(|bytes| !bytes.is_empty())?;
        Some(Line { bytes, length: in_buffer })
    }

    /// How many bytes were read and not given.
    pub(super) fn pending_bytes(&self) -> u64 {
        (self.end - self.start) as u64 + self.cut.as_ref().map_or(0, |cut| cut.length)
    }

    /// Where to read into; to be asked for when there is no whole line left. Never empty.
    pub(super) fn space(&mut self) -> &mut [u8] {
        self.move_to_front();
        if self.cut.is_some() || self.end >= MAX_LINE_BYTES {
            self.cut_off();
        }
        if self.end == self.buffer.len() {
            let size = (self.buffer.len() * 2).clamp(BUFFER_BYTES, MAX_LINE_BYTES);
            self.buffer.resize(size, 0);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// This many bytes of the space were read into.
    pub(super) fn filled(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.buffer.len());
    }

    fn move_to_front(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.scanned -= self.start;
            self.start = 0;
        }
        if self.buffer.len() > BUFFER_BYTES && self.end < BUFFER_BYTES {
            self.buffer.truncate(BUFFER_BYTES);
            self.buffer.shrink_to_fit();
        }
    }

    /// Takes what there is of a line that is too long out of the buffer.
    fn cut_off(&mut self) {
        let bytes = self.buffer.get(..self.end).unwrap_or_default();
        match &mut self.cut {
            Some(cut) => cut.length += bytes.len() as u64,
            None => {
                let beginning = bytes.get(..CUT_LINE_BYTES).unwrap_or(bytes).to_vec();
                self.cut = Some(Cut { beginning, length: bytes.len() as u64 });
            }
        }
        (self.start, self.scanned, self.end) = (0, 0, 0);
    }

    fn give_cut(&mut self, in_buffer: u64) -> Option<Line<'_>> {
        let cut = self.cut.take()?;
        self.given = cut.beginning;
        Some(Line { bytes: &self.given, length: cut.length + in_buffer })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `stream` in pieces of the given sizes, over and over; the lines that come out, with their lengths.
    fn lines_of(stream: &[u8], pieces: &[usize]) -> Vec<(Vec<u8>, u64)> {
        let mut lines = Lines::new();
        let mut given = Vec::new();
        let mut left = stream;
        for piece in pieces.iter().cycle() {
            let space = lines.space();
            assert!(!space.is_empty());
            let count = (*piece).min(left.len()).min(space.len());
            space[..count].copy_from_slice(&left[..count]);
            lines.filled(count);
            left = &left[count..];
            while let Some(line) = lines.next() {
                given.push((line.bytes.to_vec(), line.length));
            }
            if left.is_empty() {
                break;
            }
        }
        if let Some(line) = lines.rest() {
            given.push((line.bytes.to_vec(), line.length));
        }
        assert!(lines.rest().is_none() && lines.next().is_none() && lines.pending_bytes() == 0);
        given
    }

    /// The plain way: split the whole at its line breaks. Only an entirely empty last piece is no line.
    fn oracle(stream: &[u8]) -> Vec<(Vec<u8>, u64)> {
        let mut pieces: Vec<&[u8]> = stream.split(|&byte| byte == b'\n').collect();
        let last = pieces.pop().unwrap_or_default();
        let whole = pieces.iter().map(|piece| {
            let bytes = piece.strip_suffix(b"\r").unwrap_or(piece);
            let given = if piece.len() >= MAX_LINE_BYTES { &piece[..CUT_LINE_BYTES] } else { bytes };
            (given.to_vec(), piece.len() as u64 + 1)
        });
        let rest = (!last.is_empty()).then(|| (last.to_vec(), last.len() as u64));
        whole.chain(rest).collect()
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            text in prop::collection::vec(prop::sample::select(b"ab{\"\r\n\n".to_vec()), 0..400),
            pieces in prop::collection::vec(1usize..50, 1..8),
        ) {
            prop_assert_eq!(lines_of(&text, &pieces), oracle(&text));
        }

        #[test]
        fn nor_around_the_buffers_edge(
            lengths in prop::collection::vec(prop_oneof![0usize..600, 200_000usize..1_500_000], 1..8),
            pieces in prop::collection::vec(1usize..2_000_000, 1..4),
            ends in any::<bool>(),
        ) {
            let mut text = Vec::new();
            for length in lengths {
                text.resize(text.len() + length, b'x');
                text.push(b'\n');
            }
            if !ends {
                text.pop();
            }
            prop_assert!(lines_of(&text, &pieces) == oracle(&text));
        }
    }

    #[test]
    fn lines_may_tear_anywhere() {
        let text = b"one\r\n\n\rtwo\r\r\n{\"three\":3}\n\r\nlast";
        for tear in 1..text.len() {
            assert_eq!(lines_of(text, &[tear, text.len()]), oracle(text), "torn at {tear}");
        }
        assert_eq!(lines_of(b"", &[1]), []);
        assert_eq!(lines_of(b"\n", &[1]), [(Vec::new(), 1)]);
        assert_eq!(lines_of(b"\r\n", &[1]), [(Vec::new(), 2)]);
    }

    #[test]
    fn huge_lines_are_given_up_to_the_limit_and_cut_beyond() {
        for (length, given) in [
            (MAX_LINE_BYTES - 1, MAX_LINE_BYTES - 1),
            (MAX_LINE_BYTES, CUT_LINE_BYTES),
            (MAX_LINE_BYTES * 2 + 17, CUT_LINE_BYTES),
        ] {
            let mut text = b"before\n".to_vec();
            text.resize(text.len() + length, b'x');
            text.extend_from_slice(b"\nafter\n");
            let lines = lines_of(&text, &[700_001]);
            let lengths: Vec<(usize, u64)> = lines.iter().map(|(bytes, length)| (bytes.len(), *length)).collect();
            assert_eq!(lengths, [(6, 7), (given, length as u64 + 1), (5, 6)], "{length}");
        }
    }

    #[test]
    fn a_huge_line_leaves_no_huge_buffer() {
        let mut lines = Lines::new();
        for _ in 0..40 {
            lines.space().fill(b'x');
            let all = lines.space().len();
            lines.filled(all);
            assert!(lines.next().is_none());
            assert!(lines.buffer.capacity() <= MAX_LINE_BYTES, "{}", lines.buffer.capacity());
        }
        lines.space()[0] = b'\n';
        lines.filled(1);
        assert_eq!(lines.next().unwrap().bytes.len(), CUT_LINE_BYTES);
        lines.space();
        assert_eq!(lines.buffer.capacity(), BUFFER_BYTES);
    }
}
