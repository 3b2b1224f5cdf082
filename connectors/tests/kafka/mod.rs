//! What the Kafka tests share: a real broker, topics of their own, and reading to the end.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod load;
pub(crate) mod own;
pub(crate) mod patience;
pub(crate) mod to_the_end;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use weir_checkpoints::{PartitionId, Position};
use weir_connectors::kafka::{KafkaClicks, KafkaConfig, KafkaSourceFactory, KafkaTopics, TopicSpec};
use weir_dataflow::{Polled, Source, SourceFactory};

pub(crate) use patience::{PATIENCE, await_until};

/// The brokers to test against.
pub(crate) fn brokers() -> String {
    std::env::var("WEIR_TEST_KAFKA").expect(
        "WEIR_TEST_KAFKA is not set: it must name a Kafka broker, as host:port. `scripts/test` starts one and sets it",
    )
}

/// A topic that no other test uses; deleted at the end.
pub(crate) struct TestTopic {
    pub(crate) config: KafkaConfig,
    topics: KafkaTopics,
}

impl TestTopic {
    pub(crate) fn new(test: &str, partitions: u32, settings: &[(&str, &str)]) -> Self {
        static USED: AtomicU32 = AtomicU32::new(0);
        let started_ns = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let number = USED.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{test}-{}-{started_ns}-{number}", std::process::id());
        let config = KafkaConfig::new(&brokers(), &name, &name);
        let topics = KafkaTopics::new(&config).unwrap();
        topics.create(&TopicSpec { name: &name, partitions, replicas: Some(1), settings }).unwrap();
        Self { config, topics }
    }

    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.config.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn topics(&self) -> &KafkaTopics {
        &self.topics
    }

    pub(crate) fn factory(&self) -> KafkaSourceFactory {
        KafkaSourceFactory::new(self.config.clone()).unwrap()
    }

    /// Opens all partitions, each at the position given, or at the log's start.
    pub(crate) fn open(&self, positions: &BTreeMap<PartitionId, Position>) -> Box<dyn Source> {
        let factory = self.factory();
        let assigned: Vec<_> =
            factory.partitions().unwrap().into_iter().map(|id| (id, positions.get(&id).cloned())).collect();
        factory.open(&assigned).unwrap()
    }

    /// Writes values to a partition, record `i` at time `1_000_000 + i`.
    pub(crate) fn write(&self, partition: i32, values: impl IntoIterator<Item = Vec<u8>>) {
        self.write_at(partition, values, |index| Some(1_000_000 + index));
    }

    /// Writes values to a partition, each at the time given for its index, or now.
    pub(crate) fn write_at(
        &self,
        partition: i32,
        values: impl IntoIterator<Item = Vec<u8>>,
        time_ms: fn(i64) -> Option<i64>,
    ) {
        let mut clicks = KafkaClicks::new(&self.config).unwrap();
        for (index, value) in values.into_iter().enumerate() {
            clicks.send(Some(partition), b"key", value.as_slice(), time_ms(index as i64)).unwrap();
        }
        clicks.flush().unwrap();
    }

    /// Writes values to a partition, all with these headers.
    pub(crate) fn write_with_headers(&self, partition: i32, values: &[Vec<u8>], headers: &[(&str, Option<&[u8]>)]) {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", brokers());
        for (key, value) in &self.config.settings {
            client.set(key, value);
        }
        let producer: BaseProducer = client.create().unwrap();
        for value in values {
            let fill =
                |filled: OwnedHeaders, &(key, value): &(&str, Option<&[u8]>)| filled.insert(Header { key, value });
            let filled = headers.iter().fold(OwnedHeaders::new(), fill);
            let record = BaseRecord::to(&self.config.topic).partition(partition).key("key").payload(value);
            producer.send(record.headers(filled)).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }
}

impl Drop for TestTopic {
    fn drop(&mut self) {
        for topic in [&self.config.topic, &self.config.dead_letter_topic] {
            // It may never have been made, or be gone already.
            let _ = self.topics.delete(topic);
        }
    }
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) log_time_ms: i64,
    pub(crate) payload: Option<Vec<u8>>,
}

/// Reads until every partition's end is reached.
pub(crate) fn read_to_end(source: &mut dyn Source, partitions: u32) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut ended = vec![false; partitions as usize];
    await_until("the end of every partition", || {
        for partition in 0..partitions {
            let polled = source
                .poll(PartitionId(partition), 100, &mut |record| {
                    seen.push(Seen {
                        partition,
                        offset: record.offset.0,
                        log_time_ms: record.log_time_ms,
                        payload: record.payload.map(<[u8]>::to_vec),
                    });
                })
                .unwrap();
            ended[partition as usize] = polled == Polled::CaughtUp;
        }
        ended.iter().all(|ended| *ended)
    });
    seen
}

/// Values that differ in contents and length.
pub(crate) fn values(partition: u32, count: u32) -> Vec<Vec<u8>> {
    (0..count).map(|index| format!("{partition}/{index}/{}", "x".repeat(index as usize % 300)).into_bytes()).collect()
}
