//! Files and logs that somebody has changed.

use super::archive::{Archive, START_MS};
use super::{AGREE, COMMITTED, ROWS};
use crate::verify::{CheckResult, Report, Span};

const READABLE: &str = "what the newest checkpoint holds back for the tables can be read";
pub(super) const ONCE: &str = "no file is in a table's log twice";
pub(super) const PRESENT: &str = "every data file is there, in the size that the table's log says";
pub(super) const INTACT: &str = "every data file that was read has the SHA-256 that log and manifest say";
pub(super) const CONTENTS: &str = "every data file that was read holds the rows and the epoch that the log says";
pub(super) const PLACES: &str = "no record is in clicks_raw or in clicks_late twice, or from beyond what has been read";

pub(super) fn broken(report: &Report) -> Vec<&CheckResult> {
    report.checks.iter().filter(|check| check.broken > 0).collect()
}

pub(super) fn checked(report: &Report, rule: &str) -> u64 {
    report.checks.iter().find(|check| check.rule == rule).unwrap().checked
}

#[track_caller]
pub(super) fn assert_broken(report: &Report, rules: &[&str], example: &str) {
    let found = broken(report);
    assert_eq!(found.iter().map(|check| check.rule).collect::<Vec<_>>(), rules, "{found:#?}");
    assert_eq!(report.ok, rules.is_empty());
    let mut examples = found.iter().flat_map(|check| &check.examples);
    assert!(rules.is_empty() || examples.any(|text| text.contains(example)), "`{example}` is not in {found:#?}");
}

/// Changes what a job left behind, and expects exactly these rules to be found broken when every file is read.
#[track_caller]
fn check(spoil: impl FnOnce(&Archive), rules: &[&str], example: &str) {
    let archive = Archive::with_rows(false);
    spoil(&archive);
    assert_broken(&archive.verify(true), rules, example);
}

/// The same, where no file has a hash.
#[track_caller]
fn check_old(spoil: impl FnOnce(&Archive), rules: &[&str], example: &str) {
    let archive = Archive::with_rows(true);
    spoil(&archive);
    assert_broken(&archive.verify(true), rules, example);
}

fn first_raw(archive: &Archive) -> String {
    archive.files("clicks_raw").remove(0)
}

pub(super) fn flip_a_byte(archive: &Archive, object: &str) {
    let mut bytes = archive.tables.get(object).unwrap().unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    archive.tables.put(object, bytes).unwrap();
}

#[test]
fn an_archive_that_nobody_touched_is_right_and_every_rule_looked_at_something() {
    for is_old in [false, true] {
        let archive = Archive::with_rows(is_old);
        let report = archive.verify(true);
        assert_broken(&report, &[], "");
        let files = (archive.files("clicks_raw").len() + archive.files("clicks_late").len()) as u64;
        // 235 clicks were read and 7 were late; of these 15 and 1 still wait.
        let sizes = report.tables.iter().map(|table| (table.table, table.rows, table.held_back));
        assert_eq!(sizes.collect::<Vec<_>>(), [("clicks_agg", 0, 0), ("clicks_late", 6, 1), ("clicks_raw", 220, 15)]);
        assert_eq!(checked(&report, PRESENT), files);
        assert_eq!(checked(&report, AGREE), files);
        assert_eq!(checked(&report, INTACT), if is_old { 0 } else { files });
        assert_eq!(report.tables.iter().map(|table| table.without_hash).sum::<u64>(), if is_old { files } else { 0 });
        assert_eq!(checked(&report, PLACES), 226);
        assert_eq!(checked(&report, ROWS), 4);
        assert!([COMMITTED, ONCE, READABLE, CONTENTS].iter().all(|rule| checked(&report, rule) > 0));
        assert_eq!((report.first_manifest, report.last_manifest), (0, 4));
        assert_eq!(report.places.checkpoints, "file:///checkpoints");
    }
}

#[test]
fn without_reading_files_the_log_says_how_many_clicks_they_have() {
    let archive = Archive::with_rows(false);
    let report = archive.verify(false);
    assert_broken(&report, &[], "");
    assert_eq!([INTACT, CONTENTS, PLACES].map(|rule| checked(&report, rule)), [0, 0, 0]);
    assert_eq!(checked(&report, ROWS), 4);
    // Where it does not, the files do.
    let report = Archive::with_rows(true).verify(false);
    assert_broken(&report, &[], "");
    assert!(checked(&report, CONTENTS) > 0);
}

#[test]
fn a_flipped_byte_is_found() {
    let example = format!("{} has been changed", first_raw(&Archive::with_rows(false)));
    check(|archive| flip_a_byte(archive, &first_raw(archive)), &[INTACT], &example);
}

#[test]
fn a_shortened_file_is_found() {
    let shorten = |archive: &Archive| {
        let path = archive.path(&first_raw(archive));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
    };
    check(shorten, &[PRESENT, INTACT], "bytes instead of");
    check_old(shorten, &[PRESENT, ROWS], "bytes instead of");
    let archive = Archive::with_rows(false);
    shorten(&archive);
    assert_broken(&archive.verify(false), &[PRESENT], "bytes instead of");
}

#[test]
fn a_deleted_file_is_named_and_the_others_are_read() {
    let delete = |archive: &Archive| archive.tables.delete(&first_raw(archive)).unwrap();
    let example = format!("{} is missing", first_raw(&Archive::with_rows(false)));
    check(delete, &[PRESENT], &example);
    check_old(delete, &[PRESENT, ROWS], &example);
    let archive = Archive::with_rows(false);
    delete(&archive);
    assert_broken(&archive.verify(false), &[PRESENT], &example);
}

#[test]
fn a_file_that_is_dropped_from_the_log_is_found() {
    let drop_one = |archive: &Archive| {
        archive.edit_log("clicks_raw", 1, |text| {
            let mut lines: Vec<&str> = text.lines().collect();
            assert!(lines.pop().unwrap().contains("\"add\""));
            lines.join("\n")
        });
    };
    check(drop_one, &[AGREE, ROWS], "but not in the table's log");
    check(drop_one, &[AGREE, ROWS], "clicks_raw, partition 0: ");
    check_old(drop_one, &[AGREE, ROWS], "missing: ");
}

#[test]
fn a_file_that_is_there_under_two_names_is_found() {
    let double = |archive: &Archive| {
        let name = first_raw(archive);
        let copied = name.replace("/part-", "/copy-");
        archive.tables.put(&copied, archive.tables.get(&name).unwrap().unwrap()).unwrap();
        let [path, copy] = [&name, &copied].map(|name| name.strip_prefix("clicks_raw/").unwrap());
        archive.edit_log("clicks_raw", 1, |text| {
            let line = text.lines().find(|line| line.contains(path)).unwrap();
            format!("{text}{}\n", line.replace(path, copy))
        });
    };
    check(double, &[AGREE, PLACES, ROWS], "but in no manifest");
    check(double, &[AGREE, PLACES, ROWS], "too many: ");
    check_old(double, &[AGREE, PLACES, ROWS], "partition 0, offset 0 is there before, too");
}

#[test]
fn a_file_that_is_in_the_log_twice_is_found() {
    let repeat = |archive: &Archive| {
        archive.edit_log("clicks_raw", 1, |text| format!("{text}{}\n", text.lines().last().unwrap()));
    };
    check(repeat, &[ONCE], "is added again");
}

#[test]
fn what_the_log_says_wrongly_is_found() {
    let fewer = |archive: &Archive| {
        archive.edit_log("clicks_late", 1, |text| text.replace(r#"{\"0\":3,\"1\":2}"#, r#"{\"0\":2,\"1\":2}"#));
    };
    check(
        fewer,
        &[AGREE, CONTENTS, ROWS],
        "clicks_late, partition 0: 1 missing: 2 in files and 1 held back, 4 expected",
    );
    let other_hash = |archive: &Archive| {
        archive.edit_log("clicks_late", 1, |text| text.replacen(r#""weir.sha256":""#, r#""weir.sha256":"0"#, 1));
    };
    check(other_hash, &[AGREE, INTACT], "the log says 0");
}

#[test]
fn rows_that_were_never_read_are_found() {
    let mut archive = Archive::with_rows(false);
    archive.write(1, 1000, false);
    archive.checkpoint(20, true);
    assert_broken(&archive.verify(true), &[PLACES, ROWS], "partition 1, offset 1000 was not read yet");
}

#[test]
fn a_row_that_waits_and_is_in_a_file_too_is_found() {
    let mut archive = Archive::with_rows(false);
    archive.write(0, 0, false);
    archive.checkpoint(20, false);
    assert_broken(&archive.verify(true), &[PLACES, ROWS], "clicks_raw, partition 0: 1 too many: 140 in files and 11");
}

#[test]
fn state_that_holds_rows_back_and_is_gone_is_found() {
    let lose = |archive: &Archive| {
        for part in &archive.manifest().state {
            archive.checkpoints.delete(&part.name).unwrap();
        }
    };
    check(lose, &[READABLE, ROWS], "does not exist");
}

#[test]
fn only_files_of_the_span_are_read() {
    // The first file is that of 14:00 to 15:00.
    let check = |from_ms: i64, rules: &[&str]| {
        let archive = Archive::with_rows(false);
        flip_a_byte(&archive, &first_raw(&archive));
        let report = archive.verify_span(true, Span { from_ms: Some(from_ms), until_ms: None });
        assert_broken(&report, rules, "has been changed");
        assert_eq!(checked(&report, ROWS), 4);
        assert!(checked(&report, INTACT) > 0);
    };
    check(START_MS + 3_599_999, &[INTACT]);
    check(START_MS + 3_600_000, &[]);
}
