//! A day that several processes recount together.

use std::net::TcpListener;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::{Bench, expected, live};
use crate::process::weir;
use crate::served::log;

const START_MS: i64 = 1_736_899_200_000;
const DAY_MS: i64 = 86_400_000;
const DATE: &str = "2025-01-15";

/// Starts `weir reconcile` in so many processes, each on a free port.
fn start(bench: &Bench, processes: usize, more: &[&str]) -> Vec<Child> {
    let free: Vec<TcpListener> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<String> = free.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    drop(free);
    std::fs::write(bench.path().join("hosts"), hosts.join("\n")).unwrap();
    let process = |number: usize| {
        let number = number.to_string();
        let mut command =
            weir(bench.path(), &["reconcile", "job.toml", "--date", DATE, "--hosts", "hosts", "--process", &number]);
        let lists = if number == "0" { more } else { &[] };
        command.args(lists).args(["--output", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    (0..processes).map(process).collect()
}

fn end(processes: Vec<Child>) -> Vec<Output> {
    processes.into_iter().map(|process| process.wait_with_output().unwrap()).collect()
}

/// Runs it to its end in all processes, and returns what the first one reports.
#[track_caller]
fn together(bench: &Bench, processes: usize, more: &[&str]) -> Value {
    let outputs = end(start(bench, processes, more));
    outputs.iter().for_each(crate::process::succeeds);
    let days: Value = serde_json::from_slice(&outputs[0].stdout).unwrap();
    assert!(outputs[1..].iter().all(|output| output.stdout.is_empty()));
    days[0].clone()
}

fn closed_by_one(log: &[crate::bench::Click]) -> (Bench, Value) {
    let bench = Bench::new("");
    bench.append(0, log);
    bench.run();
    let report = bench.reconcile(DATE, &[]);
    (bench, report)
}

#[test]
fn several_processes_close_a_day_as_one_does() {
    let log = log();
    let (alone, report) = closed_by_one(&log);
    let bench = Bench::new("");
    bench.append(0, &log);
    bench.run();
    let closed = together(&bench, 3, &[]);
    assert_eq!((&closed["status"], &closed["root"]), (&json!("closed"), &report["root"]));
    assert_eq!(
        (&closed["billed"], &closed["streamed"], &closed["rows"]),
        (&report["billed"], &report["streamed"], &report["rows"])
    );
    assert_eq!(bench.billed(DATE), alone.billed(DATE));
    assert_eq!(bench.billed(DATE), expected(&log, START_MS, START_MS + DAY_MS));

    // Nothing new: all of them are told.
    assert_eq!(together(&bench, 2, &[])["status"], "unchanged");
    // Lists are read by the first alone; the others find them where it has put them.
    for bench in [&alone, &bench] {
        std::fs::write(bench.path().join("bots.ndjson"), "{\"user_id\":\"bot\"}\n").unwrap();
    }
    let restated = together(&bench, 2, &["--exclude", "bots.ndjson", "--exact-users"]);
    assert_eq!(restated["root"], alone.reconcile(DATE, &["--exclude", "bots.ndjson", "--exact-users"])["root"]);
    assert_eq!(bench.billed(DATE), alone.billed(DATE));
    crate::process::succeeds(&bench.weir(&["verify", "job.toml"]));
}

#[test]
fn what_fails_in_one_process_leaves_the_day_open() {
    // Who waits for a process that is gone before they have met gives up after this.
    let bench = Bench::new("[cluster]\nstart_timeout = \"4s\"\n");
    bench.append(0, &log());
    bench.run();
    // One file is damaged: whichever process reads it, the first one says so.
    let table = bench.path().join("tables/clicks_raw");
    let of_day = live(&table).into_iter().filter(|file| file.starts_with("date=2025-01-15/"));
    for file in of_day.step_by(7).take(4) {
        let path = table.join(&file);
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let outputs = end(start(&bench, 2, &[]));
        assert_eq!(outputs[0].status.code(), Some(1), "{outputs:?}");
        let said = String::from_utf8_lossy(&outputs[0].stderr);
        assert!(said.contains(&file) && said.contains("SHA-256"), "{said}");
        std::fs::write(&path, whole).unwrap();
    }
    // One process is lost: the others end, and nothing is written.
    for lost in [0, 1, 2] {
        let mut processes = start(&bench, 3, &[]);
        std::thread::sleep(Duration::from_millis(60 * (lost as u64 + 1)));
        processes[lost].kill().unwrap();
        let mut ended = end(processes);
        ended.remove(lost);
        assert!(ended.iter().all(|output| output.status.code() == Some(1)), "{ended:?}");
    }
    let closed = together(&bench, 2, &[]);
    assert!(closed["revision"].as_u64().unwrap() == 1, "{closed}");
    assert_eq!(bench.billed(DATE), expected(&log(), START_MS, START_MS + DAY_MS));
}

#[test]
fn processes_of_another_job_or_with_other_files_take_no_part() {
    let bench = Bench::new("");
    bench.append(0, &log());
    bench.run();
    let job = std::fs::read_to_string(bench.path().join("job.toml")).unwrap();
    let check = |other: String, expect: &str| {
        std::fs::write(bench.path().join("other.toml"), other).unwrap();
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let hosts = free.each_ref().map(|listener| listener.local_addr().unwrap().to_string());
        drop(free);
        std::fs::write(bench.path().join("hosts"), hosts.join("\n")).unwrap();
        let both = [("job.toml", "0"), ("other.toml", "1")].map(|(job, number)| {
            let arguments = ["reconcile", job, "--date", DATE, "--hosts", "hosts", "--process", number];
            let waits = ["-D", "cluster.start_timeout=3s"];
            weir(bench.path(), &arguments).args(waits).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        });
        for output in end(both.into()) {
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(expect), "{said}");
        }
    };
    check(job.replace("\"clicks\"", "\"others\""), "give all processes the same job file");
    check(job.replace("\"checkpoints\"", "\"elsewhere\""), "checkpoint.url is file://");
    check(job.replace("\"tables\"", "\"elsewhere\""), "tables.url is file://");
    let record = bench.path().join("checkpoints/clicks/days").join(DATE).join("000001.json");
    assert!(!record.exists() && !bench.path().join("tables/billing_daily").exists(), "the day stays open");
    for (more, expect) in [
        (["--watch"].as_slice(), "for one process"),
        (&["--what-if", "allowed_lateness=1h", "--date", DATE], "for one process"),
    ] {
        let output = bench.weir(&[&["reconcile", "job.toml", "--hosts", "hosts", "--process", "0"], more].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(expect), "{output:?}");
    }
}
