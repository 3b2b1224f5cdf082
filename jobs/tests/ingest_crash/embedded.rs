//! Schedules on the embedded log: its one process is killed again and again.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::book::Book;
use crate::count::{Expected, count_folder};
use crate::incidents::{self, Event};
use crate::load::{IMPATIENT, Load, await_more};
use crate::process::IngestProcess;
use crate::schedules::seeds;
use crate::{now_ms, read_back};

/// Every how many schedules the job counts what is there.
const COUNTED: u64 = 2;

#[test]
fn clicks_in_an_embedded_log_outlive_any_kill() {
    for seed in seeds("embedded", 0, 1) {
        schedule(seed);
    }
}

fn schedule(seed: u64) {
    let (name, began) = (format!("embedded-{seed}"), Instant::now());
    println!("schedule {name}");
    let random = &mut StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let url = format!("source.url={}/", log.display());
    let partitions = format!("log.partitions={}", random.random_range(1..=3));
    // Segments as small as they may be, so that there are several; and sometimes a full buffer.
    let definitions = ["source.kind=ndjson", &url, &partitions, "log.segment_bytes=65536"];
    let more = ["ingest.threads=1", "ingest.buffer_bytes=1048576", "ingest.shed.min_free_bytes=0"];
    let mut process = IngestProcess::start(folder.path(), &[&definitions[..], &more[..]].concat());
    let (book, servers, plan) = (Book::new(), [process.address], incidents::embedded(random));
    let load = Load {
        clients: 4,
        seed,
        prefix: &name,
        servers: &servers,
        first_ms: now_ms() - 4 * 3_600_000,
        patience_ms: IMPATIENT,
    };
    load.during(&book, || {
        await_more(&book, 1);
        let started = Instant::now();
        for (at, event) in plan {
            sleep(at.saturating_sub(started.elapsed()));
            match event {
                Event::KillIngest(_) => process.kill(),
                Event::DrainIngest(_) => assert_eq!(process.terminate(), 0, "{name}: {}", process.log()),
                _ => process.restart(),
            }
        }
        await_more(&book, 100);
    });
    // Cut short once more, at rest: what is accepted is on the disk.
    process.kill();
    let found = read_back::folder(&log);
    let compared = book.compare(&name, &found.clicks);
    if seed.is_multiple_of(COUNTED) {
        let (records, torn) = (compared.records + found.torn, found.torn);
        let expected = Expected { clicks: &book.clicks(), closing: &[], records, torn };
        count_folder(&name, folder.path(), &log, &expected);
    }
    let took = Duration::from_millis(began.elapsed().as_millis() as u64);
    println!("{name}: {compared}, {} torn lines; {}; {took:?}", found.torn, book.facts());
}
