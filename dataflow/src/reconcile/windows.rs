//! The windows of a day in which what is billed is not what the stream has counted, counted once more.
//!
//! The recount has said which minutes these are, and which rows are not billed. So a second look at the archive needs no
//! identity of a click: what is left of the rows are the billed clicks. Both counts are compared, see
//! [`BilledWindows::count`].

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use hashbrown::{HashMap, HashSet};

use super::{AdDay, ArchiveFactory, ArchiveRow, ArchivedClick, RecountError, StreamedWindow};
use crate::{Coupon, UserSketch, Window};

/// One window of an ad in a region, as it is billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledWindow {
    /// The ad.
    pub ad_id: String,
    /// The region, if there is one.
    pub region: Option<String>,
    /// The window's length.
    pub window: Window,
    /// Its first instant, unix time in milliseconds.
    pub start_ms: i64,
    /// Its billed clicks; 0 where the stream has counted some and none is billed.
    pub click_count: u64,
    /// Their users, an estimate as in [`crate::WindowRow`].
    pub unique_users: u64,
    /// The sketch behind `unique_users`, in the Apache DataSketches HLL format.
    pub user_sketch: Vec<u8>,
}

/// Which windows are to be counted.
pub struct BilledWindows<'a> {
    start_ms: i64,
    end_ms: i64,
    ads: BTreeMap<&'a str, Ad<'a>>,
}

/// What is wanted of an ad.
struct Ad<'a> {
    windows: HashSet<(Window, i64)>,
    /// Those that there is a row for in any case, with the region.
    known: Vec<(Option<String>, (Window, i64))>,
    /// Rows that are not billed; empty where no window is wanted.
    not_billed: HashSet<(u32, u64)>,
    day: &'a AdDay,
}

/// What a thread has counted of an ad.
#[derive(Default)]
pub(super) struct Counted {
    /// By length and start; there are few regions.
    windows: HashMap<(Window, i64), Vec<OfRegion>>,
    /// What the stream has counted in the minutes that are wanted.
    streamed: i64,
}

#[derive(Default)]
pub(super) struct OfRegion {
    region: Option<String>,
    clicks: u64,
    users: UserSketch,
}

impl<'a> BilledWindows<'a> {
    /// The restated windows of a day, from its recount: minutes, and the longer windows around them that lie in the day.
    #[must_use]
    pub fn of(ads: &'a [AdDay], start_ms: i64, end_ms: i64) -> Self {
        let of_ad = |day: &'a AdDay| {
            let minutes = day.restated_minutes.iter();
            let minutes = minutes.map(|minute| start_ms + i64::from(*minute) * Window::OneMinute.length_ms());
            let mut ad = Ad { windows: HashSet::new(), known: Vec::new(), not_billed: HashSet::new(), day };
            minutes.flat_map(|time_ms| around(time_ms, start_ms, end_ms)).for_each(|key| ad.want(key));
            (day.ad_id.as_str(), ad)
        };
        Self { start_ms, end_ms, ads: ads.iter().map(of_ad).collect() }
    }

    /// Adds a window that was restated before, whether it still has to be or not: it has a row even where neither the stream
    /// nor the archive has a click of this region in it any more. One of an ad without a day is left out.
    pub fn add(&mut self, ad_id: &str, region: Option<&str>, window: Window, start_ms: i64) {
        if let Some(ad) = self.ads.get_mut(ad_id) {
            ad.want((window, start_ms));
            ad.known.push((region.map(str::to_owned), (window, start_ms)));
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ads.values().all(|ad| ad.windows.is_empty())
    }

    /// The hours with rows that have to be read, by their first instant.
    #[must_use]
    pub fn hours_ms(&self) -> BTreeSet<i64> {
        let starts = self.ads.values().flat_map(|ad| ad.windows.iter());
        starts.map(|(_, start_ms)| Window::OneHour.start_of(*start_ms)).collect()
    }

    /// Counts them, in the order of windows, ads, starts and regions. The archive has to know regions.
    ///
    /// Fails where the minutes of an ad do not add up to the difference that the recount has found.
    pub fn count(&self, archive: &dyn ArchiveFactory, threads: usize) -> Result<Vec<BilledWindow>, RecountError> {
        let shares = thread::scope(|scope| {
            let share = |number| scope.spawn(move || self.share(archive, number, threads));
            let running: Vec<_> = (0..threads).map(share).collect();
            let joined = running.into_iter().map(|share| match share.join() {
                Ok(share) => share,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.collect::<Result<Vec<_>, _>>()
        })?;
        let mut all: BTreeMap<&str, Counted> = BTreeMap::new();
        for (ad_id, counted) in shares.into_iter().flatten() {
            all.entry(ad_id).or_default().merge(&counted);
        }
        let mut windows = Vec::new();
        for (ad_id, ad) in &self.ads {
            let mut counted = all.remove(ad_id).unwrap_or_default();
            for (region, key) in &ad.known {
                counted.window(region.as_deref(), *key);
            }
            ad.check(&counted)?;
            windows.extend(counted.billed(ad_id));
        }
        sort(&mut windows);
        Ok(windows)
    }

    fn share(
        &self,
        archive: &dyn ArchiveFactory,
        number: usize,
        threads: usize,
    ) -> Result<HashMap<&'a str, Counted>, RecountError> {
        let mut archive = archive.open(number, threads)?;
        let mut share = Share { of: self, all: HashMap::new(), ad: None, other: String::new(), run: None };
        let mut take = |row: ArchiveRow<'_>| match row {
            ArchiveRow::Click(row) => share.click(&row),
            ArchiveRow::Streamed(row) => share.streamed(&row),
            ArchiveRow::Late(..) => {}
        };
        while archive.read(&mut take)? {}
        share.end_run();
        Ok(share.all)
    }
}

/// A thread's share. Files are sorted by ad and time, so an ad and a minute are looked up once for many rows.
struct Share<'s, 'a> {
    of: &'s BilledWindows<'a>,
    all: HashMap<&'a str, Counted>,
    /// The ad of the last rows, if anything of it is wanted.
    ad: Option<(&'a str, &'s Ad<'a>)>,
    /// The ad of the last rows, if nothing is.
    other: String,
    run: Option<Run>,
}

/// Rows of one ad, minute and region that follow one another.
struct Run {
    minute_ms: i64,
    region: Option<String>,
    /// The windows around it that are wanted.
    keys: Vec<(Window, i64)>,
    users: Vec<Coupon>,
}

impl<'s, 'a> Share<'s, 'a> {
    /// The ad, if anything of it is wanted.
    #[inline]
    fn turn_to(&mut self, ad_id: &str) -> Option<(&'a str, &'s Ad<'a>)> {
        if self.ad.is_some_and(|(known, _)| known == ad_id) {
            return self.ad;
        }
        if self.ad.is_none() && self.other == ad_id {
            return None;
        }
        self.end_run();
        let found = self.of.ads.get_key_value(ad_id).filter(|(_, ad)| !ad.windows.is_empty());
        self.ad = found.map(|(ad_id, ad)| (*ad_id, ad));
        self.other.clear();
        self.other.push_str(ad_id);
        self.ad
    }

    #[inline]
    fn click(&mut self, row: &ArchivedClick<'_>) {
        let day = self.of.start_ms..self.of.end_ms;
        let Some((_, ad)) = self.turn_to(row.click.ad_id) else { return };
        let time_ms = row.click.event_time_ms();
        if !day.contains(&time_ms) {
            return;
        }
        let minute_ms = Window::OneMinute.start_of(time_ms);
        let goes_on = |run: &Run| run.minute_ms == minute_ms && run.region.as_deref() == row.region;
        if !self.run.as_ref().is_some_and(goes_on) {
            let keys = ad.wanted(minute_ms).collect();
            self.end_run();
            self.run = Some(Run { minute_ms, region: row.region.map(str::to_owned), keys, users: Vec::new() });
        }
        let (Some(run), Some((_, ad))) = (&mut self.run, self.ad) else { return };
        if !run.keys.is_empty() && !ad.not_billed.contains(&(row.partition, row.offset)) {
            run.users.push(Coupon::of_user(row.click.user_id));
        }
    }

    fn end_run(&mut self) {
        let (Some(run), Some((ad_id, _))) = (self.run.take(), self.ad) else { return };
        if !run.keys.is_empty() {
            self.all.entry(ad_id).or_default().add(run.region.as_deref(), &run.keys, &run.users);
        }
    }

    fn streamed(&mut self, row: &StreamedWindow<'_>) {
        let Some((ad_id, ad)) = self.turn_to(row.ad_id) else { return };
        let keys: Vec<_> = ad.wanted(row.start_ms).collect();
        if keys.is_empty() {
            return;
        }
        let counted = self.all.entry(ad_id).or_default();
        for key in keys {
            counted.window(row.region, key);
            if key.0 == Window::OneMinute {
                counted.streamed += row.clicks;
            }
        }
    }
}

/// The order of windows, ads, starts and regions.
pub(super) fn sort(windows: &mut [BilledWindow]) {
    windows.sort_unstable_by(|a, b| {
        (a.window, &a.ad_id, a.start_ms, &a.region).cmp(&(b.window, &b.ad_id, b.start_ms, &b.region))
    });
}

/// The windows around an instant that lie in a day.
pub(super) fn around(time_ms: i64, start_ms: i64, end_ms: i64) -> impl Iterator<Item = (Window, i64)> {
    let windows = Window::ALL.map(|window| (window, window.start_of(time_ms)));
    let in_day =
        move |(window, first_ms): &(Window, i64)| *first_ms >= start_ms && first_ms + window.length_ms() <= end_ms;
    windows.into_iter().filter(in_day)
}

impl Ad<'_> {
    fn want(&mut self, key: (Window, i64)) {
        if self.windows.is_empty() {
            self.not_billed = self.day.not_billed.iter().copied().collect();
        }
        self.windows.insert(key);
    }

    /// The windows around an instant that are wanted.
    fn wanted(&self, time_ms: i64) -> impl Iterator<Item = (Window, i64)> {
        let around = Window::ALL.map(|window| (window, window.start_of(time_ms)));
        around.into_iter().filter(|key| self.windows.contains(key))
    }

    fn check(&self, counted: &Counted) -> Result<(), RecountError> {
        let minutes = counted.windows.iter().filter(|((window, _), _)| *window == Window::OneMinute);
        let billed: u64 = minutes.flat_map(|(_, regions)| regions).map(|of_region| of_region.clicks).sum();
        let (by_minutes, by_day) = (billed as i64 - counted.streamed, self.day.clicks - self.day.streamed);
        // An ad without a wanted window has nothing to be compared.
        if by_minutes == by_day {
            return Ok(());
        }
        Err(RecountError::Contradiction(format!(
            "{}: its day is corrected by {by_day} clicks, its minutes by {by_minutes}",
            self.day.ad_id
        )))
    }
}

impl Counted {
    /// Adds clicks of a region to some windows, by their users. There may be none: the windows have a row of that region
    /// then.
    pub(super) fn add(&mut self, region: Option<&str>, windows: &[(Window, i64)], users: &[Coupon]) {
        for key in windows {
            let of_region = self.window(region, *key);
            of_region.clicks += users.len() as u64;
            users.iter().for_each(|user| of_region.users.update(*user));
        }
    }

    pub(super) fn window(&mut self, region: Option<&str>, key: (Window, i64)) -> &mut OfRegion {
        let regions = self.windows.entry(key).or_default();
        let at = regions.iter().position(|known| known.region.as_deref() == region).unwrap_or(regions.len());
        if at == regions.len() {
            regions.push(OfRegion { region: region.map(str::to_owned), ..OfRegion::default() });
        }
        &mut regions[at]
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.streamed += other.streamed;
        for (key, regions) in &other.windows {
            for of_region in regions {
                let known = self.window(of_region.region.as_deref(), *key);
                known.clicks += of_region.clicks;
                known.users.merge(&of_region.users);
            }
        }
    }

    pub(super) fn billed(self, ad_id: &str) -> impl Iterator<Item = BilledWindow> {
        self.windows.into_iter().flat_map(move |((window, start_ms), regions)| {
            regions.into_iter().map(move |OfRegion { region, clicks, users }| {
                let mut user_sketch = Vec::new();
                users.to_datasketches(&mut user_sketch);
                // A sketch may estimate a user more than there are clicks.
                let unique_users = users.estimate().min(clicks);
                let ad_id = ad_id.to_owned();
                BilledWindow { ad_id, region, window, start_ms, click_count: clicks, unique_users, user_sketch }
            })
        })
    }
}
