//! Servers that answer as ingest does, and as it should not.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;

/// A click by the plain rules.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Plain {
    pub(super) ad_id: String,
    pub(super) user_id: String,
    pub(super) timestamp: u64,
    pub(super) click_id: Option<String>,
    ip_address: Option<std::net::IpAddr>,
    user_agent: Option<String>,
    /// What makes some records too large.
    page: Option<String>,
}

impl Plain {
    fn parse(record: &[u8]) -> Option<Self> {
        // As a text: serde_json does not look at the bytes of strings that nobody wants.
        let text = std::str::from_utf8(record).ok()?;
        serde_json::from_str::<Self>(text).ok().filter(Self::is_valid)
    }

    fn is_valid(&self) -> bool {
        let fits = |id: &str, most: usize| (1..=most).contains(&id.len());
        let id_fits = self.click_id.as_deref().is_none_or(|id| fits(id, 128));
        let record_fits = self.page.as_deref().is_none_or(|page| page.len() < 65_000);
        fits(&self.ad_id, 256) && fits(&self.user_id, 256) && id_fits && record_fits
    }

    pub(super) fn id(&self) -> String {
        let Self { ad_id, user_id, timestamp, ip_address, user_agent, .. } = self;
        let time_ms = if *timestamp < 100_000_000_000 { timestamp * 1000 } else { *timestamp };
        self.click_id
            .clone()
            .unwrap_or_else(|| format!("derived {ad_id} {user_id} {time_ms} {ip_address:?} {user_agent:?}"))
    }
}

/// Which of many requests is answered in another way: every so many.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) turn_away_every: Option<u64>,
    pub(super) fail_every: Option<u64>,
    pub(super) close_every: Option<u64>,
    /// From when until when nothing is answered, after the first request.
    pub(super) pause: Option<(Duration, Duration)>,
    pub(super) each_takes: Duration,
}

/// What a server has seen.
#[derive(Debug, Default)]
pub(super) struct Ingest {
    script: Script,
    requests: AtomicU64,
    first: Mutex<Option<Instant>>,
    seen: Mutex<HashSet<String>>,
    /// The clicks that came to the log.
    pub(super) log: Mutex<Vec<Plain>>,
}

/// Serves the contract until the test process ends.
pub(super) fn ingest(script: Script) -> (SocketAddr, Arc<Ingest>) {
    let ingest = Arc::new(Ingest { script, ..Ingest::default() });
    let router = Router::new()
        .route("/v1/clicks", post(answer))
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::clone(&ingest));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await.unwrap();
        });
    };
    std::thread::spawn(serve);
    (address, ingest)
}

async fn answer(State(ingest): State<Arc<Ingest>>, headers: HeaderMap, body: Bytes) -> Response {
    let number = ingest.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let is_turn = |every: Option<u64>| every.is_some_and(|every| number.is_multiple_of(every));
    let script = &ingest.script;
    ingest.wait().await;
    if is_turn(script.turn_away_every) {
        return (503, [("retry-after", "0")], r#"{"reason":"overloaded"}"#).respond();
    }
    if is_turn(script.fail_every) {
        return (500, [("x", "y")], "").respond();
    }
    let text = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
    let body = match text("content-encoding") {
        "gzip" => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(body.as_ref()).read_to_end(&mut plain).unwrap();
            plain
        }
        "zstd" => zstd::decode_all(body.as_ref()).unwrap(),
        _ => body.to_vec(),
    };
    let (status, told) = match text("content-type") {
        "application/x-ndjson" => (200, ingest.batch(body.split(|byte| *byte == b'\n').map(Plain::parse))),
        "application/json" if body.first() == Some(&b'[') => ingest.array(&body),
        "application/json" => ingest.single(&body),
        _ => (415, String::new()),
    };
    let connection = if is_turn(script.close_every) { "close" } else { "keep-alive" };
    (status, [("connection", connection)], told.as_str()).respond()
}

impl Ingest {
    async fn wait(&self) {
        tokio::time::sleep(self.script.each_takes).await;
        let elapsed = self.first.lock().unwrap().get_or_insert_with(Instant::now).elapsed();
        if let Some((from, until)) = self.script.pause
            && (from..until).contains(&elapsed)
        {
            tokio::time::sleep(until - elapsed).await;
        }
    }

    /// Whether it is a new one.
    fn take(&self, click: &Plain) -> bool {
        let is_new = self.seen.lock().unwrap().insert(click.id());
        if is_new {
            self.log.lock().unwrap().push(click.clone());
        }
        is_new
    }

    pub(super) fn single(&self, body: &[u8]) -> (u16, String) {
        let Some(click) = Plain::parse(body) else {
            return (400, r#"{"type":"about:blank","status":400,"reason":"invalid"}"#.to_owned());
        };
        let (status, word) = if self.take(&click) { (202, "accepted") } else { (200, "duplicate") };
        (status, serde_json::json!({ "click_id": click.id(), "status": word }).to_string())
    }

    fn array(&self, body: &[u8]) -> (u16, String) {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Element {
            Click(Plain),
            Other(serde::de::IgnoredAny),
        }
        let Ok(elements) = serde_json::from_slice::<Vec<Element>>(body) else {
            return (400, r#"{"reason":"invalid_json"}"#.to_owned());
        };
        let clicks = elements.into_iter().map(|element| match element {
            Element::Click(click) => Some(click).filter(Plain::is_valid),
            Element::Other(_) => None,
        });
        (200, self.batch(clicks))
    }

    fn batch(&self, clicks: impl Iterator<Item = Option<Plain>>) -> String {
        let (mut accepted, mut duplicate, mut rejected) = (0, 0, Vec::new());
        for (index, click) in clicks.enumerate() {
            match click.map(|click| self.take(&click)) {
                Some(true) => accepted += 1,
                Some(false) => duplicate += 1,
                None => rejected.push(serde_json::json!({ "index": index, "reason": "invalid", "detail": "x" })),
            }
        }
        serde_json::json!({ "accepted": accepted, "duplicate": duplicate, "rejected": rejected }).to_string()
    }
}

trait Respond {
    fn respond(self) -> Response;
}

impl Respond for (u16, [(&'static str, &str); 1], &str) {
    fn respond(self) -> Response {
        let (status, headers, body) = self;
        (axum::http::StatusCode::from_u16(status).unwrap(), headers, body.to_owned()).into_response()
    }
}

/// What a bare server does with a request.
pub(super) enum Reply {
    Bytes(Vec<u8>),
    /// The same, a byte at a time.
    Slowly(Vec<u8>),
    Hang,
    Close,
}

/// Answers with any bytes. `reply` is told the request's number, from 1, and its body.
pub(super) fn bare(reply: impl Fn(u64, &[u8]) -> Reply + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::new((AtomicU64::new(0), reply));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || converse(&stream.unwrap(), &shared.0, &shared.1));
        }
    });
    address
}

fn converse(mut stream: &TcpStream, number: &AtomicU64, reply: &impl Fn(u64, &[u8]) -> Reply) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(body) = read_request(&mut reader) {
        match reply(number.fetch_add(1, Ordering::Relaxed) + 1, &body) {
            Reply::Bytes(bytes) => stream.write_all(&bytes).unwrap(),
            Reply::Slowly(bytes) => bytes.iter().for_each(|byte| stream.write_all(&[*byte]).unwrap()),
            Reply::Hang => std::thread::sleep(Duration::from_secs(60)),
            Reply::Close => return,
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}
