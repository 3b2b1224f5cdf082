//! How fast the Kafka source reads: fills a topic once, then reads it to its end.
//!
//! ```sh
//! cargo run --release -p weir-connectors --example kafka_read_speed -- \
//!     127.0.0.1:9092 speed 5000000 [region=eu-1] [compression.type=lz4]
//! ```
//!
//! With a region, the messages of a new topic have it as a header. What else follows the number of messages goes to the
//! client library, for writing and for reading. Prints messages a second and the processor time of this process a message,
//! for writing and for reading.

mod measure;

use std::fmt::Write;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use weir_connectors::kafka::{KafkaClicks, KafkaConfig, KafkaSourceFactory, KafkaTopics, TopicCreated, TopicSpec};
use weir_dataflow::{Polled, SourceFactory};

use measure::cpu_seconds;

const PARTITIONS: u32 = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, topic, messages, rest @ ..] = arguments.as_slice() else {
        return Err("usage: kafka_read_speed BROKERS TOPIC MESSAGES [region=R] [KEY=VALUE ...]".into());
    };
    let messages: u64 = messages.parse()?;
    let mut config = KafkaConfig::new(brokers, topic, "read-speed");
    config.settings.extend(rest.iter().filter_map(|setting| setting.split_once('=')).map(owned));
    let region = config.settings.remove("region");
    let spec = TopicSpec { name: topic, partitions: PARTITIONS, replicas: Some(1), settings: &[] };
    if KafkaTopics::new(&config)?.create(&spec)? == TopicCreated::New {
        fill(&config, messages, region.as_deref())?;
    }
    read(config)
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn fill(config: &KafkaConfig, messages: u64, region: Option<&str>) -> Result<(), Box<dyn std::error::Error>> {
    let mut clicks = Clicks::new(config, region)?;
    let clock = Clock::start();
    let agent =
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36 ".repeat(3);
    let (mut key, mut value) = (String::new(), String::new());
    for number in 0..messages {
        let ad = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        let user = number.wrapping_mul(0xc2b2_ae3d_27d4_eb4f) >> 40;
        key.clear();
        write!(key, "ad-{ad:05}")?;
        value.clear();
        write!(
            value,
            r#"{{"ad_id":"{key}","user_id":"user-{user:08}","timestamp":{},"click_id":"{number:032x}","#,
            1_700_000_000 + number / 1000,
        )?;
        value.push_str(r#""ip_address":"10.0.0.1","user_agent":""#);
        value.push_str(&agent);
        value.push_str(r#""}"#);
        clicks.send((number % u64::from(PARTITIONS)) as i32, key.as_bytes(), value.as_bytes())?;
    }
    clicks.flush()?;
    clock.report("written", messages);
    Ok(())
}

/// `weir generate`'s producer, or one that writes the header.
enum Clicks<'a> {
    Plain(KafkaClicks),
    Labelled { producer: BaseProducer, topic: &'a str, headers: OwnedHeaders },
}

impl<'a> Clicks<'a> {
    fn new(config: &'a KafkaConfig, region: Option<&str>) -> Result<Self, Box<dyn std::error::Error>> {
        let Some(region) = region else { return Ok(Self::Plain(KafkaClicks::new(config)?)) };
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &config.brokers).set("compression.type", "lz4").set("batch.size", "1000000");
        client.extend(config.settings.clone());
        let headers = OwnedHeaders::new().insert(Header { key: "weir-region", value: Some(region) });
        Ok(Self::Labelled { producer: client.create()?, topic: &config.topic, headers })
    }

    fn send(&mut self, partition: i32, key: &[u8], value: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
        let (producer, topic, headers) = match self {
            Self::Plain(clicks) => return Ok(clicks.send(Some(partition), key, value, None)?),
            Self::Labelled { producer, topic, headers } => (producer, topic, headers),
        };
        let mut record = BaseRecord::to(topic).partition(partition).key(key).payload(value).headers(headers.clone());
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), unsent)) => record = unsent,
                Err((error, _)) => return Err(error.into()),
            }
            producer.poll(Duration::from_millis(1));
        }
    }

    fn flush(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        match self {
            Self::Plain(clicks) => Ok(clicks.flush()?),
            Self::Labelled { producer, .. } => Ok(producer.flush(Duration::from_secs(60))?),
        }
    }
}

fn read(config: KafkaConfig) -> Result<(), Box<dyn std::error::Error>> {
    let factory = KafkaSourceFactory::new(config)?;
    let partitions = factory.partitions()?;
    let assigned: Vec<_> = partitions.iter().map(|partition| (*partition, None)).collect();
    let mut source = factory.open(&assigned)?;
    let clock = Clock::start();
    let (mut records, mut bytes, mut idle_polls, mut labelled) = (0, 0, 0_u64, 0_u64);
    loop {
        let (mut at_end, mut found) = (0, false);
        for partition in &partitions {
            // One byte of each record is looked at, so that its line comes into the cache.
            let polled = source.poll(*partition, 1024, &mut |record| {
                let payload = record.payload.unwrap_or_default();
                labelled += u64::from(record.region.is_some());
                bytes += payload.len() as u64 + u64::from(payload.first().is_some_and(|byte| *byte == 0));
            })?;
            match polled {
                Polled::Records(count) => {
                    records += count as u64;
                    found = true;
                }
                Polled::CaughtUp | Polled::Ended => at_end += 1,
                Polled::Pending => {}
            }
        }
        if at_end == partitions.len() {
            break;
        }
        if !found {
            idle_polls += 1;
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    }
    clock.report("read", records);
    println!(
        "{} bytes a message; {labelled} have a region; nothing at hand {idle_polls} times",
        bytes / records.max(1)
    );
    Ok(())
}

/// Wall clock and processor time.
struct Clock {
    started: Instant,
    cpu_started: f64,
}

impl Clock {
    fn start() -> Self {
        Self { started: Instant::now(), cpu_started: cpu_seconds() }
    }

    fn report(&self, what: &str, messages: u64) {
        let seconds = self.started.elapsed().as_secs_f64();
        let cpu_us = (cpu_seconds() - self.cpu_started) * 1e6;
        let count = messages as f64;
        println!(
            "{messages} messages {what} in {seconds:.2} s: {:.0} a second, {:.2} CPU-us a message",
            count / seconds,
            cpu_us / count
        );
    }
}
