//! Savepoints are listed, shown and removed, and keep what retention would have deleted.

use std::time::Duration;

use weir_checkpoints::{Names, missing_part};

use crate::bench::Bench;
use crate::tables::{both, compare, expected, windows};

const SPREAD: [&str; 4] = ["--events-per-second", "10", "--start", "2025-01-15T09:40:00Z"];
const CLICKS: u32 = 20_000;

#[test]
fn a_savepoint_is_listed_shown_and_removed() {
    let bench = Bench::new();
    bench.fails(&["savepoint", "job.toml", "early"], 1, &["has no checkpoint yet"]);
    bench.generate(2_000, &SPREAD);
    bench.run_until(&["run", "job.toml"], "clicks", 2_000);
    let taken = bench.weir(&["savepoint", "job.toml", "one"]);
    // The same again, and another name for the same checkpoint.
    assert_eq!(bench.weir(&["savepoint", "job.toml", "one"]), taken);
    bench.weir(&["savepoint", "job.toml", "two"]);
    let list = bench.weir(&["checkpoints", "list", "job.toml", "--limit", "1"]);
    assert_eq!(list[0]["sequence"], taken["sequence"]);
    assert_eq!(list[0]["savepoints"], serde_json::json!(["one", "two"]));
    let shown = bench.weir(&["checkpoints", "show", "job.toml", "one"]);
    assert_eq!(shown["epoch"], taken["epoch"]);

    bench.generate(2_000, &SPREAD[..2]);
    bench.run_until(&["run", "job.toml"], "clicks", 4_000);
    bench.fails(&["savepoint", "job.toml", "one"], 1, &["savepoint one is there already", "weir checkpoints remove"]);
    let list = bench.weir(&["checkpoints", "list", "job.toml", "--limit", "1"]);
    assert_eq!((&list[0]["savepoints"], &list[1]["sequence"]), (&serde_json::json!([]), &taken["sequence"]));
    bench.weir(&["checkpoints", "remove", "job.toml", "one"]);
    bench.fails(&["checkpoints", "remove", "job.toml", "one"], 1, &["has no savepoint one; it has two"]);
    bench.fails(&["checkpoints", "show", "job.toml", "one"], 1, &["has no savepoint one"]);
    bench.fails(&["savepoint", "job.toml", "42"], 2, &["is no number"]);
    bench.fails(&["savepoint", "job.toml", "a/b"], 2, &["a name has"]);
}

#[test]
fn retention_leaves_what_a_savepoint_needs() {
    let bench = Bench::new();
    bench.generate(CLICKS, &SPREAD);
    let mut running = bench.start(&["run", "job.toml", "-D", "checkpoint.retain=1"]);
    bench.wait_for(&mut running, "clicks", |newest| newest.totals().read == u64::from(CLICKS));
    let taken = bench.weir(&["savepoint", "job.toml", "cut"]);
    let (epoch, sequence) = (taken["epoch"].as_u64().unwrap(), taken["sequence"].as_u64().unwrap());
    // A checkpoint that nobody keeps, hardly younger.
    bench.generate(1_000, &SPREAD[..2]);
    let other = bench.wait_for(&mut running, "clicks", |newest| newest.totals().read == u64::from(CLICKS + 1_000));
    bench.generate(CLICKS - 1_000, &SPREAD[..2]);
    // The state is searched for garbage every sixteen checkpoints.
    bench.wait_for(&mut running, "clicks", |newest| {
        newest.sequence.0 > other.sequence.0 + 40 && newest.totals().read == 2 * u64::from(CLICKS)
    });
    running.terminate();
    let (store, names) = (bench.store(), Names::new("clicks"));
    assert!(missing_part(store.as_ref(), &names, &other).unwrap().is_some(), "retention deletes what is not kept");
    let number = format!("clicks/{}", other.sequence);
    bench.fails(&["run", "fork.toml", "--from", &number], 1, &["is not there any more", "weir savepoint"]);
    // The manifest itself may go, too.
    store.delete(&names.manifest(weir_checkpoints::Sequence(sequence))).unwrap();

    bench.weir(&["run", "fork.toml", "--from", "clicks/cut", "-D", "source.follow=false"]);
    let of = |tables: &str, epoch| windows(&bench.path().join(tables), epoch);
    compare(&both(&of("tables", epoch), &of("fork-tables", u64::MAX)), &expected(&bench.oracle()));

    // Once it is removed, its state goes as well; the fork does not need it.
    bench.weir(&["checkpoints", "remove", "job.toml", "cut"]);
    let before = store.list(&names.state()).unwrap().len();
    bench.run_until(&["run", "job.toml", "-D", "checkpoint.retain=1"], "clicks", 2 * u64::from(CLICKS));
    assert!(store.list(&names.state()).unwrap().len() < before);
    let ran = bench.weir(&["run", "fork.toml", "--from", "clicks/cut", "-D", "source.follow=false"]);
    assert_eq!((&ran["ended"], &ran["read_here"]), (&true.into(), &0.into()));
}

#[test]
fn the_next_checkpoint_of_a_job_that_does_not_run_is_not_waited_for_for_ever() {
    let bench = Bench::new();
    bench.generate(2_000, &SPREAD);
    bench.run_until(&["run", "job.toml"], "clicks", 2_000);
    let mut waiting = bench.start(&["savepoint", "job.toml", "cut", "--next"]);
    std::thread::sleep(Duration::from_millis(500));
    assert!(waiting.child.try_wait().unwrap().is_none(), "it waits");
    assert!(bench.savepoints("clicks").list().unwrap().is_empty());
    let before = bench.newest("clicks").unwrap();
    let mut running = bench.start(&["run", "job.toml"]);
    bench.wait_for(&mut running, "clicks", |newest| newest.epoch > before.epoch);
    assert_eq!(waiting.child.wait().unwrap().code(), Some(0));
    let savepoint = bench.savepoints("clicks").get("cut").unwrap().unwrap();
    assert!(savepoint.manifest.epoch > before.epoch);
    running.kill();
}
