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
//! - State parts hold the absolute value of what changed since the last checkpoint; of several values of one window the
//!   newest part's counts.

mod ad;
mod stored;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use weir_checkpoints::{GroupRange, PartError, PartReader, PartWriter, StatePart, Store};

use crate::records::AdName;
use crate::sketch::UserSketch;
use crate::time::is_closed;
use crate::{AdKey, Window};

use ad::AdState;
use stored::StoredAd;

/// The kind of its state parts.
pub(crate) const STATE_KIND: &str = "windows";

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
    ads: Vec<HashTable<AdState>>,
}

impl WindowState {
    pub(crate) fn new(groups: GroupRange) -> Self {
        Self { groups, ads: groups.iter().map(|_| HashTable::new()).collect() }
    }

    /// How many ads have a name or a window here.
    pub(crate) fn ads(&self) -> usize {
        self.ads.iter().map(HashTable::len).sum()
    }

    /// Learns an ad's name and region; they come before its first click there.
    pub(crate) fn name(&mut self, AdName { ad, name, region }: AdName) {
        let ad = AdKey(ad);
        let Some(table) = self.table(ad.group()) else {
            unreachable!("ad {name} belongs to another worker");
        };
        match table.entry(hash_of(ad), |state| state.key == ad, |state| hash_of(state.key)) {
            Entry::Vacant(vacant) => {
                vacant.insert(AdState::new(ad, name, region));
            }
            // 128 bits: that two names share a key is not to be expected, but it would merge two ads' bills.
            Entry::Occupied(known) => {
                let known = known.get();
                assert!(
                    *known.name == *name && known.region.as_deref() == region.as_deref(),
                    "two ads have one key: {} in {:?} and {name} in {region:?}",
                    known.name,
                    known.region
                );
            }
        }
    }

    /// Counts one click.
    #[inline]
    pub(crate) fn count(&mut self, ad: AdKey, minute: u32, coupon: crate::sketch::Coupon) {
        let Some(state) = self.table(ad.group()).and_then(|table| table.find_mut(hash_of(ad), |state| state.key == ad))
        else {
            unreachable!("a click came before its ad's name");
        };
        state.pane(minute).add(coupon);
    }

    /// Closes all windows that end at or before `closed_until_ms`: panes first, each folded into the longer windows, then
    /// those. Visits what closed.
    pub(crate) fn close(&mut self, closed_until_ms: Option<i64>, mut visit: impl FnMut(Counted<'_>)) {
        for state in self.ads.iter_mut().flatten() {
            state.close(|end_ms| is_closed(end_ms, closed_until_ms), &mut visit);
        }
    }

    /// Visits the open windows that have changed since `write` was last called, as they stand.
    pub(crate) fn changed(&self, mut visit: impl FnMut(Counted<'_>)) {
        self.ads.iter().flatten().for_each(|state| state.changed(&mut visit));
    }

    /// Writes what changed since the last call, or everything where `whole`. Forgets ads that have no window.
    pub(crate) fn write(&mut self, whole: bool) -> PartWriter {
        let mut part = PartWriter::new(self.groups);
        for (group, table) in self.groups.iter().zip(&mut self.ads) {
            table.retain(|state| !state.is_empty());
            let Some(block) = part.group(group) else { continue };
            table.iter_mut().for_each(|state| state.write(whole, block));
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
            let Some(table) = self.table(key.group()) else {
                return Err(format!("ad {name} is in a group that is not its own"));
            };
            let state = table
                .entry(hash_of(key), |state| state.key == key, |state| hash_of(state.key))
                .or_insert_with(|| AdState::new(key, name, region))
                .into_mut();
            open.for_each(|(window, start_ms, tally)| state.restore(window, start_ms, tally));
        }
        Ok(())
    }

    fn table(&mut self, group: u16) -> Option<&mut HashTable<AdState>> {
        let at = group.checked_sub(self.groups.start)?;
        self.ads.get_mut(usize::from(at))
    }
}

fn hash_of(ad: AdKey) -> u64 {
    ad.0 as u64
}
