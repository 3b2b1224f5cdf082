//! Rows of several tiers and regions, made one series an ad.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use weir_dataflow::{SketchError, TopAd, UserSketch, Window, WindowStats};

use super::answers::{Point, Series};
use super::corrected::ClosedDays;

/// The newest row of each ad, window and region.
#[derive(Default)]
pub(super) struct Merged {
    ads: BTreeMap<Arc<str>, BTreeMap<i64, Vec<WindowStats>>>,
}

impl Merged {
    /// Of rows for the same window that of the later epoch counts; committed before uncommitted where they are of one epoch.
    /// What was corrected to nothing is no row.
    pub(super) fn of(rows: impl IntoIterator<Item = WindowStats>) -> Self {
        let mut merged = Self::default();
        for row in rows {
            let regions = merged.ads.entry(Arc::clone(&row.ad_id)).or_default().entry(row.start_ms).or_default();
            match regions.iter_mut().find(|known| known.region == row.region) {
                None => regions.push(row),
                Some(known) if (known.epoch, known.is_final) < (row.epoch, row.is_final) => *known = row,
                Some(_) => {}
            }
        }
        for windows in merged.ads.values_mut() {
            windows.values_mut().for_each(|regions| regions.retain(|row| row.click_count > 0));
            windows.retain(|_, regions| !regions.is_empty());
        }
        merged.ads.retain(|_, windows| !windows.is_empty());
        merged
    }

    /// The ads that have a window with clicks in several regions: their users can only be had from sketches.
    pub(super) fn need_sketches(&self) -> Vec<Arc<str>> {
        let several = |windows: &BTreeMap<i64, Vec<WindowStats>>| windows.values().any(|regions| regions.len() > 1);
        self.ads.iter().filter(|(_, windows)| several(windows)).map(|(ad, _)| Arc::clone(ad)).collect()
    }

    /// Takes over the rows of another for the ads that it has.
    pub(super) fn replace(&mut self, other: Self) {
        self.ads.extend(other.ads);
    }

    /// The windows of an ad, regions added up.
    pub(super) fn points(&self, ad: &str) -> Result<Vec<Point>, SketchError> {
        let windows = self.ads.get(ad).into_iter().flatten();
        windows.map(|(start_ms, regions)| point(*start_ms, regions)).collect()
    }

    /// Each ad's clicks, of all its windows and regions.
    pub(super) fn clicks(&self) -> Vec<TopAd> {
        let sum =
            |windows: &BTreeMap<i64, Vec<WindowStats>>| windows.values().flatten().map(|row| row.click_count).sum();
        self.ads.iter().map(|(ad, windows)| TopAd { ad_id: Arc::clone(ad), click_count: sum(windows) }).collect()
    }

    /// All sketches of an ad.
    pub(super) fn users(&self, ad: &str) -> Result<UserSketch, SketchError> {
        union(self.ads.get(ad).into_iter().flat_map(BTreeMap::values).flatten())
    }
}

fn point(start_ms: i64, regions: &[WindowStats]) -> Result<Point, SketchError> {
    let unique_users = match regions {
        [one] => one.unique_users,
        several => union(several)?.estimate(),
    };
    Ok(Point {
        timestamp: start_ms / 1000,
        click_count: regions.iter().map(|row| row.click_count).sum(),
        unique_users,
        is_final: regions.iter().all(|row| row.is_final),
        reconciled: false,
    })
}

fn union<'a>(rows: impl IntoIterator<Item = &'a WindowStats>) -> Result<UserSketch, SketchError> {
    let mut users = UserSketch::new();
    for row in rows {
        users.merge(&UserSketch::from_datasketches(&row.user_sketch)?);
    }
    Ok(users)
}

/// A series; `fill` says for which starts there is a window in any case, and until when windows are final.
pub(super) fn series(
    ad: &str,
    window: Window,
    points: Vec<Point>,
    fill: Option<(Range<i64>, i64)>,
    closed: &ClosedDays,
) -> Series {
    let mut data = match fill {
        None => points,
        Some((starts_ms, closed_until_ms)) => filled(window, points, starts_ms, closed_until_ms),
    };
    if !closed.is_empty() {
        data.iter_mut().for_each(|point| point.reconciled = closed.have(window, point.timestamp * 1000));
    }
    Series { ad_id: ad.to_owned(), window: window.as_str(), data }
}

fn filled(window: Window, points: Vec<Point>, starts_ms: Range<i64>, closed_until_ms: i64) -> Vec<Point> {
    let length_ms = window.length_ms();
    let first_ms = window.start_of(starts_ms.start + length_ms - 1);
    let mut points = points.into_iter().peekable();
    let starts_ms = (first_ms..starts_ms.end).step_by(length_ms as usize);
    let filled = starts_ms.map(|start_ms| {
        points.next_if(|point| point.timestamp == start_ms / 1000).unwrap_or(Point {
            timestamp: start_ms / 1000,
            click_count: 0,
            unique_users: 0,
            is_final: start_ms + length_ms <= closed_until_ms,
            reconciled: false,
        })
    });
    filled.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use weir_dataflow::Coupon;

    use super::*;

    fn row(start_ms: i64, region: Option<&str>, users: &[&str], epoch: u64, is_final: bool) -> WindowStats {
        let mut sketch = UserSketch::new();
        users.iter().for_each(|user| sketch.update(Coupon::of_user(user)));
        let mut user_sketch = Vec::new();
        sketch.to_datasketches(&mut user_sketch);
        WindowStats {
            ad_id: "ad".into(),
            region: region.map(Into::into),
            window: Window::OneMinute,
            start_ms,
            click_count: users.len() as u64,
            unique_users: sketch.estimate(),
            user_sketch,
            is_final,
            epoch,
        }
    }

    #[test]
    fn the_newest_row_of_a_window_counts_and_regions_are_added_up() {
        let old = row(60_000, Some("eu"), &["a"], 3, false);
        let new = row(60_000, Some("eu"), &["a", "b"], 5, true);
        let there = row(60_000, Some("us"), &["b", "c"], 4, false);
        for rows in [[&old, &new, &there], [&new, &there, &old], [&there, &old, &new]] {
            let merged = Merged::of(rows.into_iter().cloned());
            let point = Point { timestamp: 60, click_count: 4, unique_users: 3, is_final: false, reconciled: false };
            assert_eq!(merged.points("ad").unwrap(), [point]);
            assert_eq!(merged.need_sketches().len(), 1);
            assert_eq!(merged.users("ad").unwrap().estimate(), 3);
            assert_eq!(merged.points("other").unwrap(), []);
        }
        let committed = WindowStats { is_final: true, ..old.clone() };
        let merged = Merged::of([committed, old]);
        assert!(merged.points("ad").unwrap().first().unwrap().is_final);
        assert!(merged.need_sketches().is_empty());
    }

    #[test]
    fn windows_without_clicks_are_filled_in_between_the_ends() {
        let points = Merged::of([row(120_000, None, &["a"], 1, true)]).points("ad").unwrap();
        let series = series("ad", Window::OneMinute, points, Some((1..240_001, 180_000)), &ClosedDays::default());
        let data: Vec<_> =
            series.data.iter().map(|point| (point.timestamp, point.click_count, point.is_final)).collect();
        assert_eq!(data, [(60, 0, true), (120, 1, true), (180, 0, false), (240, 0, false)]);
    }
}
