//! Messages of a meeting: a mark, a length, JSON.
//!
//! Whoever may reach a port may connect to it. A connection that does not begin with the mark is not one of ours.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

const MARK: [u8; 8] = *b"weirmeet";

/// No greeting is nearly as large.
const MAX_MESSAGE_BYTES: usize = 1 << 16;

/// How often whoever waits looks up.
const GLANCE: Duration = Duration::from_millis(100);

/// How long something is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait<'a> {
    pub(super) until: Instant,
    /// Ends it at once.
    pub(super) stop: &'a AtomicBool,
    /// Those without whom it is in vain.
    pub(super) met: &'a [Option<TcpStream>],
}

/// Why something was waited for in vain.
#[derive(Debug)]
pub(super) enum Vain {
    Stopped,
    /// One of those has left that were met.
    Left,
    TooLong,
    Failed(String),
}

impl Wait<'_> {
    /// Fails where there is nothing to be waited for any more.
    pub(super) fn check(&self) -> Result<(), Vain> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Vain::Stopped);
        }
        if self.met.iter().flatten().any(is_gone) {
            return Err(Vain::Left);
        }
        if Instant::now() >= self.until { Err(Vain::TooLong) } else { Ok(()) }
    }
}

impl From<io::Error> for Vain {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

pub(super) fn send(stream: &TcpStream, message: &impl Serialize) -> Result<(), Vain> {
    write_message(stream, message)
}

pub(super) fn receive<T: DeserializeOwned>(stream: &TcpStream, wait: Wait<'_>) -> Result<T, Vain> {
    stream.set_read_timeout(Some(GLANCE))?;
    read_message(stream, || wait.check())
}

pub(super) fn write_message(mut to: impl Write, message: &impl Serialize) -> Result<(), Vain> {
    let json = serde_json::to_vec(message).map_err(|error| Vain::Failed(error.to_string()))?;
    let mut bytes = MARK.to_vec();
    bytes.extend((json.len() as u32).to_be_bytes());
    bytes.extend(json);
    Ok(to.write_all(&bytes)?)
}

/// Reads as long as `go_on` has no objection, which is asked before each look.
pub(super) fn read_message<T: DeserializeOwned>(
    mut from: impl Read,
    go_on: impl Fn() -> Result<(), Vain>,
) -> Result<T, Vain> {
    let mut head = [0; MARK.len() + size_of::<u32>()];
    fill(&mut from, &mut head, &go_on)?;
    let (mark, length) = head.split_at(MARK.len());
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    if mark != MARK || length > MAX_MESSAGE_BYTES {
        return Err(Vain::Failed("what answers there is no weir process that looks for others".to_owned()));
    }
    let mut json = vec![0; length];
    fill(&mut from, &mut json, &go_on)?;
    serde_json::from_slice(&json).map_err(|error| Vain::Failed(format!("its message cannot be read: {error}")))
}

fn fill(from: &mut impl Read, mut buffer: &mut [u8], go_on: impl Fn() -> Result<(), Vain>) -> Result<(), Vain> {
    while !buffer.is_empty() {
        go_on()?;
        match from.read(buffer) {
            Ok(0) => return Err(Vain::Failed("it closed the connection".to_owned())),
            Ok(read) => buffer = buffer.split_at_mut(read).1,
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether the other end has closed a connection that nothing is expected from.
pub(super) fn is_gone(socket: &TcpStream) -> bool {
    let look = || {
        socket.set_nonblocking(true)?;
        let seen = socket.peek(&mut [0]);
        socket.set_nonblocking(false)?;
        seen
    };
    match look() {
        Ok(seen) => seen == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
