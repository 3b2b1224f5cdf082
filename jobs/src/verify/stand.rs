//! Where the job stands: its newest manifest, and what that holds back for the tables.
//!
//! Both are read first, together. The state of a manifest is deleted soon after the next ones; the tables keep what they
//! had with it, see [`DeltaTable`](super::delta::DeltaTable).

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use weir_checkpoints::{Manifest, Names, Store};
use weir_connectors::delta::{ClicksTable, held_back_clicks};
use weir_dataflow::SinkError;

use super::chain::newest;
use super::data_file::PartitionRows;
use super::offsets::Offsets;
use super::report::{CheckResult, Rule};

/// How often a running job may have gone on while its state was read.
const TRIES: usize = 10;

/// The newest manifest.
pub(super) struct Stand {
    pub(super) manifest: Manifest,
    pub(super) hash: String,
    /// The clicks that are held back, by table.
    pub(super) held: BTreeMap<&'static str, HeldClicks>,
    pub(super) readable: CheckResult,
}

/// The clicks that wait for a file of a table.
#[derive(Debug, Default)]
pub(super) struct HeldClicks {
    pub(super) rows: PartitionRows,
    /// Where they were read, and where what is added to it later was.
    pub(super) offsets: Offsets,
    /// Those among them that are there twice, in words.
    pub(super) twice: Vec<String>,
}

impl Stand {
    pub(super) fn read(store: &dyn Store, names: &Names) -> Result<Self> {
        let mut stand = Self::look(store, names)?;
        for _ in 1..TRIES {
            if stand.readable.broken == 0 {
                break;
            }
            let again = Self::look(store, names)?;
            if again.manifest.sequence == stand.manifest.sequence {
                break;
            }
            stand = again;
        }
        Ok(stand)
    }

    fn look(store: &dyn Store, names: &Names) -> Result<Self> {
        let found = newest(store, names)?;
        let (manifest, hash) = found
            .with_context(|| format!("job {} has no checkpoint: it has not committed anything yet", names.job()))?;
        let mut rule = Rule::new("what the newest checkpoint holds back for the tables can be read");
        let mut held = BTreeMap::new();
        for (table, name) in [(ClicksTable::Late, "clicks_late"), (ClicksTable::Archive, "clicks_raw")] {
            let clicks = match HeldClicks::read(store, &manifest, table) {
                Ok(clicks) => {
                    rule.check(true, String::new);
                    clicks
                }
                Err(error) => {
                    rule.check(false, || error.to_string());
                    HeldClicks::default()
                }
            };
            held.insert(name, clicks);
        }
        Ok(Self { manifest, hash, held, readable: rule.done() })
    }
}

impl HeldClicks {
    fn read(store: &dyn Store, manifest: &Manifest, table: ClicksTable) -> Result<Self, SinkError> {
        let mut clicks = Self::default();
        held_back_clicks(store, manifest, table, |row| {
            let (partition, offset) = (row.partition.0, row.offset.0);
            *clicks.rows.entry(partition).or_default() += 1;
            if !clicks.offsets.insert(partition, offset) {
                clicks.twice.push(format!("partition {partition}, offset {offset} is held back twice"));
            }
        })?;
        Ok(clicks)
    }
}
