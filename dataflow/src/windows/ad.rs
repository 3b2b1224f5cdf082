//! The open windows of one ad.

use std::sync::Arc;

use crate::sketch::Coupon;
use crate::time::PANE_MS;
use crate::{AdKey, Window, WindowQuery, WindowStats};

use super::{Counted, Tally, stored};

/// The open panes and accumulators of one ad in one region.
#[derive(Debug)]
pub(super) struct AdState {
    pub(super) key: AdKey,
    pub(super) name: Arc<str>,
    /// None at home.
    pub(super) region: Option<Box<str>>,
    /// Open minutes, in no order: there are a dozen at most, and the newest, which gets nearly all clicks, is last.
    panes: Vec<Pane>,
    longer: Vec<Accumulator>,
}

#[derive(Debug)]
pub(super) struct Pane {
    minute: u32,
    changed: bool,
    tally: Tally,
}

/// A window of five minutes or an hour under way: the sum of its closed panes.
#[derive(Debug)]
struct Accumulator {
    window: Window,
    start_ms: i64,
    changed: bool,
    tally: Tally,
}

impl Pane {
    #[inline]
    pub(super) fn add(&mut self, coupon: Coupon) {
        self.changed = true;
        self.tally.clicks += 1;
        self.tally.users.update(coupon);
    }

    fn start_ms(&self) -> i64 {
        i64::from(self.minute) * PANE_MS
    }
}

impl AdState {
    pub(super) fn new(key: AdKey, name: String, region: Option<String>) -> Self {
        let region = region.map(String::into_boxed_str);
        Self { key, name: name.into(), region, panes: Vec::new(), longer: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.panes.is_empty() && self.longer.is_empty()
    }

    /// The pane of a minute, opened if need be.
    #[inline]
    pub(super) fn pane(&mut self, minute: u32) -> &mut Pane {
        let at = match self.panes.iter().rposition(|pane| pane.minute == minute) {
            Some(at) => at,
            None => {
                self.panes.push(Pane { minute, changed: true, tally: Tally::default() });
                self.panes.len() - 1
            }
        };
        &mut self.panes[at]
    }

    /// Closes what `closed` says of a window's end, shortest windows first, and visits it in the order of time. `keep` is
    /// what becomes of it then.
    pub(super) fn close(
        &mut self,
        closed: impl Fn(i64) -> bool,
        visit: &mut impl FnMut(Counted<'_>) -> u64,
        mut keep: impl FnMut(Window, i64, Tally, u64),
    ) {
        let mut panes: Vec<Pane> = self.panes.extract_if(.., |pane| closed(pane.start_ms() + PANE_MS)).collect();
        panes.sort_unstable_by_key(|pane| pane.minute);
        for pane in panes {
            let start_ms = pane.start_ms();
            let (ad_id, region, window) = (&*self.name, self.region.as_deref(), Window::OneMinute);
            let users = visit(Counted { ad_id, region, window, start_ms, tally: &pane.tally });
            for window in Window::LONGER {
                self.accumulator(window, start_ms).fold(&pane.tally);
            }
            keep(window, start_ms, pane.tally, users);
        }
        let mut longer: Vec<Accumulator> =
            self.longer.extract_if(.., |sum| closed(sum.start_ms + sum.window.length_ms())).collect();
        longer.sort_unstable_by_key(|sum| (sum.window, sum.start_ms));
        for sum in longer {
            let (ad_id, region) = (&*self.name, self.region.as_deref());
            let Accumulator { window, start_ms, tally, .. } = sum;
            let users = visit(Counted { ad_id, region, window, start_ms, tally: &tally });
            keep(window, start_ms, tally, users);
        }
    }

    /// Appends what is asked for of the open windows, as they stand.
    pub(super) fn find(&self, query: &WindowQuery, home: Option<&Arc<str>>, epoch: u64, rows: &mut Vec<WindowStats>) {
        let asked = |start_ms: &i64| (query.start_ms..query.end_ms).contains(start_ms);
        for start_ms in self.starts(query.window).into_iter().filter(asked) {
            let tally = self.tally(query.window, start_ms);
            let mut user_sketch = Vec::new();
            if query.sketches {
                tally.users.to_datasketches(&mut user_sketch);
            }
            rows.push(WindowStats {
                ad_id: Arc::clone(&self.name),
                region: self.region.as_deref().map(Into::into).or_else(|| home.cloned()),
                window: query.window,
                start_ms,
                click_count: tally.clicks,
                unique_users: tally.users.estimate(),
                user_sketch,
                is_final: false,
                epoch,
            });
        }
    }

    /// The clicks in an open window.
    pub(super) fn clicks(&self, window: Window, start_ms: i64) -> Option<u64> {
        let closed = self.longer.iter().find(|sum| sum.window == window && sum.start_ms == start_ms);
        let open = self.panes.iter().filter(|pane| window.start_of(pane.start_ms()) == start_ms);
        let tallies = closed.map(|sum| &sum.tally).into_iter().chain(open.map(|pane| &pane.tally));
        tallies.map(|tally| tally.clicks).reduce(|sum, clicks| sum + clicks)
    }

    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The starts of the open windows of a length, in order.
    fn starts(&self, window: Window) -> Vec<i64> {
        let closed = self.longer.iter().filter(|sum| sum.window == window).map(|sum| sum.start_ms);
        let mut starts: Vec<i64> =
            self.panes.iter().map(|pane| window.start_of(pane.start_ms())).chain(closed).collect();
        starts.sort_unstable();
        starts.dedup();
        starts
    }

    /// Visits the open windows that have changed since `write` was last called, as they stand: of the longer ones the sum
    /// of their closed panes and of their open ones.
    pub(super) fn changed(&self, visit: &mut impl FnMut(Counted<'_>)) {
        let (ad_id, region) = (&*self.name, self.region.as_deref());
        let mut longer: Vec<(Window, i64)> =
            self.longer.iter().filter(|sum| sum.changed).map(|sum| (sum.window, sum.start_ms)).collect();
        for pane in self.panes.iter().filter(|pane| pane.changed) {
            let start_ms = pane.start_ms();
            visit(Counted { ad_id, region, window: Window::OneMinute, start_ms, tally: &pane.tally });
            longer.extend(Window::LONGER.map(|window| (window, window.start_of(start_ms))));
        }
        longer.sort_unstable();
        longer.dedup();
        for (window, start_ms) in longer {
            visit(Counted { ad_id, region, window, start_ms, tally: &self.tally(window, start_ms) });
        }
    }

    /// What an open window has at the moment.
    fn tally(&self, window: Window, start_ms: i64) -> Tally {
        let closed = self.longer.iter().find(|sum| sum.window == window && sum.start_ms == start_ms);
        let mut tally = closed.map_or_else(Tally::default, |sum| sum.tally.clone());
        let inside = |pane: &&Pane| window.start_of(pane.start_ms()) == start_ms;
        self.panes.iter().filter(inside).for_each(|pane| tally.add(&pane.tally));
        tally
    }

    /// The accumulator of the window around an instant, begun if need be.
    fn accumulator(&mut self, window: Window, instant_ms: i64) -> &mut Accumulator {
        let start_ms = window.start_of(instant_ms);
        let at = match self.longer.iter().position(|sum| sum.window == window && sum.start_ms == start_ms) {
            Some(at) => at,
            None => {
                self.longer.push(Accumulator { window, start_ms, changed: true, tally: Tally::default() });
                self.longer.len() - 1
            }
        };
        &mut self.longer[at]
    }

    /// Appends the changed windows, or all of them, in their stored form; nothing where there is none.
    pub(super) fn write(&mut self, whole: bool, block: &mut Vec<u8>) {
        let panes = self.panes.iter().filter(|pane| whole || pane.changed);
        let panes = panes.map(|pane| (Window::OneMinute, pane.start_ms(), &pane.tally));
        let longer = self.longer.iter().filter(|sum| whole || sum.changed);
        let longer = longer.map(|sum| (sum.window, sum.start_ms, &sum.tally));
        stored::write_ad(self.key, &self.name, self.region.as_deref(), panes.chain(longer), block);
        self.panes.iter_mut().for_each(|pane| pane.changed = false);
        self.longer.iter_mut().for_each(|sum| sum.changed = false);
    }

    /// Sets a window to a stored value.
    pub(super) fn restore(&mut self, window: Window, start_ms: i64, tally: Tally) {
        if window == Window::OneMinute {
            let pane = self.pane(crate::time::minute_of(start_ms));
            pane.tally = tally;
            pane.changed = false;
            return;
        }
        let sum = self.accumulator(window, start_ms);
        sum.tally = tally;
        sum.changed = false;
    }
}

impl Accumulator {
    fn fold(&mut self, pane: &Tally) {
        self.changed = true;
        self.tally.add(pane);
    }
}
