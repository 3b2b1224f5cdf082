//! Synthetic clicks whose right answer is known.
//!
//! ```text
//!   Stream (slot → what it holds) ──▶ RecordWriter ──▶ ClickLog: NDJSON files or a Kafka topic
//!        │                                  └─────────▶ http: requests to ingest, at their time
//!        └──────────────────────────▶ Oracle ────────▶ a file for `weir verify`
//! ```
//!
//! Two runs with the same options write the same bytes. What the oracle promises is in [`stream`]; how its file looks in
//! [`oracle`].

pub mod http;

mod log;
mod oracle;
mod poison;
mod random;
mod record;
mod stream;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

pub use log::{ClickLog, Target};
use oracle::Oracle;
pub use oracle::{ExpectedTotals, ExpectedWindow, Header, OracleReader, OverHttp};
use record::RecordWriter;
use stream::{Holds, Stream};
pub use stream::{PartitionBy, Shares, StreamOptions};

/// How often a paced run looks at the clock.
const PACE_STEPS_PER_SECOND: f64 = 200.0;
/// How often an unpaced run reports its progress.
const STEP_RECORDS: u64 = 16_384;

/// What was generated.
#[derive(Debug, Clone, Serialize)]
pub struct Generated {
    /// Where it is.
    pub log: String,
    /// Records written.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// What a job must make of the whole log; none without an oracle.
    pub totals: Option<ExpectedTotals>,
    /// The oracle's file.
    pub oracle: Option<PathBuf>,
    /// The windows in it.
    pub windows: Option<u64>,
}

/// Writes one part of a log.
///
/// `earlier` are the parts that the log already has; they are counted again for the oracle, but not written. Only with
/// `append` may there be any. `rate` is in records a second of the wall clock; without one it goes as fast as it
/// can. `progress` is told how many records there are so far.
pub fn generate(
    options: &StreamOptions,
    earlier: &[StreamOptions],
    append: bool,
    target: &Target,
    oracle_path: Option<&Path>,
    rate: Option<f64>,
    mut progress: impl FnMut(u64),
) -> Result<Generated> {
    let mut oracle = oracle_path.map(|_| count(earlier));
    let stream = Stream::new(options);
    let mut log = target.open(options.partitions, append)?;
    let mut writer = PartWriter::new(&stream);
    let started = Instant::now();
    let step = rate.map_or(STEP_RECORDS, |rate| ((rate / PACE_STEPS_PER_SECOND) as u64).max(1));
    for first in (0..options.records).step_by(step as usize) {
        for number in first..(first + step).min(options.records) {
            let slot = stream.slot(number);
            writer.write(&slot, log.as_mut())?;
            if let Some(counting) = &mut oracle {
                counting.add(&slot.holds);
            }
        }
        progress((first + step).min(options.records));
        if let Some(rate) = rate {
            log.flush()?;
            wait_until(started, (first + step) as f64 / rate);
        }
    }
    log.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    let totals = oracle.as_ref().map(Oracle::totals);
    let parts: Vec<StreamOptions> = earlier.iter().chain([options]).cloned().collect();
    let windows = match (oracle, oracle_path) {
        (Some(counted), Some(path)) => Some(counted.write(path, &parts, None)?),
        _ => None,
    };
    Ok(Generated {
        log: target.to_string(),
        records: options.records,
        bytes: writer.bytes,
        seconds,
        totals,
        oracle: oracle_path.map(Path::to_owned),
        windows,
    })
}

/// Counts parts that are in the log already.
fn count(parts: &[StreamOptions]) -> Oracle {
    let mut oracle = Oracle::default();
    for part in parts {
        let stream = Stream::new(part);
        for number in 0..part.records {
            oracle.add(&stream.slot(number).holds);
        }
    }
    oracle
}

fn wait_until(started: Instant, seconds: f64) {
    let due = Duration::from_secs_f64(seconds);
    if let Some(ahead) = due.checked_sub(started.elapsed()) {
        std::thread::sleep(ahead);
    }
}

/// Turns slots into records.
struct PartWriter {
    records: RecordWriter,
    broken: Vec<u8>,
    key: Vec<u8>,
    tombstones: bool,
    bytes: u64,
}

impl PartWriter {
    fn new(stream: &Stream) -> Self {
        let options = stream.options();
        Self {
            records: RecordWriter::new(options.record_bytes, options.seed, options.generation),
            broken: Vec::new(),
            key: Vec::new(),
            tombstones: options.tombstones,
            bytes: 0,
        }
    }

    fn write(&mut self, slot: &stream::Slot, log: &mut dyn ClickLog) -> Result<()> {
        let (click, poison) = match &slot.holds {
            Holds::Click(click) | Holds::Copy(click) | Holds::Late(click) | Holds::Future(click) => (click, None),
            Holds::Poison(bits, click) => (click, Some(*bits)),
        };
        let good = self.records.click(click);
        let payload = match poison {
            None => Some(good),
            Some(bits) => {
                poison::write(bits, good, self.tombstones, &mut self.broken).then_some(self.broken.as_slice())
            }
        };
        self.key.clear();
        record::push_ad_id(&mut self.key, click.ad);
        self.bytes += payload.map_or(0, <[u8]>::len) as u64;
        log.append(slot.partition, &self.key, payload, slot.clock_ms)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
