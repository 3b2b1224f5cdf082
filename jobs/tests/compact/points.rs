//! A compaction ends at each of the named points that it comes by. Afterwards the tables are whole, and the next one does
//! the rest.

use std::os::unix::process::ExitStatusExt;

use weir_checkpoints::{FAULT_VARIABLE, FaultPoint};

use crate::bench::{Bench, Click, expected};
use crate::days::run_in_parts;
use crate::process::{succeeds, weir};

const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 1_736_899_200_000;
const DATE: &str = "2025-01-15";

/// Points of a merge, then those behind it: so that many merges are left for the first.
const PLAN: [(FaultPoint, &[u64]); 7] = [
    (FaultPoint::ObjectWriting, &[1, 3, 2]),
    (FaultPoint::ObjectWritten, &[1, 3, 2]),
    (FaultPoint::VersionWriting, &[1, 3, 2]),
    (FaultPoint::VersionWritten, &[1, 3, 2]),
    (FaultPoint::LogCheckpointWriting, &[1, 2]),
    (FaultPoint::GarbageDeleting, &[1, 2]),
    (FaultPoint::GarbageDeleted, &[1]),
];

#[test]
fn whatever_a_compaction_was_about_to_do_when_it_ended_the_tables_are_whole() {
    let bench = Bench::new("");
    // So many partitions that a checkpoint of the log is due on the way.
    let log: Vec<Click> = (0..6_000)
        .map(|n| Click::new(format!("c-{n}"), &format!("ad-{}", n % 5), START_MS + n * 6 * DAY_MS / 6_000))
        .collect();
    let parts: Vec<Vec<Click>> = (0..3).map(|part| log.iter().skip(part).step_by(3).cloned().collect()).collect();
    run_in_parts(&bench, &parts, &["-D", "time.allowed_lateness=7d", "-D", "dedup.horizon=8d"]);
    let mut ended = 0;
    for (point, passes) in PLAN {
        for pass in passes {
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
    assert!(ended >= 15, "only {ended} ended at a point");
    let rest = bench.weir(&["compact", "job.toml", "--target", "64MiB", "--min-files", "2"]);
    succeeds(&rest);
    succeeds(&bench.weir(&["verify", "job.toml", "--files"]));
    bench.reconcile(DATE, &[]);
    assert_eq!(bench.billed(DATE), expected(&log, START_MS, START_MS + DAY_MS));
}
