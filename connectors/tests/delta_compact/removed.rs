//! Replaced files: how they are removed, and how a checkpoint of the log remembers them.

use chrono::NaiveDate;
use serde_json::Value;
use weir_checkpoints::Store;
use weir_connectors::delta::{CompactSettings, Compactor, Deleted, Table};

use crate::delta_reader;
use crate::world::{Actor, World, settings};

fn data_files(world: &World) -> Vec<String> {
    let objects = world.objects.list(&format!("{}/", world.table.name())).unwrap();
    objects.into_iter().map(|object| object.name).filter(|name| !name.contains("_delta_log")).collect()
}

fn open(world: &World) -> Compactor {
    Compactor::open(world.table, world.calm(), settings(1 << 20)).unwrap().unwrap()
}

fn compact(world: &World) {
    let mut actor = Actor::new(world.table, world.calm(), settings(1 << 20));
    actor.step();
    actor.step();
    while actor.step() {}
}

#[test]
fn files_that_were_replaced_are_removed_and_no_others() {
    let mut world = World::new(Table::Raw, 3);
    for _ in 0..5 {
        world.append(30);
    }
    world.commit(&world.calm()).unwrap();
    compact(&world);
    // Compacted once more, with what came since.
    world.append(50);
    world.commit(&world.calm()).unwrap();
    compact(&world);
    // Listed by a manifest, and not in the log; and left behind by a crash.
    world.append(20);
    world.objects.put("clicks_raw/date=2025-01-15/hour=1/part-x.zstd.parquet", vec![1]).unwrap();
    let live = delta_reader::files(world.objects.as_ref(), "clicks_raw").len();
    let before = data_files(&world);

    let young = open(&world).delete_replaced(0, None, false).unwrap();
    assert_eq!(young, Deleted::default());
    // As if the newest manifest listed what was replaced, and the table did not have it yet.
    let listed = world.manifest_of_all(99);
    assert_eq!(open(&world).delete_replaced(i64::MAX, Some(&listed), false).unwrap(), Deleted::default());
    let would = open(&world).delete_replaced(i64::MAX, None, true).unwrap();
    assert_eq!(data_files(&world), before);
    let shown = world.manifest_of_all(1);
    let done = open(&world).delete_replaced(i64::MAX, Some(&shown), false).unwrap();
    assert_eq!(would, done);
    let after = data_files(&world);
    assert_eq!(before.len() - after.len(), done.files as usize);
    assert!(done.files > 0 && done.bytes > 0);
    assert!(after.iter().any(|name| name.ends_with("part-x.zstd.parquet")));
    world.check("replaced files are gone");
    assert!(after.len() > live);
    world.commit(&world.calm()).unwrap();
    world.check("what was listed is shown");
    world.check_lineage();
    assert_eq!(open(&world).delete_replaced(i64::MAX, None, false).unwrap(), Deleted::default());
}

#[test]
fn of_days_that_are_not_asked_for_nothing_is_removed() {
    let mut world = World::new(Table::Late, 5);
    for _ in 0..6 {
        world.append(40);
    }
    world.commit(&world.calm()).unwrap();
    compact(&world);
    let of_day = |name: &String| name.contains("date=2025-01-15");
    let (asked, others): (Vec<String>, Vec<String>) = data_files(&world).into_iter().partition(of_day);
    let dates = NaiveDate::from_ymd_opt(2025, 1, 15).map(|day| (day, day));
    let of_the_day = CompactSettings { dates, ..settings(1 << 20) };
    let mut compactor = Compactor::open(world.table, world.calm(), of_the_day).unwrap().unwrap();
    let deleted = compactor.delete_replaced(i64::MAX, None, false).unwrap().files as usize;
    let (left, left_of_others): (Vec<String>, Vec<String>) = data_files(&world).into_iter().partition(of_day);
    assert!(deleted > 0);
    assert_eq!(left.len(), asked.len() - deleted);
    assert_eq!(left_of_others, others);
    assert!(open(&world).delete_replaced(i64::MAX, None, false).unwrap().files > 0, "without a day they go, too");
    world.check("replaced files are gone");
}

/// A version for each merge, so that a checkpoint comes of it.
#[test]
fn a_log_goes_on_from_a_checkpoint_with_removed_files() {
    let mut world = World::new(Table::Raw, 9);
    for _ in 0..110 {
        world.append(4);
        world.commit(&world.calm()).unwrap();
    }
    compact(&world);
    for _ in 0..110 {
        world.append(4);
        world.commit(&world.calm()).unwrap();
    }
    let name = |file: &str| format!("clicks_raw/_delta_log/{file}");
    let hint = world.objects.get(&name("_last_checkpoint")).unwrap().unwrap();
    let version = serde_json::from_slice::<Value>(&hint).unwrap()["version"].as_u64().unwrap();
    assert!(version >= 200);
    world.check("before the log was cleaned up");
    for version in 0..version {
        world.objects.delete(&name(&format!("{version:020}.json"))).unwrap();
    }
    // All that is known now is in the checkpoint and what came after.
    let mut compactor = open(&world);
    let live = compactor.size().files;
    let merged: u64 = compactor.plan().unwrap().iter().map(|merge| merge.files() as u64).sum();
    assert!(merged > 0 && merged <= live);
    let deleted = compactor.delete_replaced(i64::MAX, None, false).unwrap();
    assert!(deleted.files > 0);
    compact(&world);
    assert!(open(&world).size().files < live);
}
