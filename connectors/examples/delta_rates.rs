//! What the archive costs: processor time a click on the worker's thread, and off it.
//!
//! `cargo run --release -p weir-connectors --example delta_rates [clicks] [ads]`

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use weir_checkpoints::{Attempt, Epoch, Offset, PartitionId, Store, WorkerIndex};
use weir_connectors::delta::{DeltaConfig, DeltaSink};
use weir_connectors::memory::MemoryStore;
use weir_dataflow::{Carried, Click, ClickRow, Cut, Row, SinkFactory, WorkerContext};

const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];

const BROWSERS: [&str; 24] = [
    "120.0.6099",
    "121.0.6167",
    "122.0.6261",
    "123.0.6312",
    "124.0.6367",
    "125.0.6422",
    "126.0.6478",
    "127.0.6533",
    "128.0.6613",
    "129.0.6668",
    "130.0.6723",
    "131.0.6778",
    "115.0",
    "116.0",
    "117.0",
    "118.0",
    "119.0",
    "120.0",
    "121.0",
    "122.0",
    "123.0",
    "124.0",
    "125.0",
    "126.0",
];

/// Clicks like those of real traffic: about 500 bytes as JSON, few ads with many clicks and many ads with few.
struct Clicks {
    ads: Vec<String>,
    agents: Vec<String>,
    users: Vec<String>,
    addresses: Vec<String>,
    click_id: String,
    random: u64,
}

impl Clicks {
    fn new(ads: usize) -> Self {
        let agent = |browser: &str| {
            format!(
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X; Build/21F90) AppleWebKit/605.1.15 (KHTML, like \
                 Gecko) Version/17.5 Chrome/{browser} Mobile/15E148 Safari/604.1 [app;com.example.reader;locale=en_GB]"
            )
        };
        let mut clicks = Self {
            ads: (0..ads).map(|ad| format!("ad-{:08}", ad * 7919 % 100_000_000)).collect(),
            agents: BROWSERS.iter().map(|browser| agent(browser)).collect(),
            users: Vec::new(),
            addresses: Vec::new(),
            click_id: String::new(),
            random: 1,
        };
        for _ in 0..1 << 18 {
            let user = format!("user-{:016x}", clicks.next() % 50_000_000);
            clicks.users.push(user);
            let bits = clicks.next();
            clicks.addresses.push(format!(
                "{}.{}.{}.{}",
                bits & 255,
                bits >> 8 & 255,
                bits >> 16 & 255,
                bits >> 24 & 255
            ));
        }
        clicks
    }

    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn row(&mut self, number: u64) -> Row<'_> {
        let dice = self.next();
        let id = u128::from(self.next()) << 64 | u128::from(dice);
        self.click_id.clear();
        self.click_id.extend((0..32).map(|digit| HEX[(id >> (4 * digit)) as usize & 15]));
        let share = (dice >> 40) as f64 / (1u64 << 24) as f64;
        let ad = (share * share * share * self.ads.len() as f64) as usize;
        let user = &self.users[(dice >> 3 & 0x3ffff) as usize];
        let address = &self.addresses[(dice >> 5 & 0x3ffff) as usize];
        // A click that was just decoded is in the cache.
        std::hint::black_box((user.as_bytes()[0], address.as_bytes()[0]));
        Row::Archive(ClickRow {
            click: Click {
                ad_id: &self.ads[ad],
                user_id: user,
                timestamp: 1_736_952_000_000 + (number / 100) as i64 + (dice >> 20 & 1023) as i64,
                click_id: Some(&self.click_id),
                ip_address: Some(address),
                user_agent: Some(&self.agents[(dice >> 9) as usize % self.agents.len()]),
            },
            extra: None,
            region: None,
            partition: PartitionId((number / 1000 % 8) as u32),
            offset: Offset(number),
            epoch: Epoch(number / 200_000),
        })
    }
}

/// What this thread has used of a core so far, so that what else runs on the machine matters less.
fn cpu_time() -> Duration {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = schedule.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.expect("Linux with scheduler statistics"))
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let rows: u64 = arguments.next().unwrap_or(600_000);
    let ads = arguments.next().unwrap_or(20_000) as usize;
    let mut clicks = Clicks::new(ads);
    for target_file_bytes in [1, u64::MAX] {
        let store = Arc::new(MemoryStore::new());
        let config = DeltaConfig { target_file_bytes, ..DeltaConfig::new("rates", "clicks") };
        let factory = DeltaSink::clicks_raw(config, store.clone());
        let worker = WorkerContext { worker: WorkerIndex(0), workers: 1, attempt: Attempt(1) };
        let mut sink = factory.open(worker).expect("an empty store opens");
        for round in 1..=3 {
            let started = cpu_time();
            for number in 0..rows {
                std::hint::black_box(clicks.row(number));
            }
            let making = cpu_time() - started;
            let started = cpu_time();
            for number in 0..rows {
                sink.write(clicks.row(number)).expect("rows fit");
            }
            let writing = cpu_time() - started;
            let cut = Cut { epoch: Epoch(round), last: false, offsets: Vec::new() };
            let started = cpu_time();
            let staging = sink.stage(&cut).expect("it stages");
            let stage = cpu_time() - started;
            let started = cpu_time();
            let staged = staging().expect("memory does not fail");
            let elapsed = cpu_time() - started;
            let bytes = match &staged.carried {
                Carried::More(bytes) => bytes.len() as u64,
                _ => staged.outputs.iter().map(|output| output.size_bytes).sum(),
            };
            let per_row = |duration: Duration| duration.as_nanos() as f64 / rows as f64;
            let what = if staged.outputs.is_empty() { "packed" } else { "files " };
            let _ = writeln!(
                std::io::stdout(),
                "{what} {rows} clicks: write {:.0} ns a row (less {:.0} for making it), stage {:.1} ms, off the thread \
                 {:.0} ns a row, {:.1} bytes a row",
                per_row(writing),
                per_row(making),
                stage.as_secs_f64() * 1e3,
                per_row(elapsed),
                bytes as f64 / rows as f64,
            );
            for output in staged.outputs {
                let _ = store.delete(&output.name);
            }
        }
    }
}
