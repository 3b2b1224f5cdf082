//! The same right numbers, whoever is asked.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::process::{PATIENCE, Process, free_address, get, succeeds, try_request, wait_ready, wait_until, weir};
use crate::truth::{Demand, Truth};

const SETTINGS: &str = "\
[job]\nname = \"clicks\"\nworkers = 2\n[time]\nallowed_lateness = \"1m\"\nidle_timeout = \"1h\"\n\
[source]\nkind = \"ndjson\"\nurl = \"data/log/\"\n\
[epoch]\ninterval = \"100ms\"\n[checkpoint]\nurl = \"data/checkpoints/\"\ninterval = \"300ms\"\n\
[tables]\nurl = \"data/tables/\"\nroll_interval = \"3s\"\n";

const LIVE: Demand = Demand { partial: false, all_final: false };
pub const ENDED: Demand = Demand { partial: false, all_final: true };

pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("job.toml"), SETTINGS).unwrap();
    folder
}

/// Clicks of half an hour, until now, with a known right answer.
pub fn generate(folder: &Path, to: &str) -> Truth {
    let fixed = ["generate", "--to", to, "--oracle", "oracle.ndjson", "--clicks", "40000", "--ads", "150"];
    let stream = ["--users", "4000", "--bytes", "300", "--events-per-second", "22", "--duplicates", "0.03"];
    let more: &[&str] = if to.starts_with("http") { &["--retry", "100s"] } else { &["--partitions", "3"] };
    succeeds(&weir(folder, &[&fixed, stream.as_slice(), more].concat()).output().unwrap());
    Truth::read(&folder.join("oracle.ndjson"))
}

fn up(folder: &Path, listen: SocketAddr) -> Process {
    let listen = format!("ingest.listen={listen}");
    let process = Process::start(folder, &["up", "job.toml", "-D", "source.follow=true", "-D", &listen]);
    wait_ready(listen.trim_start_matches("ingest.listen=").parse().unwrap());
    process
}

pub fn serve(folder: &Path, jobs: &[SocketAddr]) -> (Process, SocketAddr) {
    let address = free_address();
    let listen = format!("serve.listen={address}");
    let jobs: Vec<String> = jobs.iter().map(|job| format!("http://{job}")).collect();
    let jobs = format!("serve.jobs={}", jobs.join(","));
    let more: &[&str] = if jobs.ends_with('=') { &[] } else { &["-D", &jobs] };
    let process = Process::start(folder, &[&["serve", "job.toml", "-D", &listen], more].concat());
    wait_ready(address);
    (process, address)
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// Top lists and unique users say what the windows say.
pub fn check_top_and_uniques(truth: &Truth, address: SocketAddr) {
    for window in ["1m", "5m", "1h"] {
        for start in truth.starts(window).into_iter().step_by(4) {
            let answer = get(address, &format!("/v1/top?window={window}&at={}&limit=7", start + 5));
            let found: Vec<(String, u64)> = answer["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|ad| (ad["ad_id"].as_str().unwrap().to_owned(), ad["click_count"].as_u64().unwrap()))
                .collect();
            let expected: Vec<_> = truth.top(window, start).into_iter().take(7).collect();
            assert_eq!(found, expected, "{window} at {start}");
            assert_eq!(answer["timestamp"], start);
        }
    }
    // Hours, five minutes and minutes merged are the same users as the hour's.
    for ad in truth.ads().into_iter().step_by(30) {
        let hour = *truth.starts("1h").first().unwrap();
        let of_hour = get(address, &format!("/v1/stats?ad_id={ad}&window=1h&start={hour}&end={}", hour + 1));
        let users = |start: i64, end: i64| {
            get(address, &format!("/v1/uniques?ad_id={ad}&start={start}&end={end}"))["unique_users"].as_u64().unwrap()
        };
        let expected = of_hour["data"][0]["unique_users"].as_u64().unwrap_or_default();
        assert_eq!(users(hour, hour + 3600), expected, "{ad}");
        let parts = users(hour, hour + 1740) + users(hour + 1740, hour + 3600);
        assert!(parts >= expected, "{ad}: {parts} users in two parts, {expected} together");
        assert_eq!(users(hour, hour), 0);
    }
}

#[test]
fn memory_tables_and_both_say_what_was_counted() {
    let folder = folder();
    let folder = folder.path();
    let address = free_address();
    let job = up(folder, address);
    let truth = generate(folder, &format!("http://{address}"));
    wait_until("everything is counted", || truth.is_served(address));
    truth.check(address, LIVE);
    check_top_and_uniques(&truth, address);
    // Most windows are closed, the newest are not.
    let all_final =
        |answer: &serde_json::Value| answer["data"].as_array().unwrap().iter().all(|point| point["final"] == true);
    let asked =
        |start: i64, end: i64| get(address, &format!("/v1/stats?ad_id=ad-00000000&window=1m&start={start}&end={end}"));
    wait_until("old windows are final", || all_final(&asked(truth.start, now() - 600)));
    assert!(!all_final(&asked(truth.start, now() + 60)));

    // Killed: what was in memory comes back from the checkpoint, from what was held back for the table, and from the table.
    let mut job = job;
    for _ in 0..3 {
        job.kill();
        job = up(folder, address);
        wait_until("everything is there again", || truth.is_served(address));
        truth.check(address, LIVE);
        check_top_and_uniques(&truth, address);
    }

    // The tables alone know what is closed and in a file, and say that there may be more.
    let (from_tables, tables) = serve(folder, &[]);
    let question = format!("/v1/stats?ad_id=ad-00000000&window=1m&start={}&end={}", truth.start, now() - 900);
    wait_until("old windows are in a file", || get(tables, &question)["partial"] == false);
    assert_eq!(get(tables, &question)["data"], get(address, &question)["data"]);
    let newest = get(tables, &format!("/v1/stats?ad_id=ad-00000000&window=1m&start={}&end={}", truth.start, now()));
    assert_eq!(newest["partial"], true);
    job.terminate();
    drop(from_tables);

    // Read to the log's end, everything is final.
    succeeds(&weir(folder, &["run", "job.toml"]).output().unwrap());
    let (_process, tables) = serve(folder, &[]);
    truth.check(tables, ENDED);
    check_top_and_uniques(&truth, tables);
    let status = get(tables, "/v1/status");
    assert_eq!(status["tiers"][0]["state"], "absent");
    assert_eq!(status["tiers"][2]["state"], "ok");
}

#[test]
fn processes_that_share_a_job_answer_together() {
    let folder = folder();
    let folder = folder.path();
    let truth = generate(folder, "data/log/");
    let hosts = [free_address(), free_address()];
    std::fs::write(folder.join("hosts"), format!("{}\n{}\n", hosts[0], hosts[1])).unwrap();
    let metrics = [free_address(), free_address()];
    let start = || -> Vec<Process> {
        let process = |number: usize| {
            let (process, listen) = (number.to_string(), format!("metrics.listen={}", metrics[number]));
            let run = ["run", "job.toml", "--hosts", "hosts", "--process", &process, "-D", &listen];
            Process::start(folder, &[&run, ["-D", "source.follow=true", "-D", "job.workers=1"].as_slice()].concat())
        };
        (0..2).map(process).collect()
    };
    let job = start();
    let (_serve, address) = serve(folder, &metrics);
    wait_until("everything is counted", || truth.is_served(address));
    truth.check(address, LIVE);
    check_top_and_uniques(&truth, address);
    let status = get(address, "/v1/status");
    assert_eq!(status["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(status["tiers"][0]["state"], "ok");

    // Without one of them, the answer says that something may be missing; what is in the tables is still there.
    drop(job);
    let newest = format!("/v1/stats?ad_id=ad-00000000&window=1m&start={}&end={}", truth.start, now());
    wait_until("partial", || get(address, &newest)["partial"] == true);
    assert_eq!(get(address, "/v1/status")["tiers"][0]["state"], "away");
    let _job = start();
    wait_until("whole again", || get(address, &newest)["partial"] == false && truth.is_served(address));
    truth.check(address, LIVE);
}

#[test]
fn a_restart_is_never_an_error_for_those_who_ask() {
    let folder = folder();
    let folder = folder.path();
    let truth = generate(folder, "data/log/");
    let metrics = free_address();
    let listen = format!("metrics.listen={metrics}");
    let start = || Process::start(folder, &["run", "job.toml", "-D", "source.follow=true", "-D", &listen]);
    let mut job = start();
    let (_serve, address) = serve(folder, &[metrics]);
    wait_until("everything is counted", || truth.is_served(address));
    let committed = || get(address, "/v1/status")["jobs"][0]["totals"]["counted"] == truth.clicks();
    wait_until("everything is committed", committed);
    let ad = truth.ads()[0].to_owned();
    let question = format!("/v1/stats?ad_id={ad}&window=1m&start={}&end={}", truth.start, truth.end);
    let clicks = |answer: &serde_json::Value| -> u64 {
        answer["data"].as_array().unwrap().iter().map(|point| point["click_count"].as_u64().unwrap()).sum()
    };
    let whole = clicks(&get(address, &question));
    for _ in 0..4 {
        job.kill();
        wait_until("its absence is noticed", || get(address, &question)["partial"] == true);
        job = start();
        let started = Instant::now();
        // Without a pause: between two answers nothing may be said that is not so.
        loop {
            let answer = try_request(address, "GET", &question, "").unwrap();
            assert_eq!(answer.status, 200, "{}", answer.body);
            let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            if answer["partial"] == false {
                assert_eq!(clicks(&answer), whole, "it is said to be whole");
                break;
            }
            assert!(clicks(&answer) <= whole);
            assert!(started.elapsed() < PATIENCE, "it is never whole again");
        }
    }
}
