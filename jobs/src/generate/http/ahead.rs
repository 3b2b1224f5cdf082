//! Requests are made ahead of their time, by a thread of their own, so that none is late because the ones before it were
//! still being written.
//!
//! ```text
//!   stream ──▶ thread: 128 requests, one buffer ──▶ 8 chunks at most ──▶ whoever sends
//! ```

use std::thread::JoinHandle;

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::oracle::Oracle;
use super::super::stream::{ClickSpec, Holds, Slot, Stream, StreamOptions};
use super::HttpOptions;
use super::request::{Request, RequestWriter};

/// Chunks that wait to be sent.
const CHUNKS_AHEAD: usize = 8;
const CHUNK_REQUESTS: usize = 128;
/// A chunk is not made larger than that, but for one request that is.
const CHUNK_BYTES: usize = 256 << 10;
/// Slow streams are made no further ahead than that, in chunks a second.
const CHUNKS_PER_SECOND: f64 = 50.0;

/// What the thread is told.
pub(super) struct Ahead {
    /// What the stream holds.
    pub(super) stream: StreamOptions,
    /// What has been counted before, where an oracle is wanted.
    pub(super) oracle: Option<Oracle>,
    /// Whether clicks happen when they are made, and not when the stream says so.
    pub(super) live: bool,
}

/// The thread; it returns the oracle.
pub(super) type AheadThread = JoinHandle<Result<Option<Oracle>>>;

/// Starts the thread. It ends with its stream, or when nobody takes requests any more.
pub(super) fn start(ahead: Ahead, options: &HttpOptions) -> Result<(AheadThread, mpsc::Receiver<Vec<Request>>)> {
    let (give, take) = mpsc::channel(CHUNKS_AHEAD);
    let options = options.clone();
    let thread = std::thread::Builder::new()
        .name("weir-requests".to_owned())
        .spawn(move || make_all(ahead, &options, &give))
        .context("cannot start a thread")?;
    Ok((thread, take))
}

fn make_all(ahead: Ahead, options: &HttpOptions, give: &mpsc::Sender<Vec<Request>>) -> Result<Option<Oracle>> {
    let Ahead { stream: stream_options, mut oracle, live } = ahead;
    let stream = Stream::new(&stream_options);
    let mut writer =
        RequestWriter::new(&stream, &options.address, options.form(), options.compression, &options.headers);
    let batch = u64::from(options.batch);
    let largest = largest_chunk(options);
    let mut chunk = Chunk::default();
    let mut first = 0;
    while first < stream_options.records {
        let behind = (first + batch).min(stream_options.records);
        for number in first..behind {
            let slot = stream.slot(number);
            if let Some(counting) = &mut oracle {
                counting.add(&slot.holds);
            }
            writer.add(&if live { happening_now(slot) } else { slot });
        }
        chunk.add(&mut writer, first)?;
        first = behind;
        let full = chunk.requests.len() >= largest || chunk.buffer.len() >= CHUNK_BYTES;
        if (full || first == stream_options.records) && give.blocking_send(chunk.take()).is_err() {
            break;
        }
    }
    Ok(oracle)
}

fn largest_chunk(options: &HttpOptions) -> usize {
    match options.requests_per_second() {
        Some(rate) => ((rate / CHUNKS_PER_SECOND) as usize).clamp(1, CHUNK_REQUESTS),
        None => CHUNK_REQUESTS,
    }
}

/// The slot's click, as far behind the wall clock as it was behind the stream's.
fn happening_now(slot: Slot) -> Slot {
    let now_ms = chrono::Utc::now().timestamp_millis();
    let moved = |click: ClickSpec| {
        let behind_ms = (slot.clock_ms - click.event_time_ms).max(0);
        ClickSpec { event_time_ms: now_ms - behind_ms, in_seconds: false, ..click }
    };
    let holds = match slot.holds {
        Holds::Click(click) => Holds::Click(moved(click)),
        Holds::Copy(click) => Holds::Copy(moved(click)),
        other => other,
    };
    Slot { holds, ..slot }
}

/// Requests that share a buffer.
#[derive(Default)]
struct Chunk {
    buffer: Vec<u8>,
    requests: Vec<Request>,
    ends: Vec<usize>,
}

impl Chunk {
    fn add(&mut self, writer: &mut RequestWriter, first: u64) -> Result<()> {
        self.requests.push(writer.finish(first, &mut self.buffer)?);
        self.ends.push(self.buffer.len());
        Ok(())
    }

    fn take(&mut self) -> Vec<Request> {
        let capacity = self.buffer.len();
        let bytes = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(capacity)));
        let mut requests = std::mem::take(&mut self.requests);
        let mut from = 0;
        for (request, end) in requests.iter_mut().zip(self.ends.drain(..)) {
            request.bytes = bytes.slice(from..end);
            from = end;
        }
        requests
    }
}
