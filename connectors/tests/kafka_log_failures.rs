//! The Kafka log while brokers are killed and answers are lost: no click that was settled without failure is lost.
//!
//! `WEIR_TEST_SEEDS=FIRST..END` runs other seeds than the usual ones.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kafka;

use std::ops::Range;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kafka::load::{Load, check_nothing_lost, open};
use kafka::own::{Network, OwnBroker, free_port};
use kafka::{PATIENCE, await_until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use weir_connectors::kafka::{KafkaConfig, KafkaTopics, TopicSpec};
use weir_connectors::log::Log;

fn seeds() -> Range<u64> {
    let given = std::env::var("WEIR_TEST_SEEDS").unwrap_or_else(|_| "1..3".to_owned());
    let (first, end) = given.split_once("..").expect("WEIR_TEST_SEEDS is FIRST..END");
    first.parse().unwrap()..end.parse().unwrap()
}

fn create(config: &KafkaConfig, spec: &TopicSpec<'_>) {
    let topics = KafkaTopics::new(config).unwrap();
    await_until("the cluster to start", || topics.create(spec).is_ok());
}

fn millis(random: &mut StdRng, range: Range<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}

#[test]
fn a_broker_that_is_killed_again_and_again_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut broker = OwnBroker::start(folder.path(), port, &[]);
    for seed in seeds() {
        println!("seed {seed}");
        let topic = format!("clicks-{seed}");
        let config = KafkaConfig::new(&format!("127.0.0.1:{port}"), &topic, "main");
        create(&config, &TopicSpec { name: &topic, partitions: 4, replicas: Some(1), settings: &[] });
        let mut random = StdRng::seed_from_u64(seed);
        // With every other seed records time out while the broker is away.
        let delivery_timeout = if seed % 2 == 0 { Duration::from_secs(2) } else { PATIENCE };
        let log = Arc::new(open(&config, delivery_timeout));
        let load = Load::start(Arc::clone(&log), seed);
        for _ in 0..2 {
            let before = load.book.accepted();
            await_until("clicks to be accepted", || load.book.accepted() > before + 1_000);
            sleep(millis(&mut random, 0..700));
            broker.kill();
            sleep(millis(&mut random, 0..3_000));
            broker.restart();
        }
        let before = load.book.accepted();
        await_until("clicks to be accepted again", || load.book.accepted() > before + 1_000);
        let book = load.finish(&log);
        check_nothing_lost(&config, &book);
    }
}

#[test]
fn lost_answers_and_cut_connections_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (port, broker_port) = (free_port(), free_port());
    let network = Network::between(port, broker_port);
    let _broker = OwnBroker::start(folder.path(), broker_port, &["--advertised", &port.to_string()]);
    for seed in seeds() {
        println!("seed {seed}");
        let topic = format!("clicks-{seed}");
        let config = KafkaConfig::new(&format!("127.0.0.1:{port}"), &topic, "main");
        create(&config, &TopicSpec { name: &topic, partitions: 4, replicas: Some(1), settings: &[] });
        let mut random = StdRng::seed_from_u64(seed);
        let delivery_timeout = if seed % 2 == 0 { Duration::from_millis(1_500) } else { PATIENCE };
        let log = Arc::new(open(&config, delivery_timeout));
        let load = Load::start(Arc::clone(&log), seed);
        await_until("clicks to be accepted", || load.book.accepted() > 1_000);
        for _ in 0..12 {
            sleep(millis(&mut random, 50..600));
            if random.random_bool(0.7) {
                network.swallow_answers();
                // Sometimes for longer than records may take.
                sleep(millis(&mut random, 10..if seed % 2 == 0 { 2_500 } else { 400 }));
            }
            network.cut();
        }
        let before = load.book.accepted();
        await_until("clicks to be accepted again", || load.book.accepted() > before + 1_000);
        let book = load.finish(&log);
        check_nothing_lost(&config, &book);
    }
}

#[test]
fn one_of_three_brokers_may_be_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (ports, quorum) = ([(); 3].map(|()| free_port()), [(); 3].map(|()| free_port().to_string()).join(","));
    let mut brokers: Vec<OwnBroker> = (0..3)
        .map(|index| {
            let options = ["--node", &(index + 1).to_string(), "--quorum", &quorum];
            OwnBroker::start(&folder.path().join(index.to_string()), ports[index], &options)
        })
        .collect();
    let addresses = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let config = KafkaConfig::new(&addresses, "clicks", "main");
    let settings = [("min.insync.replicas", "2")];
    create(&config, &TopicSpec { name: "clicks", partitions: 6, replicas: Some(3), settings: &settings });
    let strict = KafkaConfig::new(&addresses, "strict", "main");
    let settings = [("min.insync.replicas", "3")];
    create(&strict, &TopicSpec { name: "strict", partitions: 1, replicas: Some(3), settings: &settings });
    let strict_log = open(&strict, PATIENCE);
    await_until("all replicas to be in sync", || strict_log.probe(PATIENCE).is_ok());

    for seed in seeds() {
        let mut random = StdRng::seed_from_u64(seed);
        let log = Arc::new(open(&config, PATIENCE));
        let load = Load::start(Arc::clone(&log), seed << 40);
        await_until("clicks to be accepted", || load.book.accepted() > 5_000);
        sleep(millis(&mut random, 0..500));
        let victim = random.random_range(0..3);
        brokers[victim].kill();
        let (killed, before) = (Instant::now(), load.book.accepted());
        // More than can have been under way: these were appended after the kill.
        await_until("clicks to be accepted without it", || load.book.accepted() > before + 50_000);
        println!("seed {seed}: broker {} killed, 50,000 clicks more after {:?}", victim + 1, killed.elapsed());
        await_until("the loss to be noticed", || {
            strict_log.probe(PATIENCE).is_err_and(|error| error.to_string().contains("2 replicas in sync"))
        });
        log.probe(PATIENCE).unwrap();
        let book = load.finish(&log);
        assert!(book.was_full_at_most(), "nothing that was taken is given up");
        check_nothing_lost(&config, &book);
        brokers[victim].restart();
        await_until("all replicas to be in sync again", || strict_log.probe(PATIENCE).is_ok());
        KafkaTopics::new(&config).unwrap().delete("clicks").unwrap();
        let settings = [("min.insync.replicas", "2")];
        create(&config, &TopicSpec { name: "clicks", partitions: 6, replicas: Some(3), settings: &settings });
    }
}
