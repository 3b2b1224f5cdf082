//! Where a job does not begin, and what it says then.

use weir_checkpoints::{FAULT_VARIABLE, FaultPoint};

use crate::bench::Bench;
use crate::tables::{both, compare, expected, windows};

const SPREAD: [&str; 4] = ["--events-per-second", "10", "--start", "2025-01-15T09:40:00Z"];

/// A job with savepoint `cut`, which it is at.
fn at_the_cut() -> Bench {
    let bench = Bench::new();
    bench.generate(2_000, &SPREAD);
    bench.run_until(&["run", "job.toml"], "clicks", 2_000);
    bench.weir(&["savepoint", "job.toml", "cut"]);
    bench
}

#[test]
fn a_job_begins_at_its_own_savepoint_only_where_it_has_not_gone_on() {
    let bench = at_the_cut();
    let number = bench.newest("clicks").unwrap().sequence.to_string();
    bench.generate(2_000, &SPREAD[..2]);
    bench.fails(&["run", "job.toml", "--from", "other"], 1, &["job clicks has no savepoint other; it has cut"]);
    bench.run_until(&["run", "job.toml", "--from", "cut"], "clicks", 4_000);
    let stands = bench.newest("clicks").unwrap();
    for from in ["cut", "clicks/cut", &number, &format!("checkpoints/clicks/{number}")] {
        let words = ["cannot go back to", "counted twice", "fork it", "weir run FORK.toml --from clicks/"];
        bench.fails(&["run", "job.toml", "--from", from], 1, &words);
    }
    assert_eq!(bench.newest("clicks").unwrap(), stands, "whoever is refused has changed nothing");
    bench.weir(&["run", "job.toml", "-D", "source.follow=false"]);
    bench.weir(&["verify", "job.toml", "--oracle", "oracle.ndjson"]);
}

#[test]
fn a_fork_has_tables_and_checkpoints_of_its_own_and_the_same_log() {
    let bench = at_the_cut();
    let fork = ["run", "fork.toml", "--from", "clicks/cut", "-D", "source.follow=false"];
    let refused = |more: &[&str], words: &[&str]| {
        bench.fails(&[fork.as_slice(), more].concat(), 1, words);
        assert!(bench.newest("fork").is_none(), "whoever is refused has begun nothing");
    };
    refused(&["-D", "tables.url=tables"], &["are the tables of job clicks", "another tables.url"]);
    refused(&["-D", "source.url=checkpoints/"], &["`source` was ndjson", "is ndjson"]);
    refused(&["-D", "job.region=eu"], &["`job.region` was"]);
    bench.job_file("other.toml", "other", "other-tables");
    bench.weir(&["run", "other.toml", "-D", "source.follow=false"]);
    refused(&["-D", "tables.url=other-tables"], &["there is a table clicks_agg under", "begins with new tables"]);
    let other = ["run", "other.toml", "--from", "clicks/cut"];
    bench.fails(&other, 1, &["job other has checkpoints already", "--from begins a new job"]);

    bench.weir(&fork);
    bench.weir(&["savepoint", "job.toml", "second"]);
    bench.fails(&["run", "fork.toml", "--from", "clicks/second"], 1, &["job fork has checkpoints already"]);
    // It has begun there, so the rest does not matter any more.
    bench.weir(&["checkpoints", "remove", "job.toml", "cut"]);
    bench.weir(&fork);
}

#[test]
fn there_is_nothing_to_go_on_with_behind_the_end_of_a_log() {
    let bench = Bench::new();
    bench.generate(2_000, &SPREAD);
    bench.weir(&["run", "job.toml", "-D", "source.follow=false"]);
    bench.weir(&["savepoint", "job.toml", "end"]);
    bench.fails(&["run", "fork.toml", "--from", "clicks/end"], 1, &["nothing to go on with"]);
    bench.fails(&["run", "fork.toml", "--from", "clicks/99999"], 1, &["has no checkpoint 99999"]);
    bench.fails(&["run", "fork.toml", "--from", "clicks/a b"], 2, &["neither the name of a savepoint nor"]);
}

/// A job that died after it wrote a manifest, and before its tables had what that lists.
#[test]
fn a_fork_waits_until_the_tables_have_what_the_checkpoint_lists() {
    let bench = Bench::new();
    bench.generate(20_000, &SPREAD);
    // The first three versions make the tables.
    let mut dies = bench.command(&["run", "job.toml"]);
    dies.env(FAULT_VARIABLE, format!("{}:4", FaultPoint::VersionWriting.name()));
    assert_eq!(dies.output().unwrap().status.code(), None, "a signal ends it");
    let listed = bench.newest("clicks").unwrap();
    assert!(!listed.outputs.is_empty());
    bench.weir(&["savepoint", "job.toml", "cut"]);
    let fork = ["run", "fork.toml", "--from", "clicks/cut", "-D", "source.follow=false"];
    bench.fails(&fork, 1, &["does not have what checkpoint", "Start it once"]);
    assert!(bench.newest("fork").is_none(), "whoever is refused has begun nothing");

    bench.run_until(&["run", "job.toml"], "clicks", 20_000);
    bench.weir(&fork);
    let of = |tables: &str, epoch| windows(&bench.path().join(tables), epoch);
    let all = both(&of("tables", listed.epoch.0), &of("fork-tables", u64::MAX));
    compare(&all, &expected(&bench.oracle()));
}
