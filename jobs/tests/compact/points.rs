//! A compaction ends at each of the named points that it comes by. Afterwards the tables are whole, and the next one does the rest.

use std::os::unix::process::ExitStatusExt;

use weir_checkpoints::{FAULT_VARIABLE, FaultPoint};

use crate::bench::{Bench, Click, expected};
use crate::process::{succeeds, weir};

const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 1_736_899_200_000;
const DATE: &str = "2025-01-15";

const POINTS: [FaultPoint; 7] = [
    FaultPoint::ObjectWriting,
    FaultPoint::ObjectWritten,
    FaultPoint::VersionWriting,
    FaultPoint::VersionWritten,
    FaultPoint::LogCheckpointWriting,
    FaultPoint::GarbageDeleting,
    FaultPoint::GarbageDeleted,
];

#[test]
fn whatever_a_compaction_was_about_to_do_when_it_ended_the_tables_are_whole() {
    let bench = Bench::new("target_file_bytes = 65536\n");
    // So many partitions that a checkpoint of the log is due on the way.
    let log: Vec<Click> = (0..12_000)
        .map(|n| Click::new(format!("c-{n}"), &format!("ad-{}", n % 5), START_MS + n * 6 * DAY_MS / 12_000))
        .collect();
    for (partition, part) in log.chunks(6000).enumerate() {
        bench.append(partition as u32, part);
    }
    bench.run();
    let mut ended = 0;
    // Partition after partition is merged between the kills.
    for pass in [1, 3, 2] {
        for point in POINTS {
            let mut command = weir(
                bench.path(),
                &["compact", "job.toml", "--target", "64MiB", "--min-files", "2", "--delete-replaced", "1ms"],
            );
            let status = command.env(FAULT_VARIABLE, format!("{}:{pass}", point.name())).output().unwrap().status;
            assert!(status.success() || status.signal().is_some(), "{point:?}: {status}");
            ended += u32::from(status.signal().is_some());
            succeeds(&bench.weir(&["verify", "job.toml", "--files"]));
        }
    }
    println!("{ended} compactions ended at a point");
    assert!(ended >= 8, "only {ended} ended at a point");
    let rest = bench.weir(&["compact", "job.toml", "--target", "64MiB", "--min-files", "2"]);
    succeeds(&rest);
    succeeds(&bench.weir(&["verify", "job.toml", "--files"]));
    bench.reconcile(DATE, &[]);
    assert_eq!(bench.billed(DATE), expected(&log, START_MS, START_MS + DAY_MS));
}
