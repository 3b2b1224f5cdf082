//! A proxy in front of a ClickHouse that does to inserts of windows what networks and servers do: it loses answers, breaks
//! off requests, and answers in the server's place. Everything else passes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What happens to an insert of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It is carried out, and the answer is lost.
    LostAnswer,
    /// The server gets half of it.
    BrokenOff,
    /// It is refused with this error.
    Refused(u32, &'static str),
}

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: u16,
    fault: Mutex<Fault>,
    /// How often a fault has struck.
    struck: AtomicU64,
}

impl Proxy {
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { server, fault: Mutex::new(Fault::None), struck: AtomicU64::new(0) });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let serving = Arc::clone(&serving);
                // Whoever goes away in the middle has had its fault.
                std::thread::spawn(move || serving.serve(client.unwrap()));
            }
        });
        Self { port, shared }
    }

    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    pub fn struck(&self) -> u64 {
        self.shared.struck.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> Option<()> {
        let request = read_request(&mut client)?;
        let (head, _) = split_head(&request)?;
        let line = head.split(|&byte| byte == b'\n').next()?;
        let is_insert = line.windows(6).any(|word| word == b"INSERT") && line.windows(10).any(|w| w == b"clicks_agg");
        let fault = if is_insert { *self.fault.lock().unwrap() } else { Fault::None };
        if fault != Fault::None {
            self.struck.fetch_add(1, Ordering::SeqCst);
        }
        if let Fault::Refused(code, text) = fault {
            let body = format!("Code: {code}. DB::Exception: {text}");
            let head = "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: ";
            return write!(client, "{head}{}\r\n\r\n{body}", body.len()).ok();
        }
        let mut server = TcpStream::connect(("127.0.0.1", self.server)).ok()?;
        if fault == Fault::BrokenOff {
            server.write_all(&request[..request.len() - (request.len() - head.len()) / 2]).ok()?;
            server.shutdown(Shutdown::Both).ok()?;
            return None;
        }
        let mut closing = head[..head.len() - 2].to_vec();
        closing.extend_from_slice(b"Connection: close\r\n\r\n");
        closing.extend_from_slice(&request[head.len()..]);
        server.write_all(&closing).ok()?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).ok()?;
        if fault == Fault::LostAnswer {
            return None;
        }
        client.write_all(&answer).ok()
    }
}

/// One whole request.
fn read_request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let size = client.read(&mut buffer).ok().filter(|size| *size > 0)?;
        request.extend_from_slice(&buffer[..size]);
        let Some((head, body)) = split_head(&request) else { continue };
        let whole = match header(head, "content-length") {
            Some(length) => body.len() >= length.parse().ok()?,
            None if header(head, "transfer-encoding").is_some() => body.ends_with(b"0\r\n\r\n"),
            None => true,
        };
        if whole {
            return Some(request);
        }
    }
}

/// The head with its empty line, and what follows.
pub fn split_head(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    Some(message.split_at(end))
}

/// A whole answer's body, chunks joined.
pub fn body_of(head: &[u8], body: &[u8]) -> Vec<u8> {
    if header(head, "transfer-encoding").is_none() {
        return body.to_vec();
    }
    let (mut joined, mut rest) = (Vec::new(), body);
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap().trim(), 16).unwrap();
        joined.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[(end + 4 + size).min(rest.len())..];
        if size == 0 {
            break;
        }
    }
    joined
}

fn header(head: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    let of = |line: &str| line.split_once(':').map(|(key, value)| (key.to_lowercase(), value.trim().to_owned()));
    text.lines().filter_map(of).find(|(key, _)| key == name).map(|(_, value)| value)
}
