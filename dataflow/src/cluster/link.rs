//! A connection to one peer, as Timely's threads use it.
//!
//! ```text
//!   frame  = kind (1 byte) · length (4 bytes, big-endian) · bytes
//!   kinds  = data, for Timely │ beat, to be heard │ farewell, why this process stops │ end, when all is done
//! ```
//!
//! Timely panics where a connection breaks. Here the thread that finds it broken says so and stands still for ever, and
//! the process ends by what it said: in order, with an error that names the peer.

use std::io::{self, BufReader, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use timely::communication::allocator::zero_copy::stream::Stream;

use super::execute::Event;
use super::{ClusterError, Peer};

/// The most data in one frame.
const MAX_DATA_BYTES: usize = 1 << 20;
const HEAD_BYTES: usize = 5;
const READ_BYTES: usize = 1 << 16;

/// A farewell that does not get through within this is not said.
const FAREWELL: Duration = Duration::from_millis(300);
const RETRY: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Data,
    Beat,
    Farewell,
    End,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Data, Self::Beat, Self::Farewell, Self::End].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One peer's connection; shared by the threads that read, write, beat and watch.
pub(super) struct Line {
    pub(super) peer: Peer,
    socket: TcpStream,
    /// Held for a whole frame; whether nothing more is to be written.
    closed: Mutex<bool>,
    /// Counts whatever is read.
    heard: AtomicU64,
    /// The peer has come to its end.
    ended: AtomicBool,
    events: Sender<Event>,
}

impl Line {
    pub(super) fn new(peer: Peer, socket: TcpStream, events: Sender<Event>) -> Self {
        let (closed, heard, ended) = (Mutex::new(false), AtomicU64::new(0), AtomicBool::new(false));
        Self { peer, socket, closed, heard, ended, events }
    }

    /// Grows whenever something was heard.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Whether the peer has done all it had to do, and may be silent.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Lets the peer hear something. Whether it can still be reached is seen where it is read from.
    pub(super) fn beat(&self) {
        let _unreachable = self.send(Kind::Beat, &[]);
    }

    /// Tells the peer why this process stops, unless the connection is blocked.
    pub(super) fn farewell(&self, reason: &str) {
        let until = Instant::now() + FAREWELL;
        while Instant::now() < until {
            if let Ok(mut closed) = self.closed.try_lock() {
                if !std::mem::replace(&mut *closed, true) {
                    // It may be gone, or take nothing: then it learns it from the end of the connection.
                    let _untold = self.socket.set_write_timeout(Some(FAREWELL));
                    let _untold = write_frame(&self.socket, Kind::Farewell, reason.as_bytes());
                }
                return;
            }
            std::thread::sleep(RETRY);
        }
    }

    fn send(&self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Ok(());
        }
        *closed = kind == Kind::End;
        write_frame(&self.socket, kind, bytes)
    }

    fn lost(&self, reason: impl ToString) -> ClusterError {
        ClusterError::PeerLost { peer: self.peer.clone(), reason: reason.to_string() }
    }

    /// Says what has happened, and stands still until the process ends.
    fn stand_still(&self, error: ClusterError) -> ! {
        // Nobody listens any more when the process is about to end anyway.
        let _unheard = self.events.send(Event::Cluster(error));
        loop {
            std::thread::park();
        }
    }
}

fn write_frame(mut socket: &TcpStream, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let mut head = [kind as u8; HEAD_BYTES];
    head[1..].copy_from_slice(&(bytes.len() as u32).to_be_bytes());
    let written = loop {
        match socket.write_vectored(&[IoSlice::new(&head), IoSlice::new(bytes)]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            written => break written?,
        }
    };
    socket.write_all(head.get(written..).unwrap_or_default())?;
    socket.write_all(bytes.get(written.saturating_sub(HEAD_BYTES)..).unwrap_or_default())
}

/// One end of a line, as Timely reads or writes it.
pub(super) struct Link {
    line: Arc<Line>,
    incoming: Incoming,
}

impl Link {
    pub(super) fn new(line: Arc<Line>) -> io::Result<Self> {
        let incoming = Incoming { socket: BufReader::with_capacity(READ_BYTES, line.socket.try_clone()?), left: 0 };
        Ok(Self { line, incoming })
    }
}

/// Takes frames apart.
struct Incoming {
    socket: BufReader<TcpStream>,
    /// What is left of a frame of data.
    left: usize,
}

impl Incoming {
    /// Reads data, or nothing where the peer has come to its end.
    fn read(&mut self, buffer: &mut [u8], line: &Line) -> Result<usize, ClusterError> {
        while self.left == 0 {
            let mut head = [0; HEAD_BYTES];
            self.socket.read_exact(&mut head).map_err(|error| line.lost(error))?;
            line.heard.fetch_add(1, Ordering::Relaxed);
            let [kind, length @ ..] = head;
            let length = u32::from_be_bytes(length) as usize;
            match Kind::of(kind).filter(|_| length <= MAX_DATA_BYTES) {
                Some(Kind::Data) => self.left = length,
                Some(Kind::Beat) => {}
                Some(Kind::Farewell) => return Err(self.farewell(length, line)),
                Some(Kind::End) => {
                    line.ended.store(true, Ordering::Release);
                    return Ok(0);
                }
                None => return Err(line.lost("it sends what makes no sense")),
            }
        }
        let most = self.left.min(buffer.len());
        let part = buffer.get_mut(..most).unwrap_or_default();
        let read = loop {
            match self.socket.read(part) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(|error| line.lost(error))?,
            }
        };
        if read == 0 {
            return Err(line.lost("it closed the connection"));
        }
        line.heard.fetch_add(1, Ordering::Relaxed);
        self.left -= read;
        Ok(read)
    }

    fn farewell(&mut self, length: usize, line: &Line) -> ClusterError {
        let mut reason = vec![0; length];
        match self.socket.read_exact(&mut reason) {
            Ok(()) => ClusterError::PeerFailed {
                peer: line.peer.clone(),
                reason: String::from_utf8_lossy(&reason).into_owned(),
            },
            Err(error) => line.lost(error),
        }
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.line.has_ended() {
            return Ok(0);
        }
        Ok(self.incoming.read(buffer, &self.line).unwrap_or_else(|error| self.line.stand_still(error)))
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let some = bytes.get(..MAX_DATA_BYTES).unwrap_or(bytes);
        if let Err(error) = self.line.send(Kind::Data, some) {
            self.line.stand_still(self.line.lost(error));
        }
        Ok(some.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Link {
    fn try_clone(&self) -> io::Result<Self> {
        Self::new(Arc::clone(&self.line))
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.line.socket.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        // A peer that is gone by now has nothing to learn from it any more: all work is done.
        let _gone = self.line.send(Kind::End, &[]);
        let _gone = self.line.socket.shutdown(how);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    struct End {
        line: Arc<Line>,
        link: Link,
        events: Receiver<Event>,
    }

    fn ends() -> [End; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        [(1, near), (0, far)].map(|(process, socket)| {
            let (sender, events) = channel();
            let line = Arc::new(Line::new(Peer { process, address: "there".to_owned() }, socket, sender));
            End { link: Link::new(Arc::clone(&line)).unwrap(), line, events }
        })
    }

    /// What is said when an end is read that has nothing more to read.
    fn said(end: End) -> String {
        let End { mut link, events, line } = end;
        drop(line);
        // The thread stands still: it is left behind.
        std::thread::spawn(move || link.read(&mut [0; 8]));
        match events.recv_timeout(Duration::from_secs(10)).unwrap() {
            Event::Cluster(error) => error.to_string(),
            Event::Worker { .. } | Event::Joined(_) => panic!("no word of a worker"),
        }
    }

    #[test]
    fn data_comes_through_whatever_is_between_it() {
        let [mut near, mut far] = ends();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let expected = sent.clone();
        let writer = std::thread::spawn(move || {
            for chunk in sent.chunks(777_777) {
                near.line.beat();
                near.link.write_all(chunk).unwrap();
            }
            near.link.shutdown(Shutdown::Write).unwrap();
            near.line.beat();
            near
        });
        let mut received = Vec::new();
        far.link.read_to_end(&mut received).unwrap();
        assert!(received == expected);
        assert!(far.line.has_ended() && far.line.heard() > 4);
        drop(writer.join().unwrap());
        assert_eq!(far.link.read(&mut [0; 8]).unwrap(), 0, "an end stays an end");
    }

    #[test]
    fn a_peer_that_stops_says_why() {
        let [near, far] = ends();
        near.line.farewell("the disk is full");
        near.line.beat();
        drop(near);
        assert_eq!(said(far), "process 0 (there) has stopped: the disk is full");
    }

    #[test]
    fn a_peer_that_is_gone_is_named() {
        let [near, far] = ends();
        drop(near);
        let said = said(far);
        assert!(said.starts_with("process 0 (there) is gone"), "{said}");
    }
}
