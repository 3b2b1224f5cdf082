//! A job around the sink that makes up clicks, counts them in windows, and takes checkpoints; and the right answer, by a
//! plain loop over all its clicks.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use weir_checkpoints::{Attempt, Epoch, Manifest, Names, Sequence, Store, WorkerIndex};
use weir_connectors::clickhouse::{ClickHouseConfig, ClickHouseReader, ClickHouseSink, Coverage, LATEST_MS};
use weir_connectors::memory::MemoryStore;
use weir_dataflow::{
    Committer, Cut, Row, Sink, SinkError, SinkFactory, Window, WindowQuery, WindowRow, WindowStats, WorkerContext,
};

use crate::clickhouse_engines::{Server, wait_until};

/// Names that would like to be SQL.
pub const ADS: &[&str] = &[
    "ad-1",
    "ad-2",
    "o'clock",
    "\\",
    "\\'",
    "') OR 1=1 --",
    "a\tb\nc\0d",
    "?",
    "??fields",
    "{x:String}",
    "Ünïcödé \u{1f600}",
    "`x`",
    "%_",
];
pub const REGIONS: &[Option<&str>] = &[None, Some("eu-1"), Some("us-1")];
pub const START_MS: i64 = 1_736_899_200_000;
const MINUTE_MS: i64 = 60_000;
/// Windows close this long after their end.
const LATENESS_MS: i64 = 2 * MINUTE_MS;

#[derive(Debug, Clone, Copy)]
struct Click {
    ad: usize,
    region: usize,
    user: u64,
    time_ms: i64,
}

/// Window, start, ad, region.
pub type Key = (Window, i64, &'static str, &'static str);

/// What is right for a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    pub clicks: u64,
    pub users: u64,
    pub is_final: bool,
}

pub struct Job {
    pub config: ClickHouseConfig,
    pub sink: ClickHouseSink,
    pub store: Arc<MemoryStore>,
    committer: Option<Box<dyn Committer>>,
    workers: Vec<Box<dyn Sink>>,
    random: SmallRng,
    seed: u64,
    clicks: Vec<Click>,
    changed: BTreeSet<Key>,
    newest: Manifest,
}

impl Job {
    pub fn start(config: ClickHouseConfig, seed: u64) -> Self {
        let store = Arc::new(MemoryStore::new());
        let mut job = Self {
            sink: ClickHouseSink::new(config.clone(), store.clone(), Arc::default()),
            config,
            store,
            committer: None,
            workers: Vec::new(),
            random: SmallRng::seed_from_u64(seed),
            seed,
            clicks: Vec::new(),
            changed: BTreeSet::new(),
            newest: first_manifest(),
        };
        job.restart().unwrap();
        job
    }

    /// Begins the next attempt, as a crash and a new start would.
    pub fn restart(&mut self) -> Result<(), SinkError> {
        self.committer = None;
        self.sink = ClickHouseSink::new(self.config.clone(), self.store.clone(), Arc::default());
        self.newest.attempt = self.newest.attempt.next();
        self.publish();
        let mut committer = self.sink.committer()?;
        committer.commit(&self.newest)?;
        self.committer = Some(committer);
        let open = |worker| {
            let context = WorkerContext { worker: WorkerIndex(worker), workers: 2, attempt: self.newest.attempt };
            self.sink.open(context)
        };
        self.workers = vec![open(0)?, open(1)?];
        Ok(())
    }

    pub fn closed_until_ms(&self) -> i64 {
        self.newest.closed_until_ms.unwrap_or(0)
    }

    /// Some clicks of about a minute, then a checkpoint.
    pub fn step(&mut self) {
        self.stage();
        self.commit().unwrap();
    }

    pub fn steps(&mut self, steps: usize) {
        (0..steps).for_each(|_| self.step());
    }

    pub fn commit(&mut self) -> Result<(), SinkError> {
        self.committer.as_mut().unwrap().commit(&self.newest)
    }

    /// The committer and the manifest that it is to commit.
    pub fn committing(&mut self) -> (&mut dyn Committer, &Manifest) {
        (self.committer.as_deref_mut().unwrap(), &self.newest)
    }

    pub fn committer(&self) -> &dyn Committer {
        self.committer.as_deref().unwrap()
    }

    /// Everything of a checkpoint but the commit.
    pub fn stage(&mut self) {
        let epoch = self.newest.epoch.next();
        let now_ms = START_MS + epoch.0 as i64 * MINUTE_MS;
        for _ in 0..self.random.random_range(0..60) {
            let click = Click {
                ad: self.random.random_range(0..ADS.len()),
                region: self.random.random_range(0..REGIONS.len()),
                user: self.random.random_range(0..20),
                time_ms: now_ms - self.random.random_range(0..LATENESS_MS),
            };
            self.changed.extend(keys(&click));
            self.clicks.push(click);
        }
        let closed_until_ms = (now_ms - LATENESS_MS).div_euclid(MINUTE_MS) * MINUTE_MS;
        self.write(epoch, closed_until_ms);
        let cut = Cut { epoch, last: false, offsets: Vec::new() };
        let staged = self.workers.iter_mut().flat_map(|worker| worker.stage(&cut).unwrap()().unwrap().outputs);
        let outputs = staged.collect();
        self.newest = Manifest { epoch, closed_until_ms: Some(closed_until_ms), outputs, ..self.newest.clone() };
        self.publish();
    }

    fn write(&mut self, epoch: Epoch, closed_until_ms: i64) {
        let right = right_of(&self.clicks, closed_until_ms);
        let before_ms = self.newest.closed_until_ms.unwrap_or(i64::MIN);
        for (key, right) in &right {
            let (window, start_ms, ad_id, region) = *key;
            let closes = right.is_final && start_ms + window.length_ms() > before_ms;
            if !closes && (right.is_final || !self.changed.contains(key)) {
                continue;
            }
            let row = WindowRow {
                ad_id,
                region: Some(region).filter(|region| !region.is_empty()),
                window,
                start_ms,
                click_count: right.clicks,
                unique_users: right.users,
                user_sketch: &sketch(key, right),
                epoch,
            };
            let row = if right.is_final { Row::Window(row) } else { Row::Provisional(row) };
            let worker = self.random.random_range(0..self.workers.len());
            self.workers[worker].write(row).unwrap();
        }
        self.changed.clear();
    }

    fn publish(&mut self) {
        self.newest.sequence = Sequence(self.newest.sequence.0 + 1);
        let name = Names::new(&self.newest.job).manifest(self.newest.sequence);
        self.store.put(&name, self.newest.to_bytes().unwrap()).unwrap();
    }

    pub fn wait_until_inserted(&self) {
        let metrics = self.sink.metrics();
        wait_until("everything inserted", || metrics.backlog_checkpoints() == 0);
    }

    /// The right answer for every window that has clicks.
    pub fn right(&self) -> BTreeMap<Key, Right> {
        right_of(&self.clicks, self.closed_until_ms())
    }

    /// Compares everything, as the reader has it and as the view does.
    #[track_caller]
    pub fn assert_all_there(&self, server: &Server) {
        self.assert_there(server, |_| true);
    }

    /// The same for some windows, all others being there or not.
    #[track_caller]
    pub fn assert_there(&self, server: &Server, which: impl Fn(&Key) -> bool) {
        self.wait_until_inserted();
        let right: BTreeMap<Key, Right> = self.right().into_iter().filter(|(key, _)| which(key)).collect();
        let mut found = BTreeMap::new();
        for window in Window::ALL {
            for row in self.ask(&everything(window)) {
                let key = key_of(&row);
                if which(&key) {
                    let value = Right { clicks: row.click_count, users: row.unique_users, is_final: row.is_final };
                    let expected = if row.is_final { sketch(&key, &value) } else { Vec::new() };
                    assert_eq!(row.user_sketch, expected, "seed {}: {key:?}", self.seed);
                    assert!(found.insert(key, value).is_none(), "seed {}: {key:?} is there twice", self.seed);
                }
            }
        }
        assert_eq!(found, right, "seed {}", self.seed);
        let lines: Vec<String> = right.iter().map(line).collect();
        let mut view: Vec<String> = server.query(&self.view_query()).lines().map(str::to_owned).collect();
        if lines.len() == self.right().len() {
            view.sort();
            let mut lines = lines;
            lines.sort();
            assert_eq!(view, lines, "seed {}", self.seed);
        } else {
            assert!(lines.iter().all(|line| view.contains(line)), "seed {}", self.seed);
        }
    }

    fn view_query(&self) -> String {
        format!(
            "SELECT toString(window), toUInt32(window_start), hex(ad_id), region, click_count, unique_users, final FROM \
             {}.clicks_agg_latest",
            self.config.database
        )
    }

    pub fn ask(&self, query: &WindowQuery) -> Vec<WindowStats> {
        block_on(self.reader().windows(query)).unwrap()
    }

    pub fn reader(&self) -> ClickHouseReader {
        ClickHouseReader::new(self.config.clone())
    }

    pub fn coverage(&self) -> Coverage {
        block_on(self.reader().coverage()).unwrap()
    }
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub fn everything(window: Window) -> WindowQuery {
    WindowQuery { ads: Vec::new(), window, start_ms: 0, end_ms: LATEST_MS, region: None, sketches: true }
}

pub fn key_of(row: &WindowStats) -> Key {
    let ad = ADS.iter().find(|ad| **ad == &*row.ad_id).unwrap_or_else(|| panic!("there is no ad {:?}", row.ad_id));
    let region = REGIONS.iter().find(|region| **region == row.region.as_deref()).unwrap();
    (row.window, row.start_ms, ad, region.unwrap_or_default())
}

fn keys(click: &Click) -> impl Iterator<Item = Key> {
    let (ad, region) = (ADS[click.ad], REGIONS[click.region].unwrap_or_default());
    let time_ms = click.time_ms;
    Window::ALL.into_iter().map(move |window| (window, window.start_of(time_ms), ad, region))
}

fn right_of(clicks: &[Click], closed_until_ms: i64) -> BTreeMap<Key, Right> {
    let mut counted: BTreeMap<Key, (u64, HashSet<u64>)> = BTreeMap::new();
    for click in clicks {
        for key in keys(click) {
            let (count, users) = counted.entry(key).or_default();
            *count += 1;
            users.insert(click.user);
        }
    }
    let right = counted.into_iter().map(|(key, (clicks, users))| {
        let is_final = key.1 + key.0.length_ms() <= closed_until_ms;
        (key, Right { clicks, users: users.len() as u64, is_final })
    });
    right.collect()
}

/// Bytes that tell the window that they belong to.
fn sketch(key: &Key, right: &Right) -> Vec<u8> {
    let mut bytes = format!("{}{}{}", key.2, key.3, key.0.as_str()).into_bytes();
    bytes.extend_from_slice(&[0, 255, 10, 92, 39]);
    bytes.extend_from_slice(&right.clicks.to_le_bytes());
    bytes
}

fn line(row: (&Key, &Right)) -> String {
    let ((window, start_ms, ad, region), Right { clicks, users, is_final }) = row;
    let ad: String = ad.bytes().map(|byte| format!("{byte:02X}")).collect();
    let start = start_ms / 1000;
    format!("{}\t{start}\t{ad}\t{region}\t{clicks}\t{users}\t{}", window.as_str(), u8::from(*is_final))
}

fn first_manifest() -> Manifest {
    let manifest = json!({
        "format": weir_checkpoints::FORMAT_VERSION, "job": "clicks", "sequence": 0, "previous": null, "attempt": 0,
        "owner": "test", "workers": 2, "epoch": 0, "written_ms": 0, "settings": {}, "watermark_ms": null,
        "closed_until_ms": null, "ended": false, "partitions": {}, "state": [], "outputs": []
    });
    Manifest { attempt: Attempt(0), ..serde_json::from_value(manifest).unwrap() }
}
