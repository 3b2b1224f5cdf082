//! What is asked about windows, and what is answered: the same words for every place that keeps them.

use std::sync::Arc;

use crate::Window;

/// A question for windows of one length.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowQuery {
    /// The ads. None of them: all ads.
    pub ads: Vec<Arc<str>>,
    /// The windows' length.
    pub window: Window,
    /// The windows' starts are in `start_ms..end_ms`, unix time in milliseconds.
    pub start_ms: i64,
    /// The first start that is not asked for.
    pub end_ms: i64,
    /// Keeps one region; else there is a row for each region.
    pub region: Option<Arc<str>>,
    /// Whether the sketches are wanted. They cost more than all the rest.
    pub sketches: bool,
}

/// What is known of one ad, region and window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowStats {
    /// The ad.
    pub ad_id: Arc<str>,
    /// The region that its clicks came in, if there is one.
    pub region: Option<Arc<str>>,
    /// The window's length.
    pub window: Window,
    /// Its first instant, unix time in milliseconds.
    pub start_ms: i64,
    /// Clicks counted in it.
    pub click_count: u64,
    /// Distinct users, an estimate as in [`crate::WindowRow`].
    pub unique_users: u64,
    /// The sketch behind `unique_users`, in the Apache DataSketches HLL format; empty where it was not asked for.
    pub user_sketch: Vec<u8>,
    /// Whether the window is closed and its checkpoint committed: the stream never changes it again.
    pub is_final: bool,
    /// The epoch of this value. Of two values for one window that of the later epoch counts.
    pub epoch: u64,
}

/// A question for the ads with the most clicks in one window.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopQuery {
    /// The window's length.
    pub window: Window,
    /// The window's start, unix time in milliseconds.
    pub start_ms: i64,
    /// Keeps one region; else an ad's clicks of all regions are added up.
    pub region: Option<Arc<str>>,
    /// How many ads are wanted.
    pub limit: usize,
}

/// One of the ads with the most clicks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopAd {
    /// The ad.
    pub ad_id: Arc<str>,
    /// Its clicks in the window, of all regions that were asked for.
    pub click_count: u64,
}

impl TopAd {
    /// Adds up what is there several times, for one from several regions.
    pub fn sum(ads: &mut Vec<Self>) {
        ads.sort_unstable_by(|one, other| one.ad_id.cmp(&other.ad_id));
        ads.dedup_by(|later, first| {
            let same = later.ad_id == first.ad_id;
            first.click_count += if same { later.click_count } else { 0 };
            same
        });
    }

    /// Puts the ads with the most clicks first, the smaller name first among equals, and keeps `limit` of them.
    pub fn rank(ads: &mut Vec<Self>, limit: usize) {
        let order = |one: &Self, other: &Self| {
            other.click_count.cmp(&one.click_count).then_with(|| one.ad_id.cmp(&other.ad_id))
        };
        if limit < ads.len() {
            ads.select_nth_unstable_by(limit, order);
            ads.truncate(limit);
        }
        ads.sort_unstable_by(order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ads_are_those_with_most_clicks_then_by_name() {
        let ad = |name: &str, click_count| TopAd { ad_id: name.into(), click_count };
        let all = [ad("b", 2), ad("a", 2), ad("d", 1), ad("c", 9), ad("e", 0)];
        let ranked = [ad("c", 9), ad("a", 2), ad("b", 2), ad("d", 1), ad("e", 0)];
        for limit in 0..7 {
            let mut ads = all.to_vec();
            TopAd::rank(&mut ads, limit);
            assert_eq!(ads, ranked.iter().take(limit).cloned().collect::<Vec<_>>(), "limit {limit}");
        }
    }
}
