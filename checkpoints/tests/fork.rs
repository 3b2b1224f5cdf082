//! The first manifest of a fork: copied state, an origin, and nothing by halves.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use support::{MapStore, Process, begin, checkpoint};
use weir_checkpoints::{
    Attempt, Fork, ForkError, GroupRange, Manifest, Names, Origin, PartReader, Savepoints, Sequence, Settings, Store,
};

fn origin_job() -> (Arc<MapStore>, Manifest, String) {
    let store = Arc::new(MapStore::default());
    let mut journal = begin(Arc::clone(&store) as Arc<dyn Store>, "clicks");
    checkpoint(&mut journal, store.as_ref(), &Names::new("clicks"), 5);
    let taken = Savepoints::new(Arc::clone(&store) as Arc<dyn Store>, Names::new("clicks")).take("cut").unwrap();
    (store, taken.manifest, taken.hash)
}

fn fork(from: &dyn Store, cut: &Manifest, hash: &str, into: Arc<dyn Store>) -> Result<Manifest, ForkError> {
    let settings = Settings::from([("tables.url".to_owned(), "file:///other".to_owned())]);
    let (origin, names) = (Origin::of(cut, hash, Some("cut")), Names::new("fork"));
    Fork { from, cut, origin, into, names, settings, written_ms: 1 }.begin()
}

#[test]
fn a_fork_has_its_own_state_and_says_where_it_comes_from() {
    let (store, cut, hash) = origin_job();
    let into = Arc::new(MapStore::default());
    let first = fork(store.as_ref(), &cut, &hash, Arc::clone(&into) as Arc<dyn Store>).unwrap();
    assert_eq!((first.sequence, first.previous.as_ref(), first.epoch), (Sequence(0), None, cut.epoch));
    let origin = first.origin.clone().unwrap();
    assert_eq!((origin.job.as_str(), origin.savepoint.as_deref(), origin.hash), ("clicks", Some("cut"), hash.clone()));

    // The origin is gone, and the fork goes on.
    store.objects.lock().unwrap().clear();
    let mut read = Vec::new();
    let reader = PartReader::open(into.as_ref(), &first.state[0]).unwrap();
    reader.read(GroupRange::ALL, |group, block| read.push((group, block.to_vec()))).unwrap();
    assert_eq!(read, [(7, 5_u64.to_le_bytes().to_vec())]);
    let mut journal =
        weir_checkpoints::Journal::open(Arc::clone(&into) as Arc<dyn Store>, Names::new("fork"), "f".to_owned())
            .unwrap();
    let begun = journal.begin(&first.settings, 3, 2).unwrap();
    assert_eq!((begun.attempt, begun.sequence), (Attempt(cut.attempt.0 + 1), Sequence(1)));
    assert_eq!(begun.origin, first.origin);
}

#[test]
fn a_fork_that_was_killed_is_begun_by_the_next_try_and_never_by_halves() {
    let (store, cut, hash) = origin_job();
    let mut whole = 0;
    for calls in 0..8 {
        let into = Arc::new(MapStore::default());
        let killed = fork(store.as_ref(), &cut, &hash, Process::alone(&into, calls));
        let names = Names::new("fork");
        let manifest = into.get(&names.manifest(Sequence(0))).unwrap();
        assert!(manifest.is_some() || killed.is_err(), "{calls} calls");
        if let Some(bytes) = manifest {
            whole += 1;
            let first = Manifest::parse("", &bytes).unwrap();
            assert!(into.get(&first.state[0].name).unwrap().is_some(), "{calls} calls: begun without its state");
        }
        let again = fork(store.as_ref(), &cut, &hash, Arc::clone(&into) as Arc<dyn Store>).unwrap();
        assert_eq!(again.sequence, Sequence(0), "{calls} calls");
    }
    assert!((1..8).contains(&whole), "{whole}");
}

#[test]
fn a_fork_does_not_begin_over_another_job_or_without_its_state() {
    let (store, cut, hash) = origin_job();
    let into = Arc::new(MapStore::default());
    begin(Arc::clone(&into) as Arc<dyn Store>, "fork");
    let refused = fork(store.as_ref(), &cut, &hash, into).unwrap_err();
    assert!(matches!(refused, ForkError::Begun { .. }), "{refused}");
    store.delete(&cut.state[0].name).unwrap();
    let refused = fork(store.as_ref(), &cut, &hash, Arc::new(MapStore::default())).unwrap_err();
    assert!(refused.to_string().contains("only the newest checkpoints keep their state"), "{refused}");
}
