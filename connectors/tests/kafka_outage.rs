//! The Kafka source and the dead letters while brokers fail, on librdkafka's mock cluster.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kafka;

use std::time::{Duration, Instant};

use kafka::{await_until, values};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use weir_checkpoints::{Attempt, Epoch, Offset, PartitionId, WorkerIndex};
use weir_connectors::kafka::{KafkaClicks, KafkaConfig, KafkaDeadLetters, KafkaSourceFactory};
use weir_dataflow::{Cut, DeadLetterRow, Polled, Row, SinkFactory, Source, SourceError, SourceFactory, WorkerContext};

const ONLY: PartitionId = PartitionId(0);

struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
    config: KafkaConfig,
}

impl Mock {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let config = KafkaConfig::new(&cluster.bootstrap_servers(), "clicks", "main");
        cluster.create_topic("clicks", 1, 1).unwrap();
        cluster.create_topic("clicks.dlq", 1, 1).unwrap();
        Self { cluster, config }
    }

    fn open(&self) -> Box<dyn Source> {
        KafkaSourceFactory::new(self.config.clone()).unwrap().open(&[(ONLY, None)]).unwrap()
    }

    fn write(&self, count: u32) {
        let mut clicks = KafkaClicks::new(&self.config).unwrap();
        for value in values(0, count) {
            clicks.send(Some(0), b"key", &value, None).unwrap();
        }
        clicks.flush().unwrap();
    }
}

fn await_polled(source: &mut dyn Source, wanted: Polled) {
    await_until(&format!("{wanted:?}"), || source.poll(ONLY, 100, &mut |_| ()).unwrap() == wanted);
}

#[test]
fn a_lost_broker_is_waited_for_and_is_not_taken_for_a_quiet_one() {
    let mock = Mock::new();
    mock.write(20);
    let mut source = mock.open();
    await_polled(source.as_mut(), Polled::CaughtUp);
    assert_eq!(source.position(ONLY).next_offset, Offset(20));

    // A quiet log stays caught up, for longer than any sign of life counts.
    let started = Instant::now();
    await_until("time to pass", || {
        assert_eq!(source.poll(ONLY, 100, &mut |_| ()).unwrap(), Polled::CaughtUp);
        started.elapsed() > Duration::from_secs(8)
    });

    mock.cluster.broker_down(1).unwrap();
    await_polled(source.as_mut(), Polled::Pending);
    mock.cluster.broker_up(1).unwrap();
    mock.write(5);
    let mut offsets = Vec::new();
    await_until("the records written since", || {
        source.poll(ONLY, 100, &mut |record| offsets.push(record.offset.0)).unwrap();
        offsets.len() == 5
    });
    assert_eq!(offsets, [20, 21, 22, 23, 24]);
    await_polled(source.as_mut(), Polled::CaughtUp);
}

#[test]
fn fetches_that_fail_for_a_while_lose_nothing() {
    let mock = Mock::new();
    mock.write(50);
    let passing = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ];
    mock.cluster.request_errors(RDKafkaApiKey::Fetch, &passing);
    let mut source = mock.open();
    let mut offsets = Vec::new();
    await_until("all records", || {
        source.poll(ONLY, 100, &mut |record| offsets.push(record.offset.0)).unwrap();
        offsets.len() == 50
    });
    assert_eq!(offsets, (0..50).collect::<Vec<u64>>());
}

#[test]
fn an_offset_out_of_range_stops_the_source() {
    let mock = Mock::new();
    mock.write(5);
    mock.cluster.request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE]);
    let mut source = mock.open();
    let error = await_error(source.as_mut());
    // The log's bounds are in order by then: what the broker said stands.
    assert!(matches!(error, SourceError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains("offset 0"), "{error}");
}

#[test]
fn a_right_that_is_refused_stops_the_source() {
    let mock = Mock::new();
    mock.write(5);
    mock.cluster.request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    let mut source = mock.open();
    let error = await_error(source.as_mut());
    assert!(matches!(error, SourceError::Unreadable { .. }), "{error}");
    assert!(error.to_string().to_lowercase().contains("authorization"), "{error}");
}

fn await_error(source: &mut dyn Source) -> SourceError {
    let mut error = None;
    await_until("an error", || {
        error = source.poll(ONLY, 100, &mut |_| ()).err();
        error.is_some()
    });
    error.unwrap()
}

#[test]
fn a_cluster_that_does_not_answer_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error =
        KafkaSourceFactory::new(KafkaConfig::new(&address, "clicks", "main")).unwrap().partitions().unwrap_err();
    assert!(matches!(error, SourceError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}

#[test]
fn dead_letters_outlast_a_broker_that_is_down() {
    let mock = Mock::new();
    let worker = WorkerContext { worker: WorkerIndex(0), workers: 1, attempt: Attempt(1) };
    let mut sink = KafkaDeadLetters::new(mock.config.clone()).unwrap().open(worker).unwrap();
    mock.cluster.broker_down(1).unwrap();
    for offset in 0..10 {
        let letter = DeadLetterRow {
            reason: "invalid_json",
            detail: "",
            partition: ONLY,
            offset: Offset(offset),
            epoch: Epoch(1),
            payload: Some(b"x"),
        };
        sink.write(Row::DeadLetter(letter)).unwrap();
    }
    let staging = sink.stage(&Cut { epoch: Epoch(1), last: false, offsets: Vec::new() }).unwrap();
    let staging = std::thread::spawn(staging);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!staging.is_finished(), "nothing can have been delivered");
    mock.cluster.broker_up(1).unwrap();
    staging.join().unwrap().unwrap();

    let mut config = mock.config.clone();
    std::mem::swap(&mut config.topic, &mut config.dead_letter_topic);
    let mut letters = KafkaSourceFactory::new(config).unwrap().open(&[(ONLY, None)]).unwrap();
    let mut found = 0;
    await_until("ten letters", || {
        letters.poll(ONLY, 100, &mut |_| found += 1).unwrap();
        found == 10
    });
}

#[test]
fn a_letter_the_broker_refuses_for_good_fails_the_stage() {
    let mock = Mock::new();
    let worker = WorkerContext { worker: WorkerIndex(0), workers: 1, attempt: Attempt(1) };
    let mut sink = KafkaDeadLetters::new(mock.config.clone()).unwrap().open(worker).unwrap();
    mock.cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION]);
    let letter = DeadLetterRow {
        reason: "invalid_json",
        detail: "",
        partition: ONLY,
        offset: Offset(1),
        epoch: Epoch(1),
        payload: Some(b"x"),
    };
    sink.write(Row::DeadLetter(letter)).unwrap();
    let staging = sink.stage(&Cut { epoch: Epoch(1), last: false, offsets: Vec::new() }).unwrap();
    let error = staging().unwrap_err();
    assert!(error.to_string().contains("cannot deliver a dead letter"), "{error}");
}
