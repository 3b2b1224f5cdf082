//! A store in memory, and a wrapper that lets several processes take turns at every call, and dies when it is told to.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use weir_checkpoints::{
    Attempt, Created, Epoch, GroupRange, GroupSet, Journal, Manifest, Names, ObjectInfo, PartWriter, StatePart, Store,
    StoreError, WorkerIndex,
};

/// What every object says of its time.
pub const NOW_MS: i64 = 1_000_000_000_000;

#[derive(Default)]
pub struct MapStore {
    pub objects: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Store for MapStore {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.objects.lock().unwrap().insert(name.to_owned(), bytes);
        Ok(())
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        let mut objects = self.objects.lock().unwrap();
        if objects.contains_key(name) {
            return Ok(Created::Exists);
        }
        objects.insert(name.to_owned(), bytes);
        Ok(Created::New)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.objects.lock().unwrap().get(name).cloned())
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let bytes = self.get(name)?.ok_or_else(|| StoreError::NotFound { name: name.to_owned() })?;
        Ok(bytes[range.start as usize..range.end as usize].to_vec())
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let objects = self.objects.lock().unwrap();
        let listed = objects.iter().filter(|(name, _)| name.starts_with(prefix));
        let info = |(name, bytes): (&String, &Vec<u8>)| ObjectInfo {
            name: name.clone(),
            size_bytes: bytes.len() as u64,
            modified_ms: NOW_MS,
        };
        Ok(listed.map(info).collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.objects.lock().unwrap().remove(name);
        Ok(())
    }
}

/// Who may make the next call; drawn anew after each.
pub struct Turns {
    state: Mutex<Drawing>,
    changed: Condvar,
}

struct Drawing {
    random: u64,
    alive: Vec<usize>,
    current: usize,
}

impl Turns {
    pub fn new(seed: u64, processes: usize) -> Arc<Self> {
        let mut drawing = Drawing { random: seed, alive: (0..processes).collect(), current: 0 };
        drawing.draw();
        Arc::new(Self { state: Mutex::new(drawing), changed: Condvar::new() })
    }

    fn wait(&self, process: usize) {
        let mut state = self.state.lock().unwrap();
        while state.current != process {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn pass(&self) {
        self.state.lock().unwrap().draw();
        self.changed.notify_all();
    }

    /// The process makes no more calls.
    pub fn end(&self, process: usize) {
        self.wait(process);
        self.state.lock().unwrap().alive.retain(|alive| *alive != process);
        self.pass();
    }
}

impl Drawing {
    /// SplitMix64.
    fn draw(&mut self) {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        if !self.alive.is_empty() {
            self.current = self.alive[mixed as usize % self.alive.len()];
        }
    }
}

/// One process's way to the store. After so many calls it is dead: nothing it asks for is done.
pub struct Process {
    pub store: Arc<MapStore>,
    pub turns: Option<(Arc<Turns>, usize)>,
    pub calls_left: AtomicU64,
}

impl Process {
    pub fn alone(store: &Arc<MapStore>, calls: u64) -> Arc<dyn Store> {
        Arc::new(Self { store: Arc::clone(store), turns: None, calls_left: AtomicU64::new(calls) })
    }

    fn call<T>(&self, name: &str, what: impl FnOnce(&MapStore) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some((turns, process)) = &self.turns {
            turns.wait(*process);
        }
        let alive =
            self.calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        let result = if alive {
            what(&self.store)
        } else {
            Err(StoreError::Failed { action: "reach", name: name.to_owned(), reason: "the process is dead".to_owned() })
        };
        if let Some((turns, _)) = &self.turns {
            turns.pass();
        }
        result
    }
}

impl Store for Process {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.call(name, |store| store.put(name, bytes))
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        self.call(name, |store| store.put_if_absent(name, bytes))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.call(name, |store| store.get(name))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.call(name, |store| store.get_range(name, range))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.call(prefix, |store| store.list(prefix))
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.call(name, |store| store.delete(name))
    }
}

/// A job that has begun.
pub fn begin(store: Arc<dyn Store>, job: &str) -> Journal {
    let mut journal = Journal::open(store, Names::new(job), format!("owner of {job}")).unwrap();
    journal.begin(&Default::default(), 1, 0).unwrap();
    journal
}

/// A checkpoint whose state is in one new part.
pub fn checkpoint(journal: &mut Journal, store: &dyn Store, names: &Names, epoch: u64) -> Manifest {
    let mut part = PartWriter::new(GroupRange::ALL);
    part.group(7).unwrap().extend_from_slice(&epoch.to_le_bytes());
    let (bytes, attempt) = (part.finish().unwrap(), journal.newest().unwrap().attempt);
    let name = names.part(Epoch(epoch), attempt, WorkerIndex(0), "windows");
    let part = StatePart {
        name: name.clone(),
        kind: "windows".to_owned(),
        epoch: Epoch(epoch),
        attempt: Attempt(attempt.0),
        worker: WorkerIndex(0),
        size_bytes: bytes.len() as u64,
        groups: GroupSet::of(GroupRange::ALL),
        expires_ms: None,
    };
    store.put(&name, bytes).unwrap();
    let next = Manifest { epoch: Epoch(epoch), state: vec![part], ..journal.newest().unwrap().clone() };
    journal.publish(next).unwrap();
    journal.newest().unwrap().clone()
}
