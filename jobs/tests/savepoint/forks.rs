//! Exactly once across the cut: what the origin has in its tables by then, and what the fork has, are all rows.

use std::path::Path;
use std::time::Duration;

use crate::bench::Bench;
use crate::tables::{both, compare, expected, places, total, windows};

/// Clicks of a bit more than an hour and a half, so that windows of all lengths are open at the cut, in the middle.
const SPREAD: [&str; 4] = ["--events-per-second", "10", "--start", "2025-01-15T09:40:00Z"];
const CLICKS: u32 = 30_000;

/// Those before the cut that come so late that they wait for files.
const LAST: u32 = 5_000;

/// Longer than rows wait for a file.
const UNTIL_FILES: Duration = Duration::from_secs(2);

/// Every valid record is in the archives once, and every one that came from the future in the tables of late ones.
fn expect_all_places(bench: &Bench, (one, until_epoch): (&Path, u64), other: &Path) {
    for (table, expect) in [
        ("clicks_raw", total(&bench.oracle(), "read") - total(&bench.oracle(), "rejected")),
        ("clicks_late", total(&bench.oracle(), "future")),
    ] {
        let (mut all, of_fork) = (places(one, table, until_epoch), places(other, table, u64::MAX));
        assert!(!all.is_empty() && !of_fork.is_empty(), "{table}: both have some");
        of_fork.into_iter().for_each(|(place, count)| *all.entry(place).or_default() += count);
        assert!(all.values().all(|count| *count == 1), "a record is in {table} twice");
        assert_eq!(all.len() as u64, expect, "records in {table}");
    }
}

#[test]
fn a_fork_of_a_stopped_job_takes_over_where_it_stopped() {
    let bench = Bench::new();
    bench.generate(CLICKS - LAST, &SPREAD);
    let mut running = bench.start(&["run", "job.toml", "-D", "job.workers=2"]);
    bench.wait_for(&mut running, "clicks", |newest| newest.totals().read == u64::from(CLICKS - LAST));
    std::thread::sleep(UNTIL_FILES);
    bench.generate(LAST, &SPREAD[..2]);
    bench.wait_for(&mut running, "clicks", |newest| newest.totals().read == u64::from(CLICKS));
    running.terminate();
    let taken = bench.weir(&["savepoint", "job.toml", "cut"]);
    assert_eq!(taken["read"], CLICKS);
    let cut = bench.newest("clicks").unwrap();
    let held = cut.state.iter().any(|part| part.kind.starts_with("carried/"));
    assert!(held && cut.state.iter().any(|part| part.kind == "windows"), "rows wait for files, and windows are open");

    bench.generate(CLICKS, &SPREAD[..2]);
    let from = ["run", "fork.toml", "--from", "clicks/cut", "-D", "job.workers=3"];
    // Twice: the same command lets a fork go on that has begun.
    let mut running = bench.start(&from);
    bench.wait_for(&mut running, "fork", |newest| newest.totals().read > u64::from(CLICKS));
    running.kill();
    let ran = bench.weir(&[from.as_slice(), &["-D", "source.follow=false"]].concat());
    assert_eq!((&ran["ended"], &ran["totals"]["read"]), (&true.into(), &(2 * CLICKS).into()));

    let (old, new) = (bench.path().join("tables"), bench.path().join("fork-tables"));
    let (of_old, of_new) = (windows(&old, u64::MAX), windows(&new, u64::MAX));
    assert!(!of_old.is_empty());
    compare(&both(&of_old, &of_new), &expected(&bench.oracle()));
    expect_all_places(&bench, (&old, u64::MAX), &new);

    let report = bench.weir(&["verify", "fork.toml", "--oracle", "oracle.ndjson", "--files"]);
    assert_eq!(report["origin"]["job"], "clicks");
    assert_eq!(report["origin"]["hash"], taken["manifest_hash"]);
    assert_eq!(report["compared"]["windows"].as_u64().unwrap(), of_new.len() as u64);
    let rule = "the checkpoint that the job was forked from is what it was";
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.iter().find(|check| check["rule"] == rule).unwrap()["checked"].as_u64().unwrap() > 0);
    bench.weir(&["verify", "job.toml", "--files"]);
}

#[test]
fn a_fork_of_a_running_job_leaves_it_as_it_is() {
    let bench = Bench::new();
    bench.generate(CLICKS - LAST, &SPREAD);
    let mut old = bench.start(&["run", "job.toml", "-D", "job.workers=1"]);
    bench.wait_for(&mut old, "clicks", |newest| newest.totals().read == u64::from(CLICKS - LAST));
    std::thread::sleep(UNTIL_FILES);
    bench.generate(LAST, &SPREAD[..2]);
    let taken = bench.weir(&["savepoint", "job.toml", "cut", "--next"]);
    bench.generate(CLICKS, &SPREAD[..2]);
    let all = 2 * u64::from(CLICKS);
    bench.wait_for(&mut old, "clicks", |newest| newest.totals().read == all);
    // A fork elsewhere, by the URL that was printed, while the job goes on.
    let (fork, elsewhere) = (["run", "fork.toml"], ["-D", "checkpoint.url=others/", "-D", "source.follow=false"]);
    let from = ["--from", taken["from"].as_str().unwrap()];
    bench.weir(&[fork.as_slice(), &from, &elsewhere].concat());
    old.terminate();
    bench.weir(&["run", "job.toml", "-D", "source.follow=false"]);

    bench.weir(&["verify", "job.toml", "--oracle", "oracle.ndjson", "--files"]);
    bench.weir(&[["verify", "fork.toml", "--oracle", "oracle.ndjson"].as_slice(), &elsewhere].concat());
    let (old, new) = (bench.path().join("tables"), bench.path().join("fork-tables"));
    let epoch = taken["epoch"].as_u64().unwrap();
    compare(&windows(&old, u64::MAX), &expected(&bench.oracle()));
    compare(&both(&windows(&old, epoch), &windows(&new, u64::MAX)), &expected(&bench.oracle()));
    expect_all_places(&bench, (&old, epoch), &new);
}

#[test]
fn a_fork_may_be_forked_again() {
    let bench = Bench::new();
    bench.job_file("second.toml", "second", "second-tables");
    let records = u64::from(CLICKS);
    bench.generate(CLICKS, &SPREAD);
    bench.run_until(&["run", "job.toml"], "clicks", records);
    bench.weir(&["savepoint", "job.toml", "cut"]);
    bench.generate(CLICKS, &SPREAD[..2]);
    bench.run_until(&["run", "fork.toml", "--from", "clicks/cut"], "fork", 2 * records);
    bench.weir(&["savepoint", "fork.toml", "cut"]);
    bench.generate(CLICKS, &SPREAD[..2]);
    bench.weir(&["run", "second.toml", "--from", "fork/cut", "-D", "source.follow=false"]);
    let of = |tables: &str| windows(&bench.path().join(tables), u64::MAX);
    compare(&both(&both(&of("tables"), &of("fork-tables")), &of("second-tables")), &expected(&bench.oracle()));
    for job in ["job.toml", "fork.toml", "second.toml"] {
        bench.weir(&["verify", job, "--files"]);
    }
    bench.weir(&["verify", "second.toml", "--oracle", "oracle.ndjson"]);
}
