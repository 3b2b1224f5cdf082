//! Days that are restated from their index: without the archive, to the same figures, and from the archive where the index
//! is of no use.

use std::path::PathBuf;

use serde_json::json;

use crate::bench::{Bench, Click, live};

const START_MS: i64 = 1_736_899_200_000;
const DATE: &str = "2025-01-15";

/// A closed day, some clicks of which came twice.
fn closed(more: &str) -> (Bench, Vec<Click>) {
    let bench = Bench::new(more);
    let mut log: Vec<Click> =
        (0..3000).map(|n| Click::new(format!("c-{n}"), &format!("ad-{}", n % 3), START_MS + n * 25_000)).collect();
    log.iter_mut().step_by(7).for_each(|click| click.user = "bot".to_owned());
    log.iter_mut().skip(5).step_by(40).for_each(|click| click.address = "203.0.113.77");
    for at in (0..3000).rev().step_by(90) {
        // The copy is on a list, the click itself is not.
        log.insert(at + 1, Click { address: "198.51.100.1", ..log[at].clone() });
    }
    bench.append(0, &log);
    bench.run();
    bench.reconcile(DATE, &[]);
    (bench, log)
}

fn list(bench: &Bench, name: &str, lines: &[serde_json::Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(bench.path().join(name), text).unwrap();
}

fn objects(bench: &Bench) -> Vec<PathBuf> {
    let folder = bench.path().join("checkpoints/clicks/days").join(DATE).join("index");
    let runs = std::fs::read_dir(folder).into_iter().flatten();
    let objects = runs.flat_map(|run| std::fs::read_dir(run.unwrap().path()).unwrap());
    let mut objects: Vec<PathBuf> = objects.map(|object| object.unwrap().path()).collect();
    objects.sort();
    objects
}

/// Changes a byte of a file in the archive, so that nothing can be recounted from it.
fn damage_archive(bench: &Bench) -> (PathBuf, Vec<u8>) {
    let folder = bench.path().join("tables/clicks_raw");
    let file = folder.join(live(&folder).pop().unwrap());
    let whole = std::fs::read(&file).unwrap();
    flip(&file);
    (file, whole)
}

fn flip(file: &PathBuf) {
    let mut bytes = std::fs::read(file).unwrap();
    let at = bytes.len() / 3;
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn traffic_is_taken_out_and_put_back_without_a_look_at_the_archive() {
    let (bench, _) = closed("");
    let all = bench.billed(DATE);
    list(&bench, "bots.ndjson", &[json!({"user_id": "bot"})]);
    list(&bench, "nets.ndjson", &[json!({"ip_address": "203.0.113.0/24"}), json!({"ip_address": "198.51.100.1"})]);
    list(&bench, "single.ndjson", &[json!({"click_id": "c-17"}), json!({"click_id": "c-2999"})]);
    let steps: [&[&str]; 5] = [
        &["--exclude", "bots.ndjson"],
        &["--exclude", "nets.ndjson"],
        &["--exclude", "single.ndjson", "--include", "bots"],
        &["--exclude", "bots.ndjson"],
        &["--include", "bots", "--include", "nets", "--include", "single"],
    ];
    for step in steps {
        let (file, whole) = damage_archive(&bench);
        let restated = bench.reconcile(DATE, step);
        assert_eq!(restated["status"], "restated", "{step:?}");
        let said = bench.refused(DATE, &["--recount"]);
        assert!(said.contains("its SHA-256 is"), "only the archive is damaged: {said}");
        std::fs::write(&file, whole).unwrap();

        let recounted = bench.reconcile(DATE, &["--recount"]);
        assert_eq!(recounted["status"], "unchanged", "the archive says the same: {recounted}");
        for figure in ["billed", "root", "revision", "rows"] {
            assert_eq!(recounted[figure], restated[figure], "{step:?}: {figure}");
        }
    }
    assert_eq!(bench.billed(DATE), all);
}

#[test]
fn an_index_that_is_damaged_or_gone_costs_a_recount() {
    let (bench, _) = closed("");
    list(&bench, "bots.ndjson", &[json!({"user_id": "bot"})]);
    let steps = [["--exclude", "bots.ndjson"], ["--include", "bots"]];
    // Each recount leaves an index of its own, of as many objects.
    for (number, step) in (0..objects(&bench).len()).zip(steps.iter().cycle()) {
        flip(&objects(&bench)[number]);
        let output = bench.weir(&[&["reconcile", "job.toml", "--date", DATE], &step[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains("the archive is recounted instead"), "{number}: {said}");
        assert_eq!(bench.reconcile(DATE, &["--recount"])["status"], "unchanged");
    }
    let after = objects(&bench);
    assert!(!after.is_empty(), "a recount leaves an index");
    after.iter().for_each(|object| std::fs::remove_file(object).unwrap());
    list(&bench, "single.ndjson", &[json!({"click_id": "c-17"})]);
    let restated = bench.reconcile(DATE, &["--exclude", "single.ndjson"]);
    assert_eq!(restated["status"], "restated");
    assert_eq!(bench.reconcile(DATE, &["--recount"])["status"], "unchanged");
}

#[test]
fn there_is_one_index_of_a_day_and_none_where_none_is_wanted() {
    let (bench, _) = closed("");
    let folders = |bench: &Bench| {
        let folders: std::collections::BTreeSet<_> =
            objects(bench).iter().map(|object| object.parent().unwrap().to_owned()).collect();
        folders.len()
    };
    assert_eq!(folders(&bench), 1);
    list(&bench, "bots.ndjson", &[json!({"user_id": "bot"})]);
    bench.reconcile(DATE, &["--exclude", "bots.ndjson"]);
    bench.reconcile(DATE, &["--include", "bots", "--recount"]);
    assert_eq!(folders(&bench), 1, "the index of the first revision is not needed any more");
    bench.reconcile(DATE, &["--exact-users"]);
    assert_eq!(folders(&bench), 0, "users are counted one by one from the archive alone");

    let (bench, _) = closed("[billing]\nindex = false\n");
    assert_eq!(folders(&bench), 0);
    list(&bench, "bots.ndjson", &[json!({"user_id": "bot"})]);
    assert_eq!(bench.reconcile(DATE, &["--exclude", "bots.ndjson"])["status"], "restated");
}
