//! An HTTP connection on which anything may happen, at any time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An answer, whole.
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<u64>,
    /// Whether the server will close the connection.
    pub closes: bool,
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nobody listens.
    Refused,
    /// The connection was closed, or reset, before an answer began.
    Closed,
    /// Nothing came in time.
    TimedOut,
    /// It broke off within an answer.
    Torn,
}

pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Connection {
    pub fn open(address: SocketAddr, timeout: Duration) -> Result<Self, NoAnswer> {
        let connected = TcpStream::connect_timeout(&address, timeout).and_then(|stream| {
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        connected.map(|stream| Self { reader: BufReader::new(stream) }).map_err(|_| NoAnswer::Refused)
    }

    /// Sends a request and waits for its answer. After an error the connection is of no more use.
    pub fn request(&mut self, request: &[u8]) -> Result<Answer, NoAnswer> {
        // A server that has closed the connection may have answered before.
        let sent = self.reader.get_mut().write_all(request);
        match self.reader.fill_buf() {
            Ok([]) => Err(NoAnswer::Closed),
            Ok(_) => self.answer().map_err(|_| NoAnswer::Torn),
            Err(error) if is_timeout(&error) || sent.is_err_and(|error| is_timeout(&error)) => Err(NoAnswer::TimedOut),
            Err(_) => Err(NoAnswer::Closed),
        }
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut answer = Answer { status: status.unwrap(), retry_after: None, closes: false, body: Vec::new() };
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => answer.body.resize(value.parse().unwrap(), 0),
                "retry-after" => answer.retry_after = Some(value.parse().unwrap()),
                "connection" => answer.closes = value == "close",
                _ => {}
            }
        }
        self.reader.read_exact(&mut answer.body)?;
        Ok(answer)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        if line.ends_with('\n') { Ok(line.trim_end().to_owned()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// A request for clicks, as bytes.
pub fn post(media_type: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/clicks HTTP/1.1\r\nhost: weir\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A page of the server, on a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer, NoAnswer> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: weir\r\n\r\n");
    Connection::open(address, Duration::from_secs(10))?.request(request.as_bytes())
}
