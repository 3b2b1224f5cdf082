//! A closed day, restated from its index: some traffic is taken out or put back, and what that changes is counted anew.
//!
//! ```text
//!   lists: of the index, of the revision before, of now ─▶ match ─▶ rows on a list ─▶ clicks that are out ─┐
//!                                                            ▲                                              ▼
//!   index: users, ids, addresses ────────────────────────────┘           ads in which anything changes: plan
//!                                                                                                           │
//!   index: rows of these ads ─▶ gather: users, windows that change, clicks of the parts that change ◀───────┘
//!                                  └─▶ settle, by ad: clicks, users, root, windows
//! ```
//!
//! A row that no list of now or before matches costs the look at one hash, a few nanoseconds; the rest goes with the clicks
//! of the ads in which something changes. What comes out is what a recount with the same lists would have: `clicks` is
//! counted by subtraction, and once more by the leaves of the tree, and both must agree.
//!
//! Which copy of a click is billed, what was late or counted twice: no list changes that.

mod gather;
mod matching;
mod plan;
mod settle;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use weir_checkpoints::Store;

use super::index::{DayIndex, IndexError, KeySet, Segment};
use super::merkle::{click_key, user_key};
use super::outcome::OffsetRange;
use super::windows::{BilledWindow, sort};
use gather::GatheredByAd;
use matching::{Lists, Match};
use plan::Plan;

/// Says whether an address is on a list.
pub type Addresses = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Traffic that is taken out.
#[derive(Clone, Default)]
pub struct InvalidTraffic {
    clicks: KeySet,
    users: KeySet,
    addresses: Option<Addresses>,
}

impl InvalidTraffic {
    /// Takes a click out.
    pub fn add_click(&mut self, click_id: &str) {
        self.clicks.insert(click_key(click_id));
    }

    /// Takes a user's clicks out.
    pub fn add_user(&mut self, user_id: &str) {
        self.users.insert(user_key(user_id));
    }

    /// Takes those out that come from some addresses. It is asked for IPv4 addresses as such, whatever clothes they came in.
    pub fn set_addresses(&mut self, addresses: Addresses) {
        self.addresses = Some(addresses);
    }
}

/// What is billed for an ad by now.
#[derive(Debug, Clone, Copy)]
pub struct AdBefore<'a> {
    /// The ad.
    pub ad_id: &'a str,
    /// Its clicks.
    pub clicks: i64,
}

/// What a day is restated from.
pub struct Restatement<'a> {
    /// The first millisecond of the day.
    pub start_ms: i64,
    /// The first millisecond after it.
    pub end_ms: i64,
    /// Its index.
    pub index: &'a DayIndex,
    /// Where the index is.
    pub store: &'a dyn Store,
    /// What was taken out when the index was made.
    pub indexed: &'a InvalidTraffic,
    /// What is taken out by the newest revision.
    pub before: &'a InvalidTraffic,
    /// What is to be taken out.
    pub now: &'a InvalidTraffic,
    /// All ads of the newest revision.
    pub ads: &'a [AdBefore<'a>],
    /// The corrected windows of the newest revision.
    pub windows: Vec<BilledWindow>,
    /// Threads.
    pub threads: usize,
    /// Below so many bytes of segments they stay in memory for the second look at them.
    pub keep_bytes: u64,
}

/// What has changed.
#[derive(Debug, Default)]
pub struct Restated {
    /// The ads in which anything has, in the order in which they were given.
    pub ads: Vec<RestatedAd>,
    /// All corrected windows, in the order of windows, ads, starts and regions.
    pub windows: Vec<BilledWindow>,
}

/// What is billed for an ad from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestatedAd {
    /// Its place among the ads that were given.
    pub at: usize,
    /// Its clicks.
    pub clicks: i64,
    /// Their users, an estimate.
    pub unique_users: u64,
    /// The root of the tree over its clicks, in hex; none without clicks.
    pub root: Option<String>,
    /// Where the clicks stand that are out, by partition.
    pub invalid: BTreeMap<u32, OffsetRange>,
}

impl Restatement<'_> {
    /// Counts what changes.
    ///
    /// # Errors
    /// If the index is missing, damaged, or not of this day: then only a recount can tell.
    pub fn run(mut self) -> Result<Restated, IndexError> {
        let keep = self.index.segment_bytes() <= self.keep_bytes;
        let opened = self.index.segments.iter().map(|info| Segment::open(self.store, info, keep));
        let segments: Vec<Segment<'_>> = opened.collect::<Result<_, _>>()?;
        let lists = Lists::of([self.indexed, self.before, self.now]);
        let matched = in_parallel(self.threads, &segments, |segment, matches: &mut Numbered<Vec<Match>>, at| {
            matches.push((at, lists.matches(segment)?));
            Ok(())
        })?;
        let matched = in_order(matched);
        let windows = std::mem::take(&mut self.windows);
        let plan = Plan::new(&self, &matched, &windows)?;
        let with_matches: Vec<_> = segments.iter().zip(&matched).collect();
        let gathered = in_parallel(self.threads, &with_matches, |(segment, rows), by_ad: &mut GatheredByAd, _| {
            plan.gather(segment, rows, by_ad)
        })?;
        let settled = in_parallel(self.threads, &plan.ads_in_order(), |ad, settled: &mut Numbered<_>, at| {
            settled.push((at, plan.settle(*ad, &gathered)?));
            Ok(())
        })?;
        let settled = in_order(settled);
        let mut restated = Restated { ads: Vec::with_capacity(settled.len()), windows: plan.unchanged(&windows) };
        for (ad, windows) in settled {
            restated.ads.push(ad);
            restated.windows.extend(windows);
        }
        sort(&mut restated.windows);
        Ok(restated)
    }
}

/// Results, with the places of what they are of.
type Numbered<R> = Vec<(usize, R)>;

/// Does something with each, as threads are free. Each thread has something of its own to put results into.
fn in_parallel<T: Sync, S: Default + Send>(
    threads: usize,
    all: &[T],
    work: impl Fn(&T, &mut S, usize) -> Result<(), IndexError> + Sync,
) -> Result<Vec<S>, IndexError> {
    let (next, work) = (AtomicUsize::new(0), &work);
    let mine = || {
        let mut mine = S::default();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(at) else { return Ok(mine) };
            work(one, &mut mine, at)?;
        }
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads.clamp(1, all.len().max(1))).map(|_| scope.spawn(mine)).collect();
        let joined = running.into_iter().map(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    })
}

fn in_order<R>(of_threads: Vec<Numbered<R>>) -> Vec<R> {
    let mut all: Numbered<R> = of_threads.into_iter().flatten().collect();
    all.sort_unstable_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, result)| result).collect()
}
