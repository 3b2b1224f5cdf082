//! Traffic that is taken out, and put back.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::json;

use crate::bench::{Bench, Click};

const START_MS: i64 = 1_736_899_200_000;
const DATE: &str = "2025-01-15";

#[test]
fn invalid_traffic_is_taken_out_and_can_be_put_back() {
    let bench = Bench::new("");
    let mut log: Vec<Click> =
        (0..900).map(|n| Click::new(format!("c-{n}"), &format!("ad-{}", n % 4), START_MS + n * 60_000)).collect();
    log.iter_mut().step_by(10).for_each(|click| click.user = "bot".to_owned());
    log.iter_mut().skip(3).step_by(50).for_each(|click| click.address = "203.0.113.77");
    let copy = log[17].clone();
    log.insert(20, copy);
    bench.append(0, &log);
    bench.run();
    bench.reconcile(DATE, &[]);
    let all = bench.counts(DATE);
    assert_eq!(all.values().sum::<i64>(), 900);

    let write = |name: &str, lines: &[serde_json::Value]| {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(bench.path().join(name), text).unwrap();
    };
    write("bots.ndjson", &[json!({"user_id": "bot"}), json!({"ip_address": "203.0.113.0/24"})]);
    write("single.ndjson", &[json!({"click_id": "c-17", "reason": "the customer complained"})]);
    let counted = |taken_out: &dyn Fn(&Click) -> bool| {
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        let mut seen = std::collections::HashSet::new();
        for click in log.iter().filter(|click| seen.insert(&click.id) && !taken_out(click)) {
            *counts.entry(click.ad.clone()).or_default() += 1;
        }
        counts
    };
    let bots = |click: &Click| click.user == "bot" || click.address == "203.0.113.77";

    let report = bench.reconcile(DATE, &["--exclude", "bots.ndjson"]);
    assert_eq!((&report["status"], &report["excluded"]), (&json!("restated"), &json!(["bots"])));
    assert_eq!(bench.counts(DATE), counted(&bots));
    let ledger = bench.ledger(DATE);
    let reasons: Vec<&str> = ledger.iter().map(|entry| entry.reason.as_str()).collect();
    assert!(reasons.iter().all(|reason| *reason == "invalid_traffic"), "{reasons:?}");

    // The list stays in use, others come on top.
    assert_eq!(bench.reconcile(DATE, &[])["status"], "unchanged");
    bench.reconcile(DATE, &["--exclude", "single.ndjson"]);
    assert_eq!(bench.counts(DATE), counted(&|click| bots(click) || click.id == "c-17"));
    assert_eq!(bench.reconcile(DATE, &["--exclude", "single.ndjson"])["status"], "unchanged");

    bench.reconcile(DATE, &["--include", "bots", "--include", "single"]);
    assert_eq!(bench.counts(DATE), all);
    let per_ad: i64 = bench.ledger(DATE).iter().map(|entry| entry.after - entry.before).sum();
    assert_eq!(per_ad, 0, "all that was taken out was put back");
}

#[test]
fn a_list_that_matches_nothing_yet_stays_in_use() {
    let bench = Bench::new("");
    let mut log: Vec<Click> = (0..6000).map(|n| Click::new(format!("c-{n}"), "ad", START_MS + n * 16_000)).collect();
    bench.append(0, &log);
    let job = crate::process::Process::start(bench.path(), &["run", "job.toml", "-D", "source.follow=true"]);
    crate::process::wait_until("the day is complete", || {
        bench.weir(&["reconcile", "job.toml", "--date", DATE]).status.success()
    });
    std::fs::write(bench.path().join("bots.ndjson"), "{\"user_id\":\"bot\"}\n").unwrap();
    let kept = bench.reconcile(DATE, &["--exclude", "bots.ndjson"]);
    assert_eq!((&kept["revision"], &kept["excluded"]), (&json!(2), &json!(["bots"])));

    // The bot comes late, and someone else.
    let late = [
        Click { user: "bot".to_owned(), ..Click::new("late-1", "ad", START_MS + 1) },
        Click::new("late-2", "ad", START_MS + 2),
    ];
    bench.append(0, &late);
    log.extend(late);
    crate::process::wait_until("the late clicks are in the archive", || {
        bench.reconcile(DATE, &[])["status"] == "restated"
    });
    assert_eq!(bench.counts(DATE)["ad"], 5400 + 1, "of a day, 5,400 and the one that is no bot");
    job.terminate();
}

/// A Parquet file with one column of text.
fn write_parquet(path: &std::path::Path, column: &str, values: &[&str]) {
    let column = (column, Arc::new(StringArray::from(values.to_vec())) as ArrayRef);
    let batch = RecordBatch::try_from_iter([column]).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_list_can_be_a_parquet_file_or_a_delta_table() {
    let bench = Bench::new("");
    let mut log: Vec<Click> = (0..100).map(|n| Click::new(format!("c-{n}"), "ad", START_MS + n * 60_000)).collect();
    log.iter_mut().take(10).for_each(|click| click.user = "bot".to_owned());
    bench.append(0, &log);
    bench.run();
    bench.reconcile(DATE, &[]);

    write_parquet(&bench.path().join("bots.parquet"), "user_id", &["bot", "nobody"]);
    let restated = bench.reconcile(DATE, &["--exclude", "bots.parquet"]);
    assert_eq!((&restated["billed"], &restated["excluded"]), (&json!(90), &json!(["bots"])));

    let table = bench.path().join("lists/stolen");
    std::fs::create_dir_all(table.join("_delta_log")).unwrap();
    write_parquet(&table.join("a.parquet"), "click_id", &["c-50", "c-51"]);
    write_parquet(&table.join("gone.parquet"), "click_id", &["c-60"]);
    let add = |name: &str| {
        let size = std::fs::metadata(table.join(name)).unwrap().len();
        json!({"add": {"path": name, "partitionValues": {}, "size": size, "modificationTime": 1, "dataChange": true}})
    };
    let first =
        [json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}), add("a.parquet"), add("gone.parquet")];
    let second = [json!({"remove": {"path": "gone.parquet", "deletionTimestamp": 1, "dataChange": true}})];
    for (version, actions) in [&first[..], &second[..]].into_iter().enumerate() {
        let lines: String = actions.iter().map(|action| format!("{action}\n")).collect();
        std::fs::write(table.join(format!("_delta_log/{version:020}.json")), lines).unwrap();
    }
    let by_url = format!("file://{}", table.display());
    let restated = bench.reconcile(DATE, &["--exclude", &by_url]);
    assert_eq!((&restated["billed"], &restated["excluded"]), (&json!(88), &json!(["bots", "stolen"])));
    assert_eq!(bench.reconcile(DATE, &["--exclude", "lists/stolen"])["status"], "unchanged");

    let refused = |place: &str, expect: &str| {
        let output = bench.weir(&["reconcile", "job.toml", "--date", DATE, "--exclude", place]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(expect), "{place}: {said}");
    };
    write_parquet(&bench.path().join("other.parquet"), "name", &["bot"]);
    refused("other.parquet", "it has none of the columns click_id, user_id, ip_address");
    std::fs::write(bench.path().join("broken.parquet"), "no Parquet").unwrap();
    refused("broken.parquet", "cannot read --exclude broken.parquet");
    refused("checkpoints", "there is no such Delta table");
    refused("nowhere/bots.ndjson", "there is no such folder");
    assert!(!bench.path().join("nowhere").exists());
    refused("nobody.ndjson", "there is no such file");
    assert_eq!(bench.counts(DATE)["ad"], 88);
}

#[test]
fn lists_that_are_wrong_change_nothing() {
    let bench = Bench::new("");
    bench.append(
        0,
        &[Click::new("c", "ad", START_MS), Click { user: "u".to_owned(), ..Click::new("d", "ad", START_MS + 1) }],
    );
    bench.run();
    bench.reconcile(DATE, &[]);
    let check = |name: &str, text: &str, code: i32, expect: &str| {
        std::fs::write(bench.path().join(name), text).unwrap();
        let output = bench.weir(&["reconcile", "job.toml", "--date", DATE, "--exclude", name]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expect), "{said}");
    };
    check("bad.ndjson", "{\"user_id\":\"u\"}\n{\"user\":\"u\"}\n", 2, "line 2 of the list `bad`");
    check("a b.ndjson", "", 2, "the file's name names the list");
    let said = bench.refused(DATE, &["--include", "nobody"]);
    assert!(said.contains("no list `nobody`"), "{said}");

    // A list that was used must still be what it was.
    std::fs::write(bench.path().join("good.ndjson"), "{\"user_id\":\"u\"}\n").unwrap();
    bench.reconcile(DATE, &["--exclude", "good.ndjson"]);
    let kept = bench.path().join("checkpoints/clicks/days/excluded");
    let list = std::fs::read_dir(kept).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&list, "").unwrap();
    let said = bench.refused(DATE, &[]);
    assert!(said.contains("was changed after it was used"), "{said}");
    assert_eq!(bench.counts(DATE).values().sum::<i64>(), 1);
}
