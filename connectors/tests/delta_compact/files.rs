//! What a compacted file looks like, and which files are taken.

use bytes::Bytes;
use chrono::NaiveDate;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use serde_json::{Value, json};
use weir_checkpoints::Store;
use weir_connectors::delta::{CompactSettings, Compactor, Table};

use crate::delta_reader::{self, TableFile};
use crate::stores::Watched;
use crate::world::{Actor, World, settings};

fn compact(world: &World, settings: CompactSettings) -> u64 {
    let mut actor = Actor::new(world.table, world.calm(), settings);
    // Opens, then plans.
    actor.step();
    actor.step();
    while actor.step() {}
    assert_eq!(actor.failed, 0);
    actor.committed
}

fn world(table: Table, epochs: u64) -> World {
    let mut world = World::new(table, 5);
    for _ in 0..epochs {
        world.append(40);
    }
    world.commit(&world.calm()).unwrap();
    world
}

fn files(world: &World) -> Vec<TableFile> {
    delta_reader::files(world.objects.as_ref(), world.table.name())
}

#[test]
fn a_partition_becomes_one_file_with_what_is_known_of_its_sources() {
    for table in [Table::Agg, Table::Late, Table::Raw] {
        let world = world(table, 12);
        let before = files(&world);
        assert!(compact(&world, settings(128 << 20)) > 0);
        world.check("compacted");
        world.check_lineage();
        assert!(world.files_by_partition().values().all(|files| *files == 1));
        for file in files(&world).iter().filter(|file| !file.tags["weir.compacted"].is_null()) {
            let sources: Vec<&TableFile> = before.iter().filter(|old| old.partition == file.partition).collect();
            let last = sources.iter().map(|old| old.footer["weir.epoch"].parse::<u64>().unwrap()).max();
            assert_eq!(file.footer["weir.epoch"].parse().ok(), last);
            assert_eq!(file.footer["weir.version"], env!("CARGO_PKG_VERSION"));
            let ranges = sources.iter().map(|old| serde_json::from_str::<Value>(&old.footer["weir.offsets"]).unwrap());
            let (first, next): (Vec<u64>, Vec<u64>) =
                ranges.map(|range| (range["0"][0].as_u64().unwrap(), range["0"][1].as_u64().unwrap())).unzip();
            let offsets: Value = serde_json::from_str(&file.footer["weir.offsets"]).unwrap();
            assert_eq!(offsets, json!({ "0": [first.iter().min(), next.iter().max()] }));
            let lineage: Value = serde_json::from_str(file.tags["weir.compacted"].as_str().unwrap()).unwrap();
            for (source, old) in lineage["sources"].as_array().unwrap().iter().zip(&sources) {
                assert_eq!((&source["path"], &source["sha256"]), (&json!(old.path), &json!(old.sha256)));
            }
        }
        let actions = delta_reader::actions(world.objects.as_ref(), table.name());
        let removes = actions.iter().filter_map(|(_, action)| action.get("remove"));
        let adds = actions.iter().filter_map(|(_, action)| action.get("add"));
        let adds = adds.filter(|add| !add["tags"]["weir.compacted"].is_null());
        assert!(removes.chain(adds).all(|action| action["dataChange"] == false));
        let operations = actions.iter().filter(|(_, action)| action["commitInfo"]["operation"] == "OPTIMIZE");
        assert!(operations.count() > 0);
        // Nothing is left to do.
        assert_eq!(compact(&world, settings(128 << 20)), 0);
    }
}

/// The footer of a file, but for where it comes from: columns, encodings, pages, statistics, filters.
fn layout(world: &World, path: &str) -> Vec<String> {
    let name = format!("{}/{path}", world.table.name());
    let bytes = Bytes::from(world.objects.get(&name).unwrap().unwrap());
    let reader = SerializedFileReader::new(bytes).unwrap();
    let groups = reader.metadata().row_groups().iter();
    groups
        .flat_map(|group| group.columns())
        .map(|column| {
            let (path, encodings) = (column.column_path(), column.encodings().collect::<Vec<_>>());
            let sizes = (column.num_values(), column.compressed_size(), column.uncompressed_size());
            let statistics = column.statistics();
            let bloom = column.bloom_filter_length();
            format!("{path} {encodings:?} {:?} {sizes:?} {statistics:?} {bloom:?}", column.compression())
        })
        .collect()
}

#[test]
fn a_compacted_file_is_what_the_sink_would_have_written_at_once() {
    for table in [Table::Agg, Table::Late, Table::Raw] {
        let small = world(table, 10);
        assert!(compact(&small, settings(128 << 20)) > 0);
        let mut large = World::new(table, 5);
        large.append(400);
        large.commit(&large.calm()).unwrap();
        let mut compared = 0;
        for file in files(&small) {
            let other = files(&large).into_iter().find(|other| other.partition == file.partition).unwrap();
            // Epochs differ, for it was all one.
            let columns = |path: &str, world: &World| -> Vec<String> {
                layout(world, path).into_iter().filter(|column| !column.starts_with("\"epoch\"")).collect()
            };
            assert_eq!(columns(&file.path, &small), columns(&other.path, &large), "{}", file.path);
            assert_eq!(file.texts("ad_id"), other.texts("ad_id"));
            compared += 1;
        }
        assert!(compared > 2);
    }
}

#[test]
fn files_become_as_large_as_the_target_and_large_ones_are_left_alone() {
    let world = world(Table::Raw, 40);
    let target = 24_000;
    while compact(&world, settings(target)) > 0 {}
    world.check("compacted");
    let sizes: Vec<u64> = files(&world).iter().map(|file| size(&world, file)).collect();
    assert!(sizes.iter().all(|size| *size <= target + target / 4), "{sizes:?}");
    let small = |file: &&TableFile| size(&world, file) < target / 2;
    let mut small_ones: Vec<_> = files(&world).iter().filter(small).map(|file| file.partition.clone()).collect();
    let before = small_ones.len();
    small_ones.dedup();
    assert_eq!(small_ones.len(), before, "two small ones of a partition are left");
}

fn size(world: &World, file: &TableFile) -> u64 {
    world.objects.get(&format!("{}/{}", world.table.name(), file.path)).unwrap().unwrap().len() as u64
}

#[test]
fn partitions_that_are_not_settled_or_not_asked_for_are_left_alone() {
    let day = NaiveDate::from_ymd_opt(2025, 1, 15).unwrap();
    let end_ms = 1_736_985_600_000;
    let settled = |settled_until_ms: i64, dates| {
        let world = world(Table::Late, 6);
        compact(&world, CompactSettings { settled_until_ms, dates, ..settings(128 << 20) });
        let date = |file: &TableFile| file.partition["date"].clone();
        let compacted = files(&world).iter().filter(|file| !file.tags["weir.compacted"].is_null()).map(date).collect();
        let compacted: Vec<String> = compacted;
        compacted
    };
    let before = |dates: &[String]| dates.contains(&"2025-01-15".to_owned());
    assert!(!before(&settled(end_ms - 1, None)));
    assert!(before(&settled(end_ms, None)));
    assert_eq!(settled(i64::MAX, Some((day, day))), ["2025-01-15"]);
    assert!(settled(i64::MAX, None).len() > 1);
    let world = world(Table::Late, 3);
    let many = CompactSettings { min_files: 4, ..settings(128 << 20) };
    assert_eq!(compact(&world, many), 0);
}

#[test]
fn a_damaged_source_is_named_and_left_out() {
    let world = world(Table::Agg, 4);
    let many = world.files_by_partition();
    let file = &files(&world).into_iter().find(|file| many[&file.partition] > 2).unwrap();
    let name = format!("clicks_agg/{}", file.path);
    let whole = world.objects.get(&name).unwrap().unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let shorter = whole[..whole.len() - 1].to_vec();
    let damages =
        [(Some(flipped), "its SHA-256 is"), (Some(shorter), "bytes instead of"), (None, "bring it back from a copy")];
    for (bytes, expect) in damages {
        match bytes {
            Some(bytes) => world.objects.put(&name, bytes).unwrap(),
            None => world.objects.delete(&name).unwrap(),
        }
        let mut compactor = Compactor::open(Table::Agg, world.calm(), settings(128 << 20)).unwrap().unwrap();
        let merges = compactor.plan().unwrap();
        let merge = merges.into_iter().find(|merge| file.path.starts_with(&merge.partition())).unwrap();
        let sources = merge.files() as u64;
        let written = compactor.write(merge).unwrap();
        let [wrong] = &written.wrong[..] else { panic!("one file is wrong: {:?}", written.wrong) };
        let wrong = wrong.to_string();
        assert!(wrong.contains(expect) && wrong.contains(&file.path), "{wrong}");
        assert_eq!(written.compacted.unwrap().files(), sources - 1, "the others are merged");
    }
    compact(&world, settings(128 << 20));
    world.objects.put(&name, whole).unwrap();
    world.check("all but one were merged");
    world.check_lineage();
    assert_eq!(world.files_by_partition()[&file.partition], 2);
    assert!(compact(&world, settings(128 << 20)) > 0, "it is taken once it is back");
    assert_eq!(world.files_by_partition()[&file.partition], 1);
}

#[test]
fn files_whose_rows_take_too_much_memory_are_not_read_again() {
    let mut world = World::new(Table::Raw, 8);
    for _ in 0..6 {
        world.append_as(40, |row| row.with_text(400_000));
    }
    world.commit(&world.calm()).unwrap();
    let watched = Watched::new(&world.objects);
    // All of a partition would fit into a file, and no two of them into six times as much memory.
    let mut compactor = Compactor::open(Table::Raw, watched.clone(), settings(100_000)).unwrap().unwrap();
    let read = |compactor: &mut Compactor| {
        let before = watched.files_read();
        let mut merges = compactor.plan().unwrap();
        while let Some(merge) = merges.pop() {
            let written = compactor.write(merge).unwrap();
            assert!(written.compacted.is_none(), "no two of them fit");
            merges.extend(written.rest);
        }
        watched.files_read() - before
    };
    let beside_others: usize = world.files_by_partition().values().filter(|files| **files > 1).sum();
    assert!(beside_others > 10);
    assert!(read(&mut compactor) >= beside_others);
    assert_eq!(read(&mut compactor), 0);
    assert_eq!(compactor.too_large_in_memory(), beside_others as u64);
    world.check("nothing was compacted");
}

#[test]
fn a_table_with_columns_of_others_is_refused() {
    let world = world(Table::Raw, 4);
    let actions = delta_reader::actions(world.objects.as_ref(), "clicks_raw");
    let metadata = actions.iter().find_map(|(_, action)| action.get("metaData")).unwrap();
    let mut metadata = metadata.clone();
    let mut schema: Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
    let column = json!({ "name": "more", "type": "double", "nullable": true, "metadata": {} });
    schema["fields"].as_array_mut().unwrap().push(column);
    metadata["schemaString"] = json!(schema.to_string());
    let next = actions.last().unwrap().0 + 1;
    let line = json!({ "metaData": metadata }).to_string();
    world.objects.put(&format!("clicks_raw/_delta_log/{next:020}.json"), line.into_bytes()).unwrap();
    let mut compactor = Compactor::open(Table::Raw, world.calm(), settings(128 << 20)).unwrap().unwrap();
    let refusal = compactor.plan().unwrap_err().to_string();
    assert!(refusal.contains("column more, which would be lost"), "{refusal}");
}

#[test]
fn what_is_no_table_is_not_made_one() {
    let world = World::new(Table::Raw, 1);
    assert!(Compactor::open(Table::Raw, world.calm(), settings(1 << 20)).unwrap().is_none());
    assert!(world.objects.list("").unwrap().is_empty());
}
