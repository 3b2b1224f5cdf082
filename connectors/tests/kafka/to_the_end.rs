//! A topic as anybody could read it: nothing of ours.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// How long a broker may take for an answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Reads a topic from its start to its present end.
pub(crate) fn read_to_the_end(brokers: &str, topic: &str, mut visit: impl FnMut(&BorrowedMessage<'_>)) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "read-back")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut assigned = TopicPartitionList::new();
    let mut open = BTreeSet::new();
    for partition in metadata.topics()[0].partitions() {
        assigned.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        open.insert(partition.id());
    }
    assert!(!open.is_empty(), "{topic} has partitions");
    consumer.assign(&assigned).unwrap();
    while !open.is_empty() {
        match consumer.poll(PATIENCE).expect("the topic can be read") {
            Ok(record) => visit(&record),
            Err(KafkaError::PartitionEOF(partition)) => drop(open.remove(&partition)),
            // Brokers may just be coming back.
            Err(_) => {}
        }
    }
}
