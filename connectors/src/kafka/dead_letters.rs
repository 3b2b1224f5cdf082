//! Records that are no click, on a topic of their own, with the reason and the place they came from.
//!
//! ```text
//!   value    the original bytes; null for a tombstone
//!   headers  weir-reason     invalid_json
//!            weir-detail     expected `,` at byte 17
//!            weir-topic      clicks
//!            weir-partition  3
//!            weir-offset     88120
//!            weir-truncated  1900000        only where the value had to be cut: its original length
//! ```
//!
//! A letter is sent as it is written; staging waits until every letter up to the cut is on all in-sync replicas. A
//! checkpoint therefore never passes a letter that could still be lost.
//!
//! Delivery is at least once: letters of epochs that were not sealed before a crash are sent again, so the same
//! `(weir-topic, weir-partition, weir-offset)` may be there twice. Readers tell by these three headers.
//!
//! A value that the broker finds too large is cut, first to 64 KiB (the largest click), then further: a poison pill
//! must never stop the job.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientContext, Message};
use weir_checkpoints::{FaultPoint, Manifest, Offset, PartitionId};
use weir_dataflow::{
    Committer, Cut, DeadLetterRow, Row, RowKind, Sink, SinkError, SinkFactory, Staged, Staging, WorkerContext,
};

use super::health::Health;
use super::{KafkaConfig, KafkaConfigError, KafkaTopics, TopicSpec};

const NAME: &str = "kafka-dead-letters";

/// To what length a value is cut when it is too large, try by try.
const CUT_TO_BYTES: [usize; 3] = [65_536, 4_096, 0];

/// How long the client is given for its events while something is waited for.
const POLL_WAIT: Duration = Duration::from_millis(2);
/// How many letters may be written before the client is given a moment for its events.
const POLL_EVERY: u32 = 256;

/// The dead-letter topic of a job.
#[derive(Debug, Clone)]
pub struct KafkaDeadLetters {
    config: KafkaConfig,
}

impl KafkaDeadLetters {
    /// The configuration's dead-letter topic. Opening it creates the topic, with one partition, where there is none.
    pub fn new(config: KafkaConfig) -> Result<Self, KafkaConfigError> {
        config.validated().map(|config| Self { config })
    }

    fn ensure_topic(&self) -> Result<(), SinkError> {
        let topic = &self.config.dead_letter_topic;
        let refused = |reason: String| SinkError::Refused { sink: NAME.to_owned(), reason };
        let topics = KafkaTopics::new(&self.config).map_err(|error| refused(error.to_string()))?;
        if topics.partitions(topic).map_err(|error| failed("open", error.to_string()))?.is_some() {
            return Ok(());
        }
        // Letters are the evidence: they should rather be kept whole.
        let settings = [("max.message.bytes", "10000000")];
        let spec = TopicSpec { name: topic, partitions: 1, replicas: None, settings: &settings };
        match topics.create(&spec) {
            Ok(_) => Ok(()),
            Err(error) => Err(refused(format!("{error}; create it by hand, or allow the job to"))),
        }
    }
}

impl SinkFactory for KafkaDeadLetters {
    fn name(&self) -> &str {
        NAME
    }

    fn accepts(&self, kind: RowKind) -> bool {
        kind == RowKind::DeadLetter
    }

    fn open(&self, _worker: WorkerContext) -> Result<Box<dyn Sink>, SinkError> {
        self.ensure_topic()?;
        let topic = self.config.dead_letter_topic.clone();
        let producer = self
            .config
            .producer()
            .create_with_context(Reports::new(&topic))
            .map_err(|error: KafkaError| failed("open", error.to_string()))?;
        let outbox = Outbox { producer, topic, source_topic: self.config.topic.clone() };
        Ok(Box::new(DeadLetterSink { outbox: Arc::new(outbox), stage: Arc::default(), written: 0 }))
    }

    fn committer(&self) -> Result<Box<dyn Committer>, SinkError> {
        Ok(Box::new(NothingToCommit))
    }
}

struct DeadLetterSink {
    outbox: Arc<Outbox>,
    stage: Arc<Stage>,
    written: u32,
}

impl Sink for DeadLetterSink {
    fn write(&mut self, row: Row<'_>) -> Result<(), SinkError> {
        let Row::DeadLetter(row) = row else {
            return Ok(());
        };
        self.stage.outstanding.fetch_add(1, Ordering::AcqRel);
        self.outbox.send(Letter::new(&row, Arc::clone(&self.stage)), row.payload)?;
        self.written = self.written.wrapping_add(1);
        if self.written.is_multiple_of(POLL_EVERY) {
            self.outbox.progress(Duration::ZERO)?;
        }
        Ok(())
    }

    fn stage(&mut self, _cut: &Cut) -> Result<Staging, SinkError> {
        let stage = std::mem::take(&mut self.stage);
        let outbox = Arc::clone(&self.outbox);
        Ok(Box::new(move || {
            FaultPoint::LettersSending.pass();
            while stage.outstanding.load(Ordering::Acquire) > 0 {
                outbox.progress(POLL_WAIT)?;
            }
            FaultPoint::LettersSent.pass();
            match stage.failure().take() {
                None => Ok(Staged::default()),
                Some(reason) => Err(failed("deliver a dead letter", reason)),
            }
        }))
    }

    fn restore(&mut self, _carried: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Letters are visible once they are delivered.
struct NothingToCommit;

impl Committer for NothingToCommit {
    fn commit(&mut self, _manifest: &Manifest) -> Result<(), SinkError> {
        Ok(())
    }
}

/// The letters between two cuts.
#[derive(Default)]
struct Stage {
    /// Letters that are neither delivered nor given up.
    outstanding: AtomicUsize,
    failure: Mutex<Option<String>>,
}

impl Stage {
    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, failure: Option<String>) {
        if let Some(reason) = failure {
            self.failure().get_or_insert(reason);
        }
        self.outstanding.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What goes with a letter through the client, beside its value.
struct Letter {
    stage: Arc<Stage>,
    reason: &'static str,
    detail: String,
    partition: PartitionId,
    offset: Offset,
    /// The length of the original value, where the value is no longer whole.
    truncated_from: Option<usize>,
    /// How often it was found too large.
    cuts: usize,
}

impl Letter {
    fn new(row: &DeadLetterRow<'_>, stage: Arc<Stage>) -> Box<Self> {
        Box::new(Self {
            stage,
            reason: row.reason,
            detail: row.detail.to_owned(),
            partition: row.partition,
            offset: row.offset,
            truncated_from: None,
            cuts: 0,
        })
    }

    fn headers(&self, source_topic: &str) -> OwnedHeaders {
        let partition = self.partition.to_string();
        let offset = self.offset.to_string();
        let truncated_from = self.truncated_from.map(|length| length.to_string());
        let mut headers = OwnedHeaders::new_with_capacity(6);
        for (key, value) in [
            ("weir-reason", Some(self.reason)),
            ("weir-detail", Some(self.detail.as_str())),
            ("weir-topic", Some(source_topic)),
            ("weir-partition", Some(partition.as_str())),
            ("weir-offset", Some(offset.as_str())),
            ("weir-truncated", truncated_from.as_deref()),
        ] {
            if let Some(value) = value {
                headers = headers.insert(Header { key, value: Some(value) });
            }
        }
        headers
    }

    /// What to send instead of a value that is too large; none once nothing is left to cut.
    fn cut<'a>(&mut self, payload: Option<&'a [u8]>) -> Option<&'a [u8]> {
        let whole = payload.unwrap_or_default();
        let length = *CUT_TO_BYTES.get(self.cuts)?;
        self.cuts += 1;
        let kept = whole.get(..length).unwrap_or(whole);
        if kept.len() < whole.len() {
            self.truncated_from.get_or_insert(whole.len());
        }
        Some(kept)
    }
}

/// The producer, with the letters on their way.
struct Outbox {
    producer: BaseProducer<Reports>,
    topic: String,
    source_topic: String,
}

impl Outbox {
    /// Hands a letter to the client; waits where its queue is full.
    fn send(&self, letter: Box<Letter>, payload: Option<&[u8]>) -> Result<(), SinkError> {
        let headers = letter.headers(&self.source_topic);
        let mut record: BaseRecord<'_, [u8], [u8], Box<Letter>> =
            BaseRecord::with_opaque_to(&self.topic, letter).headers(headers);
        record.payload = payload;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), unsent)) => {
                    record = unsent;
                    self.wait(POLL_WAIT)?;
                }
                Err((KafkaError::MessageProduction(Code::MessageSizeTooLarge), unsent)) => {
                    let mut letter = unsent.delivery_opaque;
                    let Some(kept) = letter.cut(payload) else {
                        return Err(failed("send a dead letter", "it is too large even without its value".to_owned()));
                    };
                    let headers = letter.headers(&self.source_topic);
                    record = BaseRecord::with_opaque_to(&self.topic, letter).headers(headers);
                    record.payload = Some(kept);
                }
                Err((error, _)) => return Err(failed("send a dead letter", error.to_string())),
            }
        }
    }

    /// Lets the client work for a while, and sends again what the broker found too large.
    fn progress(&self, wait: Duration) -> Result<(), SinkError> {
        self.wait(wait)?;
        let too_large = std::mem::take(&mut *self.producer.context().too_large());
        for (letter, payload) in too_large {
            self.send(letter, Some(&payload))?;
        }
        Ok(())
    }

    fn wait(&self, wait: Duration) -> Result<(), SinkError> {
        // Slept here, since the client's own `poll` spins through the last millisecond of a wait.
        thread::sleep(wait);
        self.producer.poll(Duration::ZERO);
        match self.producer.context().health.fatal() {
            None => Ok(()),
            Some(reason) => Err(failed("deliver a dead letter", reason)),
        }
    }
}

/// Takes the delivery reports.
struct Reports {
    health: Health,
    too_large: Mutex<VecDeque<(Box<Letter>, Vec<u8>)>>,
}

impl Reports {
    fn new(topic: &str) -> Self {
        Self { health: Health::new(topic, Duration::MAX), too_large: Mutex::default() }
    }

    fn too_large(&self) -> MutexGuard<'_, VecDeque<(Box<Letter>, Vec<u8>)>> {
        self.too_large.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.health.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Letter>;

    fn delivery(&self, result: &DeliveryResult<'_>, mut letter: Box<Letter>) {
        match result {
            Ok(_) => letter.stage.settle(None),
            Err((KafkaError::MessageProduction(Code::MessageSizeTooLarge), message)) => {
                match letter.cut(message.payload()) {
                    Some(kept) => self.too_large().push_back((letter, kept.to_vec())),
                    None => letter.stage.settle(Some("it is too large even without its value".to_owned())),
                }
            }
            Err((error, _)) => letter.stage.settle(Some(error.to_string())),
        }
    }
}

fn failed(action: &'static str, reason: String) -> SinkError {
    SinkError::Failed { sink: NAME.to_owned(), action, reason }
}
