//! Processes that hang: the others notice, and what wakes up later changes nothing.

use std::time::Duration;

use crate::hosts::{all_stop, free, terminate};
use crate::local::LocalJob;

/// `cluster.peer_timeout` of the jobs here is 3 s; the rest is for a machine that has other things to do.
const NOTICED: Duration = Duration::from_secs(10);

/// Stops a process while a job is under way, lets a new attempt begin, and wakes it up.
fn check(victim: usize) {
    let job = LocalJob::new(120_000);
    let hosts = free(3);
    let mut processes = job.processes(&hosts);
    job.wait_for(&mut processes[0], 1, 4_000);
    let mut stopped = processes.remove(victim);
    stopped.signal("STOP");
    let took = all_stop(&mut processes, NOTICED, &[&format!("process {victim} ({})", hosts[victim]), "silent for 3 s"]);
    println!("process {victim} hangs: the others stopped after {took:.2?}");

    // On the same hosts, where the stopped process still has its sockets.
    let mut processes = job.processes(&hosts);
    job.wait_for(&mut processes[0], 2, 0);
    let before = job.manifests().len();
    stopped.signal("CONT");
    assert_eq!(stopped.wait(), Some(1), "{}", stopped.log());
    let log = stopped.log();
    // Whatever it comes upon first: the others' last words, their closed connections, or the new attempt's manifest.
    assert!(["has stopped: ", " is gone", "took over the job"].iter().any(|why| log.contains(why)), "{log}");
    processes.iter_mut().for_each(|process| process.expect_running());
    job.wait_for(&mut processes[0], 2, job.records);
    terminate(&mut processes);

    let manifests = job.manifests();
    assert!(manifests[before..].iter().all(|manifest| manifest.attempt.0 == 2));
    job.verify();
}

#[test]
fn a_process_that_hangs_is_noticed_and_commits_nothing_when_it_wakes_up() {
    check(2);
}

#[test]
fn so_is_the_one_that_commits() {
    check(0);
}

#[test]
fn a_short_hang_harms_nobody() {
    let job = LocalJob::new(60_000);
    let mut processes = job.processes(&free(3));
    job.wait_for(&mut processes[0], 1, 1);
    for process in [0, 1, 2] {
        processes[process].signal("STOP");
        std::thread::sleep(Duration::from_millis(1500));
        processes[process].signal("CONT");
    }
    // All at once, and for longer than any of them would wait for another: nobody was awake to miss anybody.
    processes.iter().for_each(|process| process.signal("STOP"));
    std::thread::sleep(Duration::from_secs(5));
    processes.iter().for_each(|process| process.signal("CONT"));
    job.wait_for(&mut processes[0], 1, job.records);
    std::thread::sleep(Duration::from_secs(2));
    terminate(&mut processes);
    job.verify();
}
