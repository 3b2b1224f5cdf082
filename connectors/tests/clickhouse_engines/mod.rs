//! The two ClickHouse engines of the tests, as processes that can be killed: the oldest server that Weir works with, and the
//! current engine. `scripts/test` fetches both.

#![allow(dead_code, reason = "each test binary uses a part of this")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

pub mod proxy;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use url::Url;
use weir_connectors::clickhouse::ClickHouseConfig;

const PATIENCE: Duration = Duration::from_secs(60);

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A server of 2018.
    Oldest,
    /// The engine of today.
    Current,
}

/// A server with its own folder and port.
pub struct Server {
    pub engine: Engine,
    pub port: u16,
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Server {
    pub fn start(engine: Engine) -> Self {
        let mut server = Self { engine, port: free_port(), folder: tempfile::tempdir().unwrap(), process: None };
        server.restart();
        server
    }

    /// A server that is not there yet.
    pub fn absent(engine: Engine) -> Self {
        Self { engine, port: free_port(), folder: tempfile::tempdir().unwrap(), process: None }
    }

    pub fn restart(&mut self) {
        let scripts = PathBuf::from(service("WEIR_TEST_SCRIPTS"));
        // Should the test be killed, the kernel ends the server.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        match self.engine {
            Engine::Oldest => command.arg(scripts.join("clickhouse-server")),
            Engine::Current => command.arg(service("WEIR_TEST_PYTHON")).arg(scripts.join("clickhouse-embedded")),
        };
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        command.arg(self.folder.path().join("data")).arg(self.port.to_string());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        let began = Instant::now();
        while self.try_query("SELECT 1").is_err() {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "{:?} ended: {}", self.engine, log());
            assert!(began.elapsed() < PATIENCE, "{:?} does not answer: {}", self.engine, log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Kills it and deletes its data.
    pub fn kill_and_empty(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.folder.path().join("data")).unwrap();
    }

    pub fn config(&self, database: &str, job: &str) -> ClickHouseConfig {
        config(self.port, database, job)
    }

    /// The answer as tab-separated text.
    #[track_caller]
    pub fn query(&self, sql: &str) -> String {
        self.try_query(sql).unwrap_or_else(|error| panic!("{:?}: {error}\n{sql}", self.engine))
    }

    fn try_query(&self, sql: &str) -> Result<String, String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| error.to_string())?;
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: ";
        let sent = write!(stream, "{head}{}\r\n\r\n{sql}", sql.len());
        sent.map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(|error| error.to_string())?;
        let (head, body) = proxy::split_head(&answer).ok_or("no answer")?;
        let body = proxy::body_of(head, body);
        let text = String::from_utf8_lossy(&body).into_owned();
        if head.starts_with(b"HTTP/1.1 200") { Ok(text) } else { Err(text) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A configuration for tests: nothing expires, nothing is waited for.
pub fn config(port: u16, database: &str, job: &str) -> ClickHouseConfig {
    ClickHouseConfig {
        retention: None,
        insert_interval: Duration::ZERO,
        drain_timeout: Duration::ZERO,
        ..ClickHouseConfig::new(Url::parse(&format!("http://127.0.0.1:{port}")).unwrap(), database, job)
    }
}

pub fn service(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run the tests with scripts/test"))
}

/// Below the range that the kernel hands out to clients, so that a restart finds its port free.
pub fn free_port() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    for attempt in 0..1000_u32 {
        let port = 10_000 + (RandomState::new().hash_one((std::process::id(), attempt)) % 22_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// Waits until something is so.
#[track_caller]
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "not {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
