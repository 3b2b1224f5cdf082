//! Weir's processes, and questions to them.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A process that is killed when it is dropped.
pub struct Process(pub Child);

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Process {
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(folder.join("stderr.log")).unwrap();
        Self(weir(folder, arguments).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Tells it to stop, and waits until it has.
    pub fn terminate(mut self) {
        let process = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        let started = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn weir(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments).current_dir(folder);
    command
}

#[track_caller]
pub fn succeeds(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
}

pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Sends a request and reads the answer; none where nobody answers.
pub fn try_request(address: SocketAddr, method: &str, target: &str, headers: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "{method} {target} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n{headers}\r\n").ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

pub fn request(address: SocketAddr, method: &str, target: &str, headers: &str) -> Answer {
    try_request(address, method, target, headers).unwrap_or_else(|| panic!("no answer to {method} {target}"))
}

/// The JSON of an answer that must be there.
#[track_caller]
pub fn get(address: SocketAddr, target: &str) -> Value {
    let answer = request(address, "GET", target, "");
    assert_eq!(answer.status, 200, "{target}: {}", answer.body);
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{target}: {error}: {}", answer.body))
}

/// Waits until something is so.
#[track_caller]
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < PATIENCE, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until a service says that it is ready.
#[track_caller]
pub fn wait_ready(address: SocketAddr) {
    wait_until("ready", || try_request(address, "GET", "/readyz", "").is_some_and(|answer| answer.status == 200));
}
