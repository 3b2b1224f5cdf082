//! The Kafka log against a real broker: what it settles is in the topic, and what it cannot write is said.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kafka;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka::load::{Load, ad, append, check_nothing_lost, group, open, read_back};
use kafka::own::free_port;
use kafka::{PATIENCE, TestTopic, await_until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use weir_connectors::kafka::{KafkaConfig, KafkaLog, KafkaLogConfig};
use weir_connectors::log::{Group, Log, LogError, LogLoad};

#[test]
fn what_is_settled_is_in_the_topic_with_its_key_and_region() {
    let topic = TestTopic::new("log", 12, &[]);
    let log = Arc::new(open(&topic.config, PATIENCE));
    log.probe(PATIENCE).unwrap();
    assert!(append(log.as_ref(), group(0..5_000)).failed.is_empty());
    for number in 5_000..5_050 {
        assert!(append(log.as_ref(), group([number])).failed.is_empty());
    }
    let found = read_back(&topic.config);
    assert_eq!(found.len(), 5_050);
    for record in found {
        assert_eq!(record.headers, BTreeMap::from([("weir-region".to_owned(), "eu-1".to_owned())]));
        assert_eq!(record.partition, java_partition(record.key.as_bytes(), 12), "{}", record.key);
    }
    log.close(PATIENCE).unwrap();
    assert!(matches!(append(log.as_ref(), group([1])).error, Some(LogError::Unavailable { .. })));
    assert!(log.probe(PATIENCE).is_err());
}

/// The partition that Java producers choose.
fn java_partition(key: &[u8], partitions: i32) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let mut chunks = key.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    for (place, byte) in rest.iter().enumerate().rev() {
        hash ^= u32::from(*byte) << (8 * place);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    (hash & 0x7fff_ffff) as i32 % partitions
}

#[test]
fn records_without_a_region_have_no_header() {
    let topic = TestTopic::new("log", 3, &[]);
    let config = KafkaLogConfig {
        kafka: topic.config.clone(),
        region: None,
        capacity_bytes: 1 << 20,
        delivery_timeout: PATIENCE,
    };
    let log = KafkaLog::open(config).unwrap();
    assert!(append(&log, Group::default()).failed.is_empty());
    assert!(append(&log, group(0..500)).failed.is_empty());
    let found = read_back(&topic.config);
    assert_eq!(found.len(), 500);
    for record in found {
        assert!(record.headers.is_empty());
        assert_eq!(record.partition, java_partition(record.key.as_bytes(), 3), "{}", record.key);
    }
}

#[test]
fn load_from_several_threads_is_settled_and_counted() {
    let topic = TestTopic::new("log", 4, &[]);
    let log = Arc::new(open(&topic.config, PATIENCE));
    let load = Load::start(Arc::clone(&log), 1);
    await_until("load", || load.book.accepted() > 20_000);
    let book = load.finish(&log);
    check_nothing_lost(&topic.config, &book);
}

#[test]
fn a_record_that_is_too_large_is_refused_alone() {
    let topic = TestTopic::new("log", 1, &[("max.message.bytes", "140000")]);
    let log = open(&topic.config, PATIENCE);
    let mut mixed = group([1]);
    mixed.push(&ad(2), |buffer| buffer.resize(buffer.len() + 2_000_000, b'x'));
    mixed.push(&ad(3), |buffer| buffer.extend_from_slice(b"3 "));
    let settled = append(&log, mixed);
    assert_eq!(settled.failed, [1], "{settled:?}");
    assert!(matches!(settled.error, Some(LogError::Refused { .. })), "{settled:?}");

    // This one is for the broker to refuse; noise does not compress.
    let mut large = Group::default();
    let mut random = StdRng::seed_from_u64(1);
    large.push("ad", |buffer| buffer.extend((0..400_000).map(|_| random.random::<u8>())));
    let settled = append(&log, large);
    assert_eq!(settled.failed, [0], "{settled:?}");
    assert!(matches!(settled.error, Some(LogError::Refused { .. })), "{settled:?}");
    assert_eq!(read_back(&topic.config).len(), 2);
}

/// A cluster that is not there.
fn nowhere() -> KafkaConfig {
    KafkaConfig::new(&format!("127.0.0.1:{}", free_port()), "clicks", "main")
}

#[test]
fn a_cluster_that_is_down_is_unavailable_in_time() {
    let log = open(&nowhere(), Duration::from_millis(1_500));
    let started = Instant::now();
    let settled = append(&log, group(0..10));
    assert_eq!(settled.failed, (0..10).collect::<Vec<u32>>());
    let Some(LogError::Unavailable { place, reason }) = settled.error else { panic!("{:?}", settled.error) };
    assert_eq!(place, log.place());
    assert!(reason.contains("timed out"), "{reason}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let asked = Instant::now();
    let error = log.probe(Duration::from_millis(500)).unwrap_err();
    assert!(matches!(error, LogError::Unavailable { .. }), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[test]
fn closing_settles_everything_in_time_with_a_dead_cluster() {
    let log = open(&nowhere(), PATIENCE);
    let (told, hear) = std::sync::mpsc::channel();
    for number in 0..1_000 {
        let told = told.clone();
        log.append(group([number]), Box::new(move |settled| told.send(settled).unwrap()));
    }
    assert_eq!(log.load().records, 1_000);
    let started = Instant::now();
    let error = log.close(Duration::from_millis(500)).unwrap_err();
    assert!(error.to_string().contains("1000 records"), "{error}");
    assert!(started.elapsed() < Duration::from_millis(1_500), "{:?}", started.elapsed());
    let settled: Vec<_> = hear.try_iter().collect();
    assert_eq!(settled.len(), 1_000);
    assert!(settled.iter().all(|settled| settled.failed == [0]));
    assert_eq!(log.load(), LogLoad { records: 0, bytes: 0, capacity_bytes: 4 << 20 });
    drop(log);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[test]
fn a_dropped_log_settles_everything() {
    let log = open(&nowhere(), PATIENCE);
    let (told, hear) = std::sync::mpsc::channel();
    log.append(group(0..3), Box::new(move |settled| told.send(settled).unwrap()));
    drop(log);
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap().failed, [0, 1, 2]);
}

#[test]
fn a_log_that_holds_enough_is_full() {
    let config = KafkaLogConfig {
        kafka: nowhere(),
        region: None,
        capacity_bytes: 1_000,
        delivery_timeout: Duration::from_secs(30),
    };
    let log = KafkaLog::open(config).unwrap();
    let record = |bytes: usize| {
        let mut group = Group::default();
        group.push("ad", |buffer| buffer.resize(buffer.len() + bytes, b'x'));
        group
    };
    log.append(record(600), Box::new(|_| ()));
    assert_eq!(log.load(), LogLoad { records: 1, bytes: 602, capacity_bytes: 1_000 });
    let settled = append(&log, record(600));
    assert!(matches!(settled.error, Some(LogError::Full { .. })), "{settled:?}");
    assert_eq!(log.load().records, 1, "what was refused does not count");
}

#[test]
fn a_full_queue_of_the_client_fails_the_rest_of_the_group() {
    let mut kafka = nowhere();
    kafka.settings.insert("queue.buffering.max.messages".to_owned(), "100".to_owned());
    for region in [None, Some("eu-1".to_owned())] {
        let delivery_timeout = Duration::from_secs(1);
        let config = KafkaLogConfig { kafka: kafka.clone(), region, capacity_bytes: 1 << 20, delivery_timeout };
        let log = KafkaLog::open(config).unwrap();
        log.append(group(0..90), Box::new(|_| ()));
        let settled = append(&log, group(90..190));
        // The first ten were taken, and timed out; the others were not.
        assert_eq!(settled.failed.len(), 100);
        assert!(matches!(settled.error, Some(LogError::Full { .. })), "{:?}", settled.error);
    }
}

#[test]
fn a_topic_that_is_missing_is_unavailable() {
    let mut config = TestTopic::new("log", 1, &[]).config.clone();
    config.topic.push_str("-missing");
    let log = open(&config, Duration::from_secs(3));
    let error = log.probe(PATIENCE).unwrap_err();
    assert!(error.to_string().contains("does not exist"), "{error}");
    assert!(matches!(append(&log, group([1])).error, Some(LogError::Unavailable { .. })));
}
