//! What of a checkpoint's totals is in the tables of its job: all that it had neither open nor held back for a file.

use std::collections::BTreeMap;

use anyhow::Result;
use weir_checkpoints::{Manifest, Origin, PartitionId, Store};
use weir_connectors::delta::{ClicksTable, held_back, held_back_clicks};
use weir_dataflow::open_clicks;

/// Notes it in `origin`.
pub(super) fn find(store: &dyn Store, manifest: &Manifest, origin: &mut Origin) -> Result<()> {
    for (table, name) in [(ClicksTable::Archive, "clicks_raw"), (ClicksTable::Late, "clicks_late")] {
        let mut held: BTreeMap<PartitionId, u64> = BTreeMap::new();
        held_back_clicks(store, manifest, table, |row| *held.entry(row.partition).or_default() += 1)?;
        for (partition, cut) in &manifest.partitions {
            let totals = cut.totals;
            let rows = match table {
                ClicksTable::Archive => totals.read.saturating_sub(totals.rejected),
                ClicksTable::Late => totals.late + totals.future,
            };
            // A job that has no archive holds nothing back for it, and its fork lacks all of these rows.
            origin.add_elsewhere(
                name,
                partition,
                rows.saturating_sub(held.get(partition).copied().unwrap_or_default()),
            );
        }
    }
    let mut here = open_clicks(store, manifest)?;
    held_back(store, manifest, |row| *here.entry(row.window).or_default() += row.click_count)?;
    for (window, clicks) in here {
        origin.add_elsewhere("clicks_agg", window.as_str(), manifest.totals().counted.saturating_sub(clicks));
    }
    Ok(())
}
