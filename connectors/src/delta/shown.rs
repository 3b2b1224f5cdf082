//! Whether the tables have what a manifest lists.

use std::sync::Arc;

use weir_checkpoints::{Manifest, Store};
use weir_dataflow::SinkError;

use super::log::Log;
use super::table::Table;

/// A table that does not have the manifest's files yet: the job died between the manifest and the table's log, and repeats
/// that commit when it starts again. None where all of them are shown.
pub fn not_shown(tables: &Arc<dyn Store>, manifest: &Manifest) -> Result<Option<&'static str>, SinkError> {
    for table in [Table::Agg, Table::Late, Table::Raw] {
        let name = table.name();
        if !manifest.outputs.iter().any(|output| output.sink == name) {
            continue;
        }
        let committed = Log::open(Arc::clone(tables), name, &manifest.job)?.committed;
        if committed < Some(manifest.epoch.0) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
