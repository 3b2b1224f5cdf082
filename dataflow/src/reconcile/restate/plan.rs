//! What has to be looked at again: the ads in which something changes, their windows, and the parts of their trees.

use std::collections::{HashMap, HashSet};

use super::super::index::{IndexError, KeyMap, TreePart};
use super::super::read::ad_number;
use super::super::walk::Key;
use super::super::windows::{BilledWindow, around};
use super::matching::{BEFORE, INDEXED, Match, NOW};
use super::{AdBefore, Restatement};
use crate::Window;

const MINUTE_MS: i64 = 60_000;

/// A plan.
pub(super) struct Plan<'a> {
    pub(super) ads: HashMap<u64, AdPlan<'a>>,
    pub(super) clicks: KeyMap<Known>,
    pub(super) start_ms: i64,
}

/// What is known of a click that has several copies, or is on a list.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Where its first copy stands; none if it is not billed on this day.
    pub(super) first: Option<(u32, u64)>,
    /// The lists that it is on by any of its copies.
    lists: u8,
    ad: u64,
    minute: u16,
}

/// What is looked at of an ad.
pub(super) struct AdPlan<'a> {
    /// Its place among the ads that were given.
    pub(super) at: usize,
    pub(super) before: AdBefore<'a>,
    /// Clicks that are put back, less those that are taken out.
    pub(super) change: i64,
    /// Where the clicks stand that are out.
    pub(super) invalid: Vec<(u32, u64)>,
    /// The windows to be counted.
    pub(super) windows: HashSet<(Window, i64)>,
    /// Rows of them that are there in any case, with the region.
    pub(super) known: Vec<(Option<&'a str>, (Window, i64))>,
    pub(super) tree: TreePlan<'a>,
}

/// The parts of a tree.
pub(super) enum TreePlan<'a> {
    /// None was kept: all clicks are hashed again.
    Whole,
    /// Those that stay, and the ranges, by the first half of keys and in their order, in which clicks are hashed again.
    Parts { same: Vec<&'a TreePart>, again: Vec<(u64, u64)> },
}

impl Known {
    /// Whether it is billed, were it looked at by its first copy.
    pub(super) const fn is_out(&self) -> bool {
        self.lists & NOW != 0
    }

    fn changes(&self) -> bool {
        (self.lists & BEFORE != 0) != (self.lists & NOW != 0)
    }

    fn changes_tree(&self) -> bool {
        (self.lists & INDEXED != 0) != (self.lists & NOW != 0)
    }
}

impl TreePlan<'_> {
    /// Whether a click is hashed again.
    #[inline]
    pub(super) fn wants(&self, key: Key) -> bool {
        match self {
            Self::Whole => true,
            Self::Parts { again, .. } => {
                let at = again.partition_point(|(_, last)| *last < key.0);
                again.get(at).is_some_and(|(first, _)| *first <= key.0)
            }
        }
    }
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        restatement: &Restatement<'a>,
        matched: &[Vec<Match>],
        windows: &'a [BilledWindow],
    ) -> Result<Self, IndexError> {
        let mut plan =
            Self { ads: HashMap::new(), clicks: clicks(restatement, matched), start_ms: restatement.start_ms };
        let numbers: HashMap<u64, usize> =
            restatement.ads.iter().enumerate().map(|(at, ad)| (ad_number(ad.ad_id), at)).collect();
        let changes = |row: &&Match| row.is_here() && (row.lists & BEFORE != 0) != (row.lists & NOW != 0);
        // A user may go without the click, if another copy of it is the one that counts.
        let by_rows = matched.iter().flatten().filter(changes).map(|row| row.ad);
        let by_clicks = plan.clicks.iter().filter(|(_, click)| click.first.is_some() && click.changes());
        let wanted: HashSet<u64> = by_rows.chain(by_clicks.map(|(_, click)| click.ad)).collect();
        for number in wanted {
            let at = numbers.get(&number).copied();
            let ad = at.and_then(|at| restatement.ads.get(at).map(|before| (at, *before)));
            let (at, before) = ad.ok_or_else(|| {
                IndexError::Contradiction("an ad has clicks in it, but no row in billing_daily".to_owned())
            })?;
            plan.ads.insert(number, AdPlan::new(at, before));
        }
        plan.add_clicks(restatement);
        plan.add_trees(restatement);
        plan.add_windows(windows);
        Ok(plan)
    }

    /// The numbers of the ads, in the order in which they were given.
    pub(super) fn ads_in_order(&self) -> Vec<u64> {
        let mut ads: Vec<(usize, u64)> = self.ads.iter().map(|(number, ad)| (ad.at, *number)).collect();
        ads.sort_unstable();
        ads.into_iter().map(|(_, number)| number).collect()
    }

    /// The windows that stay as they are.
    pub(super) fn unchanged(&self, windows: &[BilledWindow]) -> Vec<BilledWindow> {
        let by_name = self.by_name();
        let stays = |row: &&BilledWindow| {
            let ad = by_name.get(row.ad_id.as_str()).and_then(|number| self.ads.get(number));
            ad.is_none_or(|ad| !ad.windows.contains(&(row.window, row.start_ms)))
        };
        windows.iter().filter(stays).cloned().collect()
    }

    fn by_name(&self) -> HashMap<&'a str, u64> {
        self.ads.iter().map(|(number, ad)| (ad.before.ad_id, *number)).collect()
    }

    fn add_clicks(&mut self, restatement: &Restatement<'a>) {
        for (_, click) in self.clicks.iter() {
            let Some(ad) = self.ads.get_mut(&click.ad) else { continue };
            let Some(place) = click.first else { continue };
            if click.is_out() {
                ad.invalid.push(place);
            }
            if click.changes() {
                ad.change += if click.is_out() { -1 } else { 1 };
                let time_ms = restatement.start_ms + i64::from(click.minute) * MINUTE_MS;
                ad.windows.extend(around(time_ms, restatement.start_ms, restatement.end_ms));
            }
        }
    }

    fn add_trees(&mut self, restatement: &Restatement<'a>) {
        let mut changed: HashMap<u64, Vec<Key>> = HashMap::new();
        for (key, click) in self.clicks.iter().filter(|(_, click)| click.first.is_some() && click.changes_tree()) {
            if self.ads.contains_key(&click.ad) {
                changed.entry(click.ad).or_default().push(key);
            }
        }
        for tree in &restatement.index.trees {
            let Some(ad) = self.ads.get_mut(&tree.ad) else { continue };
            let mut keys = changed.remove(&tree.ad).unwrap_or_default();
            keys.sort_unstable();
            let (mut same, mut again) = (Vec::with_capacity(tree.parts.len()), Vec::new());
            let mut keys = keys.into_iter().peekable();
            for part in &tree.parts {
                let (first, last) = part.range();
                // Keys that no part has are those of clicks that were out when the index was made.
                while let Some(key) = keys.next_if(|key| key.0 < first) {
                    again.push((key.0, key.0));
                }
                if keys.peek().is_some_and(|key| key.0 <= last) {
                    while keys.next_if(|key| key.0 <= last).is_some() {}
                    again.push((first, last));
                } else {
                    same.push(part);
                }
            }
            again.extend(keys.map(|key| (key.0, key.0)));
            ad.tree = TreePlan::Parts { same, again };
        }
    }

    fn add_windows(&mut self, windows: &'a [BilledWindow]) {
        let by_name = self.by_name();
        for row in windows {
            let ad = by_name.get(row.ad_id.as_str()).and_then(|number| self.ads.get_mut(number));
            let key = (row.window, row.start_ms);
            if let Some(ad) = ad.filter(|ad| ad.windows.contains(&key)) {
                ad.known.push((row.region.as_deref(), key));
            }
        }
    }
}

impl<'a> AdPlan<'a> {
    fn new(at: usize, before: AdBefore<'a>) -> Self {
        Self {
            at,
            before,
            change: 0,
            invalid: Vec::new(),
            windows: HashSet::new(),
            known: Vec::new(),
            tree: TreePlan::Whole,
        }
    }
}

/// The clicks that more is known of than that they are billed where they stand.
fn clicks(restatement: &Restatement<'_>, matched: &[Vec<Match>]) -> KeyMap<Known> {
    let mut clicks = KeyMap::default();
    for several in &restatement.index.several {
        let first = several.is_here().then_some((several.partition, several.offset));
        clicks.entry(several.key, || Known { first, lists: 0, ad: several.ad, minute: several.minute });
    }
    for row in matched.iter().flatten() {
        let first = row.is_here().then_some(row.place);
        let alone = || Known { first, lists: 0, ad: row.ad, minute: row.minute };
        clicks.entry(row.key, alone).lists |= row.lists;
    }
    clicks
}
