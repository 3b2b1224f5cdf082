//! Compacted tables, as compaction left them, and as somebody has changed them since.

use serde_json::Value;
use weir_connectors::delta::{CompactOutcome, CompactSettings, Compactor, Table};

use super::archive::Archive;
use super::integrity::{CONTENTS, INTACT, PLACES, PRESENT, assert_broken, checked, flip_a_byte};
use super::{AGREE, ROWS};
use crate::verify::coverage;

const REPLACED: &str = "each file that compaction replaced is in one compacted file, and itself no more in the table";
const SOUND: &str = "each compacted file has the rows of its sources, which log and manifests know as it says";

/// The table that is compacted, and the version that does it.
const RAW: &str = "clicks_raw";

fn open(archive: &Archive, table: Table) -> Compactor {
    let settings = CompactSettings { target_bytes: 1 << 20, min_files: 2, settled_until_ms: i64::MAX, dates: None };
    Compactor::open(table, archive.tables.clone(), settings).unwrap().unwrap()
}

fn compact(archive: &Archive) -> usize {
    let mut merges = 0;
    for table in [Table::Agg, Table::Late, Table::Raw] {
        let mut compactor = open(archive, table);
        for merge in compactor.plan().unwrap() {
            let compacted = compactor.write(merge).unwrap().compacted.unwrap();
            assert_eq!(compactor.commit(&compacted).unwrap(), CompactOutcome::Committed);
            merges += 1;
        }
    }
    merges
}

/// With several files in each hour, and compacted.
fn compacted() -> Archive {
    let mut archive = Archive::with_rows(false);
    archive.read(0, 20, 2);
    archive.read(1, 90, 3);
    archive.checkpoint(20, true);
    assert!(compact(&archive) > 1);
    archive
}

fn delete_replaced(archive: &Archive) -> u64 {
    let tables = [Table::Agg, Table::Late, Table::Raw].into_iter();
    tables.map(|table| open(archive, table).delete_replaced(i64::MAX, None, false).unwrap().files).sum()
}

/// The object of the first file that was compacted, and the version of the log that has it.
fn first(archive: &Archive) -> (String, u64) {
    for version in 0.. {
        let name = format!("{RAW}/_delta_log/{version:020}.json");
        let text = String::from_utf8(archive.tables.get(&name).unwrap().unwrap()).unwrap();
        if let Some(line) = text.lines().find(|line| line.contains("weir.compacted")) {
            let action: Value = serde_json::from_str(line).unwrap();
            return (format!("{RAW}/{}", action["add"]["path"].as_str().unwrap()), version);
        }
    }
    unreachable!("nothing was compacted")
}

/// Changes what the log says of the first compacted file.
fn edit(archive: &Archive, change: impl Fn(&mut Value, &mut Value)) {
    let (_, version) = first(archive);
    archive.edit_log(RAW, version, |text| {
        let lines = text.lines().map(|line| {
            let mut action: Value = serde_json::from_str(line).unwrap();
            if let Some(tag) = action["add"]["tags"]["weir.compacted"].as_str() {
                let mut lineage: Value = serde_json::from_str(tag).unwrap();
                change(&mut action, &mut lineage);
                action["add"]["tags"]["weir.compacted"] = lineage.to_string().into();
            }
            format!("{action}\n")
        });
        lines.collect()
    });
}

#[track_caller]
fn check(spoil: impl Fn(&Archive), rules: &[&str], example: &str) {
    for deletes in [false, true] {
        let archive = compacted();
        if deletes {
            assert!(delete_replaced(&archive) > 0);
        }
        spoil(&archive);
        assert_broken(&archive.verify(true), rules, example);
    }
}

/// The same, and it is found without a look at the files.
#[track_caller]
fn check_by_log(change: impl Fn(&mut Value, &mut Value), rules: &[&str], example: &str) {
    let archive = compacted();
    edit(&archive, &change);
    assert_broken(&archive.verify(false), rules, example);
    let sentences = coverage("clicks", archive.checkpoints.as_ref(), archive.tables.as_ref(), None).unwrap();
    assert!(sentences.iter().any(|sentence| sentence.contains(example)), "no day is closed on it: {sentences:?}");
}

#[test]
fn compacted_tables_are_right_with_and_without_what_was_replaced() {
    let archive = compacted();
    for deleted in [false, true] {
        if deleted {
            assert!(delete_replaced(&archive) > 0);
        }
        for files in [false, true] {
            let report = archive.verify(files);
            assert_broken(&report, &[], "");
            assert!([REPLACED, SOUND, AGREE, ROWS, PRESENT].iter().all(|rule| checked(&report, rule) > 0));
            assert!(!files || checked(&report, CONTENTS) > 0);
            assert!(report.tables.iter().any(|table| table.compacted > 0));
        }
        assert_eq!(coverage("clicks", archive.checkpoints.as_ref(), archive.tables.as_ref(), None).unwrap(), [""; 0]);
    }
}

#[test]
fn a_job_goes_on_after_its_tables_were_compacted_and_they_are_compacted_again() {
    let mut archive = compacted();
    for epoch in [30, 40] {
        archive.read(0, 30, 1);
        archive.read(1, 30, 0);
        archive.checkpoint(epoch, true);
        assert_broken(&archive.verify(true), &[], "");
        assert!(compact(&archive) > 0);
        assert_broken(&archive.verify(true), &[], "");
    }
    // Files that only a manifest lists yet.
    archive.read(0, 5, 0);
    archive.publish(50, true);
    assert_broken(&archive.verify(true), &[], "");
    assert!(delete_replaced(&archive) > 0);
    let report = archive.verify(true);
    assert_broken(&report, &[], "");
    assert!(report.tables.iter().any(|table| table.not_shown_yet > 0));
}

#[test]
fn tables_of_an_older_version_can_be_compacted() {
    let mut archive = Archive::with_rows(true);
    archive.read(1, 90, 3);
    archive.checkpoint(20, true);
    assert!(compact(&archive) > 0);
    assert_broken(&archive.verify(true), &[], "");
}

#[test]
fn a_flipped_byte_of_a_compacted_file_is_found() {
    check(|archive| flip_a_byte(archive, &first(archive).0), &[INTACT], "has been changed");
}

#[test]
fn a_compacted_file_that_lacks_a_source_is_found() {
    let lacks = |_: &mut Value, lineage: &mut Value| {
        lineage["sources"].as_array_mut().unwrap().pop();
    };
    check(
        |archive| edit(archive, lacks),
        &[REPLACED, SOUND, CONTENTS],
        "no file in the table says that it has its rows",
    );
    check_by_log(lacks, &[REPLACED, SOUND], "its sources have");
}

#[test]
fn a_compacted_file_that_lists_a_source_twice_is_found() {
    let twice = |_: &mut Value, lineage: &mut Value| {
        let sources = lineage["sources"].as_array_mut().unwrap();
        let first = sources[0].clone();
        sources.push(first);
    };
    check(|archive| edit(archive, twice), &[REPLACED, SOUND, CONTENTS], " twice");
    check_by_log(twice, &[REPLACED, SOUND], " twice");
}

#[test]
fn a_source_that_is_in_the_table_beside_its_compacted_file_is_found() {
    let archive = compacted();
    let (_, version) = first(&archive);
    // As if it had never been taken out.
    archive.edit_log(RAW, version, |text| {
        let mut lines: Vec<&str> = text.lines().collect();
        let at = lines.iter().position(|line| line.contains("\"remove\"")).unwrap();
        lines.remove(at);
        lines.iter().map(|line| format!("{line}\n")).collect()
    });
    assert_broken(&archive.verify(true), &[REPLACED, PLACES, ROWS], "has its rows");
}

#[test]
fn what_a_compacted_file_says_wrongly_of_a_source_is_found() {
    let other_hash = |_: &mut Value, lineage: &mut Value| lineage["sources"][0]["sha256"] = "0".repeat(64).into();
    check_by_log(other_hash, &[SOUND], "SHA-256 000");
    let unknown = |_: &mut Value, lineage: &mut Value| {
        lineage["sources"][0]["path"] = "date=2025-01-15/hour=14/part-00000000000000000099-1-0-0.zstd.parquet".into();
    };
    check_by_log(unknown, &[REPLACED, SOUND], "which was never in the table");
    let other_rows = |action: &mut Value, _: &mut Value| {
        let rows: Value = serde_json::from_str(action["add"]["tags"]["weir.rows"].as_str().unwrap()).unwrap();
        let moved = rows.as_object().unwrap().values().map(|rows| rows.as_u64().unwrap()).sum::<u64>();
        action["add"]["tags"]["weir.rows"] = serde_json::json!({ "7": moved }).to_string().into();
    };
    check_by_log(other_rows, &[SOUND, ROWS], "its sources have by partition");
}

#[test]
fn a_merge_whose_file_is_gone_from_the_log_is_found() {
    let archive = compacted();
    let (_, version) = first(&archive);
    archive.edit_log(RAW, version, |text| {
        text.lines().filter(|line| !line.contains("\"add\"")).map(|line| format!("{line}\n")).collect()
    });
    let report = archive.verify(true);
    assert_broken(&report, &[ROWS], "missing: ");
}
