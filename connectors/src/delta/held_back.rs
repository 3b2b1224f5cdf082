//! The rows that wait for a file of useful size: they are in the state of a checkpoint, and no reader of a table sees them.

use std::sync::Arc;

use weir_checkpoints::{GroupRange, Manifest, PartReader, Store};
use weir_dataflow::{SinkError, WindowRow, carried_kind};

use super::chunk::Chunk;
use super::clicks::ClickChunk;
use super::held::Held;
use super::windows::WindowChunk;
use super::{ClickCopy, ClicksTable, Table, failed, refused};

/// Hands out each window that was held back when the manifest was written.
pub fn held_back(
    checkpoints: &dyn Store,
    manifest: &Manifest,
    mut take: impl FnMut(WindowRow<'_>),
) -> Result<(), SinkError> {
    each_chunk::<WindowChunk>(checkpoints, manifest, Table::Agg, |chunk| chunk.windows().for_each(&mut take))
}

/// Hands out each click that was held back for a table of clicks when the manifest was written.
pub fn held_back_clicks(
    checkpoints: &dyn Store,
    manifest: &Manifest,
    table: ClicksTable,
    mut take: impl FnMut(ClickCopy<'_>),
) -> Result<(), SinkError> {
    let with_reason = table == ClicksTable::Late;
    each_chunk::<ClickChunk>(checkpoints, manifest, table.table(), |chunk| {
        chunk.copies(with_reason).for_each(&mut take);
    })
}

fn each_chunk<C: Chunk>(
    checkpoints: &dyn Store,
    manifest: &Manifest,
    table: Table,
    mut take: impl FnMut(&Arc<C>),
) -> Result<(), SinkError> {
    let (table, kind) = (table.name(), carried_kind(table.name()));
    for part in manifest.state.iter().filter(|part| part.kind == kind) {
        let mut blocks = Vec::new();
        let read = PartReader::open(checkpoints, part)
            .and_then(|reader| reader.read(GroupRange::ALL, |_, block| blocks.push(block.to_vec())));
        read.map_err(|error| failed(table, "read rows that were held back", error))?;
        for block in blocks {
            let chunks = Held::<C>::restored(table, &block).and_then(|(held, _)| held.chunks());
            let chunks = chunks.map_err(|reason| refused(table, format!("rows that were held back: {reason}")))?;
            chunks.iter().for_each(&mut take);
        }
    }
    Ok(())
}
