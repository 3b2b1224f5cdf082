//! The Kafka source when its topic changes: it grows, and it is made again under its name.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kafka;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka::{TestTopic, await_until, brokers, read_to_end, values};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use weir_checkpoints::{Offset, PartitionId, Position};
use weir_connectors::kafka::{KafkaTopics, TopicCreated, TopicSpec};
use weir_dataflow::{Polled, Source, SourceError, SourceFactory};

const P0: PartitionId = PartitionId(0);

fn ids(partitions: u32) -> Vec<PartitionId> {
    (0..partitions).map(PartitionId).collect()
}

fn grow(topic: &TestTopic, partitions: usize) {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers());
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let more = NewPartitions::new(&topic.config.topic, partitions);
    let results = futures::executor::block_on(admin.create_partitions([&more], &AdminOptions::new())).unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

/// Deletes the topic and makes it again, with values in its only partition.
fn make_again(topic: &TestTopic, count: u32) {
    let name = topic.config.topic.as_str();
    topic.topics().delete(name).unwrap();
    let spec = TopicSpec { name, partitions: 1, replicas: Some(1), settings: &[] };
    await_until("the topic to be made again", || matches!(topic.topics().create(&spec), Ok(TopicCreated::New)));
    topic.write(0, values(0, count));
}

fn await_error(source: &mut dyn Source) -> SourceError {
    let mut error = None;
    await_until("an error", || {
        error = source.poll(P0, 100, &mut |_| ()).err();
        error.is_some()
    });
    error.unwrap()
}

#[test]
fn partitions_that_are_added_are_seen_and_read_from_their_start() {
    let topic = TestTopic::new("grows", 1, &[]).set("topic.metadata.refresh.interval.ms", "500");
    topic.write(0, values(0, 100));
    let mut source = topic.open(&BTreeMap::new());
    assert_eq!(source.partitions_now().unwrap(), Some(ids(1)));
    assert_eq!(read_to_end(source.as_mut(), 1).len(), 100);
    // One that reads nothing yet sees them, too.
    let mut idle = topic.factory().open(&[]).unwrap();
    grow(&topic, 3);
    let grown = Instant::now();
    for source in [&mut source, &mut idle] {
        await_until("the new partitions to be seen", || source.partitions_now().unwrap() == Some(ids(3)));
    }
    println!("seen after {:?}", grown.elapsed());
    topic.write(2, values(2, 50));
    idle.add(PartitionId(1)).unwrap();
    source.add(PartitionId(2)).unwrap();
    assert_eq!(source.position(PartitionId(2)).next_offset, Offset(0));
    assert_eq!(source.position(PartitionId(2)).cursor, source.position(P0).cursor);
    topic.write(0, values(0, 7));
    topic.write(1, values(1, 30));
    let mut offsets = Vec::new();
    await_until("their records", || {
        source.poll(PartitionId(2), 8, &mut |record| offsets.push(record.offset.0)).unwrap();
        offsets.len() == 50
    });
    assert_eq!(offsets, (0..50).collect::<Vec<u64>>());
    println!("read after {:?}", grown.elapsed());
    // What is read already goes on, each record once.
    let mut offsets = Vec::new();
    await_until("the first partition's records", || {
        source.poll(P0, 8, &mut |record| offsets.push(record.offset.0)).unwrap();
        offsets.len() == 7
    });
    assert_eq!(offsets, (100..107).collect::<Vec<u64>>());
    let mut count = 0;
    await_until("the other worker's records", || {
        idle.poll(PartitionId(1), 100, &mut |_| count += 1).unwrap();
        count == 30
    });
}

/// The client's own metadata is far behind: the new partition is unknown to it at first.
#[test]
fn a_partition_that_the_client_does_not_know_yet_is_waited_for() {
    let topic = TestTopic::new("unknown", 1, &[]).set("topic.metadata.refresh.interval.ms", "2000");
    let mut source = topic.open(&BTreeMap::new());
    read_to_end(source.as_mut(), 1);
    source.add(PartitionId(1)).unwrap();
    for _ in 0..300 {
        assert!(matches!(source.poll(PartitionId(1), 10, &mut |_| ()).unwrap(), Polled::Pending));
        std::thread::sleep(Duration::from_millis(10));
    }
    grow(&topic, 2);
    await_until("the partition to be there", || topic.topics().partitions(&topic.config.topic).unwrap() == Some(2));
    std::thread::sleep(Duration::from_millis(500));
    topic.write(1, values(1, 20));
    let mut count = 0;
    await_until("its records", || {
        source.poll(PartitionId(1), 100, &mut |_| count += 1).unwrap();
        count == 20
    });
}

#[test]
fn an_added_partition_that_has_lost_its_start_is_gone() {
    let topic = TestTopic::new("added-gone", 1, &[]).set("topic.metadata.refresh.interval.ms", "500");
    let mut source = topic.open(&BTreeMap::new());
    grow(&topic, 2);
    await_until("it to be seen", || source.partitions_now().unwrap() == Some(ids(2)));
    std::thread::sleep(Duration::from_millis(500));
    topic.write(1, values(1, 20));
    // The topic's own client knows one partition yet.
    let topics = KafkaTopics::new(&topic.config).unwrap();
    topics.delete_records(&topic.config.topic, PartitionId(1), Offset(5)).unwrap();
    source.add(PartitionId(1)).unwrap();
    let mut error = None;
    await_until("an error", || {
        error = source.poll(PartitionId(1), 100, &mut |_| ()).err();
        error.is_some()
    });
    let error = error.unwrap().to_string();
    assert!(error.contains("/1: offsets 0 to 4 are missing"), "{error}");
}

#[test]
fn a_topic_made_again_is_told_by_its_id_when_it_is_opened() {
    let topic = TestTopic::new("again", 1, &[]);
    topic.write(0, values(0, 100));
    let mut source = topic.open(&BTreeMap::new());
    read_to_end(source.as_mut(), 1);
    let position = source.position(P0);
    assert!(position.cursor.as_ref().is_some_and(|cursor| cursor.starts_with("topic_id=")), "{position:?}");
    drop(source);
    topic.factory().open(&[(P0, Some(position.clone()))]).unwrap();
    make_again(&topic, 150);
    let error = topic.factory().open(&[(P0, Some(position.clone()))]).err().unwrap();
    assert!(matches!(error, SourceError::Replaced { .. }), "{error}");
    assert!(error.to_string().contains("was deleted and made again"), "{error}");
    // A position of before ids were kept says nothing of the topic: its offset is all there is.
    let older = Position { cursor: None, ..position };
    let mut source = topic.factory().open(&[(P0, Some(older))]).unwrap();
    assert_eq!(read_to_end(source.as_mut(), 1).len(), 50);
}

#[test]
fn what_was_read_of_a_topic_made_again_is_never_confirmed() {
    let topic = TestTopic::new("again-read", 1, &[]);
    topic.write(0, values(0, 100));
    let mut source = topic.open(&BTreeMap::new());
    assert!(source.confirm().is_none(), "nothing was read");
    assert_eq!(read_to_end(source.as_mut(), 1).len(), 100);
    source.confirm().unwrap()().unwrap();
    assert!(source.confirm().is_none(), "nothing was read since");
    make_again(&topic, 500);
    // The client goes over to the new topic by itself, and reads it from the old offset on.
    let mut read = 0;
    let mut polled = Ok(Polled::Pending);
    await_until("records of the new topic, or the error", || {
        polled = source.poll(P0, 10, &mut |record| {
            assert!(record.offset.0 >= 100);
            read += 1;
        });
        polled.is_err() || read > 0
    });
    match polled {
        Err(error) => assert!(matches!(error, SourceError::Replaced { .. }), "{error}"),
        Ok(_) => {
            let error = source.confirm().unwrap()().unwrap_err();
            assert!(matches!(error, SourceError::Replaced { .. }), "{error}");
        }
    }
}

#[test]
fn a_topic_made_again_is_noticed_without_any_record() {
    let topic = TestTopic::new("again-quiet", 1, &[]).set("topic.metadata.refresh.interval.ms", "500");
    topic.write(0, values(0, 100));
    let mut source = topic.open(&BTreeMap::new());
    read_to_end(source.as_mut(), 1);
    make_again(&topic, 100);
    let error = await_error(source.as_mut());
    assert!(matches!(error, SourceError::Replaced { .. }), "{error}");
}
