//! The windows that wait for a file of useful size: they are in the state of a checkpoint, and no reader of the table sees them.

use weir_checkpoints::{GroupRange, Manifest, PartReader, Store};
use weir_dataflow::{SinkError, WindowRow, carried_kind};

use super::held::Held;
use super::windows::WindowChunk;
use super::{Table, failed, refused};

const TABLE: &str = Table::Agg.name();

/// Hands out each window that was held back when the manifest was written.
pub fn held_back(
    checkpoints: &dyn Store,
    manifest: &Manifest,
    mut take: impl FnMut(WindowRow<'_>),
) -> Result<(), SinkError> {
    let kind = carried_kind(TABLE);
    for part in manifest.state.iter().filter(|part| part.kind == kind) {
        let mut blocks = Vec::new();
        let read = PartReader::open(checkpoints, part)
            .and_then(|reader| reader.read(GroupRange::ALL, |_, block| blocks.push(block.to_vec())));
        read.map_err(|error| failed(TABLE, "read rows that were held back", error))?;
        for block in blocks {
            let chunks = Held::<WindowChunk>::restored(TABLE, &block).and_then(|(held, _)| held.chunks());
            let chunks = chunks.map_err(|reason| refused(TABLE, format!("rows that were held back: {reason}")))?;
            chunks.iter().flat_map(|chunk| chunk.windows()).for_each(&mut take);
        }
    }
    Ok(())
}
