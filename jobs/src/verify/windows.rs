//! The windows in `clicks_agg`: their sums, and how they compare with an oracle.
//!
//! An ad has a row in each region that it was clicked in. The oracle knows no regions, so the rows are added up; a user
//! who clicked in several is in each of their estimates, so of the users there is only a range.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use anyhow::Result;
use weir_checkpoints::Manifest;

use super::data_file::AggRow;
use super::report::{CheckResult, Compared, Rule};
use super::span::Span;
use crate::generate::{ExpectedWindow, OracleReader};

/// The windows' names and lengths.
const WINDOWS: [(&str, i64); 3] = [("1m", 60_000), ("5m", 300_000), ("1h", 3_600_000)];

/// The sketch's standard error is 1.6 %; of millions of windows none is further off than five of them.
const MAX_USER_ERROR: f64 = 0.082;
/// Up to here the sketch counts exactly, but for a hash collision.
const EXACT_USERS: u64 = 200;

/// All rows of `clicks_agg`.
pub(super) struct Windows {
    ads: Numbers,
    regions: Numbers,
    rows: HashMap<Key, Found>,
    /// The rows of windows that have several, but for their first ones.
    further: HashSet<(Key, Option<u32>)>,
    clicks: [u64; WINDOWS.len()],
    once: Rule,
    sound: Rule,
}

/// Which window, which ad, and the window's start.
type Key = (u8, u32, i64);

/// A window's rows, added up.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// The region of the first one.
    region: Option<u32>,
    clicks: u64,
    /// If all users of a region are among those of another.
    least_users: u64,
    /// If no user clicked in two regions.
    most_users: u64,
}

/// Small numbers for texts.
#[derive(Default)]
struct Numbers(HashMap<String, u32>);

impl Windows {
    pub(super) fn new() -> Self {
        Self {
            ads: Numbers::default(),
            regions: Numbers::default(),
            rows: HashMap::new(),
            further: HashSet::new(),
            clicks: [0; WINDOWS.len()],
            once: Rule::new("no window is in clicks_agg twice"),
            sound: Rule::new("every window in clicks_agg is closed, starts on its grid and has clicks"),
        }
    }

    /// Adds a row to the sums, and looks at it where it is in the span.
    pub(super) fn add(&mut self, row: AggRow<'_>, manifest: &Manifest, span: Span) {
        self.add_clicks(row.window, row.clicks);
        if span.contains(row.start_ms) {
            self.look_at(row, manifest);
        }
    }

    /// Adds to the sums alone.
    pub(super) fn add_clicks(&mut self, window: &str, clicks: u64) {
        if let Some(sum) = window_of(window).and_then(|(number, _)| self.clicks.get_mut(number)) {
            *sum += clicks;
        }
    }

    fn look_at(&mut self, row: AggRow<'_>, manifest: &Manifest) {
        let Some((number, length_ms)) = window_of(row.window) else {
            self.sound.check(false, || format!("there is a window of length {}", row.window));
            return;
        };
        let end_ms = row.start_ms.saturating_add(length_ms);
        let closed = manifest.closed_until_ms.is_some_and(|closed_ms| end_ms <= closed_ms);
        let on_grid = row.start_ms.rem_euclid(length_ms) == 0;
        self.sound.check(closed && on_grid && row.clicks > 0 && row.users > 0, || describe(&row));
        let key = (number as u8, self.ads.number(row.ad_id), row.start_ms);
        let region = row.region.map(|region| self.regions.number(region));
        let twice = match self.rows.entry(key) {
            Entry::Vacant(vacant) => {
                let AggRow { clicks, users, .. } = row;
                vacant.insert(Found { region, clicks, least_users: users, most_users: users });
                false
            }
            Entry::Occupied(mut occupied) => {
                let found = occupied.get_mut();
                let twice = found.region == region || !self.further.insert((key, region));
                if !twice {
                    found.add(&row);
                }
                twice
            }
        };
        self.once.check(!twice, || describe(&row));
    }

    /// Compares the windows' sums with the manifest's totals: of a job that has ended, every click is in one window of
    /// each length, here or in the tables of the job that it was forked from.
    pub(super) fn sums(&self, manifest: &Manifest) -> CheckResult {
        let counted = manifest.totals().counted;
        let mut rule = Rule::new("the windows of each length hold every click that was counted");
        for ((name, _), clicks) in WINDOWS.iter().zip(self.clicks) {
            let counted = counted.saturating_sub(manifest.elsewhere("clicks_agg", name));
            let fits = if manifest.ended { clicks == counted } else { clicks <= counted };
            rule.check(fits, || format!("{name} windows hold {clicks} clicks, {counted} were counted"));
        }
        rule.done()
    }

    /// Compares with what is expected, window by window, and returns the results of all rules about windows.
    pub(super) fn finish(
        self,
        oracle: Option<OracleReader>,
        manifest: &Manifest,
        late_for_certain: bool,
        span: Span,
    ) -> Result<(Option<Compared>, Vec<CheckResult>)> {
        let Self { ads, mut rows, once, sound, .. } = self;
        let mut results = vec![once.done(), sound.done()];
        let Some(expected_windows) = oracle else {
            return Ok((None, results));
        };
        let mut comparison = Comparison::new(manifest, late_for_certain);
        let found = rows.len() as u64;
        for line in expected_windows {
            let expected = line?;
            if !span.contains(expected.start_ms) {
                continue;
            }
            let key = window_of(&expected.window)
                .zip(ads.0.get(&expected.ad_id))
                .map(|((number, _), ad)| (number as u8, *ad, expected.start_ms));
            comparison.add(&expected, key.and_then(|key| rows.remove(&key)));
        }
        let names: HashMap<u32, &str> = ads.0.iter().map(|(ad, number)| (*number, ad.as_str())).collect();
        comparison.unexpected.holds_for(found - rows.len() as u64);
        for ((number, ad, start_ms), row) in &rows {
            let (window, _) = WINDOWS.get(usize::from(*number)).copied().unwrap_or_default();
            let ad_id = names.get(ad).copied().unwrap_or_default();
            comparison.unexpected.check(false, || format!("{ad_id} {window} at {start_ms}: {} clicks", row.clicks));
        }
        let (compared, compared_results) = comparison.done();
        results.extend(compared_results);
        Ok((Some(compared), results))
    }
}

impl Found {
    fn add(&mut self, row: &AggRow<'_>) {
        self.clicks += row.clicks;
        self.least_users = self.least_users.max(row.users);
        self.most_users += row.users;
    }
}

impl Numbers {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.0.get(text) {
            return *number;
        }
        let number = self.0.len() as u32;
        self.0.insert(text.to_owned(), number);
        number
    }
}

/// The windows of the table beside those of the oracle.
struct Comparison {
    ended: bool,
    /// Windows that end here or earlier may be in the tables of the job that this one was forked from.
    before_ms: Option<i64>,
    late_for_certain: bool,
    compared: Compared,
    exact: u64,
    error_sum: f64,
    counts: Rule,
    users: Rule,
    unexpected: Rule,
}

impl Comparison {
    fn new(manifest: &Manifest, late_for_certain: bool) -> Self {
        Self {
            ended: manifest.ended,
            before_ms: manifest.origin.as_ref().and_then(|origin| origin.closed_until_ms),
            late_for_certain,
            compared: Compared::default(),
            exact: 0,
            error_sum: 0.0,
            counts: Rule::new("every window has the clicks that the oracle expects"),
            users: Rule::new("every window's users are within the sketch's error of the oracle's"),
            unexpected: Rule::new("there is no window that the oracle does not expect"),
        }
    }

    fn add(&mut self, expected: &ExpectedWindow, found: Option<Found>) {
        let may_come_on_top = if self.late_for_certain { 0 } else { expected.late };
        let most = expected.clicks + may_come_on_top;
        let Some(row) = found else {
            let length_ms = window_of(&expected.window).map_or(0, |(_, length_ms)| length_ms);
            if self.before_ms.is_some_and(|before_ms| expected.start_ms + length_ms <= before_ms) {
                self.compared.elsewhere += u64::from(expected.clicks > 0);
                return;
            }
            self.compared.not_yet += u64::from(expected.clicks > 0 && !self.ended);
            self.counts.check(expected.clicks == 0 || !self.ended, || {
                format!("{} is missing, {} clicks expected", name(expected), expected.clicks)
            });
            return;
        };
        self.compared.windows += 1;
        self.counts.check((expected.clicks..=most).contains(&row.clicks), || {
            format!("{}: {} clicks, expected {}", name(expected), row.clicks, range(expected.clicks, most))
        });
        let most_users = expected.users + may_come_on_top;
        let found_users = (row.least_users, row.most_users);
        self.users.check(users_fit(found_users, expected.users, most_users), || {
            let (found, wanted) = (range(row.least_users, row.most_users), range(expected.users, most_users));
            format!("{}: {found} users, expected {wanted}", name(expected))
        });
        if may_come_on_top == 0 && row.least_users == row.most_users {
            let error = row.most_users.abs_diff(expected.users) as f64 / expected.users.max(1) as f64;
            self.exact += 1;
            self.error_sum += error;
            self.compared.max_user_error = self.compared.max_user_error.max(error);
        }
    }

    fn done(mut self) -> (Compared, [CheckResult; 3]) {
        self.compared.mean_user_error = self.error_sum / self.exact.max(1) as f64;
        (self.compared, [self.counts.done(), self.users.done(), self.unexpected.done()])
    }
}

/// The number and length of a window by its name.
fn window_of(name: &str) -> Option<(usize, i64)> {
    let mut numbered = WINDOWS.iter().enumerate();
    numbered.find(|(_, (known, _))| *known == name).map(|(number, (_, length_ms))| (number, *length_ms))
}

fn users_fit((found_least, found_most): (u64, u64), least: u64, most: u64) -> bool {
    let slack = |users: u64| if users <= EXACT_USERS { 1 } else { (users as f64 * MAX_USER_ERROR) as u64 + 1 };
    found_most + slack(least) >= least && found_least <= most + slack(most)
}

fn describe(row: &AggRow<'_>) -> String {
    let AggRow { window, ad_id, region, start_ms, clicks, users } = row;
    let place = region.map_or_else(String::new, |region| format!(" in {region}"));
    format!("{ad_id}{place} {window} at {start_ms}: {clicks} clicks, {users} users")
}

fn name(expected: &ExpectedWindow) -> String {
    format!("{} {} at {}", expected.ad_id, expected.window, expected.start_ms)
}

fn range(least: u64, most: u64) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}
