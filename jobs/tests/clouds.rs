//! Jobs whose checkpoints and tables are in Google Cloud Storage and in Azure: killed and resumed, and raced by another
//! attempt.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::Duration;

use support::{TestJob, TestStore, expect, weir};

/// An hour and more of event time, so that windows of all lengths close on the way.
const OPTIONS: &str = "--clicks 30000 --events-per-second 6 --ads 60 --users 2000 --bytes 300 --duplicates 0.03 \
                       --poison 0.005 --future 0.003";
const PARTITIONS: u32 = 3;

/// Fills the topic within some seconds.
fn generate(job: &TestJob) {
    // Kafka refuses records from more than an hour ahead: the clicks span more, so they begin two hours ago.
    let start = (chrono::Utc::now().timestamp() - 7200).to_string();
    let options: Vec<&str> = OPTIONS.split_whitespace().chain(["--rate", "8000", "--start", &start]).collect();
    job.generate(PARTITIONS, &options);
}

/// The job is killed each time that it has come further, and goes on with another number of workers.
fn killed_and_resumed(store: TestStore) {
    let job = TestJob::in_store(store, "killed", PARTITIONS);
    expect(&weir().arg("check").arg(job.job_file()).output().unwrap(), 0, "check");
    let mut read = 0;
    std::thread::scope(|scope| {
        let generating = scope.spawn(|| generate(&job));
        for workers in [2, 3, 1] {
            let mut running = job.start(workers);
            let further = job.wait_for(&mut running, "further", |manifest| manifest.totals().read > read);
            read = further.totals().read;
            // Somewhere between two checkpoints.
            std::thread::sleep(Duration::from_millis(130));
            running.kill();
        }
        generating.join().unwrap();
    });
    let (records, killed) = (job.records(), job.newest().unwrap().attempt);
    assert!(read < records, "it was at the end before it was killed");
    let mut running = job.start(2);
    job.wait_for(&mut running, "read to the end", |manifest| {
        manifest.totals().read == records && manifest.attempt > killed
    });
    running.terminate();
    job.verify();
    let files = weir().arg("verify").arg(job.job_file()).arg("--files").output().unwrap();
    expect(&files, 0, "verify --files");
}

/// Another attempt takes the job over while it works.
fn raced(store: TestStore) {
    let job = TestJob::in_store(store, "raced", PARTITIONS);
    job.race(|| generate(&job));
}

#[test]
fn killed_and_resumed_in_google_cloud_storage() {
    killed_and_resumed(TestStore::Gcs);
}

#[test]
fn killed_and_resumed_in_azure() {
    killed_and_resumed(TestStore::Azure);
}

#[test]
fn raced_in_google_cloud_storage() {
    raced(TestStore::Gcs);
}

#[test]
fn raced_in_azure() {
    raced(TestStore::Azure);
}

/// What `weir check` says of the tables in a store, with other settings in its environment.
fn refused(store: TestStore, environment: &[(&str, &str)], missing: &[&str], expected: &[&str]) {
    let job = TestJob::in_store(store, "refused", 1);
    let mut check = weir();
    check.arg("check").arg(job.job_file()).envs(environment.iter().copied());
    missing.iter().for_each(|name| {
        check.env_remove(name);
    });
    let output = check.output().unwrap();
    expect(&output, 1, "check");
    let said = String::from_utf8_lossy(&output.stdout);
    expected.iter().for_each(|expected| assert!(said.contains(expected), "no `{expected}` in:\n{said}"));
}

#[test]
fn a_store_that_refuses_says_which_settings_count() {
    refused(TestStore::Gcs, &[("GOOGLE_BEARER_TOKEN", "another")], &[], &["create", "401", "GOOGLE_SERVICE_ACCOUNT"]);
    let another = [("AZURE_STORAGE_ACCOUNT_KEY", "YW5vdGhlcg==")];
    refused(TestStore::Azure, &another, &[], &["create", "403", "AZURE_STORAGE_ACCOUNT_KEY"]);
    refused(TestStore::Azure, &[], &["AZURE_STORAGE_ACCOUNT_NAME"], &["Account must be", "AZURE_STORAGE_ACCOUNT_NAME"]);
    refused(TestStore::S3, &[("AWS_SECRET_ACCESS_KEY", "another")], &[], &["create", "403", "AWS_SECRET_ACCESS_KEY"]);
}
