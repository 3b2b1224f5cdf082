//! Who is alive: beats to the peers, and a clock for each of them and for each worker of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::execute::Event;
use super::link::Line;
use super::{ClusterError, Patience};

/// How often a peer hears something, at least.
const BEAT: Duration = Duration::from_millis(500);

/// How often the clocks are looked at.
const TICK: Duration = Duration::from_millis(250);

/// A worker's sign of life.
#[derive(Debug, Default)]
pub(crate) struct Pulse(AtomicU64);

impl Pulse {
    /// The worker has made a step, and will make another one soon.
    pub(crate) fn beat(&self) {
        // Zero stands for rest; a counter of steps does not come back to it.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The worker is done, or may be away for as long as it likes.
    pub(crate) fn rest(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long a counter has stood still, by a clock that stands still while this process does.
///
/// A process that was stopped, or got no processor time, finds at its next tick that much time has passed. It has not
/// listened meanwhile, so that is no silence of others.
#[derive(Debug, Default)]
struct Silence {
    last: u64,
    still: Duration,
}

impl Silence {
    fn tick(&mut self, count: u64, passed: Duration) -> Duration {
        if count == self.last {
            self.still += passed.min(2 * TICK);
        } else {
            *self = Self { last: count, still: Duration::ZERO };
        }
        self.still
    }
}

/// The threads that beat and watch; they end soon after this is dropped.
pub(super) struct Watch {
    over: Arc<AtomicBool>,
}

impl Watch {
    /// Watches the peers, and the workers of this process, of which `first_worker` is the first.
    pub(super) fn start(
        lines: &[Arc<Line>],
        pulses: Arc<[Pulse]>,
        first_worker: usize,
        patience: Patience,
        events: Sender<Event>,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        // One thread for each: a peer that takes nothing holds its own beats up, and nobody else's.
        for line in lines {
            let (line, over) = (Arc::clone(line), Arc::clone(&over));
            std::thread::spawn(move || every(BEAT, &over, |_| line.beat()));
        }
        let (lines, ended) = (lines.to_vec(), Arc::clone(&over));
        std::thread::spawn(move || {
            let mut peers: Vec<Silence> = lines.iter().map(|_| Silence::default()).collect();
            let mut workers: Vec<Silence> = pulses.iter().map(|_| Silence::default()).collect();
            every(TICK, &ended, |passed| {
                let silent = silent_peer(&lines, &mut peers, patience, passed);
                let stuck = stuck_worker(&pulses, &mut workers, patience, passed)
                    .map(|(worker, seconds)| ClusterError::WorkerStuck { worker: first_worker + worker, seconds });
                if let Some(error) = silent.or(stuck) {
                    // Once is enough, and nobody may listen any more.
                    let _unheard = events.send(Event::Cluster(error));
                    ended.store(true, Ordering::Relaxed);
                }
            });
        });
        Self { over }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Does something again and again, with the time that has passed since the last time.
fn every(interval: Duration, over: &AtomicBool, mut act: impl FnMut(Duration)) {
    let mut last = Instant::now();
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(interval);
        let now = Instant::now();
        act(now - last);
        last = now;
    }
}

fn silent_peer(
    lines: &[Arc<Line>],
    silences: &mut [Silence],
    patience: Patience,
    passed: Duration,
) -> Option<ClusterError> {
    // All clocks go on, whichever is the first to run out.
    let clocks = lines.iter().zip(silences).map(|(line, silence)| (line, silence.tick(line.heard(), passed)));
    let silent: Vec<_> = clocks.filter(|(line, still)| *still >= patience.silence && !line.has_ended()).collect();
    let (line, still) = silent.into_iter().next()?;
    Some(ClusterError::PeerSilent { peer: line.peer.clone(), seconds: still.as_secs() })
}

fn stuck_worker(
    pulses: &[Pulse],
    silences: &mut [Silence],
    patience: Patience,
    passed: Duration,
) -> Option<(usize, u64)> {
    let clocks = pulses.iter().zip(silences).map(|(pulse, silence)| (pulse, silence.tick(pulse.count(), passed)));
    let stuck: Vec<_> = clocks
        .enumerate()
        .filter(|(_, (pulse, still))| *still >= patience.worker && pulse.count() != 0)
        .map(|(worker, (_, still))| (worker, still.as_secs()))
        .collect();
    stuck.into_iter().next()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::channel;

    use super::super::Peer;
    use super::super::link::Link;
    use super::*;

    #[test]
    fn time_in_which_the_process_stood_still_is_no_silence() {
        let mut silence = Silence::default();
        assert_eq!(silence.tick(0, TICK), TICK);
        assert_eq!(silence.tick(0, Duration::from_secs(3600)), 3 * TICK);
        assert_eq!(silence.tick(1, Duration::from_secs(3600)), Duration::ZERO);
        assert_eq!(silence.tick(1, TICK), TICK);
    }

    fn patience(silence: Duration, worker: Duration) -> Patience {
        Patience { start: Duration::ZERO, silence, worker }
    }

    #[test]
    fn a_peer_that_says_nothing_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // It takes the connection and never reads or writes.
        let silent = listener.accept().unwrap().0;
        let (sender, events) = channel();
        let peer = Peer { process: 4, address: "there".to_owned() };
        let line = Arc::new(Line::new(peer, socket, sender.clone()));
        let began = Instant::now();
        let _watch = Watch::start(&[line], Arc::default(), 0, patience(Duration::from_secs(1), Duration::MAX), sender);
        let Event::Cluster(error) = events.recv_timeout(Duration::from_secs(20)).unwrap() else { panic!("no error") };
        assert_eq!(
            error.to_string(),
            "process 4 (there) has been silent for 1 s: it hangs, or its host cannot be reached"
        );
        assert!(began.elapsed() >= Duration::from_secs(1));
        drop(silent);
    }

    #[test]
    fn beats_keep_a_quiet_link_alive() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        let (sender, events) = channel();
        let lines = [near, far].map(|socket| {
            let line = Arc::new(Line::new(Peer { process: 0, address: String::new() }, socket, sender.clone()));
            let mut link = Link::new(Arc::clone(&line)).unwrap();
            std::thread::spawn(move || link.read(&mut [0; 8]));
            line
        });
        let patience = patience(Duration::from_secs(2), Duration::MAX);
        let _watch = Watch::start(&lines, Arc::default(), 0, patience, sender);
        assert!(events.recv_timeout(Duration::from_secs(4)).is_err());
    }

    #[test]
    fn a_worker_that_does_not_come_back_is_named_but_not_one_that_rests() {
        let (sender, events) = channel();
        let pulses: Arc<[Pulse]> = Arc::new([Pulse::default(), Pulse::default(), Pulse::default()]);
        pulses[1].beat();
        pulses[2].beat();
        pulses[1].rest();
        let _watch = Watch::start(&[], pulses, 6, patience(Duration::MAX, Duration::from_secs(1)), sender);
        let Event::Cluster(error) = events.recv_timeout(Duration::from_secs(20)).unwrap() else { panic!("no error") };
        assert_eq!(error, ClusterError::WorkerStuck { worker: 8, seconds: 1 });
    }
}
