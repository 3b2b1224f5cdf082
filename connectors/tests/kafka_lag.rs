//! How far a group is behind, against a real broker.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kafka;

use std::time::Duration;

use kafka::{PATIENCE, TestTopic, values};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use weir_checkpoints::{Offset as LogOffset, PartitionId};
use weir_connectors::kafka::{KafkaConfig, KafkaLag};

fn commit(topic: &TestTopic, partition: i32, offset: i64) {
    let member: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &topic.config.brokers)
        .set("group.id", &topic.config.group)
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic.config.topic, partition, Offset::Offset(offset)).unwrap();
    member.commit(&list, CommitMode::Sync).unwrap();
}

#[test]
fn the_lag_is_what_was_not_committed() {
    let topic = TestTopic::new("lag", 3, &[]);
    let lag = KafkaLag::new(topic.config.clone()).unwrap();
    assert_eq!(lag.records(PATIENCE).unwrap(), 0, "an empty topic");
    topic.write(0, values(0, 100));
    topic.write(1, values(1, 50));
    assert_eq!(lag.records(PATIENCE).unwrap(), 150, "nothing is committed");
    commit(&topic, 0, 80);
    assert_eq!(lag.records(PATIENCE).unwrap(), 70);
    // A partition without a commit counts from its first record that is still there.
    topic.topics().delete_records(&topic.config.topic, PartitionId(1), LogOffset(30)).unwrap();
    assert_eq!(lag.records(PATIENCE).unwrap(), 40);
    commit(&topic, 1, 50);
    commit(&topic, 0, 100);
    assert_eq!(lag.records(PATIENCE).unwrap(), 0);
}

#[test]
fn a_cluster_that_is_down_is_said_in_time() {
    let config = KafkaConfig::new(&format!("127.0.0.1:{}", kafka::own::free_port()), "clicks", "main");
    let lag = KafkaLag::new(config).unwrap();
    let asked = std::time::Instant::now();
    let error = lag.records(Duration::from_millis(500)).unwrap_err();
    assert!(error.to_string().contains("group weir-main"), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}

#[test]
fn a_topic_that_is_missing_is_named() {
    let mut config = TestTopic::new("lag", 1, &[]).config.clone();
    config.topic.push_str("-missing");
    let error = KafkaLag::new(config.clone()).unwrap().records(PATIENCE).unwrap_err();
    assert!(error.to_string().contains(&format!("topic {} does not exist", config.topic)), "{error}");
}
