//! How fast ingest's Kafka log takes clicks, and how soon it answers for them.
//!
//! ```sh
//! cargo run --release -p weir-connectors --example kafka_log_speed -- 127.0.0.1:9092 [region=eu-1] [linger.ms=1 …]
//! ```
//!
//! First closed loops: groups of 1 and of 100 clicks of 500 bytes, as many under way as `capacity=BYTES` hold (8 MiB),
//! beside the bare `KafkaClicks` in the same run. Then open loops: groups are appended at fixed times, and the time until
//! they are settled is counted from when they were due. `only=NAME` runs those whose name contains NAME.

mod measure;

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_connectors::kafka::{KafkaClicks, KafkaConfig, KafkaLog, KafkaLogConfig, KafkaTopics, TopicSpec};
use weir_connectors::log::{Group, Log};

use measure::cpu_seconds;

const PARTITIONS: u32 = 12;

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, rest @ ..] = arguments.as_slice() else {
        return Err(
            "usage: kafka_log_speed BROKERS [region=R] [only=NAME] [clicks=N] [capacity=BYTES] [KEY=VALUE ...]".into(),
        );
    };
    let (mut region, mut only, mut clicks) = (None, String::new(), 2_000_000);
    let mut capacity_bytes = 8 << 20;
    let topic = format!("log-speed-{}", std::process::id());
    let mut config = KafkaConfig::new(brokers, &topic, "log-speed");
    for (key, value) in rest.iter().filter_map(|setting| setting.split_once('=')) {
        match key {
            "region" => region = Some(value.to_owned()),
            "only" => only = value.to_owned(),
            "capacity" => capacity_bytes = value.parse()?,
            "clicks" => clicks = value.parse()?,
            _ => drop(config.settings.insert(key.to_owned(), value.to_owned())),
        }
    }
    let topics = KafkaTopics::new(&config)?;
    topics.create(&TopicSpec { name: &topic, partitions: PARTITIONS, replicas: None, settings: &[] })?;
    let measured = measure(&config, region, capacity_bytes, clicks, |name| name.contains(&only));
    topics.delete(&topic)?;
    measured
}

fn measure(
    config: &KafkaConfig,
    region: Option<String>,
    capacity_bytes: u64,
    clicks: u64,
    wanted: impl Fn(&str) -> bool,
) -> Result<(), Failed> {
    let made = &Clicks::new();
    let open = || {
        KafkaLog::open(KafkaLogConfig {
            kafka: config.clone(),
            region: region.clone(),
            capacity_bytes,
            delivery_timeout: Duration::from_secs(60),
        })
    };
    if wanted("groups of 100") {
        closed_loop(&open()?, made, "groups of 100", clicks, 100)?;
    }
    if wanted("bare producer") {
        bare(config, made, clicks)?;
    }
    if wanted("groups of 1,") {
        closed_loop(&open()?, made, "groups of 1, ", clicks / 2, 1)?;
    }
    for rate in [1_000, 10_000, 20_000, 40_000] {
        let name = format!("single at {rate}/s");
        if wanted(&name) {
            open_loop(&open()?, made, &name, rate, 1)?;
        }
    }
    for rate in [100_000, 300_000] {
        let name = format!("hundreds at {rate}/s");
        if wanted(&name) {
            open_loop(&open()?, made, &name, rate, 100)?;
        }
    }
    Ok(())
}

/// Appends as much as the log takes.
fn closed_loop(log: &KafkaLog, made: &Clicks, name: &str, clicks: u64, size: u64) -> Result<(), Failed> {
    log.probe(Duration::from_secs(10))?;
    let failed = Arc::new(AtomicU64::new(0));
    let clock = Clock::start();
    for first in (0..clicks).step_by(size as usize) {
        while log.load().bytes + size * 600 > log.load().capacity_bytes {
            std::thread::sleep(Duration::from_micros(500));
        }
        let failed = Arc::clone(&failed);
        log.append(
            made.group(first, size),
            Box::new(move |settled| {
                failed.fetch_add(settled.failed.len() as u64, Ordering::Relaxed);
            }),
        );
    }
    log.close(Duration::from_secs(60))?;
    clock.report(name, clicks, failed.load(Ordering::Relaxed));
    Ok(())
}

/// The same clicks through the producer of `weir generate`: no report for what is delivered, 8 MB under way.
fn bare(config: &KafkaConfig, made: &Clicks, clicks: u64) -> Result<(), Failed> {
    let mut producer = KafkaClicks::new(config)?;
    let clock = Clock::start();
    for first in (0..clicks).step_by(100) {
        for record in made.group(first, 100).iter() {
            producer.send(None, record.ad_id.as_bytes(), record.value, None)?;
        }
    }
    producer.flush()?;
    clock.report("bare producer", clicks, 0);
    Ok(())
}

/// Appends groups at fixed times for a while.
fn open_loop(log: &KafkaLog, made: &Clicks, name: &str, rate: u64, size: u64) -> Result<(), Failed> {
    log.probe(Duration::from_secs(10))?;
    let waits_us = Arc::new(Mutex::new(Vec::with_capacity(1 << 20)));
    let failed = Arc::new(AtomicU64::new(0));
    let warm_up = Duration::from_secs(2);
    let started = Instant::now();
    let mut clock = Clock::start();
    let (mut clicks, mut measured) = (0, 0);
    while started.elapsed() < warm_up + Duration::from_secs(6) {
        let due_clicks = (started.elapsed().as_secs_f64() * rate as f64) as u64;
        while clicks + size <= due_clicks {
            let due = Duration::from_secs_f64(clicks as f64 / rate as f64);
            if measured == 0 && due >= warm_up {
                clock = Clock::start();
            }
            measured += if due >= warm_up { size } else { 0 };
            let (waits_us, failed) = (Arc::clone(&waits_us), Arc::clone(&failed));
            log.append(
                made.group(clicks, size),
                Box::new(move |settled| {
                    failed.fetch_add(settled.failed.len() as u64, Ordering::Relaxed);
                    if due >= warm_up {
                        let wait = started.elapsed().saturating_sub(due);
                        waits_us.lock().expect("nothing panics").push(wait.as_micros() as u64);
                    }
                }),
            );
            clicks += size;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    log.close(Duration::from_secs(60))?;
    clock.report(name, measured, failed.load(Ordering::Relaxed));
    let mut waits = waits_us.lock().map(|mut waits| std::mem::take(&mut *waits)).unwrap_or_default();
    waits.sort_unstable();
    let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).map_or(0.0, |us| *us as f64 / 1000.0);
    println!("    settled after p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms", at(0.5), at(0.99), at(0.999));
    Ok(())
}

/// Clicks that are made once, so that making them does not count.
struct Clicks(Vec<(String, String)>);

impl Clicks {
    fn new() -> Self {
        Self((0..1 << 14).map(click).collect())
    }

    fn group(&self, first: u64, size: u64) -> Group {
        let mut group = Group::with_capacity(size as usize, size as usize * 600);
        for number in first..first + size {
            let (key, value) = &self.0[number as usize % self.0.len()];
            group.push(key, |buffer| buffer.extend_from_slice(value.as_bytes()));
        }
        group
    }
}

/// A click of about 500 bytes that compresses about as well as real ones.
fn click(number: u64) -> (String, String) {
    let random = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let user = random.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    let key = format!("ad-{:05}", random >> 48);
    let mut value = format!(
        r#"{{"ad_id":"{key}","user_id":"user-{user:020}","timestamp":{},"click_id":"{random:016x}{user:016x}","#,
        1_700_000_000 + number / 1000
    );
    let _ = write!(
        value,
        r#""ip_address":"10.{}.{}.{}","user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.{}.{} Safari/537.36","#,
        random & 255,
        (random >> 8) & 255,
        (random >> 16) & 255,
        100 + (random & 31),
        random & 4095,
        (random >> 12) & 255,
    );
    let _ = write!(
        value,
        r#""campaign":"{:016x}","referrer":"https://example.com/articles/{:x}?utm_source=newsletter&utm_medium=email","session":"{:016x}{:016x}"}}"#,
        random.rotate_left(7),
        random.rotate_left(11) >> 20,
        user.rotate_left(17),
        user.rotate_left(19),
    );
    (key, value)
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

    fn report(&self, what: &str, clicks: u64, failed: u64) {
        let seconds = self.started.elapsed().as_secs_f64();
        let cpu_us = (cpu_seconds() - self.cpu_started) * 1e6;
        let count = clicks as f64;
        println!(
            "{what}: {:.0} clicks/s, {:.2} CPU-us a click ({clicks} in {seconds:.2} s, {failed} failed)",
            count / seconds,
            cpu_us / count
        );
    }
}
