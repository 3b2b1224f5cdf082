//! Processes that are killed or crash: the others stop within seconds, and any number of processes goes on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_checkpoints::Manifest;

use crate::hosts::{all_stop, free, terminate, write};
use crate::local::LocalJob;
use crate::support::{RunningJob, TestJob};

/// How long the others may take to stop.
const SECONDS: Duration = Duration::from_secs(5);

/// Ends one process, and expects that all others say which one it was.
fn end(processes: &mut Vec<RunningJob>, victim: usize, signal: &str) {
    let mut ended = processes.remove(victim);
    ended.signal(signal);
    let took = all_stop(processes.iter_mut(), SECONDS, &[&format!("process {victim} (127.0.0.1:")]);
    assert!(ended.wait_for_signal());
    println!("process {victim} got SIG{signal}: {} others stopped within {took:.2?}", processes.len());
}

fn start(job: &TestJob, processes: usize) -> Vec<RunningJob> {
    if processes == 1 {
        return vec![job.start(2)];
    }
    let hosts = write(job.folder.path(), &free(processes));
    let process = |process: usize| job.start_with(1, &["--hosts", &hosts, "--process", &process.to_string()]);
    (0..processes).map(process).collect()
}

/// Waits until an attempt has begun, and so many records are read.
fn reading(job: &TestJob, processes: &mut [RunningJob], attempt: u64, read: u64) {
    let reached = |manifest: &Manifest| manifest.attempt.0 == attempt && manifest.totals().read > read;
    job.wait_for(&mut processes[0], "reading", reached);
}

#[test]
fn three_two_one_and_three_processes_count_what_comes_through_kafka_exactly() {
    let job = TestJob::new("cluster", 6, &[]);
    // Kafka refuses records from more than an hour ahead: the clicks span more, so they begin two hours ago.
    let start_s = (SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 7200).to_string();
    let options = "--clicks 90000 --events-per-second 15 --ads 60 --users 2000 --bytes 300 --duplicates 0.03 \
                   --poison 0.005 --rate 8000 --start";
    let options: Vec<&str> = options.split_whitespace().chain([start_s.as_str()]).collect();
    std::thread::scope(|scope| {
        let generating = scope.spawn(|| job.generate(6, &options));
        let mut processes = start(&job, 3);
        reading(&job, &mut processes, 1, 10_000);
        end(&mut processes, 1, "KILL");
        let mut processes = start(&job, 2);
        reading(&job, &mut processes, 2, 30_000);
        end(&mut processes, 0, "KILL");
        let mut processes = start(&job, 1);
        reading(&job, &mut processes, 3, 50_000);
        processes[0].kill();
        let mut processes = start(&job, 3);
        generating.join().unwrap();
        let records = job.records();
        reading(&job, &mut processes, 4, records - 1);
        terminate(&mut processes);
    });
    job.verify();
    job.verify_with_other_engines(false);
}

#[test]
fn whichever_process_crashes_the_others_stop_and_name_it() {
    let job = LocalJob::new(120_000);
    let hosts = free(3);
    // A panic aborts the process.
    for (round, (victim, signal)) in [(2, "KILL"), (0, "ABRT"), (1, "KILL")].into_iter().enumerate() {
        let mut processes = job.processes(&hosts);
        job.wait_for(&mut processes[0], round as u64 + 1, 1);
        end(&mut processes, victim, signal);
    }
    let mut processes = job.processes(&free(2));
    job.wait_for(&mut processes[0], 4, job.records);
    terminate(&mut processes);
    job.verify();
}

#[test]
fn a_process_that_fails_tells_the_others_why() {
    let job = LocalJob::new(60_000);
    let mut processes = job.processes(&free(3));
    job.wait_for(&mut processes[0], 1, 1);
    // Another attempt takes over: process 0 learns it at its next checkpoint.
    let mut other = job.run(&[]);
    all_stop(&mut processes[..1], SECONDS, &["attempt 2 took over the job"]);
    all_stop(&mut processes[1..], SECONDS, &["process 0 (127.0.0.1:", "has stopped: attempt 2 took over the job"]);
    job.wait_for(&mut other, 2, job.records);
    other.terminate();
    job.verify();
}
