//! Files that are missing, cut short or changed: the day stays as it is, and the file is named.

use std::path::PathBuf;

use crate::bench::{Bench, Click, live};

const START_MS: i64 = 1_736_899_200_000;
const DATE: &str = "2025-01-15";

/// What becomes of a file's bytes; none where it is gone.
type Damage = dyn Fn(Vec<u8>) -> Option<Vec<u8>>;

fn bench() -> Bench {
    let bench = Bench::new("");
    let log: Vec<Click> =
        (0..2000).map(|n| Click::new(format!("c-{n}"), &format!("ad-{}", n % 4), START_MS + n * 40_000)).collect();
    bench.append(0, &log);
    bench.run();
    bench
}

fn files(bench: &Bench, table: &str) -> Vec<PathBuf> {
    let folder = bench.path().join("tables").join(table);
    live(&folder).into_iter().map(|path| folder.join(path)).collect()
}

#[test]
fn a_file_that_is_not_what_it_was_is_named_and_the_day_stays_open() {
    let bench = bench();
    let damages: [(&str, &Damage, &str); 3] = [
        ("missing", &|_| None, "is missing"),
        ("truncated", &|bytes| Some(bytes[..bytes.len() / 2].to_vec()), "bytes instead of"),
        (
            "flipped",
            &|mut bytes| {
                let at = bytes.len() / 3;
                bytes[at] ^= 1;
                Some(bytes)
            },
            "its SHA-256 is",
        ),
    ];
    for table in ["clicks_raw", "clicks_agg"] {
        let of_day = |path: &PathBuf| table == "clicks_raw" || path.to_string_lossy().contains("window=1m");
        let file = files(&bench, table).into_iter().find(of_day).unwrap();
        let whole = std::fs::read(&file).unwrap();
        for (what, damage, expect) in damages {
            match damage(whole.clone()) {
                Some(bytes) => std::fs::write(&file, bytes).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            let said = bench.refused(DATE, &[]);
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            assert!(said.contains(&name) && said.contains(expect), "{table} {what}: {said}");
            assert!(bench.billed(DATE).is_empty(), "{table} {what}");
            std::fs::write(&file, &whole).unwrap();
        }
    }
    bench.reconcile(DATE, &[]);
    assert_eq!(bench.counts(DATE).values().sum::<i64>(), 2000);
}

/// Replaces a file by one of another name, as an engine does that compacts a table.
fn compact(bench: &Bench, table: &str) {
    let folder = bench.path().join("tables").join(table);
    let actions = crate::bench::actions(&folder);
    let mut lines = String::new();
    for path in live(&folder) {
        let (_, added) = actions.iter().find(|(_, action)| action["add"]["path"] == *path).unwrap();
        let mut add = added["add"].clone();
        let compacted = path.replace("part-", "compacted-");
        // The old one stays until somebody cleans up.
        std::fs::copy(folder.join(&path), folder.join(&compacted)).unwrap();
        add["path"] = compacted.into();
        add["dataChange"] = false.into();
        let remove = serde_json::json!({ "remove": { "path": path, "deletionTimestamp": 1, "dataChange": false } });
        lines.push_str(&format!("{remove}\n{}\n", serde_json::json!({ "add": add })));
    }
    let versions = std::fs::read_dir(folder.join("_delta_log")).unwrap().count();
    std::fs::write(folder.join(format!("_delta_log/{versions:020}.json")), lines).unwrap();
}

#[test]
fn tables_may_be_compacted_before_a_day_is_closed_and_billing_tables_not_after() {
    let bench = bench();
    ["clicks_raw", "clicks_late", "clicks_agg"].iter().for_each(|table| compact(&bench, table));
    let report = bench.reconcile(DATE, &[]);
    assert_eq!((&report["streamed"], &report["billed"]), (&2000.into(), &2000.into()));
    assert!(bench.ledger(DATE).is_empty());

    compact(&bench, "billing_daily");
    std::fs::write(bench.path().join("one.ndjson"), "{\"click_id\":\"c-7\"}\n").unwrap();
    let said = bench.refused(DATE, &["--exclude", "one.ndjson"]);
    assert!(said.contains("another engine has rewritten it"), "{said}");
    assert_eq!(bench.counts(DATE).values().sum::<i64>(), 2000, "each ad is there once");
    assert_eq!(bench.reconcile(DATE, &[])["revision"], 1, "nothing was begun");
}

#[test]
fn what_was_billed_cannot_be_changed_unnoticed() {
    let bench = bench();
    bench.reconcile(DATE, &[]);
    // Something new, so that the figures of before are read.
    std::fs::write(bench.path().join("one.ndjson"), "{\"click_id\":\"c-7\"}\n").unwrap();
    let restate = ["--exclude", "one.ndjson"];
    let billed = files(&bench, "billing_daily").pop().unwrap();
    let whole = std::fs::read(&billed).unwrap();
    let mut changed = whole.clone();
    let at = changed.len() / 4;
    changed[at] ^= 1;
    std::fs::write(&billed, changed).unwrap();
    let said = bench.refused(DATE, &restate);
    assert!(said.contains("somebody has changed it"), "{said}");
    std::fs::write(&billed, &whole).unwrap();

    let record = bench.path().join("checkpoints/clicks/days").join(DATE).join("000001.json");
    let text = std::fs::read_to_string(&record).unwrap();
    assert_eq!(bench.reconcile(DATE, &restate)["revision"], 2);
    std::fs::write(&record, text.replace("\"billed\": 2000", "\"billed\": 1999")).unwrap();
    let said = bench.refused(DATE, &[]);
    assert!(said.contains("somebody has changed one of them"), "{said}");
}
