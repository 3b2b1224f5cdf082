//! How the processes of a cluster find each other.
//!
//! ```text
//!   process 2 ── greeting ──▶ process 1 ── greeting ──▶ process 0        each calls on those before it
//!             ◀── welcome ───           ◀── welcome ───                  or: refused, because …
//!
//!   roll call: process 0 makes a token up ──▶ all ──token──▶ all         every link is of this one start
//! ```
//!
//! A process calls on those before it one after the other, and then lets in those behind it. So whoever waits waits for one
//! that has not come, and can name it.
//!
//! - A stray connection (a port scanner, a process of something else) costs nothing and ends nothing.
//! - A process that does not fit is refused and told why; its place stays free for one that does.
//! - The door is open only while processes meet. One that is late, or left over from another attempt, finds nobody.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use weir_checkpoints::owner_token;

use super::greeting::{Answer, Greeting, Verdict};
use super::message::{Vain, Wait, is_gone, receive, send};
use super::{ClusterError, ClusterSettings};

/// How long a connection may take to be made, and how long until another one is tried.
const CONNECT: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(200);

/// How long a port may still be held by a process that is ending.
const LISTEN: Duration = Duration::from_secs(5);

/// How long whoever has connected may take to introduce itself, and how many may do so at a time.
const HELLO: Duration = Duration::from_secs(5);
const MAX_CALLERS: usize = 64;

/// How often whoever lets in looks at the door.
const LOOK: Duration = Duration::from_millis(10);

/// How long the roll call may take: all are there, and those in front of this process have been called on before it.
const ROLL_CALL: Duration = Duration::from_secs(10);

/// When a process that waits says so for the first time, and how often then.
const FIRST_WORD: Duration = Duration::from_secs(5);
const NEXT_WORD: Duration = Duration::from_secs(30);

/// A connection to each process; none to this one.
pub(super) type Sockets = Vec<Option<TcpStream>>;

/// Meets all others. `attempt` is the newest attempt that this process knows of. `None` where `stop` was set meanwhile.
pub(super) fn meet(
    settings: &ClusterSettings,
    attempt: Option<u64>,
    stop: &AtomicBool,
) -> Result<Option<Sockets>, ClusterError> {
    match Meeting::new(settings, attempt, stop).hold() {
        Ok(sockets) => Ok(Some(sockets)),
        Err(NotMet::Stopped) => Ok(None),
        Err(NotMet::Failed(error)) => Err(error),
    }
}

enum NotMet {
    Stopped,
    Failed(ClusterError),
}

impl From<ClusterError> for NotMet {
    fn from(error: ClusterError) -> Self {
        Self::Failed(error)
    }
}

struct Meeting<'a> {
    settings: &'a ClusterSettings,
    greeting: Greeting,
    wait: Wait<'a>,
}

impl<'a> Meeting<'a> {
    fn new(settings: &'a ClusterSettings, attempt: Option<u64>, stop: &'a AtomicBool) -> Self {
        let mut facts = settings.facts.clone();
        // Timely takes for granted that all have as many.
        facts.insert("job.workers".to_owned(), settings.threads.to_string());
        let greeting = Greeting { process: settings.process, processes: settings.hosts.len(), attempt, facts };
        Self { settings, greeting, wait: Wait { until: Instant::now() + settings.patience.start, stop, met: &[] } }
    }

    fn hold(self) -> Result<Sockets, NotMet> {
        let me = self.settings.process;
        let last = me + 1 == self.settings.hosts.len();
        // Before anything else: the others may be calling already.
        let door = if last { None } else { Some(self.listen()?) };
        let mut sockets = Sockets::new();
        for process in 0..me {
            sockets.push(Some(self.call_on(process, &sockets)?));
        }
        sockets.push(None);
        if let Some(door) = door {
            let behind = self.let_in(&door, &sockets)?;
            sockets.extend(behind);
        }
        self.call_roll(&sockets)?;
        Ok(sockets)
    }

    fn listen(&self) -> Result<TcpListener, NotMet> {
        let me = self.settings.peer(self.settings.process);
        let until = Instant::now() + LISTEN;
        loop {
            match TcpListener::bind(&me.address).and_then(|door| door.set_nonblocking(true).map(|()| door)) {
                Ok(door) => return Ok(door),
                Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < until => {
                    self.wait
                        .check()
                        .map_err(|vain| self.missing(self.settings.process, vain, "its port is in use"))?;
                    std::thread::sleep(RETRY);
                }
                Err(error) => return Err(ClusterError::Listen { me, reason: error.to_string() }.into()),
            }
        }
    }

    /// Calls on a process until it answers, as long as those that were met before are still there.
    fn call_on(&self, process: usize, met: &Sockets) -> Result<TcpStream, NotMet> {
        let peer = self.settings.peer(process);
        let mut words = Words::new();
        loop {
            let reason = match connect(&peer.address) {
                Err(error) => error.to_string(),
                Ok(socket) => match self.greet(&socket, met) {
                    Ok(Answer::Welcome) => return Ok(socket),
                    Ok(Answer::Refused(reason)) => return Err(ClusterError::Refused { peer, reason }.into()),
                    Err(Vain::Failed(reason)) => reason,
                    Err(Vain::Left) => return self.are_there(met).and_then(|()| self.call_on(process, met)),
                    Err(vain) => return Err(self.missing(process, vain, "it took the call and does not answer")),
                },
            };
            self.wait.check().map_err(|vain| self.missing(process, vain, &reason))?;
            self.are_there(met)?;
            words.say(|| tracing::info!("waiting for {peer}: {reason}"));
            std::thread::sleep(RETRY);
        }
    }

    /// Whoever is called on may itself still be waiting for one before it, so there is no hurry.
    fn greet(&self, socket: &TcpStream, met: &Sockets) -> Result<Answer, Vain> {
        socket.set_nodelay(true)?;
        send(socket, &self.greeting)?;
        receive(socket, Wait { met, ..self.wait })
    }

    /// Waits for the processes behind this one.
    fn let_in(&self, door: &TcpListener, met: &Sockets) -> Result<Sockets, NotMet> {
        let first = self.settings.process + 1;
        let mut places = Places::new(first, self.settings.hosts.len());
        // What was last said to somebody who wanted a place that is still free.
        let mut refused: Option<String> = None;
        let (sender, callers) = channel();
        let mut words = Words::new();
        while let Some((missing, came)) = places.free() {
            self.open(door, &sender);
            while let Some((socket, greeting)) = next_caller(&callers) {
                if let Some(reason) = self.receive(socket, &greeting, &mut places)? {
                    tracing::warn!("process {} was refused: {reason}", greeting.process);
                    refused = Some(format!("one that said to be process {} was refused: {reason}", greeting.process));
                }
            }
            let seen = if came { "it came, and has left again" } else { "it has not called" };
            let reason = refused.as_deref().unwrap_or(seen);
            self.wait.check().map_err(|vain| self.missing(missing, vain, reason))?;
            self.are_there(met)?;
            words.say(|| tracing::info!("waiting for {}: {reason}", self.settings.peer(missing)));
            std::thread::sleep(LOOK);
        }
        Ok(places.sockets)
    }

    /// Lets everybody in who stands there, each to be heard on a thread of its own: not everybody has something to say.
    fn open(&self, door: &TcpListener, callers: &Sender<(TcpStream, Greeting)>) {
        static HEARD: AtomicBool = AtomicBool::new(false);
        static HEARING: AtomicUsize = AtomicUsize::new(0);
        while HEARING.load(Ordering::Relaxed) < MAX_CALLERS {
            let Ok((socket, _)) = door.accept() else { return };
            let callers = callers.clone();
            HEARING.fetch_add(1, Ordering::Relaxed);
            let hear = move || {
                let wait = Wait { until: Instant::now() + HELLO, stop: &HEARD, met: &[] };
                let prepared = socket.set_nonblocking(false).and_then(|()| socket.set_nodelay(true));
                if let (Ok(()), Ok(greeting)) = (prepared, receive(&socket, wait)) {
                    // All may be there by now.
                    let _late = callers.send((socket, greeting));
                }
                HEARING.fetch_sub(1, Ordering::Relaxed);
            };
            if std::thread::Builder::new().spawn(hear).is_err() {
                // It calls again, if it is one of ours.
                HEARING.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Gives a process its place, or tells it why not; returns why.
    fn receive(&self, socket: TcpStream, theirs: &Greeting, places: &mut Places) -> Result<Option<String>, NotMet> {
        let reason = match self.greeting.judge(theirs) {
            Verdict::Outdated(attempt) => {
                let reason = "it was started for an older attempt itself".to_owned();
                let _untold = send(&socket, &Answer::Refused(reason));
                return Err(ClusterError::Outdated { attempt }.into());
            }
            Verdict::Refused(reason) => reason,
            Verdict::Welcome => match places.of(theirs.process) {
                None => format!("process {} does not call on process {}", theirs.process, self.settings.process),
                Some(Some(_)) => format!("process {} is there already, is it started twice?", theirs.process),
                Some(place) => {
                    // One that is gone before it is told leaves its place free.
                    if send(&socket, &Answer::Welcome).is_ok() {
                        *place = Some(socket);
                        places.note(theirs.process);
                    }
                    return Ok(None);
                }
            },
        };
        let _untold = send(&socket, &Answer::Refused(reason.clone()));
        Ok(Some(reason))
    }

    /// Whoever has let this process in and has left since has given up: there is nothing to wait for.
    fn are_there(&self, met: &Sockets) -> Result<(), NotMet> {
        match present(met).find(|(_, socket)| is_gone(socket)) {
            Some((process, _)) => Err(self.lost(process, Vain::Failed("it left before all were there".to_owned()))),
            None => Ok(()),
        }
    }

    /// Makes sure that all links are of the same start: one of them might be to a process that has ended since, and was
    /// started again.
    fn call_roll(&self, sockets: &Sockets) -> Result<(), NotMet> {
        let wait = Wait { until: Instant::now() + ROLL_CALL, ..self.wait };
        let leads = self.settings.process == 0;
        let token = if leads { owner_token() } else { self.answer(sockets, 0, wait)? };
        for (process, socket) in present(sockets) {
            send(socket, &token).map_err(|vain| self.lost(process, vain))?;
        }
        for (process, _) in present(sockets).filter(|(process, _)| leads || *process != 0) {
            if self.answer(sockets, process, wait)? != token {
                let reason = "it meets others than this process does".to_owned();
                return Err(ClusterError::PeerLost { peer: self.settings.peer(process), reason }.into());
            }
        }
        for (process, socket) in present(sockets) {
            socket.set_read_timeout(None).map_err(|error| self.lost(process, error.into()))?;
        }
        Ok(())
    }

    fn answer(&self, sockets: &Sockets, process: usize, wait: Wait<'_>) -> Result<String, NotMet> {
        let socket = sockets.get(process).and_then(Option::as_ref);
        let answer = socket.ok_or_else(|| Vain::Failed("it was never met".to_owned())).and_then(|it| receive(it, wait));
        answer.map_err(|vain| self.lost(process, vain))
    }

    fn lost(&self, process: usize, vain: Vain) -> NotMet {
        match vain {
            Vain::Failed(reason) => ClusterError::PeerLost { peer: self.settings.peer(process), reason }.into(),
            Vain::TooLong => {
                let reason = format!("it was there, and has not answered the roll call within {ROLL_CALL:?}");
                ClusterError::PeerLost { peer: self.settings.peer(process), reason }.into()
            }
            vain => self.missing(process, vain, "it was there, and has not answered the roll call"),
        }
    }

    fn missing(&self, process: usize, vain: Vain, reason: &str) -> NotMet {
        if matches!(vain, Vain::Stopped) {
            return NotMet::Stopped;
        }
        let (peer, seconds) = (self.settings.peer(process), self.settings.patience.start.as_secs());
        ClusterError::Missing { peer, seconds, reason: reason.to_owned() }.into()
    }
}

fn present(sockets: &Sockets) -> impl Iterator<Item = (usize, &TcpStream)> {
    sockets.iter().enumerate().filter_map(|(process, socket)| Some((process, socket.as_ref()?)))
}

fn next_caller(callers: &Receiver<(TcpStream, Greeting)>) -> Option<(TcpStream, Greeting)> {
    callers.try_recv().ok()
}

/// The processes behind this one.
struct Places {
    first: usize,
    sockets: Sockets,
    /// Which have come, even if they have left again.
    came: Vec<bool>,
}

impl Places {
    fn new(first: usize, processes: usize) -> Self {
        let places = processes.saturating_sub(first);
        Self { first, sockets: (0..places).map(|_| None).collect(), came: vec![false; places] }
    }

    /// The place of a process; none if it has none here.
    fn of(&mut self, process: usize) -> Option<&mut Option<TcpStream>> {
        self.sockets.get_mut(process.checked_sub(self.first)?)
    }

    fn note(&mut self, process: usize) {
        if let Some(came) = process.checked_sub(self.first).and_then(|place| self.came.get_mut(place)) {
            *came = true;
        }
    }

    /// A process that is not there, and whether it was. One that never came is more likely the reason why others have left,
    /// whose places are free for whoever comes again.
    fn free(&mut self) -> Option<(usize, bool)> {
        for socket in &mut self.sockets {
            socket.take_if(|socket| is_gone(socket));
        }
        let free = self.sockets.iter().zip(&self.came).enumerate().filter(|(_, (socket, _))| socket.is_none());
        free.map(|(place, (_, came))| (self.first + place, *came)).min_by_key(|(_, came)| *came)
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(socket) if is_to_itself(&socket, address) => {
                failure = io::Error::new(ErrorKind::ConnectionRefused, "nobody listens there yet");
            }
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A connection to a free port of this host may be given that very port at its near end, and then meets itself.
fn is_to_itself(socket: &TcpStream, address: SocketAddr) -> bool {
    socket.local_addr().is_ok_and(|near| near == address)
}

/// Says now and then that something is waited for.
struct Words {
    next: Instant,
}

impl Words {
    fn new() -> Self {
        Self { next: Instant::now() + FIRST_WORD }
    }

    fn say(&mut self, say: impl FnOnce()) {
        if Instant::now() >= self.next {
            say();
            self.next = Instant::now() + NEXT_WORD;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read, Write};
    use std::sync::atomic::Ordering;

    use super::super::Patience;
    use super::*;

    static NEVER: AtomicBool = AtomicBool::new(false);

    type Met = Result<Option<Sockets>, ClusterError>;

    fn hosts(processes: usize) -> Vec<String> {
        let free: Vec<_> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        free.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
    }

    fn settings(hosts: &[String], process: usize, start: Duration) -> ClusterSettings {
        let patience = Patience { start, silence: Duration::from_secs(5), worker: Duration::from_secs(5) };
        let facts = BTreeMap::from([("job.name".to_owned(), "clicks".to_owned())]);
        ClusterSettings { process, hosts: hosts.to_vec(), threads: 1, facts, patience }
    }

    /// Lets processes meet at the same time, each with the attempt that it knows of.
    fn meet_all(who: Vec<(ClusterSettings, Option<u64>)>) -> Vec<Met> {
        let meeting = who.into_iter().map(|(settings, attempt)| {
            std::thread::spawn(move || {
                let met = meet(&settings, attempt, &NEVER);
                // Whoever leaves at once would look lost to the others.
                std::thread::sleep(Duration::from_millis(200));
                met
            })
        });
        meeting.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
    }

    #[track_caller]
    fn says(met: &Met, expect: &str) {
        let said = met.as_ref().unwrap_err().to_string();
        assert!(said.contains(expect), "{said}");
    }

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn all_meet_all_whoever_else_knocks() {
        let hosts = hosts(4);
        let stray = hosts[0].clone();
        let strays = std::thread::spawn(move || {
            let knock = || TcpStream::connect(&stray).ok();
            while knock().is_none() {
                std::thread::sleep(LOOK);
            }
            // One says nothing, one something else, one goes at once.
            let silent = knock();
            if let Some(mut other) = knock() {
                let _refused = other.write_all(b"GET / HTTP/1.1\r\n\r\n");
                let _closed = other.read(&mut [0; 8]);
            }
            drop(knock());
            std::thread::sleep(SHORT);
            drop(silent);
        });
        let late = settings(&hosts, 3, LONG);
        let met = std::thread::scope(|scope| {
            let late = scope.spawn(|| {
                std::thread::sleep(SHORT);
                meet_all(vec![(late, Some(7))])
            });
            let mut met = meet_all((0..3).map(|process| (settings(&hosts, process, LONG), Some(7))).collect());
            met.extend(late.join().unwrap());
            met
        });
        for (process, met) in met.into_iter().enumerate() {
            let sockets = met.unwrap().unwrap();
            let there: Vec<bool> = sockets.iter().map(Option::is_some).collect();
            assert_eq!(there, (0..4).map(|other| other != process).collect::<Vec<_>>());
        }
        strays.join().unwrap();
    }

    #[test]
    fn who_does_not_come_is_named() {
        let hosts = hosts(3);
        let met = meet_all([0, 1].map(|process| (settings(&hosts, process, SHORT), None)).into());
        met.iter().for_each(|met| says(met, "process 2 (127.0.0.1:"));
        let met = meet_all([1, 2].map(|process| (settings(&hosts, process, SHORT), None)).into());
        met.iter().for_each(|met| says(met, "process 0 (127.0.0.1:"));
    }

    #[test]
    fn one_of_an_older_attempt_is_refused_and_its_place_stays_free() {
        let hosts = hosts(2);
        let met = std::thread::scope(|scope| {
            let meeting = scope.spawn(|| meet_all(vec![(settings(&hosts, 0, LONG), Some(8))]));
            let old = meet_all(vec![(settings(&hosts, 1, LONG), Some(7))]);
            says(&old[0], "attempt 8 of the job has begun");
            let other = ClusterSettings { facts: BTreeMap::new(), ..settings(&hosts, 1, LONG) };
            says(&meet_all(vec![(other, Some(8))])[0], "job.name is clicks in process 0 and not known in process 1");
            assert!(meet_all(vec![(settings(&hosts, 1, LONG), Some(8))])[0].is_ok());
            meeting.join().unwrap()
        });
        assert!(met[0].as_ref().unwrap().is_some());
    }

    #[test]
    fn one_that_hears_of_a_newer_attempt_leaves() {
        let hosts = hosts(2);
        let met = meet_all(vec![(settings(&hosts, 0, LONG), Some(7)), (settings(&hosts, 1, LONG), Some(8))]);
        assert_eq!(met[0].as_ref().unwrap_err(), &ClusterError::Outdated { attempt: 8 });
        says(&met[1], "older attempt itself");
    }

    #[test]
    fn one_that_comes_and_goes_may_come_again_but_not_twice() {
        let hosts = hosts(3);
        std::thread::scope(|scope| {
            let meeting = scope.spawn(|| meet_all(vec![(settings(&hosts, 0, LONG), None)]));
            // It meets process 0, misses process 2 and goes.
            says(&meet_all(vec![(settings(&hosts, 1, SHORT), None)])[0], "process 2");
            let again = scope.spawn(|| meet_all(vec![(settings(&hosts, 1, LONG), None)]));
            std::thread::sleep(SHORT);
            let settings_of_1 = settings(&hosts, 1, LONG);
            let twice = Meeting::new(&settings_of_1, None, &NEVER);
            let Err(NotMet::Failed(error)) = twice.call_on(0, &Vec::new()) else { panic!("it was let in") };
            assert!(error.to_string().contains("is there already"), "{error}");
            assert!(meet_all(vec![(settings(&hosts, 2, LONG), None)])[0].is_ok());
            assert!(again.join().unwrap()[0].is_ok());
            assert!(meeting.join().unwrap()[0].is_ok());
        });
    }

    #[test]
    fn who_is_told_to_stop_waits_for_nobody() {
        let hosts = hosts(2);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let meeting = scope.spawn(|| [0, 1].map(|process| meet(&settings(&hosts, process, LONG), None, &stop)));
            std::thread::sleep(Duration::from_millis(300));
            stop.store(true, Ordering::Relaxed);
            for met in meeting.join().unwrap() {
                assert!(met.unwrap().is_none());
            }
        });
    }
}
