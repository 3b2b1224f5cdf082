//! The chain of manifests under races and lost answers.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use weir_checkpoints::{
    Attempt, Created, Epoch, Journal, JournalError, Manifest, Names, ObjectInfo, PublishError, Sequence, Settings,
    Store, StoreError,
};

/// What becomes of the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// It is done, and the answer is lost.
    DoneButUnknown,
    /// It is not done, and the answer is lost.
    LostAndUnknown,
}

struct TestStore {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    fault: Mutex<Fault>,
}

impl TestStore {
    fn new() -> Arc<Self> {
        Arc::new(Self { objects: Mutex::default(), fault: Mutex::new(Fault::None) })
    }

    fn next_write(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn manifests(&self) -> Vec<Manifest> {
        self.objects.lock().unwrap().iter().map(|(name, bytes)| Manifest::parse(name, bytes).unwrap()).collect()
    }
}

impl Store for TestStore {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.objects.lock().unwrap().insert(name.to_owned(), bytes);
        Ok(())
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        let fault = std::mem::replace(&mut *self.fault.lock().unwrap(), Fault::None);
        let mut objects = self.objects.lock().unwrap();
        if objects.contains_key(name) {
            return Ok(Created::Exists);
        }
        if fault != Fault::LostAndUnknown {
            objects.insert(name.to_owned(), bytes);
        }
        match fault {
            Fault::None => Ok(Created::New),
            _ => Err(StoreError::Unknown { action: "write", name: name.to_owned(), reason: "time-out".to_owned() }),
        }
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.objects.lock().unwrap().get(name).cloned())
    }

    fn get_range(&self, name: &str, _range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        Err(StoreError::NotFound { name: name.to_owned() })
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let objects = self.objects.lock().unwrap();
        let listed = objects.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(listed
            .map(|(name, bytes)| ObjectInfo { name: name.clone(), size_bytes: bytes.len() as u64, modified_ms: 0 })
            .collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.objects.lock().unwrap().remove(name);
        Ok(())
    }
}

fn journal(store: &Arc<TestStore>, owner: &str) -> Journal {
    Journal::open(Arc::clone(store) as Arc<dyn Store>, Names::new("clicks"), owner.to_owned()).unwrap()
}

fn settings() -> Settings {
    Settings::from([("source".to_owned(), "kafka clicks".to_owned())])
}

fn at_epoch(journal: &Journal, epoch: u64) -> Manifest {
    Manifest { epoch: Epoch(epoch), ..journal.newest().unwrap().clone() }
}

#[test]
fn a_chain_has_no_gaps_and_names_its_predecessors() {
    let store = TestStore::new();
    let mut first = journal(&store, "a");
    assert!(first.newest().is_none());
    first.begin(&settings(), 2, 0).unwrap();
    first.publish(at_epoch(&first, 10)).unwrap();
    first.publish(at_epoch(&first, 20)).unwrap();
    let manifests = store.manifests();
    assert_eq!(manifests.iter().map(|manifest| manifest.sequence.0).collect::<Vec<_>>(), [0, 1, 2]);
    for pair in manifests.windows(2) {
        assert_eq!(pair[1].previous, Some(Manifest::hash(&pair[0].to_bytes().unwrap())));
    }
}

#[test]
fn a_new_attempt_fences_the_old_one_whatever_epoch_that_is_at() {
    let store = TestStore::new();
    let mut old = journal(&store, "a");
    old.begin(&settings(), 2, 0).unwrap();
    old.publish(at_epoch(&old, 10)).unwrap();

    let mut new = journal(&store, "b");
    let begun = new.begin(&settings(), 3, 0).unwrap();
    assert_eq!((begun.attempt, begun.epoch, begun.workers), (Attempt(2), Epoch(10), 3));

    let fenced = old.publish(at_epoch(&old, 977)).unwrap_err();
    assert!(matches!(fenced, PublishError::Fenced { sequence: Sequence(2), attempt: Attempt(2) }), "{fenced}");
    new.publish(at_epoch(&new, 11)).unwrap();
    assert_eq!(store.manifests().last().unwrap().attempt, Attempt(2));
}

#[test]
fn two_processes_that_begin_at_the_same_instant_do_not_share_an_attempt() {
    let store = TestStore::new();
    let (mut one, mut other) = (journal(&store, "a"), journal(&store, "b"));
    let first = one.begin(&settings(), 2, 5).unwrap().attempt;
    let second = other.begin(&settings(), 2, 5).unwrap().attempt;
    assert_ne!(first, second);
    assert!(one.publish(at_epoch(&one, 1)).is_err());
    other.publish(at_epoch(&other, 1)).unwrap();
}

#[test]
fn a_lost_answer_is_settled_by_a_look() {
    for fault in [Fault::DoneButUnknown, Fault::LostAndUnknown] {
        let store = TestStore::new();
        let mut journal = journal(&store, "a");
        store.next_write(fault);
        journal.begin(&settings(), 1, 0).unwrap();
        store.next_write(fault);
        journal.publish(at_epoch(&journal, 3)).unwrap();
        journal.publish(at_epoch(&journal, 4)).unwrap();
        let epochs: Vec<u64> = store.manifests().iter().map(|manifest| manifest.epoch.0).collect();
        assert_eq!(epochs, [0, 3, 4], "{fault:?}");
    }
}

#[test]
fn other_settings_or_another_format_are_refused() {
    let store = TestStore::new();
    journal(&store, "a").begin(&settings(), 1, 0).unwrap();
    let other = Settings::from([("source".to_owned(), "kafka other".to_owned())]);
    let refused = journal(&store, "b").begin(&other, 1, 0).unwrap_err();
    assert!(matches!(refused, JournalError::Refused(_)), "{refused}");
    assert!(refused.to_string().contains("`source` was kafka clicks"), "{refused}");

    let name = Names::new("clicks").manifest(Sequence(0));
    let text = String::from_utf8(store.get(&name).unwrap().unwrap()).unwrap();
    store.put(&name, text.replace("\"format\": 1", "\"format\": 99").into_bytes()).unwrap();
    let Err(refused) = Journal::open(store, Names::new("clicks"), "c".to_owned()) else { panic!("read format 99") };
    assert!(refused.to_string().contains("format 99, this build reads format 1"), "{refused}");
}
