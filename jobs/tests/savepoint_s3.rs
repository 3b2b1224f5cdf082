//! A job on a real Kafka and a real S3 is stopped, kept under a name, and gone on with by a fork.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::process::Command;

use support::{TestJob, expect, weir};
use weir_checkpoints::{Follower, Names, Savepoints};

/// An hour and more of event time in each half.
const OPTIONS: &str =
    "--clicks 20000 --events-per-second 5 --ads 60 --users 2000 --bytes 300 --duplicates 0.03 --poison 0.005";

#[test]
fn a_fork_goes_on_from_a_savepoint_in_s3() {
    let job = TestJob::new("savepoint", 3, &[]);
    let options: Vec<&str> = OPTIONS.split_whitespace().collect();
    // Kafka refuses records from more than an hour ahead: both halves must be over by now.
    let start = (chrono::Utc::now().timestamp() - 4 * 3600).to_string();
    job.generate(3, &[options.as_slice(), &["--start", &start]].concat());
    let records = job.records();
    let mut running = job.start(2);
    job.wait_for(&mut running, "read to the end", |manifest| manifest.totals().read == records);
    running.terminate();
    expect(&weir().arg("savepoint").arg(job.job_file()).arg("cut").output().unwrap(), 0, "savepoint");
    let taken = Savepoints::new(job.checkpoints(), Names::new(&job.name)).get("cut").unwrap().unwrap();
    assert_eq!(Some(&taken.manifest), job.newest().as_ref());
    job.generate(3, &[options.as_slice(), &["--append"]].concat());

    let file = job.folder.path().join("fork.toml");
    let fork = format!("{}-fork", job.name);
    let mut document: toml::Table = std::fs::read_to_string(job.job_file()).unwrap().parse().unwrap();
    let mut set = |section: &str, key: &str, value: &str| {
        let section = document.get_mut(section).unwrap().as_table_mut().unwrap();
        section.insert(key.to_owned(), toml::Value::String(value.to_owned()));
    };
    set("job", "name", &fork);
    set("tables", "url", &format!("{}/fork-tables", job.root));
    std::fs::write(&file, document.to_string()).unwrap();
    let from = format!("{}/checkpoints/{}/cut", job.root, job.name);
    let start = |from: &str| {
        let mut command: Command = weir();
        command.arg("run").arg(&file).args(["--from", from, "-D", "job.workers=3"]);
        command
    };
    let nowhere = start(&format!("{from}s")).output().unwrap();
    expect(&nowhere, 1, "a savepoint that is not there");
    let mut running = start(&from).spawn().unwrap();
    let all = job.records();
    assert_eq!(all, 2 * records);
    let mut chain = Follower::new(job.checkpoints(), &fork);
    let began = std::time::Instant::now();
    while chain.newest().unwrap().is_none_or(|newest| newest.totals().read < all) {
        assert!(running.try_wait().unwrap().is_none(), "the fork has ended");
        assert!(began.elapsed().as_secs() < 120, "the fork does not read to the end");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(Command::new("kill").args(["-TERM", &running.id().to_string()]).status().unwrap().success());
    assert_eq!(running.wait().unwrap().code(), Some(0));
    let verified = weir().arg("verify").arg(&file).arg("--files").arg("--oracle").arg(job.oracle()).output().unwrap();
    expect(&verified, 0, "verify");
    assert!(String::from_utf8_lossy(&verified.stdout).contains(&format!("job {}, savepoint cut", job.name)));
    // The old job has nothing to do with that.
    expect(&weir().arg("verify").arg(job.job_file()).arg("--files").output().unwrap(), 0, "verify the origin");
}
