//! The committer: hands manifests to the thread that inserts, and makes the job wait when too much waits already.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use weir_checkpoints::{Manifest, Sequence, Store};
use weir_dataflow::{Committer, SinkError};

use super::backlog::{attempt_of, load, object_of, outputs, pending};
use super::insert::Inserter;
use super::metrics::ClickHouseMetrics;
use super::queue::{Limits, Queue};
use super::{ClickHouseConfig, NAME, failed, refused};

/// A job that ends gives its thread this much more than the time for inserts, to leave what it is doing.
const LEAVE: Duration = Duration::from_millis(500);

pub(super) struct Handover {
    queue: Arc<Queue>,
    finished: Receiver<()>,
    drain_timeout: Duration,
    /// The newest manifest that was handed over, and what was closed by it.
    last: Option<(Sequence, Option<i64>)>,
}

impl Handover {
    /// Loads what an earlier attempt left to do, and starts the thread. A ClickHouse that answers and refuses for good stops
    /// the job here, where somebody is looking; one that does not answer is waited for in the background.
    pub(super) fn start(
        config: Arc<ClickHouseConfig>,
        store: Arc<dyn Store>,
        metrics: Arc<ClickHouseMetrics>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, SinkError> {
        let limits = Limits { bytes: config.max_backlog_bytes, checkpoints: config.max_backlog_checkpoints };
        let queue = Arc::new(Queue::new(limits, Arc::clone(&metrics), stop));
        load(store.as_ref(), &config.job)?.into_iter().for_each(|pending| queue.push(pending));
        let drain_timeout = config.drain_timeout;
        let mut inserter =
            Inserter::new(config, store, Arc::clone(&queue), metrics).map_err(|error| failed("start tokio", error))?;
        match inserter.try_prepare() {
            Err(error) if error.is_permanent() => return Err(refused(error.to_string())),
            Err(error) => tracing::warn!("{error}; the job goes on, and its rows wait in the checkpoint store"),
            Ok(()) => {}
        }
        let (done, finished) = channel();
        let work = move || {
            inserter.run();
            // Nobody may be waiting any more.
            let _ = done.send(());
        };
        thread::Builder::new().name(NAME.to_owned()).spawn(work).map_err(|error| failed("start a thread", error))?;
        Ok(Self { queue, finished, drain_timeout, last: None })
    }

    fn hand_over(&mut self, manifest: &Manifest) {
        let before_ms = match self.last {
            Some((sequence, _)) if sequence >= manifest.sequence => return,
            Some((_, closed_until_ms)) => closed_until_ms,
            // The attempt's first manifest closes no window; what was closed before it is elsewhere, if anywhere.
            None => manifest.closed_until_ms,
        };
        // What an earlier attempt staged was loaded at the start, as far as it is not in ClickHouse.
        let ours = outputs(manifest).filter(|output| attempt_of(&output.name) == Some(manifest.attempt));
        self.queue.push(pending(manifest, before_ms, ours.map(object_of).collect(), false));
        self.last = Some((manifest.sequence, manifest.closed_until_ms));
    }
}

impl Committer for Handover {
    fn commit(&mut self, manifest: &Manifest) -> Result<(), SinkError> {
        self.hand_over(manifest);
        self.queue.wait_for_room().map_err(refused)?;
        if manifest.ended {
            self.queue.wait_until_empty().map_err(refused)?;
        }
        Ok(())
    }

    fn oldest_needed(&self) -> Option<Sequence> {
        self.queue.oldest()
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        self.queue.close(self.drain_timeout);
        if !self.drain_timeout.is_zero() {
            let _late = self.finished.recv_timeout(self.drain_timeout + LEAVE);
        }
    }
}
