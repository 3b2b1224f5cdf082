//! A job over two processes: exact, also when one of them is killed and both start again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn weir(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.current_dir(folder).stdout(Stdio::null());
    command
}

/// Writes the log, its oracle, and the job file.
fn prepare(folder: &Path) {
    let log = ["generate", "--to", "log/", "--oracle", "oracle.ndjson", "--clicks", "150000", "--partitions", "5"];
    let stream =
        ["--events-per-second", "50", "--ads", "300", "--users", "5000", "--poison", "0.002", "--bytes", "300"];
    assert!(weir(folder).args(log).args(stream).status().unwrap().success());
    let text = "[job]\nname = \"clicks\"\nworkers = 2\n[source]\nkind = \"ndjson\"\nurl = \"log/\"\n\
                [epoch]\ninterval = \"50ms\"\nmax_records = 5000\n\
                [checkpoint]\nurl = \"checkpoints\"\ninterval = \"100ms\"\n[tables]\nurl = \"tables\"\n";
    std::fs::write(folder.join("job.toml"), text).unwrap();
}

/// Starts both processes, on ports that are free.
fn start(folder: &Path) -> [Child; 2] {
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let hosts = free.each_ref().map(|listener| listener.local_addr().unwrap().to_string());
    drop(free);
    std::fs::write(folder.join("hosts"), hosts.join("\n")).unwrap();
    ["0", "1"].map(|process| {
        weir(folder).args(["run", "job.toml", "--hosts", "hosts", "--process", process]).spawn().unwrap()
    })
}

/// Waits for the end of a process whose peer is gone. One that was connected notices by itself; one that was still looking
/// for its peer would look for ever, and is killed as a supervisor would.
fn end(process: &mut Child) {
    for _ in 0..30 {
        if process.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    process.kill().unwrap();
    process.wait().unwrap();
}

fn verify(folder: &Path) {
    assert!(weir(folder).args(["verify", "job.toml", "--oracle", "oracle.ndjson"]).status().unwrap().success());
}

#[test]
fn two_processes_count_exactly_and_survive_the_loss_of_one() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    for killed in [1, 0] {
        let mut processes = start(folder.path());
        std::thread::sleep(Duration::from_millis(1700));
        processes[killed].kill().unwrap();
        for process in &mut processes {
            end(process);
        }
    }
    for mut process in start(folder.path()) {
        assert!(process.wait().unwrap().success());
    }
    verify(folder.path());
}
