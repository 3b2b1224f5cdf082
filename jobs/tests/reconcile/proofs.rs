//! A click that is proved to be in a day's figures, and proofs that somebody has bent.

use serde_json::{Value, json};

use crate::bench::{Bench, Click};

const START_MS: i64 = 1_736_899_200_000;
const DATE: &str = "2025-01-15";

#[test]
fn a_proof_holds_without_the_data_and_for_nothing_else() {
    let bench = Bench::new("");
    let log: Vec<Click> =
        (0..500).map(|n| Click::new(format!("c-{n}"), &format!("ad-{}", n % 7), START_MS + n * 60_000)).collect();
    bench.append(0, &log);
    bench.run();
    let prove = |click: &str| bench.weir(&["explain", "job.toml", "--click", click, "--date", DATE]);
    assert_eq!(prove("c-3").status.code(), Some(1), "the day is not closed");
    std::fs::write(bench.path().join("out.ndjson"), "{\"click_id\":\"c-9\"}\n").unwrap();
    let closed = bench.reconcile(DATE, &["--exclude", "out.ndjson"]);
    let root = closed["root"].as_str().unwrap();

    let proof = prove("c-3");
    crate::process::succeeds(&proof);
    let proof: Value = serde_json::from_slice(&proof.stdout).unwrap();
    assert_eq!((&proof["root"], &proof["proof"]["ad_id"]), (&closed["root"], &json!("ad-3")));
    for (click, expect) in [("c-9", "not billed"), ("nobody", "there is no click")] {
        let output = prove(click);
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains(expect), "{output:?}");
    }

    // Elsewhere, with nothing but the proof.
    let elsewhere = tempfile::tempdir().unwrap();
    let check = |proof: &Value, root: &str| {
        std::fs::write(elsewhere.path().join("proof.json"), proof.to_string()).unwrap();
        let mut command = crate::process::weir(elsewhere.path(), &["verify", "--proof", "proof.json", "--root", root]);
        command.output().unwrap().status.code()
    };
    assert_eq!(check(&proof, root), Some(0));
    assert_eq!(check(&proof, &"0".repeat(64)), Some(1), "of another day");
    let bend = |pointer: &str, value: Value| {
        let mut bent = proof.clone();
        *bent.pointer_mut(pointer).unwrap() = value;
        assert_eq!(check(&bent, root), Some(1), "{pointer}");
    };
    bend("/proof/click_id", json!("c-10"));
    bend("/proof/ad_id", json!("ad-4"));
    bend("/proof/clicks", json!(1_000_000));
    bend("/root", json!("1".repeat(64)));
    bend("/proof/in_ad/0/other", json!("2".repeat(64)));
    bend("/proof/in_day/0/bit", json!(127));
    bend("/proof/in_day", json!([]));
}
