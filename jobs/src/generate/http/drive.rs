//! A run from its first connection to its last answer.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval};

use super::super::oracle::Oracle;
use super::HttpOptions;
use super::accepted::AcceptedFile;
use super::ahead::{self, Ahead};
use super::connection;
use super::cpu;
use super::dispatch::Dispatch;
use super::pace::{Pace, PaceKind, Ticker};
use super::request::Request;
use super::run::{Run, State};

/// How often the run is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long answers are awaited after the run was told to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// A run without end makes up for no more than that after the server was gone.
const MOST_MADE_UP: Duration = Duration::from_secs(2);

/// What is driven.
pub(super) struct Drive<'a> {
    pub(super) options: &'a HttpOptions,
    pub(super) pace: PaceKind,
    pub(super) ahead: Ahead,
    pub(super) accepted: Option<AcceptedFile>,
    /// Whether a server that is gone is waited for without end.
    pub(super) endless: bool,
    pub(super) stop: &'a AtomicBool,
}

/// What came of it.
pub(super) struct Driven {
    pub(super) state: State,
    pub(super) oracle: Option<Oracle>,
    /// Whether it ended before its clicks did because it was told to.
    pub(super) stopped: bool,
    /// Processor time of this process in the measured part.
    pub(super) cpu_seconds: Option<f64>,
}

/// Runs until every request has its verdict, or `stop` is set. Starts when all connections are open.
pub(super) fn drive(what: Drive<'_>, progress: &mut dyn FnMut(u64)) -> Result<Driven> {
    let Drive { options, pace, ahead, accepted, endless, stop } = what;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let (thread, mut chunks) = ahead::start(ahead, options)?;
    let tasks = LocalSet::new();
    let (run, stopped, cpu_seconds) = tasks.block_on(&runtime, async {
        let address = options.address.resolve()?;
        let first = chunks.recv().await.unwrap_or_default();
        let connections = options.connections as usize;
        let streams = if endless { Vec::new() } else { open_all(options, connections).await? };
        let dispatch = Dispatch::new(Pace::new(pace), connections, options.warm_up);
        let started = dispatch.start();
        let run = Rc::new(Run::new(options, address, dispatch, accepted)?);
        run.refill(first);
        let mut opened = streams.into_iter();
        for number in 0..connections {
            spawn_local(connection::keep(number, opened.next(), Rc::clone(&run)));
        }
        spawn_local(fetch(chunks, Rc::clone(&run)));
        let tick = Arc::new(Notify::new());
        let _ticker = match pace {
            PaceKind::Closed => None,
            PaceKind::Steady(_) | PaceKind::Wave(..) => Some(Ticker::start(pace, started, Arc::clone(&tick))?),
        };
        spawn_local(wake(tick, Rc::clone(&run)));
        let mut watch = Watch { options, endless, stop, stopping: None, warm_cpu: None };
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = run.done.notified() => break,
                _ = look.tick() => if watch.look(&run, progress).is_break() { break },
            }
        }
        let cpu_seconds = cpu::seconds().zip(watch.warm_cpu).map(|(now, then)| now - then);
        anyhow::Ok((run, watch.stopping.is_some(), cpu_seconds))
    })?;
    // The tasks hold the run, and one of them the channel that the thread writes to.
    drop(tasks);
    let made = thread.join().map_err(|_| anyhow!("the thread that makes requests panicked"))?;
    let mut state = Rc::try_unwrap(run).map_err(|_| anyhow!("the run is still going on"))?.into_state();
    state.tally.verdicts.unanswered += state.dispatch.outstanding_clicks();
    Ok(Driven { state, oracle: made?, stopped, cpu_seconds })
}

async fn open_all(options: &HttpOptions, connections: usize) -> Result<Vec<TcpStream>> {
    let address = options.address.resolve()?;
    let mut streams = Vec::with_capacity(connections);
    for _ in 0..connections {
        let opened = connection::open(address, options.timeout).await;
        streams
            .push(opened.with_context(|| format!("cannot connect to {}; is `weir ingest` running?", options.address))?);
    }
    Ok(streams)
}

/// Fetches requests from the thread that makes them, when few are left.
async fn fetch(mut chunks: mpsc::Receiver<Vec<Request>>, run: Rc<Run>) {
    loop {
        while !run.is_low() {
            run.low.notified().await;
        }
        match chunks.recv().await {
            Some(requests) => {
                if !run.refill(requests) {
                    return;
                }
            }
            None => return run.end(),
        }
    }
}

/// Wakes connections when requests are due.
async fn wake(tick: Arc<Notify>, run: Rc<Run>) {
    loop {
        tick.notified().await;
        run.with(|state| state.dispatch.wake(Instant::now()));
    }
}

/// Looks after the run.
struct Watch<'a> {
    options: &'a HttpOptions,
    endless: bool,
    stop: &'a AtomicBool,
    /// Since when it has been stopping.
    stopping: Option<Instant>,
    /// The processor time before the measured part.
    warm_cpu: Option<f64>,
}

impl Watch<'_> {
    /// Breaks when nothing is to be waited for any more.
    fn look(&mut self, run: &Run, progress: &mut dyn FnMut(u64)) -> ControlFlow<()> {
        let now = Instant::now();
        let (settled, started, warm_until, failed) = run.with(|state| {
            // Requests to be sent again, whose time has come.
            state.dispatch.wake(now);
            if self.endless {
                state.dispatch.forgive(MOST_MADE_UP);
            }
            let dispatch = &state.dispatch;
            (state.tally.settled(), dispatch.start(), dispatch.warm_until(), state.failed.is_some())
        });
        progress(settled);
        if self.warm_cpu.is_none() && now >= warm_until {
            self.warm_cpu = cpu::seconds();
        }
        let over = self.options.duration.is_some_and(|most| now >= started + self.options.warm_up + most);
        if over {
            run.cut();
        }
        if self.stopping.is_none() && self.stop.load(Ordering::Relaxed) {
            self.stopping = Some(now);
            run.give_up();
        }
        let given_up = self.stopping.is_some_and(|since| now - since > LAST_ANSWERS);
        let gone = if self.endless { None } else { run.gone() };
        if let Some(error) = &gone {
            run.give_up();
            run.with(|state| state.failed = Some(anyhow!("the server is gone: {error}")));
        }
        if failed || given_up || gone.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
