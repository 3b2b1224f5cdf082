//! Counts and distinct users per ad, region and window.
//!
//! ```text
//!   click ─▶ pane (1 minute) ──closes──▶ row 1m
//!                                └─folds─▶ accumulator 5m ──closes──▶ row 5m
//!                                └─folds─▶ accumulator 1h ──closes──▶ row 1h
//! ```
//!
//! - A click touches one pane. The state of an ad is its open minutes and one accumulator each for the five minutes and
//!   the hour that are under way.
//! - A pane that closed is folded and gone; the stream never changes it again.
//! - What closed is kept for a while, and can be asked for while the job runs: [`HotWindows`].
//! - State parts hold the absolute value of what changed since the last checkpoint; of several values of one window the
//!   newest part's counts.

mod ad;
mod closed;
mod group;
mod hot;
mod open;
mod stored;

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use weir_checkpoints::{Epoch, EpochEnd, GroupRange, PartError, PartReader, PartWriter, StatePart, Store, WorkerIndex};

use crate::records::AdName;
use crate::sketch::UserSketch;
use crate::time::{PANE_MS, is_closed};
use crate::worker::Place;
use crate::{AdKey, Window};

use closed::ClosedWindow;
use group::{Group, closed_ad};
use stored::StoredAd;

pub use hot::{HotAnswer, HotProgress, HotSettings, HotWindows};
pub use open::open_clicks;

/// The kind of its state parts.
pub(crate) const STATE_KIND: &str = "windows";

/// Where memory is short, this part of what may be dropped is, again and again until there is enough.
const DROP_STEPS: i64 = 8;

/// A count that is being made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) clicks: u64,
    pub(crate) users: UserSketch,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.clicks += other.clicks;
        self.users.merge(&other.users);
    }
}

/// A window with what was counted in it.
pub(crate) struct Counted<'a> {
    pub(crate) ad_id: &'a str,
    /// None at home.
    pub(crate) region: Option<&'a str>,
    pub(crate) window: Window,
    pub(crate) start_ms: i64,
    pub(crate) tally: &'a Tally,
}

/// The windows of the ads that a worker counts.
pub(crate) struct WindowState {
    groups: GroupRange,
    worker: WorkerIndex,
    hot: Arc<HotWindows>,
    /// For the epochs that are not yet in the tables, which windows had closed.
    closed_until: VecDeque<(u64, i64)>,
    /// When which epoch was seen to be in the tables.
    shown: VecDeque<(Instant, u64)>,
}

impl WindowState {
    /// No windows, where the newest manifest ends: they are to be restored.
    pub(crate) fn new(hot: Arc<HotWindows>, place: Place) -> Self {
        let Place { worker, groups, first_epoch, closed_until_ms, .. } = place;
        let closed_until = closed_until_ms.map(|closed| (first_epoch - 1, closed)).into_iter().collect();
        Self { groups, worker, hot, closed_until, shown: VecDeque::new() }
    }

    /// All that was counted before is restored: whoever asks may rely on it.
    pub(crate) fn begin(&self, place: Place) {
        self.hot.begin(self.worker, self.groups, Epoch(place.first_epoch - 1), place.closed_until_ms);
    }

    /// How many ads have a name or a window here.
    pub(crate) fn ads(&self) -> usize {
        self.groups.iter().map(|group| self.hot.lock(group).open.len()).sum()
    }

    /// Learns an ad's name and region; they come before its first click there.
    pub(crate) fn name(&mut self, name: AdName) {
        let group = self.own(AdKey(name.ad).group());
        self.hot.learn(name.region.as_deref());
        self.hot.lock(group).name(name);
    }

    /// A key group of this worker, to count in.
    pub(crate) fn group(&self, group: u16) -> MutexGuard<'_, Group> {
        self.hot.lock(self.own(group))
    }

    /// Closes all windows that end at or before `closed_until_ms`: panes first, each folded into the longer windows, then
    /// those. Visits what closed, and is told its distinct users. Closed windows are kept for a while.
    pub(crate) fn close(
        &mut self,
        epoch: Epoch,
        closed_until_ms: Option<i64>,
        mut visit: impl FnMut(Counted<'_>) -> u64,
    ) {
        let keeps = self.hot.settings().retention_ms > 0;
        let mut bytes = 0;
        for group in self.groups.iter() {
            let group = &mut *self.hot.lock(group);
            for state in &mut group.open {
                let (key, name, region) = (state.key, Arc::clone(&state.name), state.region.clone());
                let keep = |window, start_ms, tally: Tally, unique_users| {
                    if keeps {
                        let Tally { clicks, users } = tally;
                        let closed = ClosedWindow { start_ms, clicks, unique_users, users, epoch: epoch.0 };
                        let ad = closed_ad(&mut group.closed, key, &name, region.as_deref());
                        bytes += ad.keep(window, closed);
                    }
                };
                state.close(|end_ms| is_closed(end_ms, closed_until_ms), &mut visit, keep);
            }
        }
        self.hot.add_closed_bytes(bytes);
        self.closed_until.extend(closed_until_ms.map(|closed| (epoch.0, closed)));
    }

    /// Drops closed windows that are older than wanted, or more than there is memory for. Only those that are in the tables:
    /// `shown` says up to which epoch all are, of those that are committed.
    pub(crate) fn drop_old(&mut self, shown: impl FnOnce(u64) -> u64) {
        let settings = self.hot.settings();
        let in_tables = self.seen_by_readers(shown(self.hot.committed()), settings.readers_lag);
        while self.closed_until.get(1).is_some_and(|(epoch, _)| *epoch <= in_tables) {
            self.closed_until.pop_front();
        }
        let droppable = self.closed_until.front().filter(|(epoch, _)| *epoch <= in_tables);
        let (Some((_, droppable_ms)), Some((_, newest_ms))) = (droppable, self.closed_until.back()) else { return };
        let mut until_ms = newest_ms.saturating_sub(settings.retention_ms).min(*droppable_ms);
        self.drop_until(until_ms);
        while self.hot.closed_bytes() > settings.memory_bytes && until_ms < *droppable_ms {
            let step_ms = (droppable_ms.saturating_sub(until_ms) / DROP_STEPS).max(PANE_MS);
            until_ms = until_ms.saturating_add(step_ms).min(*droppable_ms);
            self.drop_until(until_ms);
        }
    }

    /// The last epoch that readers of the tables are sure to see.
    fn seen_by_readers(&mut self, shown: u64, lag: Duration) -> u64 {
        let now = Instant::now();
        if self.shown.back().is_none_or(|(_, last)| *last < shown) {
            self.shown.push_back((now, shown));
        }
        let old_enough = |since: &Instant| now.duration_since(*since) >= lag;
        while self.shown.get(1).is_some_and(|(since, _)| old_enough(since)) {
            self.shown.pop_front();
        }
        self.shown.front().filter(|(since, _)| old_enough(since)).map_or(0, |(_, epoch)| *epoch)
    }

    fn drop_until(&self, until_ms: i64) {
        self.hot.set_dropped(self.worker, until_ms);
        let mut bytes = 0;
        for group in self.groups.iter() {
            self.hot.lock(group).closed.retain(|ad| {
                bytes += ad.drop_until(until_ms);
                !ad.is_empty()
            });
        }
        self.hot.take_closed_bytes(bytes);
    }

    /// All clicks of an epoch are counted.
    pub(crate) fn end_epoch(&self, end: &EpochEnd) {
        self.hot.set_epoch(self.worker, end.epoch, end.watermark_ms);
    }

    /// A checkpoint of an epoch begins.
    pub(crate) fn seal(&self, end: &EpochEnd) {
        self.hot.seal(end);
    }

    /// Visits the open windows that have changed since `write` was last called, as they stand.
    pub(crate) fn changed(&self, mut visit: impl FnMut(Counted<'_>)) {
        for group in self.groups.iter() {
            self.hot.lock(group).open.iter().for_each(|state| state.changed(&mut visit));
        }
    }

    /// Writes what changed since the last call, or everything where `whole`. Forgets ads that have no window.
    pub(crate) fn write(&mut self, whole: bool) -> PartWriter {
        let mut part = PartWriter::new(self.groups);
        for group in self.groups.iter() {
            let open = &mut self.hot.lock(group).open;
            open.retain(|state| !state.is_empty());
            let Some(block) = part.group(group) else { continue };
            open.iter_mut().for_each(|state| state.write(whole, block));
        }
        part
    }

    /// Loads this worker's groups of a stored part, over what older parts said.
    pub(crate) fn restore(
        &mut self,
        store: &dyn Store,
        part: &StatePart,
        closed_until_ms: Option<i64>,
    ) -> Result<(), PartError> {
        let mut damage = None;
        PartReader::open(store, part)?.read(self.groups, |_, block| {
            if let Err(what) = self.restore_block(block, closed_until_ms) {
                damage = damage.take().or(Some(what));
            }
        })?;
        match damage {
            Some(what) => Err(PartError::Damaged { name: part.name.clone(), what }),
            None => Ok(()),
        }
    }

    fn restore_block(&mut self, mut block: &[u8], closed_until_ms: Option<i64>) -> Result<(), String> {
        while !block.is_empty() {
            let StoredAd { key, name, region, windows } = StoredAd::read(&mut block)?;
            let open = windows
                .into_iter()
                .filter(|(window, start_ms, _)| !is_closed(start_ms + window.length_ms(), closed_until_ms));
            if !self.groups.contains(key.group()) {
                return Err(format!("ad {name} is in a group that is not its own"));
            }
            self.hot.learn(region.as_deref());
            let mut group = self.hot.lock(key.group());
            let state = group.open_ad(key, name, region);
            open.for_each(|(window, start_ms, tally)| state.restore(window, start_ms, tally));
        }
        Ok(())
    }

    fn own(&self, group: u16) -> u16 {
        assert!(self.groups.contains(group), "key group {group} belongs to another worker");
        group
    }
}
