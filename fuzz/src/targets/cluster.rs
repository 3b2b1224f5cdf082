//! What a process of a cluster hears: greetings of whoever knows its port, and frames of those that it has met.
//!
//! ```text
//!   0 │ sizes │ bytes      a message of the meeting; it comes in pieces of the sizes that eight bytes say
//!   1 │ sizes │ bytes      frames
//! ```
//!
//! - In whatever pieces it comes, the same is heard. Nothing is waited for that has not been announced.
//! - What a message or a frame may be at most, is what memory is taken for.
//! - A greeting that is understood is written again as the same; what is said of it is a short line.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read};
use std::sync::atomic::AtomicU64;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::allocations::at_most;

#[path = "../../../dataflow/src/cluster/frame.rs"]
mod frame;
#[path = "../../../dataflow/src/cluster/greeting.rs"]
mod greeting;
#[allow(dead_code, reason = "taken over whole")]
#[path = "../../../dataflow/src/cluster/message.rs"]
mod message;

use frame::{Heard, Incoming, Kind, MAX_FRAME_BYTES, Over, write_frame};
use greeting::{Answer, Greeting, Verdict};
use message::{Vain, read_message, write_message};

/// Twice what a message may be, and a little for what is read of it.
const MESSAGE_MEMORY: usize = 1 << 17;
const MOST_SAID: usize = 2_000;
const HEAD_BYTES: usize = 5;

/// See the module.
pub fn check(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    let Some((sizes, bytes)) = rest.split_first_chunk::<8>() else { return };
    if kind.is_multiple_of(2) { check_message(*sizes, bytes) } else { check_frames(*sizes, bytes) }
}

fn check_message(sizes: [u8; 8], bytes: &[u8]) {
    let _answer: Option<Answer> = received(sizes, bytes);
    let Some(theirs) = received::<Greeting>(sizes, bytes) else { return };
    let mut written = Vec::new();
    if write_message(&mut written, &theirs).is_err() || written.len() > bytes.len() + 64 {
        panic!("what was read cannot be written");
    }
    let again: Greeting = received(sizes, &written).expect("what was written can be read");
    assert_eq!(json(&again), json(&theirs));
    let mine: Greeting = serde_json::from_str(GREETINGS[0]).expect("it is one of ours");
    for verdict in [mine.judge(&theirs), theirs.judge(&mine)] {
        let Verdict::Refused(said) = verdict else { continue };
        assert!(said.len() < MOST_SAID && !said.contains(char::is_control), "it is no short line: {said}");
    }
}

/// What is received of some bytes, which come at once and in pieces.
fn received<T: Serialize + DeserializeOwned>(sizes: [u8; 8], bytes: &[u8]) -> Option<T> {
    let looks = Cell::new(0);
    let patience = || -> Result<(), Vain> {
        looks.set(looks.get() + 1);
        assert!(looks.get() <= 4 * bytes.len() + 16, "it waits for what does not come");
        Ok(())
    };
    let at_once = at_most(MESSAGE_MEMORY, || read_message::<T>(bytes, patience)).ok();
    looks.set(0);
    let pieces = Pieces { bytes, sizes, turn: 0, pause: ErrorKind::WouldBlock };
    let in_pieces = at_most(MESSAGE_MEMORY, || read_message::<T>(pieces, patience)).ok();
    assert_eq!(in_pieces.as_ref().map(json), at_once.as_ref().map(json));
    at_once
}

fn json(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("a message is JSON")
}

fn check_frames(sizes: [u8; 8], bytes: &[u8]) {
    let expected = taken_apart(bytes);
    let pieces = Pieces { bytes, sizes, turn: 0, pause: ErrorKind::Interrupted };
    let (mut incoming, signs) = (Incoming::new(pieces), AtomicU64::new(0));
    let (mut data, mut buffer) = (Vec::with_capacity(bytes.len()), [0; 256]);
    let over = at_most(MAX_FRAME_BYTES + 1, || {
        for turn in 0.. {
            assert!(turn <= bytes.len(), "it reads on where there is nothing");
            let room = 1 + usize::from(sizes[turn % sizes.len()]);
            match incoming.read(&mut buffer[..room], &signs) {
                Ok(Heard::Data(read)) => data.extend_from_slice(&buffer[..read]),
                Ok(Heard::End) => return None,
                Err(over) => return Some(over),
            }
        }
        None
    });
    let over = over.map(|over| match over {
        Over::Farewell(reason) => Some(reason),
        Over::Lost(_) => None,
    });
    assert_eq!((data, over), expected);
}

/// The data of some frames, and what they end with: none at their end, a reason, or nothing that makes sense.
fn taken_apart(mut bytes: &[u8]) -> (Vec<u8>, Option<Option<String>>) {
    let mut data = Vec::new();
    loop {
        let Some((&[kind, a, b, c, d], rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return (data, Some(None));
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let contents = rest.get(..length.min(rest.len())).unwrap_or_default();
        let is_whole = contents.len() == length;
        match (kind, length) {
            (0, ..=MAX_FRAME_BYTES) => data.extend_from_slice(contents),
            (1, 0) => {}
            (2, ..=MAX_FRAME_BYTES) if is_whole => {
                return (data, Some(Some(String::from_utf8_lossy(contents).into_owned())));
            }
            (3, 0) => return (data, None),
            _ => return (data, Some(None)),
        }
        bytes = rest.get(contents.len()..).unwrap_or_default();
    }
}

/// Bytes as a network gives them: some at a time, and now and then none.
struct Pieces<'a> {
    bytes: &'a [u8],
    sizes: [u8; 8],
    turn: usize,
    pause: ErrorKind,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes[self.turn % self.sizes.len()];
        self.turn += 1;
        if size % 4 == 3 && self.turn % 2 == 1 {
            return Err(self.pause.into());
        }
        let piece = self.bytes.len().min(1 + usize::from(size)).min(buffer.len());
        let (piece, rest) = self.bytes.split_at(piece);
        buffer[..piece.len()].copy_from_slice(piece);
        self.bytes = rest;
        Ok(piece.len())
    }
}

const GREETINGS: [&str; 3] = [
    r#"{"process":0,"processes":3,"attempt":4,"facts":{"job.name":"clicks","job.workers":"2"}}"#,
    r#"{"process":2,"processes":3,"attempt":null,"facts":{"job.name":"clicks","job.workers":"1"}}"#,
    r#"{"process":1,"processes":2,"attempt":5,"facts":{}}"#,
];

/// Messages of a meeting, and a few frames.
pub fn seeds() -> Vec<Vec<u8>> {
    let greetings = GREETINGS.iter().map(|text| serde_json::from_str(text).expect("it is JSON"));
    let answers = [Answer::Welcome, Answer::Refused("it is started twice".to_owned())];
    let answers = answers.iter().map(|answer| serde_json::to_value(answer).expect("an answer is JSON"));
    let messages = greetings.chain(answers).map(|message: serde_json::Value| {
        let mut bytes = Vec::new();
        if write_message(&mut bytes, &message).is_err() {
            panic!("memory takes it");
        }
        bytes
    });
    let mut frames = Vec::new();
    for (kind, contents) in [(Kind::Data, "some data"), (Kind::Beat, ""), (Kind::Data, ""), (Kind::Data, "and more")] {
        write_frame(&mut frames, kind, contents.as_bytes()).expect("memory takes it");
    }
    let ends = [(Kind::End, ""), (Kind::Farewell, "the disk is full")].map(|(kind, contents)| {
        let mut bytes = frames.clone();
        write_frame(&mut bytes, kind, contents.as_bytes()).expect("memory takes it");
        bytes
    });
    let with = |kind: u8, sizes: [u8; 8], bytes: Vec<u8>| [&[kind][..], &sizes, &bytes].concat();
    messages
        .map(|bytes| with(0, [255; 8], bytes))
        .chain(ends.map(|bytes| with(1, [3, 0, 8, 1, 7, 40, 2, 5], bytes)))
        .collect()
}
