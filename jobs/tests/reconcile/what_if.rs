//! What the stream would have counted with another lateness, against streams that had it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::bench::{Bench, Click};

const START_MS: i64 = 1_736_899_200_000;
const DATE: &str = "2025-01-15";

/// A day with clicks that come minutes to hours late.
fn log() -> Vec<Click> {
    let mut log: Vec<Click> =
        (0..28_000).map(|n| Click::new(format!("c-{n}"), &format!("ad-{}", n % 4), START_MS + n * 3000)).collect();
    for n in 0..40 {
        let at = 6000 + n * 500;
        let minutes = 2 + 5 * n as i64;
        let time_ms = log[at].time_ms - minutes * 60_000 - 7000;
        log.insert(at, Click::new(format!("late-{n}"), "ad-late", time_ms));
    }
    log
}

fn would_be(report: &Value) -> i64 {
    report["would_be"].as_i64().unwrap()
}

#[test]
fn another_lateness_gives_what_a_stream_with_it_has_counted() {
    let log = log();
    // One worker, one partition, and epochs that end by records alone: the same cuts, whatever the settings.
    let bench = |lateness: &str| {
        let bench = Bench::new("");
        bench.append(0, &log);
        let cuts = ["-D", "epoch.interval=30s", "-D", "checkpoint.interval=30s"];
        let more = [cuts.as_slice(), &["-D", "job.workers=1", "-D", "dedup.horizon=2d", "-D"]].concat();
        let lateness = format!("time.allowed_lateness={lateness}");
        let output = bench.weir(&[&["run", "job.toml"], more.as_slice(), &[&lateness]].concat());
        crate::process::succeeds(&output);
        bench
    };
    let ask = |bench: &Bench, settings: &[&str]| -> Value {
        let ask: Vec<&str> = settings.iter().flat_map(|setting| ["--what-if", setting]).collect();
        let report = bench.reconcile(DATE, &ask);
        assert!(!bench.path().join("tables/billing_daily").exists(), "nothing is written");
        report
    };
    let short = bench("1m");
    let own = ask(&short, &["allowed_lateness=1m"]);
    assert_eq!(
        (own["streamed"].as_i64().unwrap(), own["late"].as_i64()),
        (would_be(&own), own["would_be_late"].as_i64())
    );
    assert_eq!(own["ads"].as_array().unwrap().len(), 0);
    assert!(own["late"].as_i64().unwrap() > 10, "{own}");

    let mut counted = BTreeMap::new();
    for lateness in ["0s", "30m", "2h", "24h"] {
        let real = bench(lateness);
        let real = ask(&real, &[&format!("allowed_lateness={lateness}")]);
        let asked = ask(&short, &[&format!("allowed_lateness={lateness}")]);
        assert_eq!(would_be(&asked), real["streamed"].as_i64().unwrap(), "{lateness}: {asked}");
        assert_eq!(asked["would_be_late"], real["late"], "{lateness}");
        counted.insert(would_be(&asked), lateness);
    }
    assert_eq!(Vec::from_iter(counted.into_values()), ["0s", "30m", "2h", "24h"], "more lateness, more clicks");
    let bound = ask(&short, &["allowed_lateness=0s", "out_of_orderness=24h"]);
    assert_eq!(would_be(&bound), log.len() as i64, "{bound}");
    assert_eq!(bound["ads"][0]["ad_id"], "ad-late");
}
