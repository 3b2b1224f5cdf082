//! A fast producer for synthetic clicks.
//!
//! Throughput comes from large batches, a queue that stays in the cache, lz4, and delivery reports of failures only:
//! `examples/kafka_read_speed.rs` measures it. Records may be written twice when a broker is lost while they are under
//! way; that is what click ids are for.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::KafkaConfig;
use super::health::Health;

/// How many records may be sent before the client is given a moment for its events.
const POLL_EVERY: u32 = 4096;
/// How long a full queue is waited for before the next try.
const QUEUE_WAIT: Duration = Duration::from_micros(500);
/// How long the last records are waited for.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// Writes clicks to a topic, as fast as the broker takes them.
pub struct KafkaClicks {
    producer: BaseProducer<Failures>,
    location: String,
    topic: String,
    sent: u32,
}

/// Why clicks could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to {location}: {reason}")]
pub struct ProduceError {
    /// Topic and brokers.
    pub location: String,
    /// What the client said.
    pub reason: String,
}

impl KafkaClicks {
    /// A producer to the configuration's topic. Records are compressed with lz4, which costs less than sending them as
    /// they are; the settings may name another `compression.type`.
    pub fn new(config: &KafkaConfig) -> Result<Self, ProduceError> {
        let location = config.location(&config.topic);
        let client = config.client(&[
            // A record whose acknowledgement is lost is not written twice: what is generated has a known right answer.
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("linger.ms", "5"),
            ("batch.size", "1000000"),
            ("batch.num.messages", "100000"),
            ("queue.buffering.max.messages", "1000000"),
            ("queue.buffering.max.kbytes", "8192"),
            ("message.max.bytes", "10000000"),
            ("delivery.report.only.error", "true"),
            ("compression.type", "lz4"),
        ]);
        match client.create_with_context(Failures::new(&config.topic)) {
            Ok(producer) => Ok(Self { producer, location, topic: config.topic.clone(), sent: 0 }),
            Err(error) => Err(ProduceError { location, reason: error.to_string() }),
        }
    }

    /// Sends a record, to the partition given or by the hash of its key, and waits where the broker is slower. A value of
    /// `None` is a tombstone; without a time the record gets the present one.
    pub fn send<'a>(
        &mut self,
        partition: Option<i32>,
        key: &[u8],
        value: impl Into<Option<&'a [u8]>>,
        timestamp_ms: Option<i64>,
    ) -> Result<(), ProduceError> {
        let mut record = BaseRecord::to(&self.topic).key(key);
        record.payload = value.into();
        record.partition = partition;
        record.timestamp = timestamp_ms;
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(Code::QueueFull), unsent)) => {
                    record = unsent;
                    // The client's own `poll` spins through the last millisecond of a wait.
                    thread::sleep(QUEUE_WAIT);
                    self.producer.poll(Duration::ZERO);
                    self.check()?;
                }
                Err((error, _)) => return Err(self.error(error.to_string())),
            }
        }
        self.sent = self.sent.wrapping_add(1);
        if self.sent.is_multiple_of(POLL_EVERY) {
            self.producer.poll(Duration::ZERO);
            self.check()?;
        }
        Ok(())
    }

    /// Waits until everything sent is acknowledged.
    pub fn flush(&mut self) -> Result<(), ProduceError> {
        self.producer.flush(FLUSH_TIMEOUT).map_err(|error| self.error(error.to_string()))?;
        self.producer.poll(Duration::ZERO);
        self.check()
    }

    fn check(&self) -> Result<(), ProduceError> {
        let failures = self.producer.context();
        match failures.first().or_else(|| failures.health.fatal()) {
            None => Ok(()),
            Some(reason) => Err(self.error(reason)),
        }
    }

    fn error(&self, reason: String) -> ProduceError {
        ProduceError { location: self.location.clone(), reason }
    }
}

/// Keeps the first failure.
struct Failures {
    health: Health,
    first: Mutex<Option<String>>,
}

impl Failures {
    fn new(topic: &str) -> Self {
        Self { health: Health::new(topic, Duration::MAX), first: Mutex::default() }
    }

    fn first(&self) -> Option<String> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Failures {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.health.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.error(error, reason);
    }
}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        if let Err((error, _)) = result {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| error.to_string());
        }
    }
}
