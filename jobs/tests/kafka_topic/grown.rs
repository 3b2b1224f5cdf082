//! Partitions that are added while a job runs are read without a restart, and nothing of them is lost or counted twice,
//! whenever the job is killed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::own::free_port;
use crate::stream::{generate, grow, write};
use crate::support::{RunningJob, TestJob};
use crate::{PATIENCE, await_until};

/// An hour and more of event time, so that windows of all lengths close on the way.
const STREAM: &str = "--clicks 24000 --events-per-second 5 --ads 60 --users 2000 --bytes 300 --duplicates 0.03 \
                      --poison 0.005 --future 0.003 --seed";

/// How soon a partition must be read: the metadata's refresh, an epoch, and a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// What a worker says when it takes a partition over.
const TAKEN_OVER: &str = "a partition was added";

fn await_taken_over(running: &mut RunningJob, partitions: usize) {
    await_until("the new partitions to be taken over", || {
        running.expect_running();
        running.log().matches(TAKEN_OVER).count() == partitions
    });
}

#[test]
fn new_partitions_are_read_while_the_job_runs() {
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let job = TestJob::new("grown", 2, &[("metrics.listen", &listen.to_string())]);
    let stream = generate(&job, &format!("{STREAM} 1"));
    write(&job, &stream[..8000], 0..2);
    let mut running = job.start(2);
    job.wait_for(&mut running, "reading", |manifest| manifest.totals().read == 8000);
    grow(&job, 5);
    let grown = Instant::now();
    // They hold clicks before the job knows of them.
    write(&job, &stream[8000..9000], 2..5);
    let manifest = job.wait_for(&mut running, "reading new partitions", |manifest| manifest.totals().read == 9000);
    println!("three new partitions are read and committed after {:?}", grown.elapsed());
    assert!(grown.elapsed() < SOON, "it took {:?}", grown.elapsed());
    assert_eq!(manifest.partitions.len(), 5);
    let metrics = get(listen, "/metrics");
    for figure in ["weir_source_partitions", "weir_source_partitions_added_total"] {
        let line = metrics.lines().find(|line| line.starts_with(&format!("{figure}{{")));
        let value = line.and_then(|line| line.rsplit(' ').next());
        assert_eq!(value, Some(if figure.ends_with("total") { "3" } else { "5" }), "{figure}\n{metrics}");
    }
    write(&job, &stream[9000..], 0..5);
    job.wait_for(&mut running, "read to the end", |manifest| manifest.totals().read == job.records());
    running.terminate();
    let last = job.newest().unwrap();
    assert_eq!(last.attempt.0, 1, "it was never started again");
    assert!(last.partitions.values().all(|cut| cut.totals.read > 0 && cut.position.cursor.is_some()), "{last:?}");
    job.verify();
    job.verify_with_other_engines(false);
}

/// Grows three times; each time the job is killed at some moment around the taking over, and goes on with other workers.
fn check(seed: u64) {
    let rng = &mut StdRng::seed_from_u64(seed);
    let mut partitions = rng.random_range(1..=3);
    let job = TestJob::new(&format!("grown-{seed}"), partitions, &[]);
    let stream = generate(&job, &format!("{STREAM} {seed}"));
    let mut written = 0_usize;
    let mut write_next = |records: usize, partitions: std::ops::Range<u32>| {
        let end = stream.len().min(written.saturating_add(records));
        write(&job, &stream[written..end], partitions);
        written = end;
        end as u64
    };
    for round in 0..3 {
        let end = write_next(5000, 0..partitions);
        let mut running = job.start(rng.random_range(1..=3));
        job.wait_for(&mut running, "reading on", |manifest| manifest.totals().read == end);
        let before = partitions;
        partitions += rng.random_range(1..=3);
        grow(&job, partitions);
        write_next(500, before..partitions);
        await_taken_over(&mut running, (partitions - before) as usize);
        // Between the first read and some checkpoints later.
        let wait = Duration::from_millis([0, 0, 50, 400][rng.random_range(0..4)]);
        std::thread::sleep(wait);
        running.kill();
        let committed = job.newest().unwrap().partitions.len();
        println!(
            "seed {seed}, round {round}: {before} to {partitions} partitions, killed after {wait:?} with {committed} in the manifest"
        );
    }
    write_next(usize::MAX, 0..partitions);
    let mut running = job.start(rng.random_range(1..=4));
    job.wait_for(&mut running, "read to the end", |manifest| manifest.totals().read == job.records());
    running.terminate();
    job.verify();
    assert_eq!(job.newest().unwrap().partitions.len(), partitions as usize, "seed {seed}");
}

#[test]
fn a_job_killed_while_it_takes_partitions_over_counts_right_lane_0() {
    (0..6).step_by(2).for_each(check);
}

#[test]
fn a_job_killed_while_it_takes_partitions_over_counts_right_lane_1() {
    (1..6).step_by(2).for_each(check);
}

#[test]
fn several_processes_agree_on_who_reads_what_is_new() {
    let job = TestJob::new("grown-cluster", 1, &[]);
    let stream = generate(&job, &format!("{STREAM} 9"));
    write(&job, &stream[..8000], [0]);
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let hosts = free.each_ref().map(|listener| listener.local_addr().unwrap().to_string());
    drop(free);
    let file = job.folder.path().join("hosts").display().to_string();
    std::fs::write(&file, hosts.join("\n")).unwrap();
    let mut processes = ["0", "1"].map(|number| job.start_with(2, &["--hosts", &file, "--process", number]));
    job.wait_for(&mut processes[0], "reading", |manifest| manifest.totals().read == 8000);
    grow(&job, 6);
    write(&job, &stream[8000..9000], 1..6);
    job.wait_for(&mut processes[0], "reading new partitions", |manifest| manifest.totals().read == 9000);
    let taken_over = processes.each_ref().map(|process| process.log().matches(TAKEN_OVER).count());
    // Worker n of four reads partition n and partition n + 4.
    assert_eq!(taken_over, [3, 2]);
    write(&job, &stream[9000..], 0..6);
    job.wait_for(&mut processes[0], "read to the end", |manifest| manifest.totals().read == job.records());
    for process in &processes {
        process.signal("TERM");
    }
    for process in &mut processes {
        assert_eq!(process.wait(), Some(0), "{}", process.log());
    }
    job.verify();
}

/// The body of a page.
fn get(address: SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
