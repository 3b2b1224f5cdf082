//! The windows that are billed otherwise than they were counted.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use weir_connectors::delta::{BillingTable, corrected_windows};
use weir_dataflow::Window;
use weir_dataflow::reconcile::{BilledWindow, BilledWindows, DayCount, WrongEpoch, wrong_epochs};

use super::{Found, Reconciler, of_table};

impl Reconciler {
    /// The epochs that seem to be behind the minutes in which the stream has counted wrong.
    pub(super) fn wrong_epochs(&self, found: &Found, count: &DayCount) -> Result<Vec<WrongEpoch>> {
        let start_ms = found.day.start_ms;
        let minutes = count.ads.iter().flat_map(|ad| ad.differences.iter().map(|difference| difference.minute));
        let hour_of =
            |minute: u32| Window::OneHour.start_of(start_ms + i64::from(minute) * Window::OneMinute.length_ms());
        let hours_ms: BTreeSet<i64> = minutes.map(hour_of).collect();
        let archive = found.archive.by_window(&hours_ms)?;
        Ok(wrong_epochs(&count.ads, start_ms, &archive, self.workers)?)
    }

    /// Counts them. Those of the revision before are among them even where they are as they were counted by now: whoever has
    /// taken over the earlier figures replaces them.
    pub(super) fn windows(&self, found: &Found, count: &DayCount) -> Result<Vec<BilledWindow>> {
        let mut windows = BilledWindows::of(&count.ads, found.day.start_ms, found.day.end_ms);
        for file in found.record.newest().map(|newest| of_table(newest, BillingTable::Windows)).unwrap_or_default() {
            for known in corrected_windows(self.tables.as_ref(), &file)? {
                windows.add(&known.ad_id, known.region.as_deref(), known.window, known.start_ms);
            }
        }
        if windows.is_empty() {
            return Ok(Vec::new());
        }
        let archive = found.archive.by_window(&windows.hours_ms())?;
        let counted = windows.count(&archive, self.workers);
        counted.with_context(|| format!("{} stays as it is", found.day.text()))
    }
}
