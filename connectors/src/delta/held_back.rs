//! The rows that wait for a file of useful size: they are in the state of a checkpoint, and no reader of a table sees them.
//!
//! ```text
//!   all rows of epochs up to E  =  rows of the files that the table has at E  +  rows held back by E's manifest
//! ```
//!
//! Only the manifests that a restart would use keep their state. Whoever reads an older one, or reads while the job goes
//! on, may find a part deleted, and has to take the newest manifest then.

use weir_checkpoints::{GroupRange, Manifest, PartReader, Store};
use weir_dataflow::{SinkError, WindowRow, carried_kind};

use super::chunk::Chunk;
use super::clicks::ClickChunk;
use super::held::carried_rows;
use super::windows::WindowChunk;
use super::{ClickCopy, ClicksTable, Table, failed, refused};

/// Hands out each window that was held back for `clicks_agg` when the manifest was written.
pub fn held_back(
    checkpoints: &dyn Store,
    manifest: &Manifest,
    mut take: impl FnMut(WindowRow<'_>),
) -> Result<(), SinkError> {
    each_chunk::<WindowChunk>(checkpoints, manifest, Table::Agg, |chunk| chunk.windows().for_each(&mut take))
}

/// Hands out each click that was held back for a table of clicks when the manifest was written: with its partition and
/// offset, its time, and the epoch in which it was read, which is the manifest's or an earlier one.
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

/// One block of state is unpacked at a time.
fn each_chunk<C: Chunk>(
    checkpoints: &dyn Store,
    manifest: &Manifest,
    table: Table,
    mut take: impl FnMut(&C),
) -> Result<(), SinkError> {
    let kind = carried_kind(table.name());
    for part in manifest.state.iter().filter(|part| part.kind == kind) {
        let mut understood = Ok(());
        let read = PartReader::open(checkpoints, part).and_then(|reader| {
            reader.read(GroupRange::ALL, |_, block| {
                if understood.is_ok() {
                    understood = carried_rows(table.name(), block).map(|(_, chunks)| chunks.iter().for_each(&mut take));
                }
            })
        });
        read.map_err(|error| failed(table.name(), "read rows that were held back", error))?;
        understood.map_err(|reason| refused(table.name(), format!("rows that were held back: {reason}")))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::sync::Arc;

    use weir_checkpoints::{Attempt, Epoch, GroupSet, Offset, PartWriter, PartitionId, StatePart, WorkerIndex};
    use weir_dataflow::{Carried, Click, ClickRow, Cut, LateReason, Row, SinkFactory, WorkerContext};

    use super::*;
    use crate::delta::{DeltaConfig, DeltaSink};
    use crate::memory::MemoryStore;

    type Place = (u32, u64, u64, i64);

    const PLACES: [Place; 3] = [(0, 5, 1, 1_736_952_000_123), (3, 0, 2, 7_000), (0, 6, 2, 1_736_952_000_000)];

    fn row((partition, offset, epoch, timestamp): Place) -> ClickRow<'static> {
        let click =
            Click { ad_id: "ad", user_id: "user", timestamp, click_id: None, ip_address: None, user_agent: None };
        let (partition, offset, epoch) = (PartitionId(partition), Offset(offset), Epoch(epoch));
        ClickRow { click, extra: None, region: None, partition, offset, epoch }
    }

    /// What a sink carries over with these rows.
    fn carried(table: Table) -> Vec<u8> {
        let sink = DeltaSink::new(table, DeltaConfig::new("job", "clicks"), Arc::new(MemoryStore::new()));
        let mut open = sink.open(WorkerContext { worker: WorkerIndex(0), workers: 1, attempt: Attempt(1) }).unwrap();
        for place in PLACES {
            let row = match table {
                Table::Late => Row::Late(row(place), LateReason::Late),
                _ => Row::Archive(row(place)),
            };
            open.write(row).unwrap();
        }
        let staged = open.stage(&Cut { epoch: Epoch(2), last: false, offsets: Vec::new() }).unwrap()().unwrap();
        let Carried::More(carried) = staged.carried else { panic!("three rows are not worth a file") };
        carried
    }

    fn manifest(store: &MemoryStore, table: Table) -> Manifest {
        let groups = GroupRange::ALL;
        let mut part = PartWriter::new(groups);
        part.group(groups.start).unwrap().extend(carried(table));
        let bytes = part.finish().unwrap();
        let state = StatePart {
            name: "part".to_owned(),
            kind: carried_kind(table.name()),
            epoch: Epoch(2),
            attempt: Attempt(1),
            worker: WorkerIndex(0),
            size_bytes: bytes.len() as u64,
            groups: GroupSet::of(groups),
            expires_ms: None,
        };
        store.put("part", bytes).unwrap();
        Manifest { epoch: Epoch(2), state: vec![state], ..Manifest::first("job") }
    }

    #[test]
    fn clicks_that_wait_are_handed_out_with_where_and_when_they_were_read() {
        for table in [ClicksTable::Archive, ClicksTable::Late] {
            let store = MemoryStore::new();
            let manifest = manifest(&store, table.table());
            let mut found: Vec<Place> = Vec::new();
            let take = |row: ClickCopy<'_>| {
                assert_eq!(row.reason, (table == ClicksTable::Late).then_some("late"));
                found.push((row.partition.0, row.offset.0, row.epoch.0, row.click.event_time_ms()));
            };
            held_back_clicks(&store, &manifest, table, take).unwrap();
            let expect = PLACES.map(|(partition, offset, epoch, timestamp)| {
                let time_ms = if timestamp < 100_000_000_000 { timestamp * 1000 } else { timestamp };
                (partition, offset, epoch, time_ms)
            });
            assert_eq!(found, expect);
            let other = if table == ClicksTable::Archive { ClicksTable::Late } else { ClicksTable::Archive };
            held_back_clicks(&store, &manifest, other, |_| panic!("it holds nothing back")).unwrap();
        }
    }

    #[test]
    fn state_that_is_gone_or_damaged_is_an_error() {
        let store = MemoryStore::new();
        let manifest = manifest(&store, Table::Raw);
        let read = || held_back_clicks(&store, &manifest, ClicksTable::Archive, |_| {});
        read().unwrap();
        let mut bytes = store.get("part").unwrap().unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        store.put("part", bytes).unwrap();
        assert!(read().is_err());
        store.delete("part").unwrap();
        assert!(read().is_err());
    }
}
