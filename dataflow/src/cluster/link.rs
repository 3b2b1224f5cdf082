//! A connection to one peer, as Timely's threads use it: data in frames, and beats between them (`frame.rs`).
//!
//! Timely panics where a connection breaks. Here the thread that finds it broken says so and stands still for ever, and
//! the process ends by what it said: in order, with an error that names the peer.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use timely::communication::allocator::zero_copy::stream::Stream;

use super::execute::Event;
use super::frame::{Heard, Incoming, Kind, MAX_FRAME_BYTES, Over, write_frame};
use super::{ClusterError, Peer};

const READ_BYTES: usize = 1 << 16;

/// A farewell that does not get through within this is not said.
const FAREWELL: Duration = Duration::from_millis(300);
const RETRY: Duration = Duration::from_millis(5);

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

/// One end of a line, as Timely reads or writes it.
pub(super) struct Link {
    line: Arc<Line>,
    incoming: Incoming<BufReader<TcpStream>>,
}

impl Link {
    pub(super) fn new(line: Arc<Line>) -> io::Result<Self> {
        let incoming = Incoming::new(BufReader::with_capacity(READ_BYTES, line.socket.try_clone()?));
        Ok(Self { line, incoming })
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.line.has_ended() {
            return Ok(0);
        }
        match self.incoming.read(buffer, &self.line.heard) {
            Ok(Heard::Data(read)) => Ok(read),
            Ok(Heard::End) => {
                self.line.ended.store(true, Ordering::Release);
                Ok(0)
            }
            Err(Over::Lost(reason)) => self.line.stand_still(self.line.lost(reason)),
            Err(Over::Farewell(reason)) => {
                let peer = self.line.peer.clone();
                self.line.stand_still(ClusterError::PeerFailed { peer, reason })
            }
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let some = bytes.get(..MAX_FRAME_BYTES).unwrap_or(bytes);
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
