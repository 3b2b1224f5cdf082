//! The windows that are billed otherwise than they were counted.

use anyhow::{Context, Result};
use weir_connectors::delta::{BillingTable, corrected_windows};
use weir_dataflow::reconcile::{BilledWindow, BilledWindows, DayCount};

use super::{Found, Reconciler, of_table};

impl Reconciler {
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
