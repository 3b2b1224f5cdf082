//! Schedules on Kafka: two ingest processes over one topic, behind a network that fails, and a broker that is killed.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use weir_connectors::kafka::{KafkaConfig, KafkaTopics, TopicSpec};

use crate::book::Book;
use crate::count::{Expected, count_topic};
use crate::incidents::{self, Event, Plan};
use crate::load::{IMPATIENT, Load, await_more};
use crate::own::{Network, OwnBroker, free_port};
use crate::posts::Sent;
use crate::process::IngestProcess;
use crate::schedules::seeds;
use crate::{PATIENCE, await_until, now_ms, read_back};

/// Schedules that run side by side, each lane with its own broker.
const LANES: u64 = 2;

/// Every how many schedules the job counts what is there.
const COUNTED: u64 = 5;

const HOUR_MS: i64 = 3_600_000;

#[test]
fn clicks_in_kafka_outlive_all_that_fails_lane_0() {
    run_lane(0);
}

#[test]
fn clicks_in_kafka_outlive_all_that_fails_lane_1() {
    run_lane(1);
}

fn run_lane(lane: u64) {
    let seeds = seeds("kafka", lane, LANES);
    if seeds.is_empty() {
        return;
    }
    let mut lane = Lane::new();
    for seed in seeds {
        lane.schedule(seed);
    }
}

struct Lane {
    brokers: String,
    broker: OwnBroker,
    network: Network,
    /// Of the broker; removed after it.
    _folder: tempfile::TempDir,
}

impl Lane {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, broker_port) = (free_port(), free_port());
        let network = Network::between(port, broker_port);
        let broker = OwnBroker::start(folder.path(), broker_port, &["--advertised", &port.to_string()]);
        Self { brokers: format!("127.0.0.1:{port}"), broker, network, _folder: folder }
    }

    fn schedule(&mut self, seed: u64) {
        let (name, began) = (format!("kafka-{seed}"), Instant::now());
        println!("schedule {name}");
        let random = &mut StdRng::seed_from_u64(seed);
        let partitions = random.random_range(1..=4);
        create(&self.brokers, &name, partitions);
        let folder = tempfile::tempdir().unwrap();
        let mut processes = self.start(random, &name, folder.path());
        let (book, servers) = (Book::new(), [processes[0].address, processes[1].address]);
        let plan = incidents::kafka(random);
        let first_ms = now_ms() - 5 * HOUR_MS;
        let load = Load { clients: 4, seed, prefix: &name, servers: &servers, first_ms, patience_ms: IMPATIENT };
        load.during(&book, || {
            await_more(&book, 1);
            self.follow(&name, plan, &mut processes);
            await_more(&book, 100);
        });
        // All is healed, so that both end in order. Until then a click that was sent again elsewhere may still be on its way.
        for process in &mut processes {
            assert_eq!(process.terminate(), 0, "{name}: {}", process.log());
        }
        let found = read_back::topic(&self.brokers, &name);
        let compared = book.compare(&name, &found.clicks);
        let mut counted = "";
        if seed.is_multiple_of(COUNTED) {
            let closing = close_windows(&self.brokers, &name, partitions, first_ms + 3 * HOUR_MS);
            let records = compared.records + u64::from(partitions);
            let expected = Expected { clicks: &book.clicks(), closing: &closing, records, torn: 0 };
            count_topic(&name, folder.path(), &self.brokers, &name, &expected);
            counted = ", counted";
        }
        let took = Duration::from_millis(began.elapsed().as_millis() as u64);
        println!("{name}: {compared}{counted}; {}; {took:?}", book.facts());
    }

    /// The log's time-out is sometimes shorter than what fails.
    fn start(&self, random: &mut StdRng, topic: &str, folder: &Path) -> [IngestProcess; 2] {
        let (brokers, topic) = (format!("source.brokers={}", self.brokers), format!("source.topic={topic}"));
        let timeout = format!("ingest.log_timeout={}ms", random.random_range(300..4_000));
        let definitions = ["source.kind=kafka", &brokers, &topic, &timeout];
        let more = ["ingest.threads=1", "ingest.buffer_bytes=1048576", "ingest.drain_timeout=10s"];
        let definitions = [&definitions[..], &more[..]].concat();
        [(); 2].map(|()| IngestProcess::start(folder, &definitions))
    }

    fn follow(&mut self, name: &str, plan: Plan, processes: &mut [IngestProcess; 2]) {
        let started = Instant::now();
        // As long as nothing else has failed, a process that is told to stop has nothing to complain about.
        let mut quiet = true;
        for (at, event) in plan {
            sleep(at.saturating_sub(started.elapsed()));
            match event {
                Event::KillIngest(which) => processes[which].kill(),
                Event::StartIngest(which) => processes[which].restart(),
                Event::DrainIngest(which) => {
                    let code = processes[which].terminate();
                    assert!(code == 0 || (code == 1 && !quiet), "{name}: exit code {code}\n{}", processes[which].log());
                }
                Event::KillBroker => self.broker.kill(),
                Event::StartBroker => self.broker.restart(),
                Event::SwallowAnswers => self.network.swallow_answers(),
                Event::Stall => self.network.stall(),
                Event::TakeNetworkDown => self.network.take_down(),
                Event::Cut => self.network.cut(),
                Event::GoOn => self.network.go_on(),
            }
            quiet &= matches!(event, Event::KillIngest(_) | Event::StartIngest(_) | Event::DrainIngest(_));
        }
        self.network.go_on();
    }
}

/// Makes a topic and that of its dead letters, as soon as the broker is there.
pub fn create(brokers: &str, topic: &str, partitions: u32) {
    let topics = KafkaTopics::new(&KafkaConfig::new(brokers, topic, "clicks")).unwrap();
    let dead_letters = format!("{topic}.dlq");
    for (name, partitions) in [(topic, partitions), (dead_letters.as_str(), 1)] {
        let spec = TopicSpec { name, partitions, replicas: Some(1), settings: &[] };
        await_until("the broker to make a topic", || topics.create(&spec).is_ok());
    }
}

/// Writes a click to each partition, later than all others.
fn close_windows(brokers: &str, topic: &str, partitions: u32, time_ms: i64) -> Vec<Sent> {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("enable.idempotence", "true").create().unwrap();
    let clicks: Vec<Sent> = (0..partitions)
        .map(|number| Sent { ad_id: format!("closing-{number}"), user_id: "nobody".to_owned(), time_ms })
        .collect();
    for (partition, click) in (0..).zip(&clicks) {
        let Sent { ad_id, user_id, time_ms } = click;
        let value = format!(r#"{{"ad_id":"{ad_id}","user_id":"{user_id}","timestamp":{time_ms}}}"#);
        producer.send(BaseRecord::<str, str>::to(topic).partition(partition).key(ad_id).payload(&value)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    clicks
}
