//! `weir compact` is killed again and again, two at a time, beside a job on a real Kafka and a real S3.

use std::process::{Child, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::{TestJob, expect, weir};

const ROUNDS: u64 = 6;

/// Five hours of event time in each round.
const OPTIONS: &str =
    "--clicks 9000 --events-per-second 0.5 --ads 60 --users 2000 --bytes 300 --duplicates 0.03 --poison 0.005";

fn compact(job: &TestJob, more: &[&str]) -> Child {
    let mut command = weir();
    command.arg("compact").arg(job.job_file()).args(["--open", "--min-files", "2", "--target", "4MiB"]).args(more);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn killed_at_any_moment_beside_a_job_on_s3() {
    let seed = 20_251_127;
    let random = &mut StdRng::seed_from_u64(seed);
    let job = TestJob::new("compact", 3, &[]);
    let options: Vec<&str> = OPTIONS.split_whitespace().collect();
    // Kafka refuses records from more than an hour ahead: all must be over by now.
    let start = (chrono::Utc::now().timestamp() - 32 * 3600).to_string();
    let mut running = None;
    let mut kills = 0;
    for round in 0..ROUNDS {
        let first: &[&str] = &["--start", &start];
        job.generate(3, &[&options[..], if round == 0 { first } else { &["--append"] }].concat());
        let records = job.records();
        let running = running.get_or_insert_with(|| job.start(2));
        for _ in 0..4 {
            let mut compactors = [(); 2].map(|()| compact(&job, &[]));
            for compactor in &mut compactors {
                std::thread::sleep(Duration::from_millis(random.random_range(5..90)));
                kills += u32::from(compactor.try_wait().unwrap().is_none());
                compactor.kill().unwrap();
                compactor.wait().unwrap();
            }
        }
        job.wait_for(running, "read to the end", |manifest| manifest.totals().read == records);
        if round % 2 == 1 {
            let mut whole = compact(&job, &["--delete-replaced", "2s"]);
            assert!(whole.wait().unwrap().success(), "seed {seed}");
        }
    }
    assert!(kills > 12, "seed {seed}: only {kills} were killed");
    running.unwrap().terminate();
    job.verify();
    // What was left small by those that were killed.
    let mut whole = compact(&job, &["--delete-replaced", "0s"]);
    assert!(whole.wait().unwrap().success(), "seed {seed}");
    let files =
        weir().arg("verify").arg(job.job_file()).arg("--files").arg("--oracle").arg(job.oracle()).output().unwrap();
    expect(&files, 0, "verify --files");
    assert!(String::from_utf8_lossy(&files.stdout).contains("of the files compacted of others"));
    job.verify_with_other_engines(false);
    println!("{kills} compactions killed");
}
