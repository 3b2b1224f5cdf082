//! What billing and explanations say of a fork: the days before it, and the one of the cut, are the origin's.

use crate::bench::Bench;

/// Some twenty minutes a hundred clicks: three days and a half in all.
const SPREAD: [&str; 4] = ["--events-per-second", "0.1", "--start", "2025-01-14T06:00:00Z"];
const CLICKS: u32 = 15_000;

#[test]
fn a_fork_closes_the_days_that_are_wholly_its_own() {
    let bench = Bench::new();
    bench.generate(CLICKS, &SPREAD);
    bench.run_until(&["run", "job.toml"], "clicks", u64::from(CLICKS));
    bench.weir(&["savepoint", "job.toml", "cut"]);
    bench.generate(CLICKS, &SPREAD[..2]);
    bench.weir(&["run", "fork.toml", "--from", "clicks/cut", "-D", "source.follow=false"]);
    // The clicks before the cut end at 23:40 on the 15th.
    for date in ["2025-01-14", "2025-01-15"] {
        let output = bench.output(&["reconcile", "fork.toml", "--date", date]);
        assert_eq!(output.status.code(), Some(1), "{date} stays open");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("was forked from job clicks") && text.contains("close the day there"), "{text}");
    }
    let report = bench.weir(&["reconcile", "fork.toml", "--date", "2025-01-17"]);
    assert_eq!(report[0]["revision"], 1, "{report}");
    bench.weir(&["verify", "fork.toml", "--oracle", "oracle.ndjson"]);
}

/// The hour of the cut has clicks that are in the origin's archive: it cannot be judged, and that is no finding.
#[test]
fn a_window_that_was_open_at_the_cut_is_complete_and_not_judged() {
    let bench = Bench::new();
    let dense = ["--events-per-second", "10", "--start", "2025-01-15T09:40:00Z", "--duplicates", "0"];
    bench.generate(12_000, &dense);
    bench.run_until(&["run", "job.toml"], "clicks", 12_000);
    std::thread::sleep(std::time::Duration::from_secs(2));
    // Once more, so that rows that waited are in files.
    bench.run_until(&["run", "job.toml"], "clicks", 12_000);
    bench.weir(&["savepoint", "job.toml", "cut"]);
    bench.generate(12_000, &dense[..2]);
    bench.weir(&["run", "fork.toml", "--from", "clicks/cut", "-D", "source.follow=false"]);
    let explain = ["explain", "fork.toml", "--ad", "ad-00000000", "--window", "1h"];
    let answer = bench.weir(&[explain.as_slice(), &["--at", "2025-01-15T09:50:00Z"]].concat());
    assert_eq!(answer["verdict"]["code"], "archive_incomplete", "{answer:#}");
    let answer = bench.weir(&[explain.as_slice(), &["--at", "2025-01-15T10:10:00Z"]].concat());
    assert_eq!(answer["verdict"]["code"], "agrees", "{answer:#}");
}
