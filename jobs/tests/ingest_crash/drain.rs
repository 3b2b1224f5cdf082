//! `weir ingest` is asked to stop under load, again and again: it ends in order, and what it answered is in the log.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::book::Book;
use crate::kafka::create;
use crate::load::{Load, PATIENT, await_more};
use crate::process::IngestProcess;
use crate::{now_ms, read_back};

const ROUNDS: u32 = 12;

/// Ends a process under load again and again.
fn drain_again_and_again(name: &str, process: &mut IngestProcess) -> Book {
    let (book, servers) = (Book::new(), [process.address]);
    let load = Load {
        clients: 6,
        seed: 1,
        prefix: name,
        servers: &servers,
        first_ms: now_ms() - 3_600_000,
        patience_ms: PATIENT,
    };
    let (mut random, mut longest) = (StdRng::seed_from_u64(1), Duration::ZERO);
    load.during(&book, || {
        for _ in 0..ROUNDS {
            await_more(&book, 200);
            sleep(Duration::from_millis(random.random_range(0..200)));
            let told = Instant::now();
            assert_eq!(process.terminate(), 0, "{}", process.log());
            longest = longest.max(told.elapsed());
            process.restart();
        }
        await_more(&book, 200);
    });
    assert_eq!(process.terminate(), 0, "{}", process.log());
    println!("{name}: stopped {ROUNDS} times under load, within {longest:?} at most; {}", book.facts());
    assert_eq!(book.torn.load(Ordering::Relaxed), 0, "an answer broke off");
    assert_eq!(book.timed_out.load(Ordering::Relaxed), 0, "a request found no answer");
    book
}

#[test]
fn drained_under_load_over_kafka() {
    let brokers =
        std::env::var("WEIR_TEST_KAFKA").expect("WEIR_TEST_KAFKA is not set: run the tests with scripts/test");
    let topic = format!("drain-{}", std::process::id());
    create(&brokers, &topic, 4);
    let folder = tempfile::tempdir().unwrap();
    let (at, into) = (format!("source.brokers={brokers}"), format!("source.topic={topic}"));
    let mut process = IngestProcess::start(folder.path(), &["source.kind=kafka", &at, &into]);
    let book = drain_again_and_again("drain-kafka", &mut process);
    println!("{}", book.compare("drain-kafka", &read_back::topic(&brokers, &topic).clicks));
}

#[test]
fn drained_under_load_over_an_embedded_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let url = format!("source.url={}/", log.display());
    let definitions = ["source.kind=ndjson", &url, "ingest.shed.min_free_bytes=0"];
    let mut process = IngestProcess::start(folder.path(), &definitions);
    let book = drain_again_and_again("drain-embedded", &mut process);
    let found = read_back::folder(&log);
    assert_eq!(found.torn, 0);
    println!("{}", book.compare("drain-embedded", &found.clicks));
}
