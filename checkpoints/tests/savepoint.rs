//! Savepoints beside a job that goes on and deletes, in every order of their calls, and killed at every call.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use support::{MapStore, NOW_MS, Process, Turns, begin, checkpoint};
use weir_checkpoints::{Manifest, Names, Savepoint, SavepointError, Savepoints, Store, Sweep, missing_part};

const JOB: &str = "clicks";

/// What a job does that keeps no more than its newest checkpoint.
fn sweep(store: &Arc<dyn Store>, newest: &Manifest, now_ms: i64) {
    let kept = std::slice::from_ref(newest);
    let sweep = Sweep { kept, attempt: newest.attempt, now_ms, manifests_since_ms: now_ms + 1, needed: None };
    sweep.run(store, &Names::new(JOB)).unwrap();
}

fn savepoints(store: &Arc<MapStore>) -> Savepoints {
    Savepoints::new(Arc::clone(store) as Arc<dyn Store>, Names::new(JOB))
}

#[track_caller]
fn expect_whole(store: &Arc<MapStore>, savepoint: &Savepoint, what: &str) {
    let missing = missing_part(store.as_ref(), &Names::new(JOB), &savepoint.manifest).unwrap();
    assert_eq!(missing, None, "{what}: the savepoint of epoch {} is not whole", savepoint.manifest.epoch);
    assert_eq!(savepoint.hash, Manifest::hash(&savepoint.manifest.to_bytes().unwrap()), "{what}");
}

/// One order of calls, in which the process that takes the savepoint dies after some of its own. Returns whether there is
/// one.
fn check(seed: u64, calls: u64) -> bool {
    let (store, turns) = (Arc::new(MapStore::default()), Turns::new(seed, 2));
    let mut journal = begin(Arc::clone(&store) as Arc<dyn Store>, JOB);
    checkpoint(&mut journal, store.as_ref(), &Names::new(JOB), 1);
    drop(journal);
    let process = |number: usize, calls: u64| -> Arc<dyn Store> {
        let turns = Some((Arc::clone(&turns), number));
        Arc::new(Process { store: Arc::clone(&store), turns, calls_left: AtomicU64::new(calls) })
    };
    let taken = std::thread::scope(|scope| {
        let (mine, jobs, turns) = (process(0, calls), process(1, u64::MAX), &turns);
        scope.spawn(move || {
            let mut journal = begin(Arc::clone(&jobs), JOB);
            for epoch in 2..6 {
                let newest = checkpoint(&mut journal, jobs.as_ref(), &Names::new(JOB), epoch);
                sweep(&jobs, &newest, NOW_MS);
            }
            turns.end(1);
        });
        let taken = Savepoints::new(mine, Names::new(JOB)).take("kept");
        turns.end(0);
        taken
    });
    let what = format!("seed {seed}, killed after {calls} calls");
    let found = savepoints(&store).get("kept").unwrap();
    match (&taken, &found) {
        (Ok(taken), found) => assert_eq!(Some(taken), found.as_ref(), "{what}"),
        (Err(SavepointError::Store(_)), _) => {}
        (Err(error), _) => panic!("{what}: {error}"),
    }
    // The job goes on for a while, and whoever was killed is forgotten.
    let shared = Arc::clone(&store) as Arc<dyn Store>;
    let mut journal = begin(Arc::clone(&shared), JOB);
    let newest = checkpoint(&mut journal, shared.as_ref(), &Names::new(JOB), 9);
    sweep(&shared, &newest, NOW_MS);
    sweep(&shared, &newest, NOW_MS + 2 * 86_400_000);
    if let Some(savepoint) = &found {
        expect_whole(&store, savepoint, &what);
    }
    let parts = store.list(&Names::new(JOB).state()).unwrap().len();
    assert!(parts <= 1 + usize::from(found.is_some()), "{what}: {parts} parts are left");
    assert!(store.list("clicks/savepoints/pins/").unwrap().is_empty(), "{what}: a pin is left");
    found.is_some()
}

#[test]
fn a_savepoint_is_whole_or_not_there_whatever_the_job_deletes_meanwhile() {
    for seed in 0..1500 {
        assert!(check(seed, u64::MAX), "seed {seed}");
    }
}

#[test]
fn whoever_is_killed_while_taking_one_leaves_a_whole_one_or_none() {
    let mut there = 0;
    for seed in 0..1500 {
        there += u64::from(check(seed, seed % 12));
    }
    assert!((100..1400).contains(&there), "{there} of 1500 were there: both must happen");
}

#[test]
fn retention_keeps_what_a_savepoint_needs_until_it_is_removed() {
    let store = Arc::new(MapStore::default());
    let (shared, names) = (Arc::clone(&store) as Arc<dyn Store>, Names::new(JOB));
    let mut journal = begin(Arc::clone(&shared), JOB);
    let cut = checkpoint(&mut journal, store.as_ref(), &names, 5);
    let taken = savepoints(&store).take("before").unwrap();
    assert_eq!(taken.manifest, cut);
    // Once more, under the same name, is the same.
    assert_eq!(savepoints(&store).take("before").unwrap(), taken);
    let newest = checkpoint(&mut journal, store.as_ref(), &names, 6);
    let refused = savepoints(&store).take("before").unwrap_err();
    assert!(refused.to_string().contains("is there already, of checkpoint 1"), "{refused}");

    sweep(&shared, &newest, NOW_MS + 90 * 86_400_000);
    assert_eq!(store.list(&names.manifests()).unwrap().len(), 1, "the manifest itself has gone");
    expect_whole(&store, &savepoints(&store).get("before").unwrap().unwrap(), "after retention");
    assert!(savepoints(&store).remove("before").unwrap());
    assert!(!savepoints(&store).remove("before").unwrap());
    sweep(&shared, &newest, NOW_MS);
    let left = store.list(&names.state()).unwrap();
    assert_eq!(left.iter().map(|part| part.name.as_str()).collect::<Vec<_>>(), [newest.state[0].name.as_str()]);
}

#[test]
fn what_is_not_whole_is_not_kept_and_what_cannot_be_read_is_not_deleted() {
    let store = Arc::new(MapStore::default());
    let (shared, names) = (Arc::clone(&store) as Arc<dyn Store>, Names::new(JOB));
    let none = savepoints(&store).take("x").unwrap_err();
    assert!(none.to_string().contains("no checkpoint yet"), "{none}");
    let mut journal = begin(Arc::clone(&shared), JOB);
    let cut = checkpoint(&mut journal, store.as_ref(), &names, 5);
    let bytes = store.get(&cut.state[0].name).unwrap().unwrap();
    store.put(&cut.state[0].name, bytes[1..].to_vec()).unwrap();
    let damaged = savepoints(&store).take("x").unwrap_err();
    assert!(matches!(damaged, SavepointError::Incomplete { .. }), "{damaged}");
    store.put(&cut.state[0].name, bytes).unwrap();

    savepoints(&store).take("x").unwrap();
    // A later version has written it: nobody knows what it needs.
    store.put(&names.savepoint("x"), b"{\"format\": 99}".to_vec()).unwrap();
    let newest = checkpoint(&mut journal, store.as_ref(), &names, 6);
    sweep(&shared, &newest, NOW_MS);
    assert!(store.get(&cut.state[0].name).unwrap().is_some());
}
