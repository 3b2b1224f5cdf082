//! Two attempts of one job: the second takes over, the first stops, and nothing is committed twice.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::TestJob;

#[test]
fn the_second_attempt_takes_over_and_the_first_stops() {
    let job = TestJob::new("takeover", 4, &[]);
    // Kafka refuses records from more than an hour ahead: the clicks span more, so they begin two hours ago.
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 7200;
    let options = "--clicks 60000 --events-per-second 12 --ads 40 --users 1000 --bytes 300 --rate 20000 --start";
    let start = start.to_string();
    let options: Vec<&str> = options.split_whitespace().chain([start.as_str()]).collect();
    job.race(|| job.generate(4, &options));
}

#[test]
fn sigterm_takes_a_checkpoint_of_everything_read() {
    let job = TestJob::new("sigterm", 3, &[("checkpoint.interval", "10m")]);
    job.generate(3, &["--clicks", "20000", "--events-per-second", "1000", "--bytes", "200"]);
    let mut running = job.start(2);
    // The checkpoint interval is far away: only the end of the job can commit this.
    std::thread::sleep(Duration::from_secs(3));
    running.terminate();
    let newest = job.newest().unwrap();
    assert!(newest.totals().read > 0 && newest.totals().conserved(), "{newest:?}");
    let mut running = job.start(1);
    std::thread::sleep(Duration::from_secs(2));
    running.terminate();
    assert_eq!(job.newest().unwrap().totals().read, job.records());
    job.verify();
}
