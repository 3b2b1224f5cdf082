//! Records that are deleted before the job has read them: it stops, says which and how many, and counts nothing behind them.

use weir_checkpoints::{Offset, PartitionId};

use crate::stream::{generate, write};
use crate::support::{TestJob, weir};

const STREAM: &str = "--clicks 9000 --events-per-second 50 --ads 60 --users 2000 --bytes 300";
const CUT: PartitionId = PartitionId(1);

/// Reads the first 3000 records from two partitions; partition 1 stands at offset 1500 then.
fn job_that_has_read(name: &str) -> (TestJob, Vec<crate::stream::Generated>) {
    let job = TestJob::new(name, 2, &[]);
    let stream = generate(&job, STREAM);
    write(&job, &stream[..3000], 0..2);
    (job, stream)
}

/// What the job has said: the offset that it wanted, the log's first one, and how many it calls lost.
fn loss(log: &str) -> (u64, u64, u64) {
    let number = |before: &str, after: &str| -> u64 {
        let text = log.split_once(before).and_then(|(_, rest)| rest.split_once(after)).map(|(number, _)| number);
        text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number after {before:?} in\n{log}"))
    };
    let wanted = number("the job must go on at ", ",");
    let first = number("the log now starts at ", ".");
    let lost = number(&format!("the log now starts at {first}. "), " records are lost at most");
    assert!(log.contains(&format!("/1: offsets {wanted} to {} are missing", first - 1)), "{log}");
    assert!(log.contains("Nothing was skipped; restore the log, or start a new job under another name"), "{log}");
    (wanted, first, lost)
}

#[test]
fn a_job_whose_next_records_went_while_it_was_down_does_not_start() {
    let (job, stream) = job_that_has_read("truncated-stopped");
    let mut running = job.start(2);
    job.wait_for(&mut running, "reading", |manifest| manifest.totals().read == 3000);
    running.terminate();
    let before = job.newest().unwrap();
    write(&job, &stream[3000..], 0..2);
    job.topics().delete_records(&job.topic, CUT, Offset(2345)).unwrap();

    let check = weir().arg("check").arg(job.job_file()).args(["--output", "json"]).output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert_eq!(check.status.code(), Some(1), "{said}");
    assert!(said.contains("resuming") && said.contains("offsets 1500 to 2344 are missing"), "{said}");
    for workers in [1, 3] {
        let mut running = job.start(workers);
        assert_eq!(running.wait(), Some(1), "{}", running.log());
        assert_eq!(loss(&running.log()), (1500, 2345, 845));
    }
    let after = job.newest().unwrap();
    assert_eq!((after.partitions, after.epoch), (before.partitions, before.epoch));
}

#[test]
fn a_job_whose_next_records_go_while_it_reads_stops() {
    let (job, stream) = job_that_has_read("truncated-running");
    let mut running = job.start(2);
    job.wait_for(&mut running, "reading", |manifest| manifest.totals().read == 3000);
    // It is held, so that it is behind; the first of these records may be on their way to it already.
    running.signal("STOP");
    for part in stream[3000..].chunks(500) {
        write(&job, part, 0..2);
    }
    job.topics().delete_records(&job.topic, CUT, Offset(4400)).unwrap();
    running.signal("CONT");
    assert_eq!(running.wait(), Some(1), "{}", running.log());
    let (wanted, first, lost) = loss(&running.log());
    assert_eq!((first, lost), (4400, 4400 - wanted));
    let committed = job.newest().unwrap().partitions[&CUT].position.next_offset.0;
    assert!((1500..=wanted).contains(&committed) && wanted < 4400, "{committed} committed, {wanted} wanted");
    // It stays stopped: what is missing does not come back by itself.
    let mut again = job.start(1);
    assert_eq!(again.wait(), Some(1), "{}", again.log());
    assert_eq!(loss(&again.log()), (committed, 4400, 4400 - committed));
}
