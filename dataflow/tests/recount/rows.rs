//! Rows of an archive at random, and what is made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use weir_dataflow::reconcile::{
    AdDay, Archive, ArchiveError, ArchiveFactory, ArchiveRow, ArchivedClick, DayCount, IndexTo, Reason, Recount,
    RecountError, StreamedWindow, recount,
};
use weir_dataflow::{Click, LateReason, Layout};

pub const START_MS: i64 = 1_736_899_200_000;
pub const DAY_MS: i64 = 86_400_000;
pub const MARGIN_MS: i64 = 3_600_000;
pub const MINUTE_MS: i64 = 60_000;

/// A row of the archive.
#[derive(Debug, Clone)]
pub struct Row {
    pub ad: String,
    pub user: String,
    pub id: Option<String>,
    pub address: Option<String>,
    pub time_ms: i64,
    pub partition: u32,
    pub offset: u64,
    pub epoch: u64,
    pub late: Option<LateReason>,
    pub excluded: bool,
    pub region: Option<&'static str>,
}

/// Clicks by region.
pub type ByRegion = BTreeMap<Option<&'static str>, i64>;

#[derive(Debug, Clone, Default)]
pub struct Rows {
    pub clicks: Vec<Row>,
    /// By ad and minute.
    pub streamed: BTreeMap<(String, i64), ByRegion>,
}

impl Row {
    pub fn archived(&self) -> ArchivedClick<'_> {
        let click = Click {
            ad_id: &self.ad,
            user_id: &self.user,
            timestamp: self.time_ms,
            click_id: self.id.as_deref(),
            ip_address: self.address.as_deref(),
            user_agent: None,
        };
        let &Self { partition, offset, epoch, excluded, region, .. } = self;
        ArchivedClick { click, partition, offset, epoch, excluded, region }
    }

    pub fn cell(&self) -> (String, i64) {
        (self.ad.clone(), self.time_ms.div_euclid(MINUTE_MS))
    }

    pub fn in_day(&self) -> bool {
        (START_MS..START_MS + DAY_MS).contains(&self.time_ms)
    }

    pub fn identity(&self) -> (String, i64, String, String) {
        match &self.id {
            Some(id) => (id.clone(), 0, String::new(), String::new()),
            None => (String::new(), self.time_ms, self.ad.clone(), self.user.clone()),
        }
    }
}

impl ArchiveFactory for Rows {
    fn open(&self, worker: usize, workers: usize) -> Result<Box<dyn Archive>, ArchiveError> {
        let mine = |number: &usize| number % workers == worker;
        let mut clicks: Vec<Row> =
            self.clicks.iter().enumerate().filter(|(at, _)| mine(at)).map(|(_, row)| row.clone()).collect();
        clicks.sort_by(|a, b| (&a.ad, a.time_ms).cmp(&(&b.ad, b.time_ms)));
        let streamed = self.streamed.iter().enumerate().filter(|(at, _)| mine(at));
        let streamed = streamed.map(|(_, (cell, clicks))| (cell.clone(), clicks.clone())).collect();
        Ok(Box::new(Share { clicks, streamed, at: 0 }))
    }
}

struct Share {
    clicks: Vec<Row>,
    streamed: Vec<((String, i64), ByRegion)>,
    at: usize,
}

impl Archive for Share {
    fn read(&mut self, take: &mut dyn FnMut(ArchiveRow<'_>)) -> Result<bool, ArchiveError> {
        if self.at == 0 {
            for ((ad_id, minute), by_region) in &self.streamed {
                for (&region, &clicks) in by_region {
                    let start_ms = minute * MINUTE_MS;
                    take(ArchiveRow::Streamed(StreamedWindow { ad_id, start_ms, clicks, region }));
                }
            }
        }
        let until = (self.at + 100).min(self.clicks.len());
        for row in &self.clicks[self.at..until] {
            take(ArchiveRow::Click(row.archived()));
            if let Some(reason) = row.late {
                take(ArchiveRow::Late(row.archived(), reason));
            }
        }
        self.at = until;
        Ok(until < self.clicks.len())
    }

    fn rewind(&mut self) {
        self.at = 0;
    }
}

pub fn run(rows: &Rows, workers: usize, passes: u32, exact_users: bool) -> Result<DayCount, RecountError> {
    run_with_index(rows, workers, passes, exact_users, None)
}

pub fn run_with_index(
    rows: &Rows,
    workers: usize,
    passes: u32,
    exact_users: bool,
    index: Option<IndexTo>,
) -> Result<DayCount, RecountError> {
    let recounted = recount(
        Recount {
            start_ms: START_MS,
            end_ms: START_MS + DAY_MS,
            margin_ms: MARGIN_MS,
            passes,
            exact_users,
            leaves_of: Some("ad-1".to_owned()),
            index,
            archive: Arc::new(rows.clone()),
            progress: Arc::default(),
        },
        Layout::Threads(workers),
    )?;
    Ok(recounted.unwrap())
}

/// Random clicks around the edges of the day, some of them sent again: in the same epoch, later, in another minute, for
/// another ad.
pub fn generate(random: &mut StdRng) -> Rows {
    let mut rows = Rows::default();
    let mut offsets = [0_u64; 3];
    let clicks = random.random_range(0..600);
    for number in 0..clicks {
        let edge = if random.random_bool(0.5) { START_MS } else { START_MS + DAY_MS };
        let mut row = Row {
            ad: format!("ad-{}", random.random_range(0..5)),
            user: format!("user-{}", random.random_range(0..30)),
            id: random.random_bool(0.8).then(|| format!("click-{number}")),
            address: match random.random_range(0..20) {
                0 => None,
                1 => Some("nowhere".to_owned()),
                2 => Some(format!("::ffff:10.0.0.{}", random.random_range(0..20))),
                3 => Some(format!("2001:db8::{}", random.random_range(0..20))),
                _ => Some(format!("10.0.0.{}", random.random_range(0..20))),
            },
            time_ms: edge + random.random_range(-2 * MARGIN_MS / 3..2 * MARGIN_MS / 3),
            partition: 0,
            offset: 0,
            epoch: random.random_range(1..20),
            late: None,
            excluded: random.random_bool(0.02),
            region: [None, Some("eu"), Some("us")][random.random_range(0..3)],
        };
        for copy in 0..if random.random_bool(0.2) { random.random_range(1..4) } else { 1 } {
            if copy > 0 {
                row.epoch += random.random_range(0..3);
                row.region = [None, Some("eu"), Some("us")][random.random_range(0..3)];
                if row.id.is_some() && random.random_bool(0.3) {
                    row.user = format!("user-{}", random.random_range(0..30));
                    row.address = Some(format!("10.0.0.{}", random.random_range(0..20)));
                }
                if row.id.is_some() && random.random_bool(0.3) {
                    row.time_ms += random.random_range(-MARGIN_MS / 3..MARGIN_MS / 3);
                    row.ad = format!("ad-{}", random.random_range(0..5));
                }
            }
            row.late = match random.random_range(0..20) {
                0 => Some(LateReason::Late),
                1 => Some(LateReason::Future),
                _ => None,
            };
            row.partition = random.random_range(0..3);
            let offset = &mut offsets[row.partition as usize];
            row.offset = *offset;
            *offset += random.random_range(1..3);
            rows.clicks.push(row.clone());
        }
    }
    rows.streamed = counted_by_a_right_stream(&rows, random);
    rows
}

pub fn copies(rows: &Rows) -> Vec<Vec<Row>> {
    let mut clicks: BTreeMap<_, Vec<Row>> = BTreeMap::new();
    for row in &rows.clicks {
        clicks.entry(row.identity()).or_default().push(row.clone());
    }
    let mut clicks: Vec<Vec<Row>> = clicks.into_values().collect();
    clicks.iter_mut().for_each(|copies| copies.sort_by_key(|row| (row.epoch, row.partition, row.offset)));
    clicks
}

/// The first copy on time counts; a stream that has forgotten it may count a later one again.
pub fn counted_by_a_right_stream(rows: &Rows, random: &mut StdRng) -> BTreeMap<(String, i64), ByRegion> {
    let mut counted: BTreeMap<_, ByRegion> = BTreeMap::new();
    for copies in copies(rows) {
        let mut on_time = copies.iter().filter(|row| row.late.is_none());
        let Some(first) = on_time.next() else { continue };
        let again = on_time.filter(|row| row.epoch > first.epoch && random.random_bool(0.3));
        for row in std::iter::once(first).chain(again) {
            *counted.entry(row.cell()).or_default().entry(row.region).or_default() += 1;
        }
    }
    counted
}

pub fn ads(day: &DayCount) -> BTreeMap<&str, &AdDay> {
    day.ads.iter().map(|ad| (ad.ad_id.as_str(), ad)).collect()
}

pub fn delta(ad: &AdDay, reason: Reason) -> i64 {
    ad.corrections.iter().filter(|correction| correction.reason == reason).map(|correction| correction.delta).sum()
}
