//! Frames, which all that two processes say to each other is cut into once they have met. No sockets.
//!
//! ```text
//!   frame  = kind (1 byte) · length (4 bytes, big-endian) · bytes
//!   kinds  = data, for Timely │ beat, to be heard │ farewell, why this process stops │ end, when all is done
//! ```
//!
//! Whatever a peer sends, no more memory is taken for it than for the largest frame.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// The most bytes in one frame.
pub(super) const MAX_FRAME_BYTES: usize = 1 << 20;
const HEAD_BYTES: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Data,
    Beat,
    Farewell,
    End,
}

pub(super) fn write_frame(mut to: impl Write, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let mut head = [kind as u8; HEAD_BYTES];
    head[1..].copy_from_slice(&(bytes.len() as u32).to_be_bytes());
    let written = loop {
        match to.write_vectored(&[IoSlice::new(&head), IoSlice::new(bytes)]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            written => break written?,
        }
    };
    to.write_all(head.get(written..).unwrap_or_default())?;
    to.write_all(bytes.get(written.saturating_sub(HEAD_BYTES)..).unwrap_or_default())
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// So many bytes of data, at least one.
    Data(usize),
    /// The peer has done all it had to do.
    End,
}

/// Why nothing more can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    /// The peer stops, and has said why.
    Farewell(String),
    /// The connection is of no use any more.
    Lost(String),
}

/// Takes frames apart.
pub(super) struct Incoming<R> {
    from: R,
    /// What is left of a frame of data.
    left: usize,
}

impl<R: Read> Incoming<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, left: 0 }
    }

    /// Waits for data, and reads as much of it as has come and fits into `buffer`. `signs` grows with whatever comes.
    pub(super) fn read(&mut self, buffer: &mut [u8], signs: &AtomicU64) -> Result<Heard, Over> {
        while self.left == 0 {
            let mut head = [0; HEAD_BYTES];
            self.from.read_exact(&mut head).map_err(lost)?;
            signs.fetch_add(1, Ordering::Relaxed);
            let [kind, length @ ..] = head;
            let length = u32::from_be_bytes(length) as usize;
            match Kind::of(kind).filter(|kind| length <= kind.most_bytes()) {
                Some(Kind::Data) => self.left = length,
                Some(Kind::Beat) => {}
                Some(Kind::Farewell) => return Err(self.farewell(length)),
                Some(Kind::End) => return Ok(Heard::End),
                None => return Err(lost("it sends what makes no sense")),
            }
        }
        let most = self.left.min(buffer.len());
        let part = buffer.get_mut(..most).unwrap_or_default();
        let read = loop {
            match self.from.read(part) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read.map_err(lost)?,
            }
        };
        if read == 0 {
            return Err(lost("it closed the connection"));
        }
        signs.fetch_add(1, Ordering::Relaxed);
        self.left -= read;
        Ok(Heard::Data(read))
    }

    fn farewell(&mut self, length: usize) -> Over {
        let mut reason = vec![0; length];
        match self.from.read_exact(&mut reason) {
            Ok(()) => Over::Farewell(String::from_utf8_lossy(&reason).into_owned()),
            Err(error) => lost(error),
        }
    }
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Data, Self::Beat, Self::Farewell, Self::End].into_iter().find(|kind| *kind as u8 == byte)
    }

    fn most_bytes(self) -> usize {
        match self {
            Self::Data | Self::Farewell => MAX_FRAME_BYTES,
            Self::Beat | Self::End => 0,
        }
    }
}

fn lost(reason: impl ToString) -> Over {
    Over::Lost(reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard of some bytes, until nothing more is.
    fn heard(bytes: &[u8]) -> (Vec<u8>, Result<Heard, Over>) {
        let (mut incoming, signs) = (Incoming::new(bytes), AtomicU64::new(0));
        let (mut data, mut buffer) = (Vec::new(), [0; 3]);
        loop {
            match incoming.read(&mut buffer, &signs) {
                Ok(Heard::Data(read)) => data.extend_from_slice(buffer.get(..read).unwrap_or_default()),
                over => return (data, over),
            }
        }
    }

    #[test]
    fn data_is_told_apart_from_all_else() {
        let mut bytes = Vec::new();
        for (kind, contents) in [(Kind::Data, "one"), (Kind::Beat, ""), (Kind::Data, " and two"), (Kind::End, "")] {
            write_frame(&mut bytes, kind, contents.as_bytes()).expect("memory takes it");
        }
        assert_eq!(heard(&bytes), (b"one and two".to_vec(), Ok(Heard::End)));
        let (data, over) = heard(bytes.get(..13).unwrap_or_default());
        assert!(data == b"one" && matches!(over, Err(Over::Lost(_))), "{data:?}, {over:?}");
    }

    #[test]
    fn what_is_too_long_or_unknown_makes_no_sense() {
        for head in [[0, 0, 16, 0, 1], [1, 0, 0, 0, 1], [2, 255, 255, 255, 255], [3, 0, 0, 0, 5], [4, 0, 0, 0, 0]] {
            assert_eq!(heard(&head).1, Err(lost("it sends what makes no sense")), "{head:?}");
        }
    }
}
