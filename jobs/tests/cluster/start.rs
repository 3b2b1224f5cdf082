//! How processes find each other: who is missing, who does not fit, who is left over from an older attempt.

use std::time::Duration;

use crate::hosts::{all_stop, free, terminate, write};
use crate::local::LocalJob;
use crate::support::RunningJob;

const SECONDS: Duration = Duration::from_secs(10);

fn start_timeout(seconds: u32) -> String {
    format!("cluster.start_timeout={seconds}s")
}

/// Expects that a process ends with an error that says this.
#[track_caller]
fn fails(process: &mut RunningJob, expect: &str) {
    all_stop([process], SECONDS, &[expect]);
}

#[test]
fn a_process_that_never_comes_is_named() {
    let job = LocalJob::new(1000);
    let hosts = free(3);
    let list = write(job.folder(), &hosts);
    let timeout = start_timeout(2);
    let mut processes = [0, 2].map(|process| job.process(&list, process, &["-D", &timeout]));
    all_stop(&mut processes, SECONDS, &[&format!("process 1 ({}) has not come within 2 s", hosts[1])]);
    assert!(job.newest().is_none(), "nothing has begun");
}

#[test]
fn who_is_told_to_stop_while_it_waits_leaves_in_order() {
    let job = LocalJob::new(1000);
    let list = write(job.folder(), &free(2));
    let mut processes = [0, 1].map(|process| {
        let mut waiting = job.process(&list, process, &[]);
        std::thread::sleep(Duration::from_secs(1));
        waiting.expect_running();
        waiting.terminate();
        waiting
    });
    assert!(processes.iter_mut().all(|process| process.wait() == Some(0)));
}

#[test]
fn a_process_that_does_not_fit_is_told_why_and_its_place_stays_free() {
    let job = LocalJob::new(5000);
    let hosts = free(2);
    let list = write(job.folder(), &hosts);
    let mut first = job.process(&list, 0, &[]);
    let other = |definition: &str| job.process(&list, 1, &["-D", definition]);
    fails(
        &mut other("job.workers=2"),
        "job.workers is 1 in process 0 and 2 in process 1: give all processes the same job file",
    );
    fails(&mut other("job.name=others"), "job.name is clicks in process 0 and others in process 1");
    fails(&mut other("time.allowed_lateness=1m"), "time.allowed_lateness is 10m in process 0 and 1m in process 1");
    fails(&mut other("tables.url=elsewhere"), "tables.url is file:///");
    let longer = write(job.folder(), &[hosts.clone(), free(1)].concat());
    fails(&mut job.process(&longer, 1, &[]), "it is one of 3 processes, here there are 2");
    first.expect_running();
    assert!(first.log().contains("process 1 was refused: job.workers is 1 in process 0"), "{}", first.log());
    let mut processes = [first, job.process(&list, 1, &[])];
    job.wait_for(&mut processes[0], 1, job.records);
    terminate(&mut processes);
    job.verify();
}

#[test]
fn a_process_of_an_older_attempt_cannot_join() {
    let job = LocalJob::new(5000);
    let hosts = free(3);
    let list = write(job.folder(), &hosts);
    // A first attempt, so that there is something to be older than.
    let mut alone = job.run(&[]);
    job.wait_for(&mut alone, 1, 1);
    alone.kill();
    // Processes 1 and 2 are started for the second attempt, and get no further.
    let mut left_over = [1, 2].map(|process| job.process(&list, process, &[]));
    std::thread::sleep(Duration::from_secs(1));
    left_over.iter_mut().for_each(|process| {
        process.expect_running();
        process.signal("STOP");
    });
    let mut alone = job.run(&[]);
    job.wait_for(&mut alone, 2, 1);
    alone.terminate();
    // They wake up while the third one begins.
    let mut first = job.process(&list, 0, &[]);
    std::thread::sleep(Duration::from_millis(500));
    left_over.iter().for_each(|process| process.signal("CONT"));
    all_stop(&mut left_over, SECONDS, &["attempt 2 of the job has begun since it was started"]);
    first.expect_running();
    let mut processes = [first, job.process(&list, 1, &[]), job.process(&list, 2, &[])];
    job.wait_for(&mut processes[0], 3, job.records);
    terminate(&mut processes);
    job.verify();
}
