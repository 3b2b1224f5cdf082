//! Kafka is not there yet, or the topic is gone: ingest lives on, says so, and takes clicks as soon as it can.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir_connectors::kafka::{KafkaConfig, KafkaTopics};

use crate::connection::{Answer, Connection, get, post};
use crate::kafka::create;
use crate::own::{OwnBroker, free_port};
use crate::process::IngestProcess;
use crate::{PATIENCE, await_until, read_back};

const TOPIC: &str = "clicks";

/// Posts a click; there is always an answer.
fn post_one(address: SocketAddr, id: &str) -> Answer {
    let body = format!(r#"{{"ad_id":"a","user_id":"u","timestamp":1790000000,"click_id":"{id}"}}"#);
    let request = post("application/json", "", body.as_bytes());
    let mut connection = Connection::open(address, PATIENCE).unwrap();
    connection.request(&request).unwrap()
}

fn status_of(address: SocketAddr, page: &str) -> u16 {
    get(address, page).unwrap().status
}

/// Alive, not ready, and refusing in the way that is promised.
#[track_caller]
fn expect_refusal(process: &mut IngestProcess, id: &str) {
    await_until("ingest to see that it is not ready", || status_of(process.address, "/readyz") == 503);
    assert_eq!(status_of(process.address, "/livez"), 200);
    let asked = Instant::now();
    let answer = post_one(process.address, id);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.retry_after.is_some_and(|seconds| (1..=30).contains(&seconds)), "{:?}", answer.retry_after);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(process.is_running());
}

/// Posts a click until it is accepted; how long that took.
fn post_until_accepted(process: &mut IngestProcess, id: &str) -> Duration {
    let began = Instant::now();
    await_until("a click to be accepted", || {
        let answer = post_one(process.address, id);
        assert!(matches!(answer.status, 202 | 503), "{} {}", answer.status, answer.text());
        answer.status == 202
    });
    began.elapsed()
}

#[test]
fn ingest_starts_without_a_broker_and_outlives_its_topic() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let brokers = format!("127.0.0.1:{port}");
    let at = format!("source.brokers={brokers}");
    let definitions = ["source.kind=kafka", &at, "source.topic=clicks", "ingest.log_timeout=1s"];
    let mut process = IngestProcess::start(folder.path(), &definitions);
    process.await_alive();
    for number in 0..20 {
        // Enough to open the breaker.
        expect_refusal(&mut process, &format!("early-{number}"));
    }

    let _broker = OwnBroker::start(&folder.path().join("broker"), port, &[]);
    create(&brokers, TOPIC, 2);
    let took = post_until_accepted(&mut process, "first");
    println!("a broker that comes up: the first click is accepted after {took:?}");
    await_until("ingest to be ready", || status_of(process.address, "/readyz") == 200);

    let topics = KafkaTopics::new(&KafkaConfig::new(&brokers, TOPIC, "clicks")).unwrap();
    topics.delete(TOPIC).unwrap();
    // What a topic that is being deleted still takes is gone with it; soon it takes nothing.
    let mut tries = 0;
    await_until("the topic to be missed", || {
        tries += 1;
        post_one(process.address, &format!("doomed-{tries}")).status == 503
    });
    expect_refusal(&mut process, "without a topic");
    create(&brokers, TOPIC, 3);
    let took = post_until_accepted(&mut process, "again");
    println!("a topic that is made anew: the first click is accepted after {took:?}");
    await_until("ingest to be ready", || status_of(process.address, "/readyz") == 200);
    let more: Vec<String> = (0..50).map(|number| format!("more-{number}")).collect();
    for id in &more {
        post_until_accepted(&mut process, id);
    }
    assert_eq!(process.terminate(), 0, "{}", process.log());
    let found = read_back::topic(&brokers, TOPIC);
    for id in more.iter().map(String::as_str).chain(["again"]) {
        assert!(found.clicks.contains_key(id), "{id} is lost");
    }
}
