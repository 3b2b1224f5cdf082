//! Runs something on the workers of this process, and ends when they have, or when something is wrong.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Hooks, WorkerGuards};
use timely::execute::execute_from;
use timely::worker::Worker;
use timely::{Config, WorkerConfig};

use super::link::{Line, Link};
use super::meet::meet;
use super::watch::{Pulse, Watch};
use super::{ClusterError, ClusterSettings};
use crate::Layout;

/// How long workers may take to leave once something is wrong. Then the process ends without them.
const LEAVE: Duration = Duration::from_secs(3);

/// What runs on the workers.
pub(crate) trait Run: Send + Sync + 'static {
    /// Works until all is done; `false` where something is wrong and the process is to end.
    fn work(&self, worker: &mut Worker, pulse: &Pulse) -> bool;

    /// Takes note that the cluster has failed, and makes the workers leave.
    fn fail(&self, error: ClusterError);

    /// What is wrong, for the peers.
    fn failure(&self) -> Option<String>;
}

/// How a process comes into a cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// The newest attempt that it knows of.
    pub(crate) attempt: Option<u64>,
    /// Ends the wait for the others.
    pub(crate) stop: &'a AtomicBool,
}

/// What happens in a process of a cluster.
pub(super) enum Event {
    /// A worker has done all, or has left because something is wrong.
    Worker {
        done: bool,
    },
    Cluster(ClusterError),
    /// Timely has closed all connections.
    Joined(Result<(), String>),
}

/// Runs `run` on all workers of this process. What goes wrong is with `run`, unless it has not begun; returns whether it
/// has, which it has not where `entry.stop` was set while the others were waited for.
pub(crate) fn execute(layout: Layout, entry: Entry<'_>, run: Arc<impl Run>) -> Result<bool, ClusterError> {
    match layout {
        Layout::Threads(threads) => {
            let config = if threads == 1 { Config::thread() } else { Config::process(threads) };
            // Nobody else waits for these workers: whatever is wrong, they return.
            let work = move |worker: &mut Worker| {
                run.work(worker, &Pulse::default());
            };
            joined(timely::execute(config, work).map_err(ClusterError::Timely)?).map_err(ClusterError::Timely)?;
            Ok(true)
        }
        Layout::Cluster(settings) => {
            let Some(sockets) = meet(&settings, entry.attempt, entry.stop)? else { return Ok(false) };
            let (sender, events) = channel();
            let line = |(process, socket): (usize, Option<_>)| {
                socket.map(|socket| Arc::new(Line::new(settings.peer(process), socket, sender.clone())))
            };
            let lines: Vec<Option<Arc<Line>>> = sockets.into_iter().enumerate().map(line).collect();
            Cluster { settings, lines, run }.execute(&sender, &events)?;
            Ok(true)
        }
    }
}

struct Cluster<R> {
    settings: ClusterSettings,
    /// By process; none for this one.
    lines: Vec<Option<Arc<Line>>>,
    run: Arc<R>,
}

impl<R: Run> Cluster<R> {
    fn execute(&self, sender: &Sender<Event>, events: &Receiver<Event>) -> Result<(), ClusterError> {
        let ClusterSettings { process, threads, patience, .. } = self.settings;
        let pulses: Arc<[Pulse]> = (0..threads).map(|_| Pulse::default()).collect();
        let lines: Vec<Arc<Line>> = self.lines.iter().flatten().cloned().collect();
        let watch = Watch::start(&lines, Arc::clone(&pulses), process * threads, patience, sender.clone());
        let guards = self.start_workers(pulses, sender.clone()).map_err(ClusterError::Timely)?;
        let mut working = threads;
        if self.all_done(events, &mut working) {
            return close(guards, sender.clone(), events);
        }
        let reason = self.run.failure().unwrap_or_else(|| "it does not say why".to_owned());
        lines.iter().for_each(|line| line.farewell(&reason));
        drop(watch);
        await_leaving(events, working);
        // They hold threads that wait for peers, who may never say anything again.
        std::mem::forget(guards);
        Ok(())
    }

    fn start_workers(&self, pulses: Arc<[Pulse]>, sender: Sender<Event>) -> Result<WorkerGuards<()>, String> {
        let ClusterSettings { process, threads, .. } = self.settings;
        let links = self.lines.iter().map(|line| line.as_ref().map(|line| Link::new(Arc::clone(line))).transpose());
        let links = links.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let hooks = Hooks::default();
        let within = ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), hooks.spill.clone());
        let (builders, comms) = initialize_networking_from_sockets(within, links, process, threads, hooks)
            .map_err(|error| error.to_string())?;
        let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
        let (first, run) = (process * threads, Arc::clone(&self.run));
        let rests = Pulse::default();
        execute_from(builders, Box::new(comms), WorkerConfig::default(), move |worker| {
            let pulse = pulses.get(worker.index() - first).unwrap_or(&rests);
            let done = run.work(worker, pulse);
            pulse.rest();
            // The process may have ended its wait.
            let _unheard = sender.send(Event::Worker { done });
            if !done {
                // A worker that returns tells the peers that all is done.
                loop {
                    std::thread::park();
                }
            }
        })
    }

    /// Waits until all workers have done everything; `false` as soon as something is wrong.
    fn all_done(&self, events: &Receiver<Event>, working: &mut usize) -> bool {
        while *working > 0 {
            match events.recv() {
                Ok(Event::Worker { done }) => {
                    *working -= 1;
                    if !done {
                        return false;
                    }
                }
                Ok(Event::Cluster(error)) => {
                    self.run.fail(error);
                    return false;
                }
                Ok(Event::Joined(_)) | Err(_) => {}
            }
        }
        true
    }
}

/// Lets the workers drop what they hold of other systems.
fn await_leaving(events: &Receiver<Event>, mut working: usize) {
    let until = Instant::now() + LEAVE;
    while working > 0 {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Worker { .. }) => working -= 1,
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Waits until the peers have everything that this process had to say. All is done by now: one that is lost on the way
/// takes nothing with it.
fn close(guards: WorkerGuards<()>, sender: Sender<Event>, events: &Receiver<Event>) -> Result<(), ClusterError> {
    std::thread::spawn(move || sender.send(Event::Joined(joined(guards))));
    for event in events {
        match event {
            Event::Joined(result) => return result.map_err(ClusterError::Timely),
            Event::Cluster(error) => {
                tracing::warn!("this process has done everything; meanwhile {error}");
                return Ok(());
            }
            Event::Worker { .. } => {}
        }
    }
    Ok(())
}

fn joined(guards: WorkerGuards<()>) -> Result<(), String> {
    guards.join().into_iter().collect()
}
