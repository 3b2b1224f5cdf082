//! Random rows and questions, and the right answers by a plain loop.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::SmallRng;
use weir_dataflow::{MAX_EVENT_TIME_MS, TopAd, TopQuery, Window, WindowQuery, WindowStats};

/// 2025-01-15, at midnight.
pub(crate) const DAY_MS: i64 = 1_736_899_200_000;

const REGIONS: [Option<&str>; 4] = [None, Some("eu-1"), Some("us-1"), Some("unknown")];

/// All rows that were committed.
#[derive(Default)]
pub(crate) struct Oracle {
    pub(crate) rows: Vec<WindowStats>,
}

/// Short names, long ones that a log's statistics must shorten, some that need escapes, one for each worker to miss.
pub(crate) fn ad_id(random: &mut SmallRng) -> Arc<str> {
    match random.random_range(0..24) {
        0 => "x".repeat(256).into(),
        1 => format!("{}tail", "\u{10ffff}".repeat(40)).into(),
        2 => "ad/with space%20+=?\"\\\n".into(),
        3 => format!("{}{}", "same start of more than sixty-four bytes ".repeat(3), random.random_range(0..4)).into(),
        4 => "".into(),
        5 => "Ünïcödé \u{1f600}".into(),
        6 => "a'; drop table clicks_agg; --".into(),
        _ => format!("ad-{}", random.random_range(0..40)).into(),
    }
}

fn start_ms(random: &mut SmallRng, window: Window) -> i64 {
    let instant = match random.random_range(0..30) {
        0 => 0,
        1 => MAX_EVENT_TIME_MS,
        2 => DAY_MS + 86_400_000 * random.random_range(-1..3) - i64::from(random.random::<bool>()),
        _ => DAY_MS + random.random_range(-3 * 3_600_000..30 * 3_600_000),
    };
    window.start_of(instant)
}

fn window(random: &mut SmallRng) -> Window {
    Window::ALL[random.random_range(0..3)]
}

impl Oracle {
    /// Adds rows of windows that were not there before.
    pub(crate) fn add(&mut self, random: &mut SmallRng, rows: usize, epoch: u64) -> Vec<WindowStats> {
        let mut new = BTreeMap::new();
        for _ in 0..rows {
            let window = window(random);
            let row = WindowStats {
                ad_id: ad_id(random),
                region: REGIONS[random.random_range(0..3)].map(Into::into),
                window,
                start_ms: start_ms(random, window),
                // Few different ones, so that there are ties.
                click_count: random.random_range(1..6),
                unique_users: random.random_range(1..6),
                user_sketch: (0..random.random_range(0..40)).map(|_| random.random()).collect(),
                is_final: true,
                epoch,
            };
            if !self.rows.iter().any(|known| key(known) == key(&row)) {
                new.insert(key(&row), row);
            }
        }
        let new: Vec<WindowStats> = new.into_values().collect();
        self.rows.extend(new.iter().cloned());
        new
    }

    pub(crate) fn windows(&self, query: &WindowQuery) -> Vec<WindowStats> {
        let mut found = Vec::new();
        for row in &self.rows {
            let in_time = query.start_ms <= row.start_ms && row.start_ms < query.end_ms;
            let in_ads = query.ads.is_empty() || query.ads.contains(&row.ad_id);
            let in_region = query.region.is_none() || query.region == row.region;
            if row.window == query.window && in_time && in_ads && in_region {
                let sketch = if query.sketches { row.user_sketch.clone() } else { Vec::new() };
                found.push(WindowStats { user_sketch: sketch, ..row.clone() });
            }
        }
        found.sort_by_key(key);
        found
    }

    pub(crate) fn top(&self, query: &TopQuery) -> Vec<TopAd> {
        let mut clicks: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for row in &self.rows {
            let in_region = query.region.is_none() || query.region == row.region;
            if row.window == query.window && row.start_ms == query.start_ms && in_region {
                *clicks.entry(row.ad_id.clone()).or_default() += row.click_count;
            }
        }
        // The order of names stays where counts are equal.
        let mut ads: Vec<TopAd> = clicks.into_iter().map(|(ad_id, click_count)| TopAd { ad_id, click_count }).collect();
        ads.sort_by_key(|ad| std::cmp::Reverse(ad.click_count));
        ads.truncate(query.limit);
        ads
    }

    /// A question, near what there is.
    pub(crate) fn window_query(&self, random: &mut SmallRng) -> WindowQuery {
        let window = window(random);
        let ads = match random.random_range(0..4) {
            0 => Vec::new(),
            1 => vec![["absent", "ad-0 ", "zz"][random.random_range(0..3)].into()],
            _ => (0..random.random_range(1..6)).map(|_| ad_id(random)).collect(),
        };
        let (start_ms, end_ms) = match random.random_range(0..6) {
            0 => (i64::MIN, i64::MAX),
            1 => (0, MAX_EVENT_TIME_MS + 1),
            2 => (DAY_MS, DAY_MS),
            _ => (self.edge(random), self.edge(random)),
        };
        let region = REGIONS[random.random_range(0..4)].map(Into::into);
        WindowQuery { ads, window, start_ms, end_ms, region, sketches: random.random() }
    }

    pub(crate) fn top_query(&self, random: &mut SmallRng) -> TopQuery {
        TopQuery {
            window: window(random),
            start_ms: self.edge(random),
            region: REGIONS[random.random_range(0..4)].map(Into::into),
            limit: random.random_range(0..8),
        }
    }

    /// The start of some row, or just beside it.
    fn edge(&self, random: &mut SmallRng) -> i64 {
        let row = random.random_range(0..self.rows.len());
        self.rows[row].start_ms + [0, 0, 1, -1][random.random_range(0..4)]
    }
}

fn key(row: &WindowStats) -> (Arc<str>, i64, Option<Arc<str>>, Window) {
    (row.ad_id.clone(), row.start_ms, row.region.clone(), row.window)
}

/// All windows of some ads.
pub(crate) fn all_of(ads: &[&str], window: Window) -> WindowQuery {
    WindowQuery {
        ads: ads.iter().map(|&ad| ad.into()).collect(),
        window,
        start_ms: 0,
        end_ms: i64::MAX,
        region: None,
        sketches: false,
    }
}
