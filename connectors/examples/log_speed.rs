//! How many clicks a second the embedded log takes and syncs on one machine, and what a click costs it. Seen on a busy
//! machine with two cores, clicks of 214 bytes, two partitions, making up the clicks included:
//!
//! | load | groups/s | clicks/s | CPU-µs a click, of them the log's threads | longest wait |
//! |---|---|---|---|---|
//! | 1 click a group, 2 in flight | 2,600 to 7,700 | the same | 75 to 96, 61 to 74 (a sync each) | 16 to 77 ms |
//! | 1 click a group, 64 in flight | 27,000 to 36,000 | the same | 5.4 to 8.2, 4.3 to 6.3 | 10 to 24 ms |
//! | 1 click a group, 2,000 in flight | 550,000 to 930,000 | the same | 0.5 to 1.5, 0.3 to 0.9 | 16 to 30 ms |
//! | 1 click a group, 60,000 a second | 60,000 | the same | 3.1 to 3.9, 2.0 to 2.8 | 13 to 25 ms |
//! | 100 clicks a group, 2,000 in flight | 28,000 to 48,000 | 2.8 to 4.8 million | 0.19 to 0.26, 0.13 to 0.19 | 190 to 400 ms |
//! | plain write and fdatasync, 100 clicks | 200 to 1,540 | 20,000 to 154,000 | 1.0 to 2.1 | |
//! | plain write and fdatasync, 10,000 clicks | 90 to 235 | 0.9 to 2.4 million | 0.23 to 0.26 | |
//!
//! `cargo run --release -p weir-connectors --example log_speed [FOLDER]`

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use weir_connectors::log::{Group, Log};
use weir_connectors::ndjson::{NdjsonLog, NdjsonLogConfig};

const THREADS: u64 = 2;
const PARTITIONS: u32 = 2;
const RUN: Duration = Duration::from_secs(4);

fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let folder = parent.join(format!("weir-log-speed-{}", std::process::id()));
    for (group, load) in [
        (1, Load::InFlight(1)),
        (1, Load::InFlight(32)),
        (1, Load::InFlight(1_000)),
        (1, Load::Rate(30_000)),
        (100, Load::InFlight(1_000)),
    ] {
        embedded(&folder, group, load)?;
        fs::remove_dir_all(&folder)?;
    }
    for batch in [100, 10_000] {
        baseline(&folder, batch)?;
        fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

/// What each thread does.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// Keeps so many groups in flight.
    InFlight(u64),
    /// Appends so many groups a second.
    Rate(u64),
}

fn embedded(folder: &Path, group: u64, load: Load) -> Result<(), Box<dyn Error>> {
    let config = NdjsonLogConfig { partitions: PARTITIONS, ..NdjsonLogConfig::new(folder.to_owned()) };
    let log = Arc::new(NdjsonLog::open(config)?);
    let (failed, longest_us) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    let appenders = (0..THREADS).map(|thread| {
        let (log, failed, longest_us) = (Arc::clone(&log), Arc::clone(&failed), Arc::clone(&longest_us));
        thread::spawn(move || append(log.as_ref(), thread, group, load, failed, longest_us))
    });
    let appenders: Vec<_> = appenders.collect();
    let groups: u64 = appenders.into_iter().map(|thread| thread.join().unwrap_or_default()).sum();
    let of_log_us = cpu_seconds_of_log() * 1e6 / (groups * group).max(1) as f64;
    log.close(Duration::from_secs(60))?;
    let name = match load {
        Load::InFlight(limit) => format!("embedded, {group} a group, {} in flight", THREADS * limit),
        Load::Rate(rate) => format!("embedded, {group} a group, {} groups/s asked for", THREADS * rate),
    };
    report(&name, groups, groups * group, started, cpu_before);
    let (failed, longest_ms) = (failed.load(Ordering::Relaxed), longest_us.load(Ordering::Relaxed) as f64 / 1e3);
    println!(
        "    {of_log_us:.2} of them in the log's threads; failed groups: {failed}; the longest wait: {longest_ms:.1} ms"
    );
    Ok(())
}

fn append(
    log: &NdjsonLog,
    thread: u64,
    group: u64,
    load: Load,
    failed: Arc<AtomicU64>,
    longest_us: Arc<AtomicU64>,
) -> u64 {
    let (sender, receiver) = mpsc::channel();
    let (started, mut groups, mut in_flight) = (Instant::now(), 0, 0);
    while started.elapsed() < RUN {
        let due = match load {
            Load::InFlight(limit) => groups + limit - in_flight,
            Load::Rate(rate) => (started.elapsed().as_secs_f64() * rate as f64) as u64,
        };
        while groups < due {
            let mut clicks = Group::with_capacity(group as usize, group as usize * 230);
            for number in 0..group {
                push(&mut clicks, (groups * group + number) * THREADS + thread);
            }
            let (sender, failed, longest_us) = (sender.clone(), Arc::clone(&failed), Arc::clone(&longest_us));
            let appended = Instant::now();
            log.append(
                clicks,
                Box::new(move |settled| {
                    failed.fetch_add(u64::from(settled.error.is_some()), Ordering::Relaxed);
                    longest_us.fetch_max(appended.elapsed().as_micros() as u64, Ordering::Relaxed);
                    // The appender may be done.
                    let _ = sender.send(());
                }),
            );
            (groups, in_flight) = (groups + 1, in_flight + 1);
        }
        match load {
            Load::InFlight(_) => in_flight -= u64::from(receiver.recv().is_ok()),
            Load::Rate(_) => thread::sleep(Duration::from_millis(1)),
        }
        in_flight -= receiver.try_iter().count() as u64;
    }
    groups
}

/// The same bytes with plain system calls: a write and an fdatasync for so many clicks.
fn baseline(folder: &Path, batch: u64) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut file = OpenOptions::new().append(true).create(true).open(folder.join("plain"))?;
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    let (mut clicks, mut batches) = (0, 0);
    let mut bytes = Vec::new();
    while started.elapsed() < RUN {
        bytes.clear();
        for _ in 0..batch {
            write_click(clicks, &mut bytes);
            bytes.push(b'\n');
            clicks += 1;
        }
        file.write_all(&bytes)?;
        file.sync_data()?;
        batches += 1;
    }
    report(&format!("plain write and fdatasync, {batch} clicks each"), batches, clicks, started, cpu_before);
    Ok(())
}

fn push(group: &mut Group, number: u64) {
    let ad = [b"ad-".as_slice(), &[b'a' + (number % 26) as u8]].concat();
    group.push(std::str::from_utf8(&ad).unwrap_or_default(), |to| write_click(number, to));
}

/// 214 bytes; only the number differs, so that making it up costs little.
fn write_click(number: u64, to: &mut Vec<u8>) {
    to.extend_from_slice(br#"{"ad_id":"ad-00001","user_id":"user-00000001","timestamp":1736952000000,"click_id":""#);
    let mut digits = [b'0'; 33];
    let mut left = number;
    for digit in digits.iter_mut().rev().take(16) {
        *digit = b"0123456789abcdef".get((left & 15) as usize).copied().unwrap_or_default();
        left >>= 4;
    }
    to.extend_from_slice(&digits);
    to.extend_from_slice(
        br#"","ip_address":"203.0.113.7","user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}"#,
    );
}

fn report(name: &str, groups: u64, clicks: u64, started: Instant, cpu_before: f64) {
    let seconds = started.elapsed().as_secs_f64();
    let cpu_us = (cpu_seconds() - cpu_before) * 1e6 / clicks.max(1) as f64;
    let (groups_s, clicks_s) = (groups as f64 / seconds, clicks as f64 / seconds);
    println!("{name}: {groups_s:.0} groups/s, {clicks_s:.0} clicks/s, {cpu_us:.2} CPU-µs a click");
}

/// What this process has used so far, in steps of 10 ms.
fn cpu_seconds() -> f64 {
    seconds_in(Path::new("/proc/self/stat"))
}

/// What the threads that write the log have used.
fn cpu_seconds_of_log() -> f64 {
    let is_of_log = |task: &Path| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("log-"));
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten().map(|task| task.path());
    tasks.filter(|task| is_of_log(task)).map(|task| seconds_in(&task.join("stat"))).sum()
}

fn seconds_in(stat: &Path) -> f64 {
    let stat = fs::read_to_string(stat).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
