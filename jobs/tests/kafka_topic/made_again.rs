//! A topic that is deleted and made again under its name: the job stops, whether the new one is shorter or longer than the
//! old one was, and nothing of the new one is counted.

use weir_connectors::kafka::{KafkaTopics, TopicCreated, TopicSpec};

use crate::await_until;
use crate::stream::{Generated, generate, write};
use crate::support::{RunningJob, TestJob, weir};

const STREAM: &str = "--clicks 9000 --events-per-second 50 --ads 60 --users 2000 --bytes 300";

fn make_again(job: &TestJob, partitions: u32) {
    let topics: KafkaTopics = job.topics();
    topics.delete(&job.topic).unwrap();
    let spec = TopicSpec { name: &job.topic, partitions, replicas: None, settings: &[] };
    await_until("the topic to be made again", || matches!(topics.create(&spec), Ok(TopicCreated::New)));
}

/// A job that has read the first 2000 records, from two partitions, and runs on.
fn running_job(name: &str) -> (TestJob, Vec<Generated>, RunningJob) {
    let job = TestJob::new(name, 2, &[]);
    let stream = generate(&job, STREAM);
    write(&job, &stream[..2000], 0..2);
    let mut running = job.start(2);
    job.wait_for(&mut running, "reading", |manifest| manifest.totals().read == 2000);
    (job, stream, running)
}

/// Waits for the end of a job that has noticed, and for that of each further start.
fn check_stopped(job: &TestJob, running: &mut RunningJob, words: &[&str]) {
    assert_eq!(running.wait(), Some(1), "{}", running.log());
    let log = running.log();
    assert!(words.iter().any(|words| log.contains(words)), "{log}");
    let mut again = job.start(3);
    assert_eq!(again.wait(), Some(1), "{}", again.log());
    assert!(again.log().contains("was deleted and made again"), "{}", again.log());
    let newest = job.newest().unwrap();
    assert_eq!(newest.totals().read, 2000, "nothing of the new topic is committed");
}

#[test]
fn a_longer_topic_in_its_place_is_noticed_at_the_next_start() {
    let (job, stream, mut running) = running_job("again-stopped");
    running.terminate();
    let check = || {
        let output = weir().arg("check").arg(job.job_file()).args(["--output", "json"]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = check();
    assert!(code == Some(0) && said.contains("can go on from epoch"), "{said}");
    make_again(&job, 2);
    // All old offsets are there again.
    write(&job, &stream, 0..2);
    let (code, said) = check();
    assert!(code == Some(1) && said.contains("was deleted and made again"), "{said}");
    let mut running = job.start(1);
    check_stopped(&job, &mut running, &["was deleted and made again"]);
}

#[test]
fn a_longer_topic_in_its_place_is_noticed_while_the_job_runs() {
    let (job, stream, mut running) = running_job("again-longer");
    // It wakes up to a topic in which its offsets are good: nothing but the id tells.
    running.signal("STOP");
    make_again(&job, 2);
    write(&job, &stream, 0..2);
    running.signal("CONT");
    check_stopped(&job, &mut running, &["was deleted and made again"]);
}

#[test]
fn a_shorter_topic_in_its_place_is_noticed_while_the_job_runs() {
    let (job, stream, mut running) = running_job("again-shorter");
    running.signal("STOP");
    make_again(&job, 3);
    write(&job, &stream[..100], 0..3);
    running.signal("CONT");
    check_stopped(&job, &mut running, &["was deleted and made again"]);
}

#[test]
fn a_topic_made_again_before_its_eyes_is_not_read_on() {
    let (job, stream, mut running) = running_job("again-live");
    make_again(&job, 2);
    write(&job, &stream, 0..2);
    check_stopped(&job, &mut running, &["was deleted and made again", "was deleted while it was read"]);
}

#[test]
fn a_topic_that_is_gone_stops_the_job() {
    let (job, _, mut running) = running_job("again-gone");
    job.topics().delete(&job.topic).unwrap();
    assert_eq!(running.wait(), Some(1), "{}", running.log());
    assert!(running.log().contains("was deleted while it was read"), "{}", running.log());
    assert_eq!(job.newest().unwrap().totals().read, 2000);
}
