//! A savepoint that was written by an earlier build is gone on with to the right figures, or refused by its format.
//!
//! ```text
//!   format-1/log/            the clicks, before and after the cut
//!            checkpoints/    the savepoint, and its state parts
//!            expected.json   what a fork of it must count
//! ```
//!
//! Whoever changes what is stored (manifests, parts, what is in them, rows that wait for a file, positions in a log) and
//! leaves `FORMAT_VERSION` as it was, breaks this test. So: give the format its next number, and write the fixture of that,
//!
//! ```text
//!   cargo test --release -p weir --test savepoint -- --ignored write_the_fixture
//! ```
//!
//! Older fixtures stay: they must be refused with words that say what to do.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_checkpoints::FORMAT_VERSION;

use crate::bench::Bench;
use crate::tables::windows;

/// What stands in a stored manifest for the places of the test's folder.
const LOG: &str = "{LOG}";
const TABLES: &str = "{TABLES}";

/// Everything that is counted waits for a file, so that it is all in the state.
const HOLD_BACK: [&str; 2] = ["-D", "tables.roll_interval=1h"];

/// Clicks are few and far between: no partition is to wait for another.
const LEAD: [&str; 2] = ["-D", "time.max_partition_lead=5h"];

fn folder(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/savepoint/format-{format}"))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, &target).map(drop).unwrap() }
    }
}

fn url(bench: &Bench, name: &str) -> String {
    format!("file://{}/{name}", bench.path().canonicalize().unwrap().display())
}

/// What a fork has counted.
fn counted(bench: &Bench, ran: &Value) -> Value {
    let windows: Vec<Value> = windows(&bench.path().join("fork-tables"), u64::MAX)
        .into_iter()
        .map(|((window, ad, start_ms), (clicks, users))| json!([window, ad, start_ms, clicks, users]))
        .collect();
    json!({ "totals": ran["totals"], "windows": windows })
}

/// A folder with what is stored of a format.
fn restored(format: u32) -> Bench {
    let bench = Bench::new();
    for name in ["log", "checkpoints"] {
        copy(&folder(format).join(name), &bench.path().join(name));
    }
    let savepoint = bench.path().join("checkpoints/clicks/savepoints/cut.json");
    let text = std::fs::read_to_string(&savepoint).unwrap();
    let text = text.replace(LOG, &url(&bench, "log")).replace(TABLES, &url(&bench, "tables"));
    std::fs::write(savepoint, text).unwrap();
    bench
}

#[test]
fn what_an_earlier_build_has_stored_is_gone_on_with_to_the_right_figures() {
    let folder = folder(FORMAT_VERSION);
    assert!(folder.exists(), "{} is missing: write it, see the head of this file", folder.display());
    let expected: Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    for workers in ["1", "3"] {
        let bench = restored(FORMAT_VERSION);
        let workers = format!("job.workers={workers}");
        let fork = ["run", "fork.toml", "--from", "clicks/cut", "-D", "source.follow=false", "-D", &workers];
        let found = counted(&bench, &bench.weir(&[fork.as_slice(), &LEAD].concat()));
        assert_eq!(found["totals"], expected["totals"]);
        let of = |value: &Value| value["windows"].as_array().unwrap().clone();
        for (found, expected) in of(&found).iter().zip(&of(&expected)) {
            assert_eq!(found, expected);
        }
        assert_eq!(of(&found).len(), of(&expected).len());
        bench.weir(&["verify", "fork.toml", "--files"]);
    }
}

#[test]
fn other_formats_are_refused_with_what_to_do() {
    for format in (1..FORMAT_VERSION + 5).filter(|format| *format != FORMAT_VERSION) {
        let (bench, stored) = match folder(format).exists() {
            true => (restored(format), format),
            false => (restored(FORMAT_VERSION), FORMAT_VERSION),
        };
        let savepoint = bench.path().join("checkpoints/clicks/savepoints/cut.json");
        let text = std::fs::read_to_string(&savepoint).unwrap();
        let text = text.replace(&format!("\"format\": {stored}"), &format!("\"format\": {format}"));
        std::fs::write(savepoint, text).unwrap();
        let found = format!("has format {format}, this build reads format {FORMAT_VERSION}; use a build that reads it");
        bench.fails(&["run", "fork.toml", "--from", "clicks/cut"], 1, &[&found]);
        assert!(bench.newest("fork").is_none(), "nothing has begun");
    }
}

/// The clicks of the second partition are from another region.
fn set_region(segment: &Path) {
    if !segment.parent().unwrap().ends_with("1") {
        return;
    }
    let text = std::fs::read(segment).unwrap();
    let lines = text.split_inclusive(|byte| *byte == b'\n').map(|line| match line.strip_suffix(b"}\n") {
        Some(line) if is_control(line) => [line, b",\"weir_region\":\"us-1\"}\n"].concat(),
        _ => line.to_vec(),
    });
    std::fs::write(segment, lines.collect::<Vec<_>>().concat()).unwrap();
}

fn is_control(line: &[u8]) -> bool {
    line.starts_with(b"{\"weir_log_time_ms\"")
}

/// Leaves the first part of a segment to be read; returns how many records that are.
fn shorten(segment: &Path, to: &Path) -> u64 {
    let text = std::fs::read(segment).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let first = &lines[..lines.len() * 6 / 10];
    std::fs::write(to, first.concat()).unwrap();
    first.iter().filter(|line| !is_control(line)).count() as u64
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
#[ignore = "writes the fixture of the current format"]
fn write_the_fixture() {
    let folder = folder(FORMAT_VERSION);
    assert!(!folder.exists(), "{} is there: what is stored under one number never changes", folder.display());
    let bench = Bench::new();
    let few = ["--events-per-second", "0.2", "--start", "2025-01-15T09:40:00Z", "--ads", "6", "--users", "60"];
    let shares = ["--bytes", "150", "--poison", "0.02", "--future", "0.02", "--late", "0.03"];
    bench.generate_few(400, &[&few, shares.as_slice()].concat());
    let (log, full) = (bench.path().join("log"), bench.path().join("full"));
    for file in files_below(&log) {
        // How far it is synced is only known of what its writer has written.
        if file.extension().is_none_or(|extension| extension != "ndjson") {
            std::fs::remove_file(&file).unwrap();
        } else {
            set_region(&file);
        }
    }
    std::fs::rename(&log, &full).unwrap();
    copy(&full, &log);
    let segments = files_below(&full);
    let in_log = |segment: &PathBuf| log.join(segment.strip_prefix(&full).unwrap());
    let records = segments.iter().map(|segment| shorten(segment, &in_log(segment))).sum();
    let run = ["run", "job.toml", "-D", "job.workers=2"];
    bench.run_until(&[run.as_slice(), &HOLD_BACK, &LEAD].concat(), "clicks", records);
    bench.weir(&["savepoint", "job.toml", "cut"]);
    let cut = bench.newest("clicks").unwrap();
    for kind in ["windows", "dedup", "carried/clicks_agg", "carried/clicks_raw", "carried/clicks_late"] {
        assert!(cut.state.iter().any(|part| part.kind == kind), "the cut has no {kind}");
    }
    segments.iter().for_each(|segment| std::fs::copy(segment, in_log(segment)).map(drop).unwrap());
    let fork = ["run", "fork.toml", "--from", "clicks/cut", "-D", "source.follow=false"];
    let ran = bench.weir(&[fork.as_slice(), &LEAD].concat());
    bench.weir(&["verify", "fork.toml", "--oracle", "oracle.ndjson", "--files"]);

    std::fs::create_dir(&folder).unwrap();
    copy(&bench.path().join("log"), &folder.join("log"));
    let names = weir_checkpoints::Names::new("clicks");
    let savepoint = names.savepoint("cut");
    for object in cut.state.iter().map(|part| &part.name).chain([&savepoint]) {
        let target = folder.join("checkpoints").join(object);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(bench.path().join("checkpoints").join(object), target).unwrap();
    }
    let savepoint = folder.join("checkpoints").join(savepoint);
    let text = std::fs::read_to_string(&savepoint).unwrap();
    let text = text.replace(&url(&bench, "log"), LOG).replace(&url(&bench, "tables"), TABLES);
    assert!(text.contains(LOG) && text.contains(TABLES), "{text}");
    std::fs::write(savepoint, text).unwrap();
    let expected = counted(&bench, &ran);
    let windows: Vec<String> = expected["windows"].as_array().unwrap().iter().map(Value::to_string).collect();
    let text = format!("{{\"totals\":{},\"windows\":[\n{}\n]}}\n", expected["totals"], windows.join(",\n"));
    std::fs::write(folder.join("expected.json"), text).unwrap();
}
