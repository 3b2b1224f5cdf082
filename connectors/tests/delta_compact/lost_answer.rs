//! A version that is put, and the store does not say so until others have gone on from it.

use std::sync::Arc;

use weir_checkpoints::Store;
use weir_connectors::delta::{CompactOutcome, Compactor, Table};

use crate::delta_reader;
use crate::stores::Watched;
use crate::world::{Actor, World, settings};

/// Merges all that there is, as another compactor.
fn merge_all(table: Table, store: Arc<dyn Store>) -> u64 {
    let mut actor = Actor::new(table, store, settings(1 << 20));
    actor.step();
    actor.step();
    while actor.step() {}
    assert_eq!(actor.failed, 0);
    actor.committed
}

/// No file goes that a version of the table has shown.
fn assert_all_shown_are_there(world: &World) {
    for (version, action) in delta_reader::actions(world.objects.as_ref(), world.table.name()) {
        if let Some(path) = action["add"]["path"].as_str() {
            let name = format!("{}/{path}", world.table.name());
            assert!(world.objects.get(&name).unwrap().is_some(), "version {version} shows {name}, which is gone");
        }
    }
}

#[test]
fn a_file_that_another_compactor_has_merged_at_once_was_committed() {
    for table in [Table::Agg, Table::Late, Table::Raw] {
        let mut world = World::new(table, 7);
        for _ in 0..4 {
            world.append(30);
        }
        world.commit(&world.calm()).unwrap();
        let watched = Watched::new(&world.objects);
        let mut compactor = Compactor::open(table, watched.clone(), settings(1 << 20)).unwrap().unwrap();
        let merge = compactor.plan().unwrap().pop().unwrap();
        let compacted = compactor.write(merge).unwrap().compacted.unwrap();
        // What the other one merges it with.
        world.append(60);
        world.commit(&world.calm()).unwrap();
        let others = world.calm();
        watched.lose_next_answer(move || assert!(merge_all(table, others) > 0));
        assert_eq!(compactor.commit(&compacted).unwrap(), CompactOutcome::Committed);
        assert_all_shown_are_there(&world);
        world.check("two compactors have merged");
        world.check_lineage();
    }
}
