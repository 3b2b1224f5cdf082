//! Days are closed, restated and explained from compacted tables as from any others.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::{Bench, Click, expected, live};
use crate::process::{Process, succeeds, weir};

const DAY_MS: i64 = 86_400_000;
/// 2025-01-15.
const START_MS: i64 = 1_736_899_200_000;
const DATE: &str = "2025-01-15";

/// A day of clicks, some of which came twice or late.
fn clicks() -> Vec<Click> {
    let mut log: Vec<Click> =
        (0..6000).map(|n| Click::new(format!("c-{n}"), &format!("ad-{}", n % 7), START_MS + n * 14_000)).collect();
    log.iter_mut().step_by(11).for_each(|click| click.user = "bot".to_owned());
    for at in (0..6000).rev().step_by(170) {
        log.insert(at + 1, log[at].clone());
    }
    let middle = log.len() / 2;
    log.insert(middle, Click::new("late", "ad-1", START_MS + 60_000));
    log.insert(middle + 1500, Click { id: "again".to_owned(), ..log[middle].clone() });
    log
}

/// Rows wait for a file for a second.
const ROLL: Duration = Duration::from_millis(1300);

/// Runs a job over parts of a log, so that each is in files of its own.
pub(crate) fn run_in_parts(bench: &Bench, parts: &[Vec<Click>], settings: &[&str]) {
    bench.append(0, &[]);
    let job = Process::start(bench.path(), &[&["run", "job.toml", "-D", "source.follow=true"], settings].concat());
    for part in parts {
        bench.append(0, part);
        std::thread::sleep(ROLL);
    }
    job.terminate();
    succeeds(&bench.weir(&[&["run", "job.toml"], settings].concat()));
}

/// Half of the clicks come in time, the others when their windows are closed.
fn ran() -> (Bench, Vec<Click>) {
    static RAN: LazyLock<Bench> = LazyLock::new(|| {
        let bench = Bench::new("");
        let log = clicks();
        let half = |half: usize| -> Vec<Click> { log.iter().skip(half).step_by(2).cloned().collect() };
        let parts: Vec<Vec<Click>> = half(0).chunks(1100).chain(half(1).chunks(1600)).map(<[Click]>::to_vec).collect();
        run_in_parts(&bench, &parts, &[]);
        bench
    });
    let bench = Bench::new("");
    let from = format!("{}/.", RAN.path().display());
    assert!(Command::new("cp").args(["-r", &from]).arg(bench.path()).status().unwrap().success());
    (bench, clicks())
}

fn compact(bench: &Bench, more: &[&str]) -> Value {
    let arguments = ["compact", "job.toml", "--target", "128MiB", "--min-files", "2"];
    let output = bench.weir(&[&arguments, more].concat());
    succeeds(&output);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn sum(report: &Value, of: &str) -> u64 {
    report["tables"].as_array().unwrap().iter().map(|table| table[of].as_u64().unwrap()).sum()
}

/// Merges, and removes what was merged.
fn compact_and_delete(bench: &Bench) {
    let report = compact(bench, &["--delete-replaced", "1h"]);
    assert!(sum(&report, "merged_files") > 20, "{report:#}");
    assert_eq!(sum(&report, "deleted_files"), 0, "they are younger");
    std::thread::sleep(std::time::Duration::from_millis(20));
    let report = compact(bench, &["--delete-replaced", "1ms"]);
    assert!(sum(&report, "deleted_files") > 20, "{report:#}");
    succeeds(&bench.weir(&["verify", "job.toml", "--files"]));
}

#[test]
fn a_day_is_closed_on_compacted_tables_as_on_others() {
    let (plain, log) = ran();
    let (compacted, _) = ran();
    compact_and_delete(&compacted);
    let reports = [&plain, &compacted].map(|bench| bench.reconcile(DATE, &[]));
    for figure in ["status", "billed", "root", "revision"] {
        assert_eq!(reports[0][figure], reports[1][figure], "{figure}");
    }
    let truth = expected(&log, START_MS, START_MS + DAY_MS);
    assert_eq!(compacted.billed(DATE), truth);
    assert_eq!(plain.billed(DATE), truth);
    let what_if = ["reconcile", "job.toml", "--date", DATE, "--what-if", "allowed_lateness=12h"];
    let would_be = |bench: &Bench| -> Value {
        let output = bench.weir(&what_if);
        succeeds(&output);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()[0]["would_be"].clone()
    };
    assert_eq!(would_be(&plain), would_be(&compacted));
}

/// Changes a byte of a file in the archive, so that nothing can be recounted from it.
fn damage_archive(bench: &Bench) -> (PathBuf, Vec<u8>) {
    let folder = bench.path().join("tables/clicks_raw");
    let file = folder.join(live(&folder).pop().unwrap());
    let whole = std::fs::read(&file).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() / 3] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    (file, whole)
}

#[test]
fn a_closed_day_stays_as_it_is_when_its_archive_is_compacted_and_is_restated_from_its_index() {
    let (bench, _) = ran();
    let closed = bench.reconcile(DATE, &[]);
    compact_and_delete(&bench);
    std::fs::write(bench.path().join("bots.ndjson"), format!("{}\n", json!({ "user_id": "bot" }))).unwrap();
    let (file, whole) = damage_archive(&bench);
    // It is the same archive, so there is nothing to be recounted.
    let same = bench.reconcile(DATE, &[]);
    assert_eq!((&same["status"], &same["run"]), (&json!("unchanged"), &closed["run"]));
    let restated = bench.reconcile(DATE, &["--exclude", "bots.ndjson"]);
    assert_eq!((&restated["status"], &restated["revision"]), (&json!("restated"), &json!(2)));
    let said = bench.refused(DATE, &["--recount"]);
    assert!(said.contains("its SHA-256 is"), "{said}");
    std::fs::write(&file, whole).unwrap();
    assert_eq!(bench.reconcile(DATE, &["--recount"])["status"], "unchanged", "the archive says the same");
    assert_eq!(bench.reconcile(DATE, &["--include", "bots"])["root"], closed["root"]);
    succeeds(&bench.weir(&["verify", "job.toml", "--files"]));
}

/// Of files that are removed under its eyes it says so; what was only replaced it reads to the end.
#[test]
fn days_are_closed_while_their_tables_are_compacted() {
    let (bench, log) = ran();
    let truth = expected(&log, START_MS, START_MS + DAY_MS);
    let run = |arguments: &[&str]| {
        weir(bench.path(), arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // Each round finds some pairs of files that fit into the next larger target.
    let targets = (0..8).map(|round| (65_536_u64 << round).to_string());
    for (round, target) in targets.enumerate() {
        let removes: &[&str] = if round % 2 == 0 { &[] } else { &["--delete-replaced", "1ms"] };
        let compact = [&["compact", "job.toml", "--min-files", "2", "--target", &target], removes].concat();
        let closing = run(&["reconcile", "job.toml", "--date", DATE, "--recount"]);
        let compacting = run(&compact);
        let [closed, compacted]: [Output; 2] = [closing, compacting].map(|child| child.wait_with_output().unwrap());
        succeeds(&compacted);
        let said = String::from_utf8_lossy(&closed.stderr);
        assert!(
            closed.status.success() || (!removes.is_empty() && said.contains("run this again")),
            "round {round}: {said}"
        );
        bench.reconcile(DATE, &[]);
        assert_eq!(bench.billed(DATE), truth, "round {round}");
    }
    succeeds(&bench.weir(&["verify", "job.toml", "--files"]));
}

#[test]
fn a_number_comes_from_the_same_clicks_after_compaction() {
    let (bench, _) = ran();
    let explain = |window: &str| -> Value {
        let at = (START_MS / 1000 + 3 * 3600).to_string();
        let output = bench.weir(&[
            "explain", "job.toml", "--ad", "ad-1", "--window", window, "--at", &at, "--clicks", "--limit", "100000",
        ]);
        succeeds(&output);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let windows = ["1m", "1h", "1d"];
    let before = windows.map(explain);
    compact_and_delete(&bench);
    for (before, after) in before.iter().zip(windows.map(explain)) {
        assert_eq!(after["verdict"], before["verdict"]);
        for of_archive in ["records", "distinct", "epochs", "partitions", "duplicates"] {
            let without_files = |value: &Value| {
                let mut value = value["archive"][of_archive].clone();
                strip_files(&mut value);
                value
            };
            assert_eq!(without_files(&after), without_files(before), "{of_archive}");
        }
        let rows = |value: &Value| -> Vec<Value> {
            let rows = value["table"]["rows"].as_array().unwrap().iter();
            rows.map(|row| json!([row["start_ms"], row["click_count"], row["epoch"]])).collect()
        };
        assert_eq!(rows(&after), rows(before));
        let files = after["archive"]["files"].as_array().unwrap();
        let is_compacted = |file: &Value| file["compacted_from"].as_u64() > Some(1);
        assert!(after["window"] != "1d" || files.iter().any(is_compacted), "{files:#?}");
        assert!(files.iter().all(|file| file["epoch"].is_u64() && file["offsets"].is_object()), "{files:#?}");
    }
}

/// Where a click stands has changed, and nothing else.
fn strip_files(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(strip_files),
        Value::Object(fields) => {
            fields.remove("file");
            fields.values_mut().for_each(strip_files);
        }
        _ => {}
    }
}

#[test]
fn a_damaged_file_is_named_and_all_others_are_compacted() {
    let (bench, _) = ran();
    let (file, whole) = damage_archive(&bench);
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let compact = ["compact", "job.toml", "--min-files", "2"];
    let output = bench.weir(&compact);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&name) && said.contains("its SHA-256 is"), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(sum(&report, "merged_files") > 20, "{report:#}");
    assert!(live(&bench.path().join("tables/clicks_raw")).iter().any(|path| path.ends_with(&name)));
    std::fs::write(&file, whole).unwrap();
    succeeds(&bench.weir(&compact));
    succeeds(&bench.weir(&["verify", "job.toml", "--files"]));
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_would_be_done() {
    let (bench, _) = ran();
    let files =
        || ["clicks_agg", "clicks_late", "clicks_raw"].map(|table| live(&bench.path().join("tables").join(table)));
    let before = files();
    let would = compact(&bench, &["--dry-run"]);
    assert_eq!(files(), before);
    let done = compact(&bench, &[]);
    for figure in ["merged_files", "merged_bytes", "new_files", "files_after"] {
        assert_eq!(sum(&would, figure), sum(&done, figure), "{figure}");
    }
    let again = compact(&bench, &[]);
    assert_eq!(sum(&again, "merged_files"), 0);
    // A day on which nothing came.
    assert_eq!(sum(&compact(&bench, &["--date", "2025-01-10..2025-01-14"]), "merged_files"), 0);
    let output = weir(bench.path(), &["compact", "job.toml"]).output().unwrap();
    succeeds(&output);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("clicks_raw"), "{text}");
    for wrong in [["--target", "1KB"], ["--min-files", "1"], ["--older-than", "soon"], ["--table", "billing_daily"]] {
        assert_eq!(bench.weir(&[&["compact", "job.toml"], &wrong[..]].concat()).status.code(), Some(2), "{wrong:?}");
    }
}
