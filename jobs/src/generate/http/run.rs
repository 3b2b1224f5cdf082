//! What all connections of a run share: the dispatch, and what is counted. Everything is on one thread.

use std::cell::RefCell;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::HttpOptions;
use super::accepted::AcceptedFile;
use super::answer::Answer;
use super::connection::Flight;
use super::dispatch::{Dispatch, Job};
use super::request::{BodyForm, Request};
use super::tally::Tally;
use super::verdict::{self, Verdict};

/// While less than that is ready to be sent, more is fetched from the thread that makes requests.
const READY_BYTES: usize = 256 << 10;

/// How a connection was lost.
#[derive(Debug)]
pub(super) enum Lost {
    /// The server closed it between two answers; requests behind the last one were not looked at.
    Closed,
    /// It broke.
    Broken(Error),
    /// What came was no answer.
    Malformed(String),
}

/// A run.
pub(super) struct Run {
    socket_address: SocketAddr,
    pipeline: usize,
    timeout: Duration,
    retry: Option<Duration>,
    form: BodyForm,
    state: RefCell<State>,
    /// More requests can be fetched.
    pub(super) low: Notify,
    /// Every request has its verdict.
    pub(super) done: Notify,
}

/// What changes.
pub(super) struct State {
    pub(super) dispatch: Dispatch,
    pub(super) tally: Tally,
    pub(super) accepted: Option<AcceptedFile>,
    /// What ends the run.
    pub(super) failed: Option<anyhow::Error>,
    connected: usize,
    down_since: Option<(Instant, String)>,
    retrying: bool,
}

impl Run {
    pub(super) fn new(
        options: &HttpOptions,
        socket_address: SocketAddr,
        dispatch: Dispatch,
        accepted: Option<AcceptedFile>,
    ) -> anyhow::Result<Self> {
        let state = State {
            dispatch,
            tally: Tally::new()?,
            accepted,
            failed: None,
            connected: 0,
            down_since: None,
            retrying: true,
        };
        Ok(Self {
            socket_address,
            pipeline: options.pipeline as usize,
            timeout: options.timeout,
            retry: options.retry,
            form: options.form(),
            state: RefCell::new(state),
            low: Notify::new(),
            done: Notify::new(),
        })
    }

    pub(super) const fn socket_address(&self) -> SocketAddr {
        self.socket_address
    }

    pub(super) const fn pipeline(&self) -> usize {
        self.pipeline
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Lets the run's own loop look at everything.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.borrow_mut())
    }

    pub(super) fn into_state(self) -> State {
        self.state.into_inner()
    }

    /// Whether more requests should be fetched.
    pub(super) fn is_low(&self) -> bool {
        self.state.borrow().dispatch.ready_bytes() < READY_BYTES
    }

    /// New requests; returns false when none are wanted any more.
    pub(super) fn refill(&self, requests: Vec<Request>) -> bool {
        self.with(|state| {
            let wanted = state.dispatch.refill(requests);
            state.dispatch.wake(Instant::now());
            wanted
        })
    }

    /// There are no more requests.
    pub(super) fn end(&self) {
        self.with(|state| state.dispatch.end());
        self.look_whether_done();
    }

    /// Sends nothing new; what is on its way is still answered.
    pub(super) fn cut(&self) {
        self.with(|state| state.dispatch.cut());
        self.look_whether_done();
    }

    /// Sends nothing again, either.
    pub(super) fn give_up(&self) {
        let waiting = self.with(|state| {
            state.retrying = false;
            state.dispatch.cut();
            state.dispatch.give_up()
        });
        for job in waiting {
            self.unanswered(job, true);
        }
        self.look_whether_done();
    }

    pub(super) fn take(&self, connection: usize, waker: &Waker) -> Option<Job> {
        let job = self.with(|state| state.dispatch.take(connection, waker));
        if self.is_low() {
            self.low.notify_one();
        }
        job
    }

    pub(super) fn connected(&self) {
        self.with(|state| {
            state.connected += 1;
            state.down_since = None;
        });
    }

    pub(super) fn disconnected(&self) {
        self.with(|state| state.connected -= 1);
    }

    pub(super) fn cannot_connect(&self, error: &Error) {
        self.with(|state| {
            *state.tally.transport.entry(kind(error)).or_default() += 1;
            if state.connected == 0 && state.down_since.is_none() {
                state.down_since = Some((Instant::now(), error.to_string()));
            }
        });
    }

    /// What the server has said for as long as it could not be connected to, if that is longer than one can wait.
    pub(super) fn gone(&self) -> Option<String> {
        let most = self.retry.unwrap_or_default().max(self.timeout);
        let state = self.state.borrow();
        let (since, error) = state.down_since.as_ref()?;
        (since.elapsed() > most).then(|| error.clone())
    }

    /// A request was answered.
    pub(super) fn answered(&self, job: Job, answer: &Answer<'_>, now: Instant) {
        let mut state = self.state.borrow_mut();
        *state.tally.answers.entry(answer.status).or_default() += 1;
        let verdict = verdict::read(answer.status, &answer.body, self.form, job.request.clicks);
        let wait = answer.retry_after.unwrap_or_else(|| job.backoff());
        if verdict == Verdict::TurnedAway && state.tries_again(&job, self.retry, wait) {
            state.put_back(job, wait);
            return;
        }
        let State { dispatch, tally, accepted, failed, .. } = &mut *state;
        let phase = if job.warm_up { &mut tally.warm_up } else { &mut tally.measured };
        phase.answered(&job.request, now - job.since, now);
        tally.verdict(&job.request, &verdict);
        if let Some(file) = accepted
            && let Err(error) = file.add(&job.request, &verdict)
        {
            failed.get_or_insert(error);
        }
        dispatch.settled(&job.request);
        drop(state);
        self.look_whether_done();
    }

    /// A connection was lost with these requests in flight.
    pub(super) fn lose(&self, flights: impl Iterator<Item = Flight>, lost: &Lost) {
        let mut flights = flights.map(|flight| flight.job);
        match lost {
            // The server has answered up to here and looked at nothing behind it: sending it again is no second time.
            Lost::Closed => self.with(|state| {
                flights.for_each(|job| state.put_back(job, Duration::ZERO));
            }),
            Lost::Broken(error) => {
                self.with(|state| *state.tally.transport.entry(kind(error)).or_default() += 1);
                flights.for_each(|job| self.unanswered(job, false));
            }
            Lost::Malformed(problem) => {
                self.with(|state| {
                    state.tally.malformed += 1;
                    state.tally.problem(problem.clone());
                });
                flights.by_ref().take(1).for_each(|job| self.unanswered(job, true));
                flights.for_each(|job| self.unanswered(job, false));
            }
        }
        self.look_whether_done();
    }

    /// Nobody knows whether the clicks of the request are in the log.
    fn unanswered(&self, job: Job, for_good: bool) {
        self.with(|state| {
            let wait = job.backoff();
            if !for_good && state.tries_again(&job, self.retry, wait) {
                state.put_back(job, wait);
                return;
            }
            state.tally.verdicts.unanswered += u64::from(job.request.clicks);
            state.dispatch.settled(&job.request);
        });
    }

    fn look_whether_done(&self) {
        if self.state.borrow().dispatch.is_done() {
            self.done.notify_one();
        }
    }
}

impl State {
    /// Whether a request may be sent again after so long.
    fn tries_again(&self, job: &Job, retry: Option<Duration>, wait: Duration) -> bool {
        self.retrying && retry.is_some_and(|most| job.taken.elapsed() + wait <= most)
    }

    fn put_back(&mut self, job: Job, wait: Duration) {
        self.tally.resent += 1;
        self.tally.resent_clicks += u64::from(job.request.clicks);
        self.dispatch.put_back(job, wait);
    }
}

fn kind(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset => "connection reset",
        ErrorKind::BrokenPipe => "connection broken",
        ErrorKind::UnexpectedEof => "connection closed",
        ErrorKind::TimedOut => "timed out",
        _ => "other",
    }
}
