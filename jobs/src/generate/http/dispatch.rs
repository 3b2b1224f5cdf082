//! Who sends what, and when.
//!
//! ```text
//!   requests made ahead ──▶ ready ──┐ due?
//!                                   ├──take──▶ connection ──▶ server
//!   turned away, unanswered ▶ later ┘ time?        │
//!             ▲                                    ▼
//!             └───── with --retry ────────── answer: settled, once
//! ```
//!
//! The queue of an open loop is never kept anywhere: how many requests are due and have not been taken follows from the
//! clock. So a server that stops for a minute costs no memory, and every request that was due in that minute is sent late
//! and measured from when it was due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::request::Request;

/// From here on a request counts as sent late.
const LATE: Duration = Duration::from_millis(1);
/// The first wait before a request is sent again; each one after it is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MOST_DOUBLINGS: u32 = 5;
/// While more than that waits to be sent again, nothing new is taken.
const MOST_LATER_BYTES: usize = 64 << 20;

/// A request on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    /// From when on its latency counts: when it was due, or when it was first sent in a closed loop.
    pub(super) since: Instant,
    /// When it was first taken: from then on it is tried again.
    pub(super) taken: Instant,
    pub(super) attempts: u32,
    pub(super) warm_up: bool,
}

/// What waits, and who.
pub(super) struct Dispatch {
    start: Instant,
    warm_until: Instant,
    pace: Pace,
    ready: VecDeque<Request>,
    ready_bytes: usize,
    later: BinaryHeap<Reverse<Later>>,
    later_bytes: usize,
    idle: Vec<Idle>,
    /// In which order connections became idle.
    order: VecDeque<usize>,
    /// Nothing comes any more.
    ended: bool,
    /// Requests taken that have no verdict yet, those in `later` among them, and their clicks.
    outstanding: usize,
    outstanding_clicks: u64,
    pub(super) lateness: Lateness,
}

/// A connection that had room and found nothing to send.
#[derive(Debug, Clone, Default)]
struct Idle {
    waker: Option<Waker>,
    in_order: bool,
}

/// How well an open loop kept its pace.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lateness {
    /// Requests that were sent more than a millisecond after they were due.
    pub(super) requests: u64,
    /// The longest that one was sent after it was due, and the last one.
    pub(super) worst: Duration,
    pub(super) last: Duration,
    /// The most requests that were due and had not been sent.
    pub(super) backlog: u64,
    /// How often a request was due that had not been made yet.
    pub(super) unmade: u64,
}

impl Dispatch {
    pub(super) fn new(pace: Pace, connections: usize, warm_up: Duration) -> Self {
        let start = Instant::now();
        Self {
            start,
            warm_until: start + warm_up,
            pace,
            ready: VecDeque::new(),
            ready_bytes: 0,
            later: BinaryHeap::new(),
            later_bytes: 0,
            idle: vec![Idle::default(); connections],
            order: VecDeque::new(),
            ended: false,
            outstanding: 0,
            outstanding_clicks: 0,
            lateness: Lateness::default(),
        }
    }

    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// Where the measured part begins.
    pub(super) fn warm_until(&self) -> Instant {
        self.warm_until
    }

    pub(super) fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// Whether every request has its verdict.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.ready.is_empty() && self.outstanding == 0
    }

    /// The clicks that have been taken and have no verdict yet.
    pub(super) fn outstanding_clicks(&self) -> u64 {
        self.outstanding_clicks
    }

    /// Takes more requests; returns false when none are wanted any more.
    pub(super) fn refill(&mut self, requests: Vec<Request>) -> bool {
        if !self.ended {
            self.ready_bytes += requests.iter().map(|request| request.bytes.len()).sum::<usize>();
            self.ready.extend(requests);
        }
        !self.ended
    }

    /// Lets go of requests that were due longer ago than that: they are not made up for.
    pub(super) fn forgive(&mut self, late: Duration) {
        self.pace.skip_to(self.start.elapsed().saturating_sub(late));
    }

    /// Nothing will be refilled.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// What has not been taken will not be sent.
    pub(super) fn cut(&mut self) {
        self.ended = true;
        self.ready.clear();
        self.ready_bytes = 0;
    }

    /// Gives up what waits to be sent again.
    pub(super) fn give_up(&mut self) -> Vec<Job> {
        self.later_bytes = 0;
        self.later.drain().map(|Reverse(later)| later.job).collect()
    }

    /// The next request for a connection, if one may go out now; else the connection is woken when there is one.
    pub(super) fn take(&mut self, connection: usize, waker: &Waker) -> Option<Job> {
        if self.ready.is_empty() && self.later.is_empty() && self.ended {
            return None;
        }
        let now = Instant::now();
        let job = self.again(now).or_else(|| self.next(now));
        let Some(idle) = self.idle.get_mut(connection) else { return job };
        if job.is_some() {
            idle.waker = None;
            return job;
        }
        if !idle.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            idle.waker = Some(waker.clone());
        }
        if !std::mem::replace(&mut idle.in_order, true) {
            self.order.push_back(connection);
        }
        None
    }

    /// Wakes as many connections as can find something to send.
    pub(super) fn wake(&mut self, now: Instant) {
        let ripe = self.later.peek().is_some_and(|Reverse(later)| later.not_before <= now);
        let again = if ripe { self.later.len() } else { 0 };
        let due = match self.pace.due() {
            None => self.ready.len(),
            Some(_) => (self.pace.backlog(now - self.start) as usize).min(self.ready.len()),
        };
        let mut wakes = again + due;
        while wakes > 0 {
            let Some(connection) = self.order.pop_front() else { return };
            let Some(idle) = self.idle.get_mut(connection) else { return };
            idle.in_order = false;
            // It may have found something by itself in the meantime.
            if let Some(waker) = idle.waker.take() {
                waker.wake();
                wakes -= 1;
            }
        }
    }

    /// The request will be sent again, after so long.
    pub(super) fn put_back(&mut self, job: Job, wait: Duration) {
        self.later_bytes += job.request.bytes.len();
        self.later.push(Reverse(Later { not_before: Instant::now() + wait, job }));
    }

    /// The request has its verdict.
    pub(super) fn settled(&mut self, request: &Request) {
        self.outstanding -= 1;
        self.outstanding_clicks -= u64::from(request.clicks);
    }

    fn again(&mut self, now: Instant) -> Option<Job> {
        self.later.peek().filter(|Reverse(later)| later.not_before <= now)?;
        let Reverse(later) = self.later.pop()?;
        self.later_bytes -= later.job.request.bytes.len();
        Some(later.job)
    }

    fn next(&mut self, now: Instant) -> Option<Job> {
        let due = self.pace.due().map(|due| self.start + due);
        if due.is_some_and(|due| due > now) || self.later_bytes > MOST_LATER_BYTES {
            return None;
        }
        let Some(request) = self.ready.pop_front() else {
            self.lateness.unmade += u64::from(due.is_some() && !self.ended);
            return None;
        };
        self.ready_bytes -= request.bytes.len();
        if let Some(due) = due {
            let backlog = self.pace.backlog(now - self.start);
            self.lateness.add(now - due, backlog);
        }
        self.pace.advance();
        self.outstanding += 1;
        self.outstanding_clicks += u64::from(request.clicks);
        let since = due.unwrap_or(now);
        Some(Job { request, since, taken: now, attempts: 0, warm_up: since < self.warm_until })
    }
}

impl Lateness {
    fn add(&mut self, late: Duration, backlog: u64) {
        self.requests += u64::from(late > LATE);
        self.worst = self.worst.max(late);
        self.last = late;
        self.backlog = self.backlog.max(backlog);
    }
}

impl Job {
    /// How long to wait before the next attempt, where the server does not say.
    pub(super) fn backoff(&self) -> Duration {
        FIRST_BACKOFF * 2u32.pow(self.attempts.saturating_sub(1).min(MOST_DOUBLINGS))
    }
}

/// A request that is sent again, ordered by when.
struct Later {
    not_before: Instant,
    job: Job,
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.not_before == other.not_before
    }
}

impl Eq for Later {}

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.not_before.cmp(&other.not_before)
    }
}
