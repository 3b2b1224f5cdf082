//! The contract, scenario by scenario.

use weir_connectors::memory::Faults;
use weir_dataflow::SinkFactory;

use crate::job::Job;

/// A sink under test, and what its readers see.
pub(crate) struct Subject {
    /// Opens the sink as a new process would: nothing is remembered from one factory to the next.
    pub(crate) factory: Box<dyn Fn() -> Box<dyn SinkFactory>>,
    /// All rows that a reader sees now, each as [`crate::rows::describe`] puts it, in any order. Never fails.
    pub(crate) visible: Box<dyn Fn() -> Vec<String>>,
    /// Stores a manifest, for a sink that looks for them after a crash.
    pub(crate) store_manifest: Option<Box<StoreManifest>>,
    /// Windows that it takes end by then.
    pub(crate) latest_ms: i64,
}

/// Stores an object under a name.
pub(crate) type StoreManifest = dyn Fn(&str, Vec<u8>);

/// Makes a sink that nothing was written to, whose store has the given faults.
pub(crate) type NewSubject = dyn Fn(u64, Faults) -> Subject;

/// Runs all scenarios.
pub(crate) fn check(new_subject: &NewSubject) {
    check_some(new_subject, 40);
}

/// Runs all scenarios, those with random crashes so many times.
pub(crate) fn check_some(new_subject: &NewSubject, schedules: u64) {
    let calm = |seed| new_subject(seed, Faults::default());
    rows_are_invisible_until_committed(calm(1));
    committing_again_changes_nothing(calm(2));
    what_was_not_published_never_becomes_visible(calm(3));
    what_was_published_becomes_visible_after_a_crash(calm(4));
    carried_rows_survive_a_crash(calm(5));
    stages_without_rows_are_fine(calm(6));
    for seed in 0..schedules {
        random_crashes(calm(seed), seed);
    }
    let faults = Faults { before_per_mille: 20, after_per_mille: 20, repeated_per_mille: 20 };
    for seed in 100..100 + schedules {
        random_crashes(new_subject(seed, faults), seed);
    }
}

fn rows_are_invisible_until_committed(subject: Subject) {
    let mut job = Job::start(subject, 1, 2);
    job.write(30);
    assert!(job.visible().is_empty());
    let manifest = job.stage(true).expect("no faults");
    assert!(job.visible().is_empty(), "staged rows are visible");
    job.publish(manifest);
    assert!(job.visible().is_empty(), "rows are visible before their commit");
    job.commit().expect("no faults");
    job.assert_all_visible();
}

fn committing_again_changes_nothing(subject: Subject) {
    let mut job = Job::start(subject, 2, 2);
    job.write(30);
    job.checkpoint(false).expect("no faults");
    job.commit().expect("no faults");
    job.assert_consistent();
    job.crash_and_restart(2);
    job.commit().expect("no faults");
    job.assert_consistent();
    job.write(10);
    job.checkpoint(true).expect("no faults");
    job.crash_and_restart(1);
    job.assert_all_visible();
}

fn what_was_not_published_never_becomes_visible(subject: Subject) {
    let mut job = Job::start(subject, 3, 2);
    job.write(20);
    job.checkpoint(false).expect("no faults");
    job.write(20);
    let unpublished = job.stage(false).expect("no faults");
    job.crash_and_restart(2);
    job.assert_consistent();
    drop(unpublished);
    job.checkpoint(true).expect("no faults");
    job.assert_all_visible();
}

fn what_was_published_becomes_visible_after_a_crash(subject: Subject) {
    let mut job = Job::start(subject, 4, 3);
    job.write(50);
    let manifest = job.stage(true).expect("no faults");
    job.publish(manifest);
    job.crash_and_restart(1);
    job.assert_all_visible();
}

fn carried_rows_survive_a_crash(subject: Subject) {
    let mut job = Job::start(subject, 5, 3);
    for _ in 0..4 {
        job.write(3);
        job.checkpoint(false).expect("no faults");
    }
    job.crash_and_restart(2);
    job.checkpoint(false).expect("no faults");
    job.write(3);
    job.checkpoint(false).expect("no faults");
    job.crash_and_restart(4);
    job.assert_consistent();
    job.checkpoint(true).expect("no faults");
    job.assert_all_visible();
}

fn stages_without_rows_are_fine(subject: Subject) {
    let mut job = Job::start(subject, 6, 2);
    job.checkpoint(false).expect("no faults");
    job.crash_and_restart(2);
    job.checkpoint(false).expect("no faults");
    job.checkpoint(true).expect("no faults");
    assert!(job.visible().is_empty());
}

/// Writes, checkpoints and crashes in a random order; what fails counts as a crash.
fn random_crashes(subject: Subject, seed: u64) {
    let mut job = Job::start(subject, seed, 2);
    for _ in 0..25 {
        job.step();
        job.assert_consistent();
    }
    while job.checkpoint(true).is_err() {
        job.crash_and_restart(2);
    }
    job.assert_all_visible();
}
