//! One connection: requests out, answers in, in the same order.
//!
//! ```text
//!   take ──▶ unsent ──write──▶ server
//!     └────▶ in flight ◀──answer── buffer ◀──read── server
//! ```
//!
//! Nothing is awaited between reading, taking and writing: a turn does what can be done, and the socket or the dispatch
//! wakes it for the next one.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::answer;
use super::dispatch::Job;
use super::run::{Lost, Run};

/// How much is read at once.
const READ_BYTES: usize = 16 << 10;
/// As many requests go into one write at most.
const MOST_SLICES: usize = 32;
const FIRST_RECONNECT: Duration = Duration::from_millis(10);
const LAST_RECONNECT: Duration = Duration::from_millis(500);

/// Keeps a connection open, and sends over it, until it is dropped.
pub(super) async fn keep(number: usize, first: Option<TcpStream>, run: Rc<Run>) {
    let mut backoff = FIRST_RECONNECT;
    let mut next = first;
    loop {
        let opened = match next.take() {
            Some(stream) => Ok(stream),
            None => open(run.socket_address(), run.timeout()).await,
        };
        match opened {
            Ok(stream) => {
                run.connected();
                let mut connection = Connection::new(number, stream, Rc::clone(&run));
                let lost = connection.serve().await;
                if connection.answers > 0 {
                    backoff = FIRST_RECONNECT;
                }
                run.disconnected();
                run.lose(connection.in_flight.drain(..), &lost);
            }
            Err(error) => run.cannot_connect(&error),
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(LAST_RECONNECT);
    }
}

/// Connects, with the time-out of answers.
pub(super) async fn open(address: SocketAddr, timeout: Duration) -> Result<TcpStream> {
    let connecting = tokio::time::timeout(timeout, TcpStream::connect(address));
    let stream = connecting.await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

struct Connection {
    number: usize,
    stream: TcpStream,
    run: Rc<Run>,
    unsent: VecDeque<Bytes>,
    in_flight: VecDeque<Flight>,
    /// Bytes that were read are its first `filled`.
    buffer: Vec<u8>,
    filled: usize,
    answers: u64,
}

/// A request that was given to the socket.
pub(super) struct Flight {
    pub(super) job: Job,
    since: Instant,
}

impl Connection {
    fn new(number: usize, stream: TcpStream, run: Rc<Run>) -> Self {
        Self {
            number,
            stream,
            run,
            unsent: VecDeque::new(),
            in_flight: VecDeque::new(),
            buffer: Vec::new(),
            filled: 0,
            answers: 0,
        }
    }

    /// Sends and reads until the connection is lost, and returns how.
    async fn serve(&mut self) -> Lost {
        let run = Rc::clone(&self.run);
        let mut patience = pin!(tokio::time::sleep(run.timeout()));
        std::future::poll_fn(|context| self.turn(patience.as_mut(), context)).await
    }

    fn turn(&mut self, patience: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<Lost> {
        if let Poll::Ready(lost) = self.read(context) {
            return Poll::Ready(lost);
        }
        self.take(context);
        if let Poll::Ready(Err(error)) = self.write(context) {
            return Poll::Ready(Lost::Broken(error));
        }
        self.wait(patience, context)
    }

    /// Reads all answers that are there.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Lost> {
        loop {
            let read = match ready!(self.fill(context)) {
                Ok(read) => read,
                Err(error) => return Poll::Ready(Lost::Broken(error)),
            };
            if read == 0 && self.in_flight.is_empty() {
                return Poll::Ready(Lost::Closed);
            }
            if read == 0 {
                return Poll::Ready(Lost::Broken(ErrorKind::UnexpectedEof.into()));
            }
            if let Some(lost) = self.settle() {
                return Poll::Ready(lost);
            }
        }
    }

    /// One read. Tokio asks the system a second time only if the first read filled the room it was given.
    fn fill(&mut self, context: &mut Context<'_>) -> Poll<Result<usize>> {
        if self.buffer.len() < self.filled + READ_BYTES {
            self.buffer.resize(self.filled + READ_BYTES, 0);
        }
        let mut room = ReadBuf::new(self.buffer.get_mut(self.filled..).unwrap_or_default());
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut room))?;
        let read = room.filled().len();
        self.filled += read;
        Poll::Ready(Ok(read))
    }

    /// Settles the requests whose answers are in the buffer.
    fn settle(&mut self) -> Option<Lost> {
        let now = Instant::now();
        let mut from = 0;
        let mut lost = None;
        while let Some(rest) = self.buffer.get(from..self.filled).filter(|rest| !rest.is_empty()) {
            let answer = match answer::parse(rest) {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(problem) => {
                    lost = Some(Lost::Malformed(problem));
                    break;
                }
            };
            from += answer.bytes;
            if answer.status < 200 {
                continue;
            }
            let Some(flight) = self.in_flight.pop_front() else {
                lost = Some(Lost::Malformed(format!("an answer with {} to no request", answer.status)));
                break;
            };
            self.answers += 1;
            self.run.answered(flight.job, &answer, now);
            if answer.closes {
                lost = Some(Lost::Closed);
                break;
            }
        }
        self.buffer.copy_within(from..self.filled, 0);
        self.filled -= from;
        lost
    }

    /// Takes requests while there is room for them.
    fn take(&mut self, context: &Context<'_>) {
        while self.in_flight.len() < self.run.pipeline() {
            let Some(mut job) = self.run.take(self.number, context.waker()) else { return };
            job.attempts += 1;
            self.unsent.push_back(job.request.bytes.clone());
            let since = if job.attempts == 1 { job.taken } else { Instant::now() };
            self.in_flight.push_back(Flight { job, since });
        }
    }

    fn write(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while let Some(first) = self.unsent.front() {
            let stream = Pin::new(&mut self.stream);
            let written = if self.unsent.len() == 1 {
                ready!(stream.poll_write(context, first))?
            } else {
                let mut slices = [IoSlice::new(&[]); MOST_SLICES];
                let filled = slices.iter_mut().zip(&self.unsent).map(|(slice, bytes)| *slice = IoSlice::new(bytes));
                let count = filled.count();
                ready!(stream.poll_write_vectored(context, slices.get(..count).unwrap_or_default()))?
            };
            if written == 0 {
                return Poll::Ready(Err(Error::from(ErrorKind::WriteZero)));
            }
            self.sent(written);
        }
        Poll::Ready(Ok(()))
    }

    fn sent(&mut self, mut written: usize) {
        while let Some(first) = self.unsent.front_mut() {
            if first.len() > written {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.unsent.pop_front();
        }
    }

    /// Has the task woken when the oldest request has waited for too long.
    fn wait(&self, mut patience: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<Lost> {
        while patience.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let oldest = self.in_flight.front().map_or(now, |flight| flight.since);
            let deadline = oldest + self.run.timeout();
            if deadline <= now {
                return Poll::Ready(Lost::Broken(ErrorKind::TimedOut.into()));
            }
            patience.as_mut().reset(deadline.into());
        }
        Poll::Pending
    }
}
