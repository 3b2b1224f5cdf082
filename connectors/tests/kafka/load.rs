//! Clicks appended to a log under load, with a book of what became of them, and the topic read back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::Message;
use rdkafka::message::Headers;
use weir_connectors::kafka::{KafkaConfig, KafkaLog, KafkaLogConfig};
use weir_connectors::log::{Group, Log, LogError, Settled};

use super::PATIENCE;
use super::to_the_end::read_to_the_end;

/// A log of a topic, with the settings that most tests want.
pub(crate) fn open(kafka: &KafkaConfig, delivery_timeout: Duration) -> KafkaLog {
    let region = Some("eu-1".to_owned());
    KafkaLog::open(KafkaLogConfig { kafka: kafka.clone(), region, capacity_bytes: 4 << 20, delivery_timeout }).unwrap()
}

pub(crate) fn ad(number: u64) -> String {
    format!("ad-{}", number % 97)
}

/// A group of clicks, whose values are their numbers with something behind them.
pub(crate) fn group(numbers: impl IntoIterator<Item = u64>) -> Group {
    let mut group = Group::default();
    for number in numbers {
        let value = format!("{number} {}", "x".repeat((number % 400) as usize));
        group.push(&ad(number), |buffer| buffer.extend_from_slice(value.as_bytes()));
    }
    group
}

/// Appends a group and waits for what became of it.
pub(crate) fn append(log: &dyn Log, group: Group) -> Settled {
    let (told, hear) = std::sync::mpsc::channel();
    log.append(group, Box::new(move |settled| told.send(settled).unwrap()));
    let settled = hear.recv_timeout(PATIENCE).expect("the group is settled in time");
    assert!(hear.recv_timeout(Duration::from_millis(1)).is_err(), "a group is settled once");
    settled
}

/// What became of clicks.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) accepted: Mutex<BTreeSet<u64>>,
    pub(crate) failed: AtomicU64,
    errors: Mutex<Vec<LogError>>,
    open_groups: AtomicU64,
}

impl Book {
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    /// Whether nothing failed, but what the log had no room for.
    pub(crate) fn was_full_at_most(&self) -> bool {
        self.errors.lock().unwrap().iter().all(|error| matches!(error, LogError::Full { .. }))
    }

    fn note(&self, first: u64, size: u64, settled: Settled) {
        assert_eq!(settled.failed.is_empty(), settled.error.is_none());
        assert!(settled.failed.is_sorted_by(|a, b| a < b), "ascending: {:?}", settled.failed);
        let failed: BTreeSet<u64> = settled.failed.iter().map(|index| first + u64::from(*index)).collect();
        let accepted = (first..first + size).filter(|number| !failed.contains(number));
        self.accepted.lock().unwrap().extend(accepted);
        self.failed.fetch_add(failed.len() as u64, Ordering::SeqCst);
        self.errors.lock().unwrap().extend(settled.error);
        assert!(self.open_groups.fetch_sub(1, Ordering::SeqCst) > 0, "a group is settled once");
    }
}

/// A thread that appends until it is told to stop.
pub(crate) struct Load {
    pub(crate) book: Arc<Book>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Load {
    pub(crate) fn start(log: Arc<KafkaLog>, seed: u64) -> Self {
        let (book, stop) = (Arc::<Book>::default(), Arc::<AtomicBool>::default());
        let (noted, stopped) = (Arc::clone(&book), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut random = StdRng::seed_from_u64(seed);
            let mut next = 0;
            while !stopped.load(Ordering::SeqCst) {
                let size = if random.random_bool(0.5) { 1 } else { random.random_range(2..60) };
                let (first, noted) = (next, Arc::clone(&noted));
                next += size;
                noted.open_groups.fetch_add(1, Ordering::SeqCst);
                log.append(group(first..next), Box::new(move |settled| noted.note(first, size, settled)));
                // A log that is nearly full is left in peace for a moment, but is filled to the brim all the same.
                let load = log.load();
                if random.random_bool(0.1) || (load.bytes * 2 > load.capacity_bytes && random.random_bool(0.7)) {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Self { book, stop, thread }
    }

    /// Ends the load, and the log; every group must have been settled by then.
    pub(crate) fn finish(self, log: &KafkaLog) -> Arc<Book> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        log.close(PATIENCE).unwrap();
        assert_eq!(self.book.open_groups.load(Ordering::SeqCst), 0, "every group is settled");
        assert_eq!((log.load().records, log.load().bytes), (0, 0));
        self.book
    }
}

/// A record that was read back.
pub(crate) struct Found {
    pub(crate) partition: i32,
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: BTreeMap<String, String>,
}

/// Reads a topic from its start to its present end.
pub(crate) fn read_back(kafka: &KafkaConfig) -> Vec<Found> {
    let mut found = Vec::new();
    read_to_the_end(&kafka.brokers, &kafka.topic, |record| {
        found.push(Found {
            partition: record.partition(),
            key: String::from_utf8(record.key().unwrap().to_vec()).unwrap(),
            value: record.payload().unwrap().to_vec(),
            headers: record
                .headers()
                .into_iter()
                .flat_map(|headers| headers.iter())
                .map(|header| (header.key.to_owned(), String::from_utf8(header.value.unwrap().to_vec()).unwrap()))
                .collect(),
        });
    });
    found
}

/// How often each click is in the topic.
pub(crate) fn counted(kafka: &KafkaConfig) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for record in read_back(kafka) {
        let text = String::from_utf8(record.value).unwrap();
        let number: u64 = text.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(record.key, ad(number));
        assert_eq!(text.len(), number.to_string().len() + 1 + (number % 400) as usize, "whole: {text}");
        *counts.entry(number).or_default() += 1;
    }
    counts
}

/// Expects every click that was accepted to be in the topic, and says what else is noteworthy.
pub(crate) fn check_nothing_lost(kafka: &KafkaConfig, book: &Book) {
    let counts = counted(kafka);
    let accepted = book.accepted.lock().unwrap();
    let lost: Vec<u64> = accepted.iter().filter(|number| !counts.contains_key(number)).copied().collect();
    let twice = accepted.iter().filter(|number| counts.get(number).is_some_and(|count| *count > 1)).count();
    let mut errors: BTreeMap<String, usize> = BTreeMap::new();
    for error in book.errors.lock().unwrap().iter() {
        *errors.entry(error.to_string()).or_default() += 1;
    }
    println!(
        "{} accepted, {} failed, {} in the topic, {twice} accepted ones twice; groups with errors: {errors:#?}",
        accepted.len(),
        book.failed.load(Ordering::SeqCst),
        counts.len(),
    );
    assert!(lost.is_empty(), "{} of {} accepted clicks are lost: {lost:?}", lost.len(), accepted.len());
    // Once records have timed out, the client starts a new sequence, and may send again what was in flight beside them. The
    // ids of the clicks are for that.
    let timed_out = errors.keys().any(|error| error.contains("MessageTimedOut"));
    assert!(
        twice == 0 || timed_out,
        "an idempotent producer writes what it acknowledges once: {twice} are there twice"
    );
}
