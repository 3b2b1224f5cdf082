//! Clicks a second through the whole graph, from memory: what is left for sources, sinks and stores to spend.
//!
//! `cargo run --release -p weir-dataflow --example graph_speed -- [millions of clicks] [workers] [regions]`
//!
//! 500-byte clicks of 100,000 ads (Zipf 1.05) and a million users, 1 % duplicates, a million clicks a second of event time.
//! Of several regions, each has partitions of its own. The source patches click id and time into prepared records, so most
//! of the time is the graph's own.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use weir_checkpoints::{Created, ObjectInfo, Offset, PartitionId, Position, Store, StoreError};
use weir_dataflow::{
    CheckpointSettings, EpochSettings, HotSettings, HotWindows, Job, JobMetrics, Layout, Polled, Record, Source,
    SourceError, SourceFactory, TimeSettings, run,
};

const PARTITIONS: u32 = 8;
const TEMPLATES: usize = 100_000;
const START_MS: u64 = 1_736_952_000_000;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let clicks = arguments.next().unwrap_or(10) as u64 * 1_000_000;
    let workers = arguments.next().unwrap_or(2);
    let regions = (0..arguments.next().unwrap_or(0)).map(|number| format!("eu-{number}")).collect();
    let templates = Arc::new(templates());
    let job = Job {
        name: "speed".to_owned(),
        region: None,
        time: TimeSettings {
            out_of_orderness_ms: 10_000,
            allowed_lateness_ms: 600_000,
            idle_timeout_ms: 30_000,
            max_future_skew_ms: 300_000,
            max_partition_lead_ms: 300_000,
        },
        dedup_horizon_ms: 1_200_000,
        epoch: EpochSettings { interval: Duration::from_secs(1), max_records: 1_000_000 },
        checkpoint: CheckpointSettings {
            interval: Duration::from_secs(10),
            max_archive_bytes: 256 << 20,
            retain: 3,
            retain_manifests: Duration::from_secs(60),
        },
        extra_fields: false,
        settings: BTreeMap::new(),
        source: Arc::new(Synthetic { templates, regions, each: clicks / u64::from(PARTITIONS) }),
        sinks: Vec::new(),
        store: Arc::new(MemoryStore::default()),
        hot: Arc::new(HotWindows::new(
            None,
            HotSettings { retention_ms: 7_200_000, memory_bytes: 1 << 30, readers_lag: Duration::from_secs(5) },
        )),
        metrics: Arc::new(JobMetrics::default()),
        stop: Arc::new(AtomicBool::new(false)),
    };
    let began = Instant::now();
    let finished = run(job, Layout::Threads(workers)).expect("the job runs");
    let seconds = began.elapsed().as_secs_f64();
    let totals = finished.manifest.expect("a manifest").totals();
    println!("{totals:?}");
    println!("{:.2} s, {:.2} million clicks/s with {workers} workers", seconds, clicks as f64 / seconds / 1e6);
}

/// A record up to its id, with places for id and time.
fn templates() -> Vec<Vec<u8>> {
    let rng = &mut StdRng::seed_from_u64(1);
    let weights: Vec<f64> = (1..=100_000).map(|rank| f64::from(rank).powf(-1.05)).collect();
    let mut sums: Vec<f64> = Vec::with_capacity(weights.len());
    weights.iter().fold(0.0, |sum, weight| {
        sums.push(sum + weight);
        sum + weight
    });
    let total = sums.last().copied().unwrap_or_default();
    (0..TEMPLATES)
        .map(|_| {
            let ad = sums.partition_point(|sum| *sum < rng.random_range(0.0..total));
            let user = rng.random_range(0..1_000_000);
            let mut text = format!(
                r#"{{"click_id":"0000000000000000-0000-000000000000000","timestamp":0000000000000,"ad_id":"ad-{ad:06}","user_id":"user-{user:07}","ip_address":"203.0.113.{}","user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36","campaign":"spring-sale-{}","referrer":"https://example.org/articles/{}","placement":"top-{}","note":""#,
                user % 250,
                ad % 1000,
                user,
                user % 7
            );
            text.extend(std::iter::repeat_n('x', 498_usize.saturating_sub(text.len())));
            text.push_str("\"}");
            text.into_bytes()
        })
        .collect()
}

struct Synthetic {
    templates: Arc<Vec<Vec<u8>>>,
    regions: Vec<String>,
    each: u64,
}

impl SourceFactory for Synthetic {
    fn topic(&self) -> &str {
        "synthetic"
    }

    fn identity(&self) -> String {
        "synthetic".to_owned()
    }

    fn partitions(&self) -> Result<Vec<PartitionId>, SourceError> {
        Ok((0..PARTITIONS).map(PartitionId).collect())
    }

    fn open(&self, assigned: &[(PartitionId, Option<Position>)]) -> Result<Box<dyn Source>, SourceError> {
        let next = assigned.iter().map(|(id, _)| (*id, 0)).collect();
        let (templates, regions) = (self.templates.as_ref().clone(), self.regions.clone());
        Ok(Box::new(Reader { templates, regions, each: self.each, next }))
    }
}

struct Reader {
    templates: Vec<Vec<u8>>,
    regions: Vec<String>,
    each: u64,
    next: BTreeMap<PartitionId, u64>,
}

impl Source for Reader {
    fn poll(
        &mut self,
        partition: PartitionId,
        max: usize,
        visit: &mut dyn FnMut(Record<'_>),
    ) -> Result<Polled, SourceError> {
        let next = self.next.entry(partition).or_default();
        let taken = (self.each - *next).min(max as u64);
        for offset in *next..*next + taken {
            let at = (offset.wrapping_mul(7919) + u64::from(partition.0) * 12_345) as usize % TEMPLATES;
            let payload = &mut self.templates[at];
            let id = if offset % 100 == 99 { offset - 1 } else { offset };
            digits(&mut payload[13..29], id);
            payload[29] = b'-';
            digits(&mut payload[30..34], u64::from(partition.0));
            let time_ms = START_MS + offset * u64::from(PARTITIONS) / 1000;
            digits(&mut payload[64..77], time_ms);
            let region = self.regions.get(partition.0 as usize % self.regions.len().max(1)).map(String::as_str);
            visit(Record { offset: Offset(offset), log_time_ms: time_ms as i64, region, payload: Some(payload) });
        }
        *next += taken;
        Ok(if taken == 0 { Polled::Ended } else { Polled::Records(taken as usize) })
    }

    fn position(&self, partition: PartitionId) -> Position {
        Position { next_offset: Offset(self.next[&partition]), cursor: None }
    }

    fn lag(&self, _partition: PartitionId) -> Option<u64> {
        None
    }
}

fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Objects in memory.
#[derive(Default)]
struct MemoryStore(Mutex<BTreeMap<String, Vec<u8>>>);

impl Store for MemoryStore {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.0.lock().expect("not poisoned").insert(name.to_owned(), bytes);
        Ok(())
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        self.put(name, bytes).map(|()| Created::New)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().expect("not poisoned").get(name).cloned())
    }

    fn get_range(&self, name: &str, range: std::ops::Range<u64>) -> Result<Vec<u8>, StoreError> {
        let objects = self.0.lock().expect("not poisoned");
        Ok(objects[name][range.start as usize..range.end as usize].to_vec())
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let objects = self.0.lock().expect("not poisoned");
        let listed = objects.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(listed
            .map(|(name, bytes)| ObjectInfo {
                name: name.clone(),
                size_bytes: bytes.len() as u64,
                modified_ms: i64::MAX,
            })
            .collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.0.lock().expect("not poisoned").remove(name);
        Ok(())
    }
}
