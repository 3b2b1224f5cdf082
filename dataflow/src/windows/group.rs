//! The windows of one key group: open ones, which a worker counts in, and closed ones, which are kept for queries.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::AdKey;
use crate::records::AdName;
use crate::sketch::Coupon;

use super::ad::AdState;
use super::closed::ClosedAd;

/// A key group's windows. Its worker holds the lock while it takes an epoch's clicks of the group, queries hold it while
/// they look.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(super) open: HashTable<AdState>,
    pub(super) closed: HashTable<ClosedAd>,
}

impl Group {
    /// Learns an ad's name and region; they come before its first click there.
    pub(super) fn name(&mut self, AdName { ad, name, region }: AdName) {
        let ad = AdKey(ad);
        match self.open.entry(hash_of(ad), |state| state.key == ad, |state| hash_of(state.key)) {
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
    pub(crate) fn count(&mut self, ad: AdKey, minute: u32, coupon: Coupon) {
        let Some(state) = self.open.find_mut(hash_of(ad), |state| state.key == ad) else {
            unreachable!("a click came before its ad's name");
        };
        state.pane(minute).add(coupon);
    }

    /// An ad's open windows, begun if need be.
    pub(super) fn open_ad(&mut self, key: AdKey, name: String, region: Option<String>) -> &mut AdState {
        self.open
            .entry(hash_of(key), |state| state.key == key, |state| hash_of(state.key))
            .or_insert_with(|| AdState::new(key, name, region))
            .into_mut()
    }

    pub(super) fn find_open(&self, key: AdKey) -> Option<&AdState> {
        self.open.find(hash_of(key), |state| state.key == key)
    }

    pub(super) fn find_closed(&self, key: AdKey) -> Option<&ClosedAd> {
        self.closed.find(hash_of(key), |ad| ad.key == key)
    }
}

/// The closed windows of an ad among those of its group, begun if need be; its region is none at home.
pub(super) fn closed_ad<'a>(
    closed: &'a mut HashTable<ClosedAd>,
    key: AdKey,
    name: &str,
    region: Option<&str>,
) -> &'a mut ClosedAd {
    closed
        .entry(hash_of(key), |ad| ad.key == key, |ad| hash_of(ad.key))
        .or_insert_with(|| ClosedAd::new(key, name, region))
        .into_mut()
}

fn hash_of(ad: AdKey) -> u64 {
    ad.0 as u64
}
