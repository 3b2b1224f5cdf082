//! The clicks that do not count because of their time.

use std::collections::{BTreeMap, HashMap};

use weir_connectors::delta::ClickCopy;

use super::report::{LateClick, LateClicks};

/// Late and future clicks, by their place in the log.
#[derive(Default)]
pub(super) struct Late {
    reasons: HashMap<(u32, u64), String>,
    /// Those of the window and region.
    clicks: Vec<LateClick>,
}

impl Late {
    /// Takes a record in; one that is in a file and still held back is one.
    pub(super) fn add(&mut self, copy: &ClickCopy<'_>, is_inside: bool) {
        let place = (copy.partition.0, copy.offset.0);
        let reason = copy.reason.unwrap_or("late");
        if self.reasons.insert(place, reason.to_owned()).is_some() || !is_inside {
            return;
        }
        self.clicks.push(LateClick {
            click_id: copy.click.key_text(),
            reason: reason.to_owned(),
            event_time_ms: copy.click.event_time_ms(),
            partition: copy.partition.0,
            offset: copy.offset.0,
            epoch: copy.epoch.0,
        });
    }

    /// Why the record at this place does not count.
    pub(super) fn reason(&self, position: (u32, u64)) -> Option<&str> {
        self.reasons.get(&position).map(String::as_str)
    }

    /// What is told of them.
    pub(super) fn report(&self, limit: usize) -> LateClicks {
        let mut reasons = BTreeMap::from([("late".to_owned(), 0), ("future".to_owned(), 0)]);
        for click in &self.clicks {
            *reasons.entry(click.reason.clone()).or_insert(0) += 1;
        }
        let mut clicks = self.clicks.clone();
        clicks.sort_unstable_by_key(|click| (click.event_time_ms, click.partition, click.offset));
        clicks.truncate(limit);
        LateClicks { reasons, clicks }
    }
}

/// A click's id as people know it.
pub(super) trait KeyText {
    /// Its `click_id`, or its derived key written down.
    fn key_text(&self) -> String;
}

impl KeyText for weir_dataflow::Click<'_> {
    fn key_text(&self) -> String {
        self.click_id.map_or_else(|| self.key().to_click_id(), str::to_owned)
    }
}
