//! Brokers of one test alone, which may be killed, and a network between them and the client that fails.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A port that nothing listens on, and that was not handed out before. It lies below those that the system hands out to
/// clients, so that a broker which is started again finds it free.
pub(crate) fn free_port() -> u16 {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    static HANDED_OUT: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let now_ns = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = now_ns ^ (u64::from(std::process::id()) << 32) ^ (ASKED.fetch_add(1, Ordering::SeqCst) << 56);
        let port = StdRng::seed_from_u64(seed).random_range(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && HANDED_OUT.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// A broker, started by `scripts/kafka-broker`.
pub(crate) struct OwnBroker {
    folder: PathBuf,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl OwnBroker {
    pub(crate) fn start(folder: &Path, port: u16, options: &[&str]) -> Self {
        let mut arguments = vec![folder.display().to_string(), port.to_string()];
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        let mut broker = Self { folder: folder.to_owned(), arguments, process: None };
        broker.restart();
        broker
    }

    /// Starts it (again), on the data that it left.
    pub(crate) fn restart(&mut self) {
        let scripts = std::env::var("WEIR_TEST_SCRIPTS")
            .expect("WEIR_TEST_SCRIPTS is not set: it must name the folder `scripts`; `scripts/test` sets it");
        std::fs::create_dir_all(&self.folder).unwrap();
        let log = File::options().create(true).append(true).open(self.folder.join("broker.log")).unwrap();
        let mut command = Command::new(Path::new(&scripts).join("kafka-broker"));
        command.args(&self.arguments).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What lies between a client and a broker: it can swallow answers, hold up everything, and cut connections.
pub(crate) struct Network {
    state: Arc<AtomicU8>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

/// What becomes of bytes, and of new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// They arrive.
    Works,
    /// Requests arrive, answers do not.
    Swallows,
    /// Nothing arrives, but nothing is lost either.
    Stalls,
    /// There are no connections.
    Down,
}

impl Network {
    /// Listens on one port and connects to the other.
    pub(crate) fn between(port: u16, broker_port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let network = Self { state: Arc::default(), connections: Arc::default() };
        let (state, connections) = (Arc::clone(&network.state), Arc::clone(&network.connections));
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                if is(&state, State::Down) {
                    continue;
                }
                let Ok(broker) = TcpStream::connect(("127.0.0.1", broker_port)) else { continue };
                let streams = [&client, &broker].map(|stream| {
                    stream.set_nodelay(true).unwrap();
                    stream.try_clone().unwrap()
                });
                connections.lock().unwrap().extend(streams);
                let (from, to, of_requests) =
                    (client.try_clone().unwrap(), broker.try_clone().unwrap(), Arc::clone(&state));
                thread::spawn(move || forward(from, to, &of_requests, false));
                let of_answers = Arc::clone(&state);
                thread::spawn(move || forward(broker, client, &of_answers, true));
            }
        });
        network
    }

    /// From now on requests arrive, and answers do not.
    pub(crate) fn swallow_answers(&self) {
        self.set(State::Swallows);
    }

    /// From now on nothing arrives until it works again.
    pub(crate) fn stall(&self) {
        self.set(State::Stalls);
    }

    /// Cuts all connections, and takes no new ones.
    pub(crate) fn take_down(&self) {
        self.set(State::Down);
        self.cut_connections();
    }

    /// Goes on; what was held up arrives.
    pub(crate) fn go_on(&self) {
        self.set(State::Works);
    }

    /// Cuts all connections; new ones work.
    pub(crate) fn cut(&self) {
        self.cut_connections();
        self.set(State::Works);
    }

    fn cut_connections(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            // It may be closed already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::SeqCst);
    }
}

fn is(state: &AtomicU8, wanted: State) -> bool {
    state.load(Ordering::SeqCst) == wanted as u8
}

fn forward(mut from: TcpStream, mut to: TcpStream, state: &AtomicU8, answers: bool) {
    let mut buffer = vec![0; 65_536];
    // A connection that lost a byte can deliver none after it.
    let mut lost = false;
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        while is(state, State::Stalls) {
            thread::sleep(Duration::from_millis(2));
        }
        lost |= answers && is(state, State::Swallows);
        if !lost && to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
