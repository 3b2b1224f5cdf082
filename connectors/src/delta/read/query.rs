//! A question, in the form that files are compared with.

use weir_dataflow::{TopQuery, Window, WindowQuery};

use crate::delta::table::day_of;

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) window: Window,
    start_ms: i64,
    end_ms: i64,
    /// In their order, each once; none of them: all ads.
    ads: Vec<&'a str>,
    region: Option<&'a str>,
    pub(super) sketches: bool,
}

impl<'a> Wanted<'a> {
    pub(super) fn windows(query: &'a WindowQuery) -> Self {
        let mut ads: Vec<&str> = query.ads.iter().map(AsRef::as_ref).collect();
        ads.sort_unstable();
        ads.dedup();
        Self {
            window: query.window,
            start_ms: query.start_ms,
            end_ms: query.end_ms,
            ads,
            region: query.region.as_deref(),
            sketches: query.sketches,
        }
    }

    pub(super) fn top(query: &'a TopQuery) -> Self {
        Self {
            window: query.window,
            start_ms: query.start_ms,
            end_ms: query.start_ms.saturating_add(1),
            ads: Vec::new(),
            region: query.region.as_deref(),
            sketches: false,
        }
    }

    /// The days that windows may start on, counted from 1970; event times lie between 1970 and 9999.
    pub(super) fn days(&self) -> Option<(u32, u32)> {
        let first = self.start_ms.max(0);
        let last = self.end_ms.checked_sub(1)?.min(weir_dataflow::MAX_EVENT_TIME_MS);
        (first <= last).then(|| (day_of(first), day_of(last)))
    }

    pub(super) fn all_ads(&self) -> bool {
        self.ads.is_empty()
    }

    pub(super) fn ads(&self) -> &[&'a str] {
        &self.ads
    }

    /// Whether one of the ads may lie between these two, both included. `None` for the largest is no bound.
    pub(super) fn ads_within(&self, min: &[u8], max: Option<&[u8]>) -> bool {
        let first = self.ads.partition_point(|ad| ad.as_bytes() < min);
        self.all_ads() || self.ads.get(first).is_some_and(|ad| max.is_none_or(|max| ad.as_bytes() <= max))
    }

    pub(super) fn starts_within(&self, min_ms: i64, max_ms: i64) -> bool {
        max_ms >= self.start_ms && min_ms < self.end_ms
    }

    pub(super) fn has_ad(&self, ad: &[u8]) -> bool {
        self.ads.binary_search_by(|wanted| wanted.as_bytes().cmp(ad)).is_ok()
    }

    pub(super) fn has_start(&self, start_ms: i64) -> bool {
        (self.start_ms..self.end_ms).contains(&start_ms)
    }

    pub(super) fn has_region(&self, region: Option<&[u8]>) -> bool {
        self.region.is_none_or(|wanted| region == Some(wanted.as_bytes()))
    }
}
