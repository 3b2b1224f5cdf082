//! Closed windows that are kept for queries, ad by ad.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sketch::UserSketch;
use crate::{AdKey, Window, WindowQuery, WindowStats};

/// A window that will not change.
#[derive(Debug)]
pub(super) struct ClosedWindow {
    pub(super) start_ms: i64,
    pub(super) clicks: u64,
    /// The sketch's estimate, which costs more than all else to find.
    pub(super) unique_users: u64,
    pub(super) users: UserSketch,
    /// The epoch at whose end it closed.
    pub(super) epoch: u64,
}

/// The closed windows of one ad in one region, by length, each in the order of time.
#[derive(Debug)]
pub(super) struct ClosedAd {
    pub(super) key: AdKey,
    name: Arc<str>,
    /// None at home.
    region: Option<Arc<str>>,
    windows: [VecDeque<ClosedWindow>; Window::ALL.len()],
}

impl ClosedWindow {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.users.heap_bytes()
    }
}

impl ClosedAd {
    pub(super) fn new(key: AdKey, name: &str, region: Option<&str>) -> Self {
        Self { key, name: name.into(), region: region.map(Into::into), windows: Default::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.windows.iter().all(VecDeque::is_empty)
    }

    /// Keeps a window; returns the bytes that it takes, none where it is there already: closed twice, it is the same.
    pub(super) fn keep(&mut self, window: Window, closed: ClosedWindow) -> usize {
        let windows = &mut self.windows[window as usize];
        let at = windows.partition_point(|other| other.start_ms < closed.start_ms);
        if windows.get(at).is_some_and(|other| other.start_ms == closed.start_ms) {
            return 0;
        }
        let bytes = closed.bytes();
        windows.insert(at, closed);
        bytes
    }

    /// Drops the windows that end at or before an instant; returns the bytes that they took.
    pub(super) fn drop_until(&mut self, until_ms: i64) -> usize {
        let mut bytes = 0;
        for (window, closed) in Window::ALL.into_iter().zip(&mut self.windows) {
            let gone = closed.partition_point(|closed| closed.start_ms.saturating_add(window.length_ms()) <= until_ms);
            bytes += closed.drain(..gone).map(|closed| closed.bytes()).sum::<usize>();
            // The ring would stay as large as it ever was.
            if closed.len() * 4 < closed.capacity() {
                closed.shrink_to(closed.len() * 2);
            }
        }
        bytes
    }

    /// Appends what is asked for; `committed` is the last epoch that is.
    pub(super) fn find(
        &self,
        query: &WindowQuery,
        home: Option<&Arc<str>>,
        committed: u64,
        rows: &mut Vec<WindowStats>,
    ) {
        let windows = &self.windows[query.window as usize];
        let from = windows.partition_point(|closed| closed.start_ms < query.start_ms);
        for closed in windows.range(from..).take_while(|closed| closed.start_ms < query.end_ms) {
            let mut user_sketch = Vec::new();
            if query.sketches {
                closed.users.to_datasketches(&mut user_sketch);
            }
            rows.push(WindowStats {
                ad_id: Arc::clone(&self.name),
                region: self.region.as_ref().or(home).cloned(),
                window: query.window,
                start_ms: closed.start_ms,
                click_count: closed.clicks,
                unique_users: closed.unique_users,
                user_sketch,
                is_final: closed.epoch <= committed,
                epoch: closed.epoch,
            });
        }
    }

    /// The clicks in one window.
    pub(super) fn clicks(&self, window: Window, start_ms: i64) -> Option<u64> {
        let windows = &self.windows[window as usize];
        let at = windows.binary_search_by_key(&start_ms, |closed| closed.start_ms).ok()?;
        windows.get(at).map(|closed| closed.clicks)
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// None at home.
    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }
}
