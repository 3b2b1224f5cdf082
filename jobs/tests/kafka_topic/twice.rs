//! Every record is in the topic twice, as after a producer that was not sure: the counts are those of one copy.

use serde_json::Value;

use crate::stream::{generate, write};
use crate::support::{TestJob, weir};

#[test]
fn records_delivered_twice_count_once() {
    let job = TestJob::new("twice", 4, &[]);
    let options =
        "--clicks 20000 --events-per-second 10 --ads 60 --users 2000 --bytes 300 --duplicates 0.03 --poison 0.005";
    let stream = generate(&job, options);
    // The second copies of a part follow all of its first ones, into other partitions.
    for part in stream.chunks(2_000) {
        write(&job, part, 0..4);
        write(&job, part, [2, 3, 0, 1]);
    }
    let records = job.records();
    let mut running = job.start(3);
    job.wait_for(&mut running, "read half", |manifest| manifest.totals().read > records);
    running.kill();
    let mut running = job.start(2);
    // The watermark follows once every partition was read to its end.
    job.wait_for(&mut running, "read to the end", |manifest| {
        let slowest_ms = manifest.partitions.values().filter_map(|cut| cut.max_event_time_ms).min();
        let closed_ms = manifest.closed_until_ms.zip(slowest_ms).map(|(closed, slowest)| slowest - closed);
        // Windows that closed within the last second wait for a file.
        let held = manifest.state.iter().any(|part| part.kind == "carried/clicks_agg");
        manifest.totals().read == 2 * records && closed_ms.is_some_and(|open| open < 12 * 60_000) && !held
    });
    running.terminate();

    let text = std::fs::read_to_string(job.oracle()).unwrap();
    let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let expected = |kind: &str| header["totals"][kind].as_u64().unwrap();
    let totals = job.newest().unwrap().totals();
    assert_eq!(totals.counted, expected("counted"), "{totals:?}");
    assert_eq!(totals.rejected, 2 * expected("rejected"), "{totals:?}");
    assert_eq!(totals.duplicate, 2 * expected("duplicate") + expected("counted"), "{totals:?}");

    // All rules hold but the one on totals, which is about one copy.
    let mut verify = weir();
    verify.arg("verify").arg(job.job_file()).arg("--oracle").arg(job.oracle()).args(["--output", "json"]);
    let report: Value = serde_json::from_slice(&verify.output().unwrap().stdout).unwrap();
    let broken: Vec<&str> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["broken"] != 0)
        .map(|check| check["rule"].as_str().unwrap())
        .collect();
    assert!(broken.iter().all(|rule| rule.contains("as the oracle expects")), "{report}");
    assert!(report["compared"]["windows"].as_u64().unwrap() > 1000, "{report}");
}
