//! The windows of the last hours, to be asked while the job runs.
//!
//! ```text
//!   worker ──count──▶ group: open windows ──close──▶ rows to the sinks
//!                       │                     └────▶ closed windows, kept for a while ◀── restored: tables, rows held back
//!                       └────────────── lock ──────────┬───────────────┘
//!                                                      │
//!   HotWindows::windows(query) ────────────────────────┘
//! ```
//!
//! Nothing is copied for queries: they look into the state that the workers count in. A worker holds the lock of one key
//! group while it takes an epoch's clicks of that group, which is well below a millisecond.
//!
//! - Of windows that start at [`HotProgress::complete_from_ms`] or later, all that have a click are here.
//! - A window is dropped only when it is in the tables and committed there; whoever asks here first and then in the tables
//!   for what starts earlier misses nothing.
//! - A window is final when it is closed and the checkpoint of its epoch committed. Until then a crash may change it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use weir_checkpoints::{Epoch, EpochEnd, GroupRange, KEY_GROUPS, WorkerIndex};

use crate::region::Region;
use crate::{AdKey, SketchError, TopAd, TopQuery, UserSketch, WindowQuery, WindowRow, WindowStats};

use super::closed::ClosedWindow;
use super::group::{Group, closed_ad};

/// How much is kept of what has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotSettings {
    /// How long a closed window is kept, in milliseconds of event time; 0 keeps none.
    pub retention_ms: i64,
    /// About how many bytes they may take. Beyond that the oldest are dropped early, if they are in the tables.
    pub memory_bytes: usize,
    /// How old what readers see of the tables may be. So long after it was committed there a window stays here.
    pub readers_lag: Duration,
}

/// The windows that this process counts, and those that it counted lately.
#[derive(Debug)]
pub struct HotWindows {
    groups: Box<[Mutex<Group>]>,
    home: Option<Arc<str>>,
    settings: HotSettings,
    /// The other regions that have been seen.
    regions: RwLock<BTreeSet<Arc<str>>>,
    closed_bytes: AtomicUsize,
    /// Closed windows that start earlier were closed before this process began, and may be missing.
    began_at_ms: AtomicI64,
    committed: AtomicU64,
    /// Checkpoints that are under way, each with what it closes; and the first of them.
    sealing: Mutex<BTreeMap<u64, i64>>,
    first_sealing: AtomicU64,
    closed_until_ms: AtomicI64,
    changes: AtomicU64,
    /// How many workers this process has; before all of them have begun nothing is complete.
    expected: AtomicUsize,
    workers: Mutex<BTreeMap<WorkerIndex, Mark>>,
}

/// How far one worker is.
#[derive(Debug, Clone, Copy)]
struct Mark {
    groups: GroupRange,
    epoch: Epoch,
    watermark_ms: Option<i64>,
    /// Windows that end at or before this may be gone.
    dropped_until_ms: i64,
}

/// What an answer is true for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotProgress {
    /// The last epoch that all workers of this process have counted; none before the state of all is restored.
    pub epoch: Option<u64>,
    /// The watermark at its end, in milliseconds of event time.
    pub watermark_ms: Option<i64>,
    /// Windows that end here or earlier are final.
    pub closed_until_ms: i64,
    /// Of windows that start here or later none is missing.
    pub complete_from_ms: i64,
    /// The key groups that are counted here: first, and one past the last.
    pub groups: Vec<(u16, u16)>,
}

/// What was found, and what that is true for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotAnswer<T> {
    /// What was found, in no order.
    pub found: Vec<T>,
    /// What it is true for.
    pub progress: HotProgress,
}

impl HotWindows {
    /// No windows yet; `home` is the job's own region.
    #[must_use]
    pub fn new(home: Option<&str>, settings: HotSettings) -> Self {
        Self {
            groups: (0..KEY_GROUPS).map(|_| Mutex::default()).collect(),
            home: home.map(Into::into),
            settings,
            regions: RwLock::default(),
            closed_bytes: AtomicUsize::new(0),
            began_at_ms: AtomicI64::new(i64::MIN),
            committed: AtomicU64::new(0),
            sealing: Mutex::default(),
            first_sealing: AtomicU64::new(u64::MAX),
            closed_until_ms: AtomicI64::new(i64::MIN),
            changes: AtomicU64::new(0),
            expected: AtomicUsize::new(usize::MAX),
            workers: Mutex::default(),
        }
    }

    /// The windows that are asked for, open and closed.
    #[must_use]
    pub fn windows(&self, query: &WindowQuery) -> HotAnswer<WindowStats> {
        self.answer(|epoch, rows| {
            let home = self.home.as_ref();
            let committed = self.committed.load(Ordering::Relaxed);
            if query.ads.is_empty() {
                for group in &self.groups {
                    let group = lock(group);
                    for ad in group.closed.iter().filter(|ad| self.asks_for(query.region.as_ref(), ad.region())) {
                        ad.find(query, home, committed, rows);
                    }
                    for ad in group.open.iter().filter(|ad| self.asks_for(query.region.as_ref(), ad.region())) {
                        ad.find(query, home, epoch, rows);
                    }
                }
                return;
            }
            for key in query.ads.iter().flat_map(|ad| self.keys(ad, query.region.as_ref())) {
                let group = self.lock(key.group());
                if let Some(ad) = group.find_closed(key) {
                    ad.find(query, home, committed, rows);
                }
                if let Some(ad) = group.find_open(key) {
                    ad.find(query, home, epoch, rows);
                }
            }
        })
    }

    /// The ads with the most clicks in a window, and how many they are, of those that are counted here.
    #[must_use]
    pub fn top(&self, query: &TopQuery) -> HotAnswer<TopAd> {
        self.answer(|_epoch, ads| {
            for group in &self.groups {
                let group = lock(group);
                let closed = group.closed.iter().filter(|ad| self.asks_for(query.region.as_ref(), ad.region()));
                ads.extend(closed.filter_map(|ad| {
                    let click_count = ad.clicks(query.window, query.start_ms)?;
                    Some(TopAd { ad_id: Arc::clone(ad.name()), click_count })
                }));
                let open = group.open.iter().filter(|ad| self.asks_for(query.region.as_ref(), ad.region()));
                ads.extend(open.filter_map(|ad| {
                    let click_count = ad.clicks(query.window, query.start_ms)?;
                    Some(TopAd { ad_id: Arc::clone(&ad.name), click_count })
                }));
            }
            TopAd::sum(ads);
            TopAd::rank(ads, query.limit);
        })
    }

    /// What an answer would be true for.
    #[must_use]
    pub fn progress(&self) -> HotProgress {
        let workers = lock(&self.workers);
        let dropped = workers.values().map(|mark| mark.dropped_until_ms).max().unwrap_or(i64::MIN);
        let all_begun = workers.len() >= self.expected.load(Ordering::Relaxed);
        let slowest = workers.values().min_by_key(|mark| mark.epoch).filter(|_| all_begun);
        HotProgress {
            epoch: slowest.map(|mark| mark.epoch.0),
            watermark_ms: slowest.and_then(|mark| mark.watermark_ms),
            closed_until_ms: self.closed_until_ms.load(Ordering::Relaxed),
            complete_from_ms: self.began_at_ms.load(Ordering::Acquire).max(dropped),
            groups: workers.values().map(|mark| mark.groups.into()).collect(),
        }
    }

    /// A number that is another one after every change: of counts, of what is final, of what is kept.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// About how many bytes the closed windows take.
    #[must_use]
    pub fn closed_bytes(&self) -> usize {
        self.closed_bytes.load(Ordering::Relaxed)
    }

    /// Keeps a window that an earlier process closed: it was read from a table, or was held back for one.
    ///
    /// # Errors
    /// If its sketch is none.
    pub fn restore(&self, row: &WindowRow<'_>) -> Result<(), SketchError> {
        if self.settings.retention_ms == 0 {
            return Ok(());
        }
        let region = row.region.filter(|region| Some(*region) != self.home.as_deref());
        let key = AdKey::of(row.ad_id).in_region(region.map_or(Region::HOME, Region::elsewhere));
        let closed = ClosedWindow {
            start_ms: row.start_ms,
            clicks: row.click_count,
            unique_users: row.unique_users,
            users: UserSketch::from_datasketches(row.user_sketch)?,
            epoch: row.epoch.0,
        };
        self.learn(region);
        let mut group = self.lock(key.group());
        let bytes = closed_ad(&mut group.closed, key, row.ad_id, region).keep(row.window, closed);
        self.closed_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// All windows that start at or after `from_ms` and were closed before this process began have been restored.
    pub fn restored_from(&self, from_ms: i64) {
        self.began_at_ms.fetch_min(from_ms, Ordering::Release);
        self.changed();
    }

    /// Whether this process counts the ad's key group.
    #[must_use]
    pub fn counts(&self, ad_id: &str, region: Option<&str>) -> bool {
        let region = region.filter(|region| Some(*region) != self.home.as_deref());
        let group = AdKey::of(ad_id).in_region(region.map_or(Region::HOME, Region::elsewhere)).group();
        lock(&self.workers).values().any(|mark| mark.groups.contains(group))
    }

    pub(crate) fn settings(&self) -> HotSettings {
        self.settings
    }

    /// A key group's windows.
    pub(crate) fn lock(&self, group: u16) -> MutexGuard<'_, Group> {
        match self.groups.get(usize::from(group)) {
            Some(windows) => lock(windows),
            None => unreachable!("there is no key group {group}"),
        }
    }

    /// So many workers will begin.
    pub(crate) fn expect_workers(&self, workers: usize) {
        self.expected.store(workers, Ordering::Relaxed);
    }

    /// A worker has loaded its state, and what its sinks held back, and begins where the newest manifest ends.
    pub(crate) fn begin(&self, worker: WorkerIndex, groups: GroupRange, epoch: Epoch, closed_until_ms: Option<i64>) {
        let closed_until_ms = closed_until_ms.unwrap_or(i64::MIN);
        self.began_at_ms.fetch_max(closed_until_ms, Ordering::Release);
        self.set_committed(epoch.0, closed_until_ms);
        let mark = Mark { groups, epoch, watermark_ms: None, dropped_until_ms: i64::MIN };
        lock(&self.workers).insert(worker, mark);
    }

    /// A worker has counted all clicks of an epoch.
    pub(crate) fn set_epoch(&self, worker: WorkerIndex, epoch: Epoch, watermark_ms: Option<i64>) {
        if let Some(mark) = lock(&self.workers).get_mut(&worker) {
            (mark.epoch, mark.watermark_ms) = (epoch, watermark_ms);
        }
        self.changed();
    }

    /// A worker is about to drop windows that end at or before this.
    pub(crate) fn set_dropped(&self, worker: WorkerIndex, until_ms: i64) {
        if let Some(mark) = lock(&self.workers).get_mut(&worker) {
            mark.dropped_until_ms = mark.dropped_until_ms.max(until_ms);
        }
    }

    /// A checkpoint of all epochs up to this one is under way.
    pub(crate) fn seal(&self, end: &EpochEnd) {
        lock(&self.sealing).insert(end.epoch.0, end.closed_until_ms.unwrap_or(i64::MIN));
        self.first_sealing.fetch_min(end.epoch.0, Ordering::Relaxed);
    }

    /// No checkpoint of an epoch before `frontier` is under way any more: those that were are committed.
    pub(crate) fn commit_before(&self, frontier: u64) {
        if self.first_sealing.load(Ordering::Relaxed) >= frontier {
            return;
        }
        let mut sealing = lock(&self.sealing);
        let later = sealing.split_off(&frontier);
        let done = std::mem::replace(&mut *sealing, later);
        let next = sealing.first_key_value().map_or(u64::MAX, |(epoch, _)| *epoch);
        self.first_sealing.store(next, Ordering::Relaxed);
        if let Some((epoch, closed_until_ms)) = done.last_key_value() {
            self.set_committed(*epoch, *closed_until_ms);
        }
    }

    fn set_committed(&self, epoch: u64, closed_until_ms: i64) {
        self.committed.fetch_max(epoch, Ordering::Relaxed);
        self.closed_until_ms.fetch_max(closed_until_ms, Ordering::Relaxed);
        self.changed();
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Notes a region, none for home.
    pub(crate) fn learn(&self, region: Option<&str>) {
        let Some(region) = region else { return };
        if !self.regions.read().unwrap_or_else(PoisonError::into_inner).contains(region) {
            self.regions.write().unwrap_or_else(PoisonError::into_inner).insert(region.into());
        }
    }

    pub(crate) fn add_closed_bytes(&self, bytes: usize) {
        self.closed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn take_closed_bytes(&self, bytes: usize) {
        self.closed_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// What is dropped meanwhile may be missing in what was found, and what was restored meanwhile too.
    fn answer<T>(&self, find: impl FnOnce(u64, &mut Vec<T>)) -> HotAnswer<T> {
        let mut progress = self.progress();
        let mut found = Vec::new();
        find(progress.epoch.unwrap_or_default(), &mut found);
        progress.complete_from_ms = progress.complete_from_ms.max(self.progress().complete_from_ms);
        HotAnswer { found, progress }
    }

    /// The keys that an ad may have.
    fn keys(&self, ad_id: &str, region: Option<&Arc<str>>) -> Vec<AdKey> {
        let key = AdKey::of(ad_id);
        match region {
            Some(region) if Some(region) == self.home.as_ref() => vec![key],
            Some(region) => vec![key.in_region(Region::elsewhere(region))],
            None => {
                let regions = self.regions.read().unwrap_or_else(PoisonError::into_inner);
                let elsewhere = regions.iter().map(|region| key.in_region(Region::elsewhere(region)));
                std::iter::once(key).chain(elsewhere).collect()
            }
        }
    }

    /// Whether windows of a region are asked for, none at home.
    fn asks_for(&self, asked: Option<&Arc<str>>, region: Option<&str>) -> bool {
        asked.is_none_or(|asked| Some(&**asked) == region.or(self.home.as_deref()))
    }
}

/// A thread that panics ends the process.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
