//! Dead letters and group offsets against a real broker.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kafka;

use std::collections::BTreeMap;

use kafka::{PATIENCE, TestTopic, await_until, brokers};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset as KafkaOffset, TopicPartitionList};
use weir_checkpoints::{Attempt, Epoch, Manifest, Offset, PartitionCut, PartitionId, Position, Sequence, WorkerIndex};
use weir_connectors::kafka::{KafkaConfig, KafkaDeadLetters, KafkaGroupOffsets, TopicSpec};
use weir_dataflow::{Cut, DeadLetterRow, Row, RowKind, Sink, SinkFactory, WorkerContext};

const WORKER: WorkerContext = WorkerContext { worker: WorkerIndex(0), workers: 1, attempt: Attempt(1) };

/// A dead letter as its reader finds it.
#[derive(Debug, PartialEq)]
struct Letter {
    payload: Option<Vec<u8>>,
    headers: BTreeMap<String, String>,
}

fn row(offset: u64, payload: Option<&[u8]>) -> Row<'_> {
    Row::DeadLetter(DeadLetterRow {
        reason: "invalid_json",
        detail: "expected `,` at byte 17",
        partition: PartitionId(3),
        offset: Offset(offset),
        epoch: Epoch(5),
        payload,
    })
}

fn stage(sink: &mut dyn Sink) {
    let staged = sink.stage(&Cut { epoch: Epoch(5), last: false, offsets: Vec::new() }).unwrap()().unwrap();
    assert!(staged.outputs.is_empty());
}

fn letters(config: &KafkaConfig, count: usize) -> Vec<Letter> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("group.id", &config.group)
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(&config.dead_letter_topic, 0, KafkaOffset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let mut found = Vec::new();
    await_until("the dead letters", || {
        found.extend(consumer.poll(std::time::Duration::from_millis(50)).map(|message| letter(&message.unwrap())));
        found.len() >= count
    });
    found
}

fn letter(message: &BorrowedMessage<'_>) -> Letter {
    let headers = message.headers().unwrap();
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    Letter {
        payload: message.payload().map(<[u8]>::to_vec),
        headers: headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect(),
    }
}

#[test]
fn letters_say_why_and_where_from() {
    let topic = TestTopic::new("letters", 1, &[]);
    let factory = KafkaDeadLetters::new(topic.config.clone()).unwrap();
    assert!(factory.accepts(RowKind::DeadLetter) && !factory.accepts(RowKind::Archive));
    // The topic is made when it is opened, once, whoever comes first.
    let mut sink = factory.open(WORKER).unwrap();
    let mut other_worker = factory.open(WORKER).unwrap();
    sink.write(row(17, Some(b"{\"ad_id\" \xff"))).unwrap();
    sink.write(row(18, None)).unwrap();
    sink.write(row(19, Some(b""))).unwrap();
    stage(sink.as_mut());
    other_worker.write(row(20, Some(b"x"))).unwrap();
    stage(other_worker.as_mut());
    stage(sink.as_mut());

    let found = letters(&topic.config, 4);
    let headers = |offset: &str| {
        let pairs = [
            ("weir-reason", "invalid_json"),
            ("weir-detail", "expected `,` at byte 17"),
            ("weir-topic", topic.config.topic.as_str()),
            ("weir-partition", "3"),
            ("weir-offset", offset),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    };
    let expected = [
        Letter { payload: Some(b"{\"ad_id\" \xff".to_vec()), headers: headers("17") },
        Letter { payload: None, headers: headers("18") },
        Letter { payload: Some(Vec::new()), headers: headers("19") },
        Letter { payload: Some(b"x".to_vec()), headers: headers("20") },
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_letter_that_is_too_large_is_cut() {
    let topic = TestTopic::new("cut", 1, &[]);
    let settings = [("max.message.bytes", "100000")];
    let name = &topic.config.dead_letter_topic;
    topic.topics().create(&TopicSpec { name, partitions: 1, replicas: Some(1), settings: &settings }).unwrap();
    let mut sink = KafkaDeadLetters::new(topic.config.clone()).unwrap().open(WORKER).unwrap();
    let for_broker = vec![b'b'; 900_000];
    let for_client = vec![b'c'; 11_000_000];
    sink.write(row(0, Some(b"small"))).unwrap();
    sink.write(row(1, Some(&for_broker))).unwrap();
    sink.write(row(2, Some(&for_client))).unwrap();
    sink.write(row(3, Some(b"small"))).unwrap();
    stage(sink.as_mut());

    let found: BTreeMap<String, Letter> =
        letters(&topic.config, 4).into_iter().map(|letter| (letter.headers["weir-offset"].clone(), letter)).collect();
    assert_eq!(found.len(), 4);
    for (offset, whole) in [("1", &for_broker), ("2", &for_client)] {
        let letter = &found[offset];
        assert_eq!(letter.headers["weir-truncated"], whole.len().to_string());
        assert!(letter.payload.as_deref() == Some(&whole[..65_536]), "{offset}");
    }
    for offset in ["0", "3"] {
        assert_eq!(found[offset].payload.as_deref(), Some(b"small".as_slice()));
        assert!(!found[offset].headers.contains_key("weir-truncated"));
    }
}

#[test]
fn large_letters_stay_whole_where_the_topic_takes_them() {
    let topic = TestTopic::new("whole", 1, &[]);
    let mut sink = KafkaDeadLetters::new(topic.config.clone()).unwrap().open(WORKER).unwrap();
    let payload = vec![b'p'; 1_000_000];
    for offset in 0..20 {
        sink.write(row(offset, Some(&payload))).unwrap();
    }
    stage(sink.as_mut());
    let found = letters(&topic.config, 20);
    assert!(found.iter().all(|letter| letter.payload.as_ref() == Some(&payload)));
}

#[test]
fn the_group_is_told_the_manifests_offsets() {
    let topic = TestTopic::new("group", 2, &[]);
    let factory = KafkaGroupOffsets::new(topic.config.clone()).unwrap();
    let mut committer = factory.committer().unwrap();
    committer.commit(&manifest([11, 22])).unwrap();
    committer.commit(&manifest([33, 44])).unwrap();
    await_until("the answer", || committed(&topic.config) == [33, 44]);
    assert_eq!(factory.failures(), 0);
    committer.commit(&manifest([55, 66])).unwrap();
    drop(committer);
    assert!((1..=3).contains(&factory.commits()), "{}", factory.commits());
    assert_eq!(committed(&topic.config), [55, 66]);
}

#[test]
fn a_group_that_cannot_be_told_stops_nothing() {
    // Nobody listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let factory = KafkaGroupOffsets::new(KafkaConfig::new(&address, "clicks", "main")).unwrap();
    let mut committer = factory.committer().unwrap();
    committer.commit(&manifest([1, 2])).unwrap();
    assert_eq!(factory.commits(), 0);
}

fn committed(config: &KafkaConfig) -> Vec<i64> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers()).set("group.id", &config.group).create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(&config.topic, 0, 1);
    let answer = consumer.committed_offsets(asked, PATIENCE).unwrap();
    answer.elements().iter().map(|element| element.offset().to_raw().unwrap()).collect()
}

fn manifest(offsets: [u64; 2]) -> Manifest {
    let cut = |offset: u64| PartitionCut {
        position: Position { next_offset: Offset(offset), cursor: None },
        ..PartitionCut::default()
    };
    Manifest {
        sequence: Sequence(1),
        epoch: Epoch(5),
        partitions: (0..).map(PartitionId).zip(offsets.map(cut)).collect(),
        ..Manifest::first("test")
    }
}
