//! Poison of every kind in a real topic: it never stops the job, and every record is accounted for and kept.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use support::{TestJob, kafka};

const GOOD: &str = r#"{"ad_id":"a","user_id":"u","timestamp":1736952000,"click_id":"c"}"#;

/// Every kind of poison, with the reason it must be rejected for.
fn poisons() -> Vec<(Option<Vec<u8>>, &'static str)> {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let huge = format!(r#"{{"ad_id":"a","user_id":"u","timestamp":1736952000,"x":"{}"}}"#, "y".repeat(1_000_000));
    vec![
        (None, "invalid_json"),
        (text(""), "invalid_json"),
        (text("   "), "invalid_json"),
        (text("not json"), "invalid_json"),
        (text("[1,2]"), "invalid_json"),
        (text(r#"{"ad_id":"a""#), "invalid_json"),
        (text(&format!("{GOOD}x")), "invalid_json"),
        (Some(vec![0xFF, 0xFE, 0x00]), "invalid_json"),
        (Some([GOOD.as_bytes(), &[0xC0]].concat()), "invalid_json"),
        (text(r#"{"ad_id":"a","user_id":"u"}"#), "missing_field"),
        (text(r#"{"user_id":"u","timestamp":1736952000}"#), "missing_field"),
        (text(r#"{"ad_id":1,"user_id":"u","timestamp":1736952000}"#), "invalid_field"),
        (text(r#"{"ad_id":"","user_id":"u","timestamp":1736952000}"#), "invalid_field"),
        (text(r#"{"ad_id":"a","user_id":"u","timestamp":"1736952000"}"#), "invalid_field"),
        (text(r#"{"ad_id":"a","user_id":"u","timestamp":-1}"#), "invalid_field"),
        (text(r#"{"ad_id":"a","user_id":"u","timestamp":1.5}"#), "invalid_field"),
        (text(r#"{"ad_id":"a","user_id":"u","timestamp":99999999999999999999999}"#), "invalid_field"),
        (text(r#"{"ad_id":"a","ad_id":"a","user_id":"u","timestamp":1736952000}"#), "invalid_field"),
        (text(r#"{"ad_id":"a","user_id":"u","timestamp":1736952000,"ip_address":"300.1.1.1"}"#), "invalid_field"),
        (Some(huge.into_bytes()), "too_large"),
    ]
}

#[test]
fn poison_of_every_kind_is_accounted_for_and_kept() {
    let job = TestJob::new("poison", 2, &[]);
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", kafka()).set("message.max.bytes", "4000000").create().unwrap();
    let poisons = poisons();
    for (payload, _) in &poisons {
        let mut record = BaseRecord::to(&job.topic).key("k").partition(1);
        record.payload = payload.as_deref();
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer
            .send(BaseRecord::to(&job.topic).key("k").partition(0).payload(GOOD))
            .map_err(|(error, _)| error)
            .unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();

    let mut running = job.start(2);
    let expected = 2 * poisons.len() as u64;
    let manifest = job.wait_for(&mut running, "read to the end", |manifest| manifest.totals().read == expected);
    running.terminate();
    let totals = manifest.totals();
    assert_eq!(totals.rejected, poisons.len() as u64);
    assert_eq!((totals.counted, totals.duplicate), (1, poisons.len() as u64 - 1));

    let letters = dead_letters(&format!("{}.dlq", job.topic), poisons.len());
    for (offset, (payload, reason)) in poisons.iter().enumerate() {
        let letter =
            letters.get(&offset.to_string()).unwrap_or_else(|| panic!("offset {offset} is not in the dead letters"));
        assert_eq!(&letter.payload, payload, "offset {offset}");
        assert_eq!(letter.reason, *reason, "offset {offset}: {}", letter.detail);
        assert!(!letter.detail.is_empty());
    }
}

struct Letter {
    payload: Option<Vec<u8>>,
    reason: String,
    detail: String,
}

/// Reads the dead letters, by the offset they say they come from.
fn dead_letters(topic: &str, count: usize) -> BTreeMap<String, Letter> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka())
        .set("group.id", "test")
        .set("fetch.message.max.bytes", "4000000")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..2 {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut letters = BTreeMap::new();
    let began = Instant::now();
    while letters.len() < count && began.elapsed() < Duration::from_secs(30) {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let header = |name: &str| {
            let headers = message.headers().unwrap();
            let found = headers.iter().find(|header| header.key == name).unwrap_or_else(|| panic!("no header {name}"));
            String::from_utf8(found.value.unwrap().to_vec()).unwrap()
        };
        assert_eq!(header("weir-partition"), "1");
        let letter = Letter {
            payload: message.payload().map(<[u8]>::to_vec),
            reason: header("weir-reason"),
            detail: header("weir-detail"),
        };
        letters.insert(header("weir-offset"), letter);
    }
    letters
}
