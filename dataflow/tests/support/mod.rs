//! What the tests of the graph run it on: a log, a store and a sink in memory, and faults by seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use weir_checkpoints::{Created, Manifest, ObjectInfo, Offset, OutputPart, PartitionId, Position, Store, StoreError};
use weir_dataflow::{
    Carried, CheckpointSettings, Committer, Cut, EpochSettings, HotSettings, HotWindows, Job, JobMetrics, Polled,
    Record, Row, RowKind, Sink, SinkError, SinkFactory, Source, SourceError, SourceFactory, Staged, Staging,
    TimeSettings, WorkerContext,
};

/// A record of the test's log.
#[derive(Debug, Clone)]
pub struct LogRecord {
    pub log_time_ms: i64,
    pub region: Option<String>,
    pub payload: Option<Vec<u8>>,
}

/// A bounded log in memory, partition by partition.
pub type Log = Vec<Vec<LogRecord>>;

pub struct MemorySource {
    pub log: Arc<Log>,
    pub growth: Arc<Growth>,
    /// Records of a partition that it gives at once.
    pub polled: usize,
}

/// Which partitions of a log have come up: one more whenever it was asked so many times.
#[derive(Debug, Default)]
pub struct Growth {
    up: AtomicU32,
    asked: AtomicU32,
    each: u32,
    /// Those that have a reader, in this attempt. The log ends when all have.
    read: Mutex<BTreeSet<PartitionId>>,
}

impl Growth {
    /// All of them, from the start on.
    pub fn done() -> Arc<Self> {
        Arc::new(Self { up: AtomicU32::new(u32::MAX), ..Self::default() })
    }

    pub fn new(up: u32, each: u32) -> Arc<Self> {
        Arc::new(Self { up: AtomicU32::new(up), each, ..Self::default() })
    }

    fn ask(&self) {
        if self.up.load(Ordering::SeqCst) != u32::MAX
            && self.asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(self.each)
        {
            self.up.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn up(&self, log: &Log) -> u32 {
        self.up.load(Ordering::SeqCst).min(log.len() as u32)
    }

    fn is_done(&self, log: &Log) -> bool {
        self.read.lock().unwrap().len() == log.len()
    }
}

impl SourceFactory for MemorySource {
    fn topic(&self) -> &str {
        "clicks"
    }

    fn identity(&self) -> String {
        "memory clicks".to_owned()
    }

    fn partitions(&self) -> Result<Vec<PartitionId>, SourceError> {
        self.growth.read.lock().unwrap().clear();
        Ok((0..self.growth.up(&self.log)).map(PartitionId).collect())
    }

    fn open(&self, assigned: &[(PartitionId, Option<Position>)]) -> Result<Box<dyn Source>, SourceError> {
        self.growth.read.lock().unwrap().extend(assigned.iter().map(|(id, _)| *id));
        let next = assigned.iter().map(|(id, at)| (*id, at.as_ref().map_or(0, |at| at.next_offset.0))).collect();
        Ok(Box::new(MemoryReader {
            log: Arc::clone(&self.log),
            growth: Arc::clone(&self.growth),
            polled: self.polled,
            next,
        }))
    }
}

struct MemoryReader {
    log: Arc<Log>,
    growth: Arc<Growth>,
    polled: usize,
    next: BTreeMap<PartitionId, u64>,
}

impl Source for MemoryReader {
    fn poll(
        &mut self,
        partition: PartitionId,
        max: usize,
        visit: &mut dyn FnMut(Record<'_>),
    ) -> Result<Polled, SourceError> {
        let next = self.next.get_mut(&partition).unwrap();
        let records = &self.log[partition.0 as usize][*next as usize..];
        let taken = records.len().min(max).min(self.polled);
        for record in &records[..taken] {
            visit(Record {
                offset: Offset(*next),
                log_time_ms: record.log_time_ms,
                region: record.region.as_deref(),
                payload: record.payload.as_deref(),
            });
            *next += 1;
        }
        Ok(match taken {
            0 if self.growth.is_done(&self.log) => Polled::Ended,
            0 => Polled::CaughtUp,
            _ => Polled::Records(taken),
        })
    }

    fn position(&self, partition: PartitionId) -> Position {
        Position { next_offset: Offset(self.next[&partition]), cursor: None }
    }

    fn lag(&self, partition: PartitionId) -> Option<u64> {
        Some(self.log[partition.0 as usize].len() as u64 - self.next[&partition])
    }

    fn partitions_now(&mut self) -> Result<Option<Vec<PartitionId>>, SourceError> {
        self.growth.ask();
        Ok(Some((0..self.growth.up(&self.log)).map(PartitionId).collect()))
    }

    fn add(&mut self, partition: PartitionId) -> Result<(), SourceError> {
        assert!(self.growth.read.lock().unwrap().insert(partition), "each partition is added once");
        self.next.insert(partition, 0);
        Ok(())
    }
}

/// Objects in memory. After `fail_after` further writes it fails every one, until it is given more.
#[derive(Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    writes: AtomicU64,
    fail_from: AtomicU64,
}

impl MemoryStore {
    pub fn fail_after(&self, writes: Option<u64>) {
        let from = writes.map_or(0, |writes| self.writes.load(Ordering::SeqCst) + writes + 1);
        self.fail_from.store(from, Ordering::SeqCst);
    }

    /// Every second failure happens after the write was done.
    fn write(&self, name: &str, write: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> Result<(), StoreError> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        let from = self.fail_from.load(Ordering::SeqCst);
        let failing = from != 0 && number >= from;
        if failing && number.is_multiple_of(2) {
            return Err(StoreError::Failed {
                action: "write",
                name: name.to_owned(),
                reason: "by the test".to_owned(),
            });
        }
        write(&mut self.objects.lock().unwrap());
        if failing {
            return Err(StoreError::Unknown {
                action: "write",
                name: name.to_owned(),
                reason: "by the test".to_owned(),
            });
        }
        Ok(())
    }

    pub fn manifests(&self) -> Vec<Manifest> {
        let objects = self.objects.lock().unwrap();
        let manifests = objects.iter().filter(|(name, _)| name.contains("/manifests/"));
        manifests.map(|(name, bytes)| Manifest::parse(name, bytes).unwrap()).collect()
    }
}

impl Store for MemoryStore {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.write(name, |objects| drop(objects.insert(name.to_owned(), bytes)))
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        if self.objects.lock().unwrap().contains_key(name) {
            return Ok(Created::Exists);
        }
        self.write(name, |objects| drop(objects.insert(name.to_owned(), bytes)))?;
        Ok(Created::New)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.objects.lock().unwrap().get(name).cloned())
    }

    fn get_range(&self, name: &str, range: std::ops::Range<u64>) -> Result<Vec<u8>, StoreError> {
        let objects = self.objects.lock().unwrap();
        let object = objects.get(name).ok_or_else(|| StoreError::NotFound { name: name.to_owned() })?;
        Ok(object[range.start as usize..range.end as usize].to_vec())
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let objects = self.objects.lock().unwrap();
        let listed = objects.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(listed
            .map(|(name, bytes)| ObjectInfo {
                name: name.clone(),
                size_bytes: bytes.len() as u64,
                modified_ms: i64::MAX,
            })
            .collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.objects.lock().unwrap().remove(name);
        Ok(())
    }
}

/// A row as a test looks at it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum SeenRow {
    Window { ad: String, region: Option<String>, window: String, start_ms: i64, clicks: u64, users: u64, epoch: u64 },
    Archive { partition: u32, offset: u64, epoch: u64, region: Option<String> },
    Late { partition: u32, offset: u64, epoch: u64, region: Option<String>, reason: String },
    DeadLetter { partition: u32, offset: u64, epoch: u64, reason: String },
}

/// A sink for all kinds of rows; what is committed can be read. It carries rows over every other time.
#[derive(Default, Clone)]
pub struct MemorySink {
    pub committed: Arc<Mutex<BTreeMap<u64, Vec<SeenRow>>>>,
    stages: Arc<AtomicU64>,
    pub kinds: Vec<RowKind>,
    pub name: String,
}

impl MemorySink {
    pub fn new(name: &str, kinds: &[RowKind]) -> Self {
        Self { name: name.to_owned(), kinds: kinds.to_vec(), ..Self::default() }
    }

    pub fn rows(&self) -> Vec<SeenRow> {
        self.committed.lock().unwrap().values().flatten().cloned().collect()
    }
}

impl SinkFactory for MemorySink {
    fn name(&self) -> &str {
        &self.name
    }

    fn accepts(&self, kind: RowKind) -> bool {
        self.kinds.contains(&kind)
    }

    fn open(&self, _worker: WorkerContext) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(MemorySinkEnd {
            name: self.name.clone(),
            held: Vec::new(),
            fresh: Vec::new(),
            stages: Arc::clone(&self.stages),
        }))
    }

    fn committer(&self) -> Result<Box<dyn Committer>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl Committer for MemorySink {
    fn commit(&mut self, manifest: &Manifest) -> Result<(), SinkError> {
        let outputs = manifest.outputs.iter().filter(|output| output.sink == self.name);
        let rows: Vec<SeenRow> = outputs
            .flat_map(|output| serde_json::from_value::<Vec<SeenRow>>(output.details.clone()).unwrap())
            .collect();
        let mut committed = self.committed.lock().unwrap();
        if let Some(before) = committed.get(&manifest.epoch.0) {
            assert_eq!(before, &rows, "epoch {} was committed with other rows", manifest.epoch);
        }
        committed.insert(manifest.epoch.0, rows);
        Ok(())
    }
}

struct MemorySinkEnd {
    name: String,
    held: Vec<SeenRow>,
    fresh: Vec<SeenRow>,
    stages: Arc<AtomicU64>,
}

impl Sink for MemorySinkEnd {
    fn write(&mut self, row: Row<'_>) -> Result<(), SinkError> {
        self.fresh.push(match row {
            Row::Window(row) | Row::Provisional(row) => SeenRow::Window {
                ad: row.ad_id.to_owned(),
                region: row.region.map(str::to_owned),
                window: row.window.as_str().to_owned(),
                start_ms: row.start_ms,
                clicks: row.click_count,
                users: row.unique_users,
                epoch: row.epoch.0,
            },
            Row::Archive(row) => SeenRow::Archive {
                partition: row.partition.0,
                offset: row.offset.0,
                epoch: row.epoch.0,
                region: row.region.map(str::to_owned),
            },
            Row::Late(row, reason) => SeenRow::Late {
                partition: row.partition.0,
                offset: row.offset.0,
                epoch: row.epoch.0,
                region: row.region.map(str::to_owned),
                reason: reason.as_str().to_owned(),
            },
            Row::DeadLetter(row) => SeenRow::DeadLetter {
                partition: row.partition.0,
                offset: row.offset.0,
                epoch: row.epoch.0,
                reason: row.reason.to_owned(),
            },
        });
        Ok(())
    }

    fn stage(&mut self, cut: &Cut) -> Result<Staging, SinkError> {
        let fresh = std::mem::take(&mut self.fresh);
        if !cut.last && !self.stages.fetch_add(1, Ordering::SeqCst).is_multiple_of(3) {
            self.held.extend(fresh.iter().cloned());
            return Ok(Box::new(move || {
                let carried =
                    if fresh.is_empty() { Carried::Same } else { Carried::More(serde_json::to_vec(&fresh).unwrap()) };
                Ok(Staged { outputs: Vec::new(), carried })
            }));
        }
        let mut rows = std::mem::take(&mut self.held);
        rows.extend(fresh);
        let (sink, epoch) = (self.name.clone(), cut.epoch.0);
        Ok(Box::new(move || {
            let output = OutputPart {
                sink,
                name: format!("rows-{epoch}"),
                rows: rows.len() as u64,
                size_bytes: 0,
                details: serde_json::to_value(&rows).unwrap(),
            };
            Ok(Staged { outputs: vec![output], carried: Carried::Nothing })
        }))
    }

    fn restore(&mut self, carried: &[u8]) -> Result<(), SinkError> {
        // Several parts of one kind are several arrays, one after the other.
        for rows in serde_json::Deserializer::from_slice(carried).into_iter::<Vec<SeenRow>>() {
            self.held.extend(rows.unwrap());
        }
        Ok(())
    }
}

/// Keeps whatever closes.
pub const HOT: HotSettings =
    HotSettings { retention_ms: i64::MAX, memory_bytes: usize::MAX, readers_lag: Duration::ZERO };

pub const TIME: TimeSettings = TimeSettings {
    out_of_orderness_ms: 10_000,
    allowed_lateness_ms: 60_000,
    idle_timeout_ms: 30_000,
    max_future_skew_ms: 300_000,
    max_partition_lead_ms: 300_000,
};

/// A job on these, that seals every epoch.
pub fn job(log: &Arc<Log>, store: &Arc<MemoryStore>, sinks: &[MemorySink], max_records: u64) -> Job {
    Job {
        name: "clicks".to_owned(),
        region: None,
        time: TIME,
        dedup_horizon_ms: 120_000,
        epoch: EpochSettings { interval: Duration::from_millis(200), max_records },
        checkpoint: CheckpointSettings {
            interval: Duration::ZERO,
            max_archive_bytes: 1 << 30,
            retain: 3,
            retain_manifests: Duration::from_secs(86_400),
        },
        extra_fields: false,
        settings: BTreeMap::from([("source".to_owned(), "memory clicks".to_owned())]),
        source: Arc::new(MemorySource { log: Arc::clone(log), growth: Growth::done(), polled: usize::MAX }),
        sinks: sinks.iter().map(|sink| Arc::new(sink.clone()) as Arc<dyn SinkFactory>).collect(),
        store: Arc::clone(store) as Arc<dyn Store>,
        hot: Arc::new(HotWindows::new(None, HOT)),
        metrics: Arc::new(JobMetrics::default()),
        stop: Arc::new(AtomicBool::new(false)),
    }
}
