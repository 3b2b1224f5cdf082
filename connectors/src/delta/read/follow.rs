//! Follows the log: which files make up the table.
//!
//! One thread at a time looks for new versions, at most once an interval; meanwhile the others go on with the version
//! before. Only when that has become too old, because the store does not answer, do they wait as well.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use weir_checkpoints::{Manifest, Store};
use weir_dataflow::SinkError;

use super::data_file::{DataFile, Partition, name_of};
use super::error::ReadError;
use super::query::Wanted;
use crate::delta::actions::{Action, Add};
use crate::delta::checkpoint;
use crate::delta::commit::add_of;
use crate::delta::log::{PROTOCOL, newest_checkpoint, read_version};

/// Versions that are asked for at once while catching up.
pub(in crate::delta) const AHEAD: u64 = 16;

/// A version that is this many intervals old is not answered from while the log cannot be read.
const STALE_INTERVALS: u32 = 10;

/// How often it is checked that the next version was not cleaned up before it was read.
const CHECK_GAP: Duration = Duration::from_secs(10);

/// A version of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableVersion {
    /// Its number; none while there is no table.
    pub number: Option<u64>,
    /// The last epoch that it has of each job.
    pub epochs: BTreeMap<String, u64>,
}

/// The files of a version.
#[derive(Clone)]
pub(super) struct Snapshot {
    table: &'static str,
    version: TableVersion,
    files: BTreeMap<Partition, Arc<Vec<Arc<DataFile>>>>,
    files_count: usize,
}

impl Snapshot {
    /// A table without a version.
    fn new(table: &'static str) -> Self {
        Self { table, version: TableVersion::default(), files: BTreeMap::new(), files_count: 0 }
    }

    pub(super) fn version(&self) -> &TableVersion {
        &self.version
    }

    pub(super) fn files_count(&self) -> usize {
        self.files_count
    }

    /// The same with the files that a manifest lists: they are committed after it, and may not be in the log yet. Where its
    /// epoch is, they were there, and if one is no more, another file has its rows.
    pub(super) fn with_files_of(&self, manifest: &Manifest) -> Result<Self, ReadError> {
        let mut more = self.clone();
        if self.version.epochs.get(&manifest.job) >= Some(&manifest.epoch.0) {
            return Ok(more);
        }
        for output in manifest.outputs.iter().filter(|output| output.sink == self.table) {
            more.add(&add_of(output, manifest.written_ms)?)?;
        }
        Ok(more)
    }

    /// Adds a file, unless it is there; returns its partition.
    fn add(&mut self, add: &Add) -> Result<Partition, ReadError> {
        let (partition, file) = DataFile::of(self.table, add)?;
        let files = Arc::make_mut(self.files.entry(partition).or_default());
        if !files.iter().any(|known| known.name == file.name) {
            files.push(Arc::new(file));
            self.files_count += 1;
        }
        Ok(partition)
    }

    /// The files whose partitions may have what is wanted.
    pub(super) fn files(&self, wanted: &Wanted<'_>) -> impl Iterator<Item = &Arc<DataFile>> {
        let days = wanted.days();
        let range = days.map(|(first, last)| self.files.range((wanted.window, first)..=(wanted.window, last)));
        range.into_iter().flatten().flat_map(|(_, files)| files.iter())
    }
}

/// A log that is followed.
pub(super) struct Follower {
    store: Arc<dyn Store>,
    table: &'static str,
    interval: Duration,
    /// The newest known version, and since when it is known to be the newest.
    newest: RwLock<Option<(Arc<Snapshot>, Instant)>>,
    reader: Mutex<LogReader>,
}

impl Follower {
    pub(super) fn new(store: Arc<dyn Store>, table: &'static str, interval: Duration) -> Self {
        let reader = Mutex::new(LogReader::new(store.clone(), table));
        Self { store, table, interval, newest: RwLock::new(None), reader }
    }

    /// The newest version, at most about an interval old.
    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>, ReadError> {
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let mut reader = match self.reader.try_lock() {
            Ok(reader) => reader,
            Err(TryLockError::Poisoned(reader)) => reader.into_inner(),
            Err(TryLockError::WouldBlock) => match self.known(self.interval * STALE_INTERVALS) {
                Some(usable) => return Ok(usable),
                None => self.lock(),
            },
        };
        // Whoever had the lock may have read it just now.
        match self.known(self.interval) {
            Some(fresh) => Ok(fresh),
            None => self.refresh(&mut reader),
        }
    }

    /// The same, if it is known.
    pub(super) fn fresh(&self) -> Option<Arc<Snapshot>> {
        self.known(self.interval)
    }

    /// The newest version by a log that is read again from its checkpoint, whatever was known of it.
    pub(super) fn reread(&self) -> Result<Arc<Snapshot>, ReadError> {
        let mut reader = self.lock();
        *reader = LogReader::new(self.store.clone(), self.table);
        self.refresh(&mut reader)
    }

    fn refresh(&self, reader: &mut LogReader) -> Result<Arc<Snapshot>, ReadError> {
        let asked = Instant::now();
        let read = reader.catch_up();
        if read.is_err() {
            // It may have stopped in the middle of a version.
            *reader = LogReader::new(self.store.clone(), self.table);
        }
        read?;
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        let unchanged = newest.as_ref().map(|(known, _)| known).filter(|known| known.version == reader.state.version);
        let snapshot = unchanged.filter(|_| !reader.is_new).cloned().unwrap_or_else(|| Arc::new(reader.state.clone()));
        reader.is_new = false;
        *newest = Some((snapshot.clone(), asked));
        Ok(snapshot)
    }

    fn known(&self, max_age: Duration) -> Option<Arc<Snapshot>> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().filter(|(_, since)| since.elapsed() < max_age).map(|(snapshot, _)| snapshot.clone())
    }

    fn lock(&self) -> MutexGuard<'_, LogReader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the log, and keeps what it says.
struct LogReader {
    store: Arc<dyn Store>,
    state: Snapshot,
    partitions: HashMap<String, Partition>,
    checked: Instant,
    /// Nothing was taken from it yet.
    is_new: bool,
}

impl LogReader {
    fn new(store: Arc<dyn Store>, table: &'static str) -> Self {
        let (state, partitions) = (Snapshot::new(table), HashMap::new());
        Self { store, state, partitions, checked: Instant::now(), is_new: true }
    }

    /// Reads what is new. Where nothing is, the next version may have been cleaned up before it was read: the log then has
    /// a later checkpoint.
    fn catch_up(&mut self) -> Result<(), ReadError> {
        if self.state.version.number.is_none() {
            self.start()?;
        }
        let is_behind = !self.follow()? && self.checked.elapsed() >= CHECK_GAP;
        if is_behind {
            self.checked = Instant::now();
            let hint = checkpoint::hinted(self.store.as_ref(), self.state.table)?;
            if hint.is_some_and(|files| Some(files.version) > self.state.version.number) {
                *self = Self::new(self.store.clone(), self.state.table);
                self.start()?;
                self.follow()?;
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), ReadError> {
        let Some(files) = newest_checkpoint(self.store.as_ref(), self.state.table)? else { return Ok(()) };
        let columns = ["protocol", "txn", "add"];
        let actions = checkpoint::read(self.store.as_ref(), self.state.table, &files, &columns)?;
        self.apply(files.version, actions)
    }

    /// Reads the versions behind the newest known one; whether there were any.
    fn follow(&mut self) -> Result<bool, ReadError> {
        let mut found = false;
        let mut ahead = 1;
        loop {
            let next = self.state.version.number.map_or(0, |number| number + 1);
            for (version, actions) in (next..).zip(read_versions(self.store.as_ref(), self.state.table, next, ahead)?) {
                // A gap is the end: versions behind it cannot be there yet.
                let Some(actions) = actions else { return Ok(found) };
                self.apply(version, actions)?;
                found = true;
            }
            ahead = AHEAD;
        }
    }

    fn apply(&mut self, version: u64, actions: Vec<Action>) -> Result<(), ReadError> {
        for action in actions {
            if let Some(protocol) = action.protocol.filter(|new| new.min_reader_version > PROTOCOL.min_reader_version) {
                return Err(ReadError::Refused {
                    reason: format!(
                        "version {version} of its log asks for reader protocol {}, this reader knows {}; turn the \
                         features off that another writer turned on",
                        protocol.min_reader_version, PROTOCOL.min_reader_version
                    ),
                });
            }
            if let Some((job, epoch)) = action.txn.and_then(|txn| Some((txn.app_id, u64::try_from(txn.version).ok()?)))
            {
                let known = self.state.version.epochs.entry(job).or_insert(epoch);
                *known = epoch.max(*known);
            }
            if let Some(remove) = action.remove {
                self.remove(&remove.path)?;
            }
            if let Some(add) = action.add {
                self.remove(&add.path)?;
                let partition = self.state.add(&add)?;
                self.partitions.insert(add.path, partition);
            }
        }
        self.state.version.number = Some(version);
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), ReadError> {
        let Some(partition) = self.partitions.remove(path) else { return Ok(()) };
        let Some(files) = self.state.files.get_mut(&partition) else { return Ok(()) };
        let name = name_of(self.state.table, path)?;
        let files = Arc::make_mut(files);
        let before = files.len();
        files.retain(|file| *file.name != *name);
        self.state.files_count -= before - files.len();
        Ok(())
    }
}

/// Some versions of a table's log, asked for at once; none for each that is not there.
pub(in crate::delta) fn read_versions(
    store: &dyn Store,
    table: &str,
    first: u64,
    count: u64,
) -> Result<Vec<Option<Vec<Action>>>, SinkError> {
    if count == 1 {
        return Ok(vec![read_version(store, table, first)?]);
    }
    thread::scope(|scope| {
        let reads: Vec<_> =
            (first..first + count).map(|version| scope.spawn(move || read_version(store, table, version))).collect();
        let joined = reads.into_iter().map(|read| match read.join() {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    })
}
