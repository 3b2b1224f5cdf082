//! The Kafka source against a real broker.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kafka;

use std::collections::BTreeMap;

use kafka::{TestTopic, await_until, brokers, read_to_end, values};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use weir_checkpoints::{Offset, PartitionId, Position};
use weir_connectors::kafka::{KafkaConfig, KafkaSourceFactory};
use weir_dataflow::{Polled, SourceError, SourceFactory};

fn at(offset: u64) -> Position {
    Position { next_offset: Offset(offset), cursor: None }
}

#[test]
fn reads_every_record_once_and_in_order() {
    let topic = TestTopic::new("order", 4, &[]);
    for partition in 0..4 {
        topic.write(partition, values(partition as u32, 2500));
    }
    let mut source = topic.open(&BTreeMap::new());
    let seen = read_to_end(source.as_mut(), 4);
    for partition in 0..4 {
        let of_partition: Vec<_> = seen.iter().filter(|record| record.partition == partition).collect();
        let expected = values(partition, 2500);
        assert_eq!(of_partition.len(), expected.len(), "partition {partition}");
        for (index, (record, value)) in of_partition.iter().zip(&expected).enumerate() {
            assert_eq!(record.offset, index as u64);
            assert_eq!(record.log_time_ms, 1_000_000 + index as i64);
            assert_eq!(record.payload.as_ref(), Some(value));
        }
        assert_eq!(source.position(PartitionId(partition)).next_offset, Offset(2500));
        assert_eq!(source.lag(PartitionId(partition)), Some(0));
    }
}

/// Names and values.
type Headers<'a> = &'a [(&'a str, Option<&'a [u8]>)];

#[test]
fn the_region_is_the_last_header_of_that_name() {
    let topic = TestTopic::new("headers", 1, &[]);
    let name = "weir-region";
    let checks: [(Headers<'_>, Option<&str>); 9] = [
        (&[], None),
        (&[(name, Some(b"eu-1"))], Some("eu-1")),
        (&[("other", Some(b"eu-1")), ("Weir-Region", Some(b"eu-1"))], None),
        (&[("trace", Some(&[0xff, 0])), (name, Some(b"us-1")), ("zone", None)], Some("us-1")),
        (&[(name, Some(b"eu-1")), (name, Some(b"us-1"))], Some("us-1")),
        (&[(name, None)], None),
        (&[(name, Some(b""))], Some("")),
        (&[(name, Some(&[0xff, 0xfe]))], None),
        (&[(name, Some(b"not a region"))], Some("not a region")),
    ];
    for (number, (headers, _)) in checks.iter().enumerate() {
        topic.write_with_headers(0, &[number.to_string().into_bytes()], headers);
    }
    let mut source = topic.open(&BTreeMap::new());
    let mut seen = Vec::new();
    await_until("all records", || {
        let polled = source.poll(PartitionId(0), 100, &mut |record| seen.push(record.region.map(str::to_owned)));
        matches!(polled.unwrap(), Polled::CaughtUp)
    });
    assert_eq!(seen.iter().map(Option::as_deref).collect::<Vec<_>>(), checks.map(|(_, region)| region));
}

#[test]
fn goes_on_from_a_position() {
    let topic = TestTopic::new("resume", 2, &[]);
    topic.write(0, values(0, 1000));
    topic.write(1, values(1, 10));
    let positions = BTreeMap::from([(PartitionId(0), at(617)), (PartitionId(1), at(10))]);
    let mut source = topic.open(&positions);
    assert_eq!(source.position(PartitionId(0)).next_offset, Offset(617));
    let offsets: Vec<u64> = read_to_end(source.as_mut(), 2).iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (617..1000).collect::<Vec<u64>>());
}

#[test]
fn a_poll_visits_no_more_than_it_may() {
    let topic = TestTopic::new("max", 1, &[]);
    topic.write(0, values(0, 50));
    let mut source = topic.open(&BTreeMap::new());
    let mut next = 0;
    await_until("all records", || {
        let mut visited = 0;
        let polled = source
            .poll(PartitionId(0), 7, &mut |record| {
                assert_eq!(record.offset.0, next);
                next += 1;
                visited += 1;
            })
            .unwrap();
        assert!(visited <= 7);
        assert_eq!(matches!(polled, Polled::Records(count) if count == visited), visited > 0);
        assert_eq!(source.position(PartitionId(0)).next_offset, Offset(next));
        next == 50
    });
}

#[test]
fn is_caught_up_until_more_comes() {
    let topic = TestTopic::new("caughtup", 1, &[]);
    let mut source = topic.open(&BTreeMap::new());
    for round in 0..3 {
        let seen = read_to_end(source.as_mut(), 1);
        assert_eq!(seen.len(), if round == 0 { 0 } else { 5 });
        topic.write(0, values(0, 5));
        await_until("the lag to show", || {
            assert!(matches!(source.poll(PartitionId(0), 0, &mut |_| ()).unwrap(), Polled::CaughtUp | Polled::Pending));
            source.lag(PartitionId(0)) == Some(5)
        });
    }
}

#[test]
fn reads_every_compression() {
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let topic = TestTopic::new(codec, 1, &[]).set("compression.type", codec);
        topic.write(0, values(0, 3000));
        let mut source = topic.open(&BTreeMap::from([(PartitionId(0), at(5))]));
        let payloads: Vec<_> =
            read_to_end(source.as_mut(), 1).into_iter().map(|record| record.payload.unwrap()).collect();
        assert!(payloads == values(0, 3000)[5..], "{codec}");
    }
}

#[test]
fn reads_tombstones_empty_and_large_values() {
    let topic = TestTopic::new("sizes", 1, &[("max.message.bytes", "2000000")]);
    let large: Vec<u8> = (0..900_000_u32).map(|index| (index % 251) as u8).collect();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers()).set("message.max.bytes", "2000000").create().unwrap();
    for payload in [Some(large.as_slice()), None, Some(b"".as_slice()), Some(large.as_slice())] {
        let mut record = BaseRecord::to(&topic.config.topic).partition(0).key("k");
        record.payload = payload;
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(kafka::PATIENCE).unwrap();

    let mut source = topic.open(&BTreeMap::new());
    let seen: Vec<_> = read_to_end(source.as_mut(), 1).into_iter().map(|record| record.payload).collect();
    assert_eq!(seen.len(), 4);
    assert!(seen[0].as_ref() == Some(&large) && seen[3].as_ref() == Some(&large));
    assert_eq!(seen[1..3], [None, Some(Vec::new())]);
}

#[test]
fn says_which_offsets_are_gone() {
    let topic = TestTopic::new("gone", 1, &[]);
    topic.write(0, values(0, 100));
    topic.topics().delete_records(&topic.config.topic, PartitionId(0), Offset(60)).unwrap();

    let error = topic.factory().open(&[(PartitionId(0), Some(at(10)))]).err().unwrap();
    let SourceError::Gone { expected, last_missing, first_available, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((*expected, *last_missing, *first_available), (Offset(10), Offset(59), Offset(60)));
    let text = error.to_string();
    assert!(text.contains("offsets 10 to 59 are missing") && text.contains("50 records are lost at most"), "{text}");

    let mut from_start = topic.open(&BTreeMap::new());
    assert_eq!(from_start.position(PartitionId(0)).next_offset, Offset(60));
    assert_eq!(read_to_end(from_start.as_mut(), 1).len(), 40);
}

#[test]
fn says_which_offsets_went_while_it_read() {
    let topic = TestTopic::new("went", 1, &[]);
    topic.write(0, (0..400).map(|_| vec![b'x'; 20_000]));
    let small_queue = topic.set("queued.max.messages.kbytes", "64").set("fetch.message.max.bytes", "20000");
    let mut source = small_queue.open(&BTreeMap::new());
    await_until("the first record", || source.poll(PartitionId(0), 1, &mut |_| ()).unwrap() == Polled::Records(1));
    small_queue.topics().delete_records(&small_queue.config.topic, PartitionId(0), Offset(390)).unwrap();

    let mut error = None;
    await_until("the loss to be noticed", || {
        error = source.poll(PartitionId(0), 100, &mut |_| ()).err();
        error.is_some()
    });
    let Some(SourceError::Gone { expected, last_missing, first_available, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(expected, source.position(PartitionId(0)).next_offset);
    assert_eq!((last_missing, first_available), (Offset(389), Offset(390)));
}

#[test]
fn a_log_that_ends_before_the_position_is_another_log() {
    let topic = TestTopic::new("truncated", 1, &[]);
    topic.write(0, values(0, 3));
    let error = topic.factory().open(&[(PartitionId(0), Some(at(1000)))]).err().unwrap();
    assert!(matches!(error, SourceError::Invalid { .. }), "{error}");
    assert!(error.to_string().contains("ends at offset 3, but the job has read it up to 1000"), "{error}");
}

#[test]
fn a_missing_topic_is_named() {
    let config = KafkaConfig::new(&brokers(), "test-no-such-topic", "main");
    let error = KafkaSourceFactory::new(config).unwrap().partitions().unwrap_err();
    assert!(matches!(error, SourceError::Invalid { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("test-no-such-topic") && text.contains(&brokers()) && text.contains("--create"), "{text}");
}

#[test]
fn a_topic_deleted_while_it_is_read_is_an_error() {
    let topic = TestTopic::new("deleted", 1, &[]).set("topic.metadata.propagation.max.ms", "1000");
    topic.write(0, values(0, 10));
    let mut source = topic.open(&BTreeMap::new());
    assert_eq!(read_to_end(source.as_mut(), 1).len(), 10);
    topic.topics().delete(&topic.config.topic).unwrap();
    let mut error = None;
    await_until("the deletion to be noticed", || {
        error = source.poll(PartitionId(0), 100, &mut |_| ()).err();
        error.is_some()
    });
    assert!(matches!(error, Some(SourceError::Invalid { .. })), "{error:?}");
}

#[test]
fn aborted_records_are_not_seen_and_holes_are_no_loss() {
    let topic = TestTopic::new("transactions", 1, &[]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("transactional.id", &topic.config.topic)
        .create()
        .unwrap();
    producer.init_transactions(kafka::PATIENCE).unwrap();
    for (transaction, commits) in [("a", true), ("b", false), ("c", true), ("d", false)] {
        producer.begin_transaction().unwrap();
        for index in 0..10 {
            let value = format!("{transaction}{index}");
            let record = BaseRecord::<str, str>::to(&topic.config.topic).partition(0).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(kafka::PATIENCE).unwrap();
        if commits {
            producer.commit_transaction(kafka::PATIENCE).unwrap();
        } else {
            producer.abort_transaction(kafka::PATIENCE).unwrap();
        }
    }

    let mut source = topic.open(&BTreeMap::new());
    let seen = read_to_end(source.as_mut(), 1);
    let expected: Vec<_> =
        ["a", "c"].iter().flat_map(|name| (0..10).map(move |index| format!("{name}{index}"))).collect();
    let payloads: Vec<_> =
        seen.iter().map(|record| String::from_utf8(record.payload.clone().unwrap()).unwrap()).collect();
    assert_eq!(payloads, expected);

    // Behind the last record that counts lie an aborted transaction and its marker: 44 offsets in all.
    let end = source.position(PartitionId(0));
    assert_eq!(end.next_offset, Offset(44));
    let mut resumed = topic.open(&BTreeMap::from([(PartitionId(0), end)]));
    assert_eq!(read_to_end(resumed.as_mut(), 1), []);
    topic.write(0, values(0, 1));
    await_until("the next record", || resumed.poll(PartitionId(0), 10, &mut |_| ()).unwrap() == Polled::Records(1));
}

#[test]
fn an_open_transaction_is_waited_for() {
    let topic = TestTopic::new("open-transaction", 1, &[]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("transactional.id", &topic.config.topic)
        .create()
        .unwrap();
    producer.init_transactions(kafka::PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    let record = BaseRecord::<str, str>::to(&topic.config.topic).partition(0).payload("in transaction");
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(kafka::PATIENCE).unwrap();
    topic.write(0, values(0, 3));

    let mut source = topic.open(&BTreeMap::new());
    assert_eq!(read_to_end(source.as_mut(), 1), []);
    assert_eq!(source.position(PartitionId(0)).next_offset, Offset(0));
    producer.commit_transaction(kafka::PATIENCE).unwrap();
    let mut seen = Vec::new();
    await_until("the committed records", || {
        seen.extend(read_to_end(source.as_mut(), 1));
        seen.len() == 4
    });
}

#[test]
fn a_worker_without_partitions_has_nothing_to_do() {
    let topic = TestTopic::new("none", 1, &[]);
    let mut source = topic.factory().open(&[]).unwrap();
    let error = source.poll(PartitionId(0), 10, &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("partition 0 is not assigned here"), "{error}");
}

#[test]
fn a_panic_in_the_visitor_leaves_the_source_whole() {
    let topic = TestTopic::new("panic", 1, &[]);
    topic.write(0, values(0, 100));
    let mut source = topic.open(&BTreeMap::new());
    await_until("the panic", || {
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            source.poll(PartitionId(0), 100, &mut |record| assert!(record.offset.0 < 10, "as the test wants it"))
        }));
        polled.is_err()
    });
    assert_eq!(source.position(PartitionId(0)).next_offset, Offset(11));
}
