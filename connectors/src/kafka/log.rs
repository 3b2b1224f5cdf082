//! A topic as a log: clicks are appended to it, and settled once every in-sync replica has them.
//!
//! ```text
//!   append ─▶ room? ─▶ line (an idempotent producer) ─▶ partition = murmur2(ad_id) ─▶ acks from all in-sync replicas
//!              │        │ broken: replaced by another                                            │
//!             Full      ▼                                                                        ▼
//!                   settle, once, when the last record of the group was reported  ◀── delivery reports
//! ```
//!
//! - A record that was not acknowledged within the delivery timeout is given up, and its group settled as failed. It may
//!   be in the topic all the same: its acknowledgement may be what was lost.
//! - Keys go to the partitions that Java producers choose for them, so that other producers to the topic agree.
//! - How much an acknowledgement is worth is the topic's matter: `min.insync.replicas`. [`Log::probe`] fails while fewer
//!   replicas than that are in sync, and `weir check` warns where one lost broker could take clicks with it.
//! - Memory: values and keys of at most `capacity_bytes`, about 250 bytes of librdkafka's for each record, and the
//!   requests on their way: five for each broker, each of `batch.size` bytes.
//! - A region costs 0.6 to 0.9 CPU-us a click, on top of about 2: librdkafka takes records with headers one by one, and
//!   allocates three times for each (`examples/kafka_log_speed.rs`, with and without `region=eu-1`).
//! - A broker that finds a batch too large refuses all records in it, hence batches of at most 128 KiB: the topic's
//!   `max.message.bytes` (1 MB by default) must not be set lower.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::delivery::Outlet;
use super::line::{Ended, Held, Line};
use super::probe::Probe;
use super::{KafkaConfig, KafkaConfigError};
use crate::log::{Group, Log, LogError, LogLoad, Settle, Settled};

/// How long a dropped log waits for its thread. The client is torn down after it, and must not be while the process ends:
/// that may crash in its libraries.
const THREAD_WAIT: Duration = Duration::from_secs(5);
/// How long after a failure another producer is tried to be made.
const REPLACE_WAIT: Duration = Duration::from_secs(1);

/// A topic that clicks are appended to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaLogConfig {
    /// The cluster and the topic.
    pub kafka: KafkaConfig,
    /// Goes with each record as its header `weir-region`.
    pub region: Option<String>,
    /// How many bytes may be under way.
    pub capacity_bytes: u64,
    /// How long a record may be under way. It goes before the client's own `delivery.timeout.ms`.
    pub delivery_timeout: Duration,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum KafkaLogError {
    /// The configuration is at fault.
    #[error(transparent)]
    Config(#[from] KafkaConfigError),
    /// The client library refused it.
    #[error("cannot open {place}: {reason}")]
    Client {
        /// The log.
        place: String,
        /// What it said.
        reason: String,
    },
}

/// Appends to a topic.
pub struct KafkaLog {
    shared: Arc<Shared>,
    probe: Probe,
    thread: ThreadId,
    /// Disconnected when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

struct Shared {
    config: KafkaLogConfig,
    place: Arc<str>,
    held: Arc<Held>,
    current: Mutex<Current>,
}

/// Where groups go at present.
struct Current {
    line: Arc<Line>,
    closed: bool,
}

impl KafkaLog {
    /// Opens the topic. No broker is asked for anything yet: that is what [`Log::probe`] is for.
    pub fn open(config: KafkaLogConfig) -> Result<Self, KafkaLogError> {
        let config = KafkaLogConfig { kafka: config.kafka.validated()?, ..config };
        let place: Arc<str> = format!("kafka://{}/{}", config.kafka.brokers, config.kafka.topic).into();
        let refused = |reason: String| KafkaLogError::Client { place: place.to_string(), reason };
        let held = Arc::<Held>::default();
        let line = new_line(&config, &held, &place).map_err(refused)?;
        let probe = Probe::new(config.kafka.clone(), Arc::clone(&place));
        let current = Mutex::new(Current { line, closed: false });
        let shared = Arc::new(Shared { config, place: Arc::clone(&place), held, current });
        let (alive, ended) = channel::<()>();
        let served = Arc::clone(&shared);
        let serve = move || {
            served.serve();
            // The clients are left to whoever drops the log.
            drop(served);
            drop(alive);
        };
        let thread = thread::Builder::new()
            .name("kafka-log".to_owned())
            .spawn(serve)
            .map_err(|error| refused(error.to_string()))?
            .thread()
            .id();
        Ok(Self { shared, probe, thread, ended: Mutex::new(ended) })
    }
}

impl Log for KafkaLog {
    fn place(&self) -> &str {
        &self.shared.place
    }

    fn append(&self, group: Group, settle: Settle) {
        if group.is_empty() {
            return settle(Settled::default());
        }
        let (records, bytes) = (group.len() as u64, group.bytes() as u64);
        if !self.shared.held.add(records, bytes, self.shared.config.capacity_bytes) {
            let error = LogError::Full { place: self.shared.place.to_string() };
            return settle(Settled::all_failed(group.len(), error));
        }
        let line = Arc::clone(&self.shared.current().line);
        line.send(&group, settle);
    }

    fn load(&self) -> LogLoad {
        LogLoad {
            records: self.shared.held.records.load(Ordering::Relaxed),
            bytes: self.shared.held.bytes.load(Ordering::Relaxed),
            capacity_bytes: self.shared.config.capacity_bytes,
        }
    }

    fn probe(&self, timeout: Duration) -> Result<(), LogError> {
        let current = self.shared.current();
        if current.closed {
            return Err(self.shared.unavailable("it is closed".to_owned()));
        }
        let line = Arc::clone(&current.line);
        drop(current);
        self.probe.run(line.outlet().producer(), timeout)
    }

    fn close(&self, timeout: Duration) -> Result<(), LogError> {
        let deadline = Instant::now() + timeout;
        let mut current = self.shared.current();
        current.closed = true;
        let line = Arc::clone(&current.line);
        drop(current);
        match line.close(deadline.saturating_duration_since(Instant::now())) {
            0 => Ok(()),
            left => Err(self.shared.unavailable(format!("{left} records were not acknowledged before it was closed"))),
        }
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        // Whoever wants more than this closes it first.
        let _ = self.close(Duration::ZERO);
        // The last one to hold a log may be what a group's `settle` held, which the thread itself drops.
        if thread::current().id() != self.thread {
            let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
            let _ = ended.recv_timeout(THREAD_WAIT);
        }
    }
}

impl Shared {
    /// Serves one line after another.
    fn serve(&self) {
        loop {
            let line = Arc::clone(&self.current().line);
            match line.serve() {
                Ended::Closed => return,
                Ended::Broken => self.replace(&line),
            }
        }
    }

    /// Has another line take the place of one that is broken, unless the log is being closed.
    fn replace(&self, broken: &Line) {
        broken.abandon("the producer had to be replaced");
        while !self.current().closed {
            match new_line(&self.config, &self.held, &self.place) {
                Ok(line) => {
                    let mut current = self.current();
                    if !current.closed {
                        current.line = line;
                    }
                    return;
                }
                // It was possible before, so it will be again; until then records fail.
                Err(reason) => tracing::error!(log = &*self.place, "no producer can be made: {reason}"),
            }
            thread::sleep(REPLACE_WAIT);
        }
    }

    fn unavailable(&self, reason: String) -> LogError {
        LogError::Unavailable { place: self.place.to_string(), reason }
    }

    /// Nothing panics while it holds the lock.
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_line(config: &KafkaLogConfig, held: &Arc<Held>, place: &Arc<str>) -> Result<Arc<Line>, String> {
    let client = config.kafka.log_producer(config.capacity_bytes, config.delivery_timeout);
    let outlet = Outlet::open(&client, &config.kafka.topic, config.region.as_deref())?;
    Ok(Arc::new(Line::new(outlet, Arc::clone(held), Arc::clone(place))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn append(log: &KafkaLog, records: usize) -> Settled {
        let mut group = Group::default();
        for _ in 0..records {
            group.push("ad", |value| value.extend_from_slice(b"{}"));
        }
        let (told, hear) = channel();
        log.append(group, Box::new(move |settled| told.send(settled).unwrap()));
        hear.recv_timeout(PATIENCE).expect("the group is settled in time")
    }

    #[test]
    fn a_producer_that_is_broken_for_good_is_replaced() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("clicks", 2, 1).unwrap();
        let kafka = KafkaConfig::new(&cluster.bootstrap_servers(), "clicks", "main");
        let delivery_timeout = PATIENCE / 4;
        let log =
            KafkaLog::open(KafkaLogConfig { kafka, region: None, capacity_bytes: 1 << 20, delivery_timeout }).unwrap();
        assert_eq!(append(&log, 10).failed, [] as [u32; 0]);

        // What is under way at that moment is settled as failed, not left behind.
        cluster.broker_down(1).unwrap();
        let (told, hear) = channel();
        let mut group = Group::default();
        group.push("ad", |value| value.extend_from_slice(b"{}"));
        log.append(group, Box::new(move |settled| told.send(settled).unwrap()));
        let broken = Arc::clone(&log.shared.current().line);
        broken.outlet().break_for_good();
        let settled = hear.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(settled.error, Some(LogError::Unavailable { .. })), "{settled:?}");
        cluster.broker_up(1).unwrap();

        let started = Instant::now();
        while let Some(error) = append(&log, 3).error {
            assert!(started.elapsed() < PATIENCE, "no other producer took its place: {error}");
            thread::sleep(Duration::from_millis(10));
        }
        assert!(!Arc::ptr_eq(&broken, &log.shared.current().line));
        assert_eq!(log.load().records, 0);
        log.close(PATIENCE).unwrap();
    }
}
