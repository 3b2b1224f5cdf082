//! Fills a job's memory with what it closed before it was restarted: the windows of the last hours, from the table.
//!
//! What was held back for the table comes with the checkpoint; see [`weir_connectors::delta::DeltaSink::restoring`]. Until
//! this is done, the table itself answers for those windows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use weir_checkpoints::Store;
use weir_connectors::delta::{DeltaReader, DeltaReaderLimits, ReadError};
use weir_dataflow::{HotWindows, Window, WindowQuery};

/// How often the job is looked at until it has begun.
const POLL: Duration = Duration::from_millis(50);

/// How often the table may be rewritten while it is read.
const TRIES: usize = 3;

/// Waits until the job has begun, then reads the windows that closed in the `retention_ms` before. `stopped` says when to
/// give up.
pub fn restore(
    hot: &HotWindows,
    tables: Arc<dyn Store>,
    url: &str,
    retention_ms: i64,
    stopped: impl Fn() -> bool,
) -> Result<()> {
    while hot.progress().epoch.is_none() {
        if stopped() {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    let until_ms = hot.progress().complete_from_ms;
    if retention_ms == 0 || until_ms == i64::MIN || until_ms == i64::MAX {
        return Ok(());
    }
    let started = Instant::now();
    let from_ms = until_ms.saturating_sub(retention_ms);
    let reader = DeltaReader::open(tables, DeltaReaderLimits::for_url(url));
    let mut windows = 0_u64;
    for window in Window::ALL {
        windows += with_retries(|| read(hot, &reader, window, from_ms, until_ms, &stopped))?;
    }
    if !stopped() {
        hot.restored_from(from_ms);
        tracing::info!(
            windows,
            seconds = started.elapsed().as_secs_f64(),
            "the windows of the last hours are in memory again"
        );
    }
    Ok(())
}

/// Windows that are taken twice are kept once, so reading again is safe.
fn with_retries(mut read: impl FnMut() -> Result<u64, ReadError>) -> Result<u64> {
    let mut tried = 1;
    loop {
        match read() {
            Err(ReadError::Changed) if tried < TRIES => tried += 1,
            read => return read.context("the windows of the last hours could not be read back into memory"),
        }
    }
}

fn read(
    hot: &HotWindows,
    reader: &DeltaReader,
    window: Window,
    from_ms: i64,
    until_ms: i64,
    stopped: &impl Fn() -> bool,
) -> Result<u64, ReadError> {
    let query =
        WindowQuery { ads: Vec::new(), window, start_ms: from_ms, end_ms: until_ms, region: None, sketches: true };
    let mut windows = 0;
    let mut damaged = None;
    reader.for_each(&query, None, |row| {
        if stopped() || damaged.is_some() || !hot.counts(row.ad_id, row.region) {
            return;
        }
        match hot.restore(&row) {
            Ok(()) => windows += 1,
            Err(error) => damaged = Some(error),
        }
    })?;
    match damaged {
        Some(error) => Err(ReadError::Refused { reason: format!("a sketch in it is damaged: {error}") }),
        None => Ok(windows),
    }
}
