//! The disk of an embedded log fills up, and has room again: here the process has a limit for the size of its files.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::book::Book;
use crate::connection::get;
use crate::load::{Load, PATIENT, await_more};
use crate::process::{IngestProcess, weir};
use crate::{await_until, now_ms, read_back};

const LIMIT_KIB: usize = 512;

/// `weir` that may write no larger files, in a shell that takes away the signal that comes with it.
fn limited() -> Command {
    let mut shell = Command::new("bash");
    let script = format!("trap '' XFSZ; ulimit -S -f {LIMIT_KIB}; exec \"$0\" \"$@\"");
    shell.args(["-c", &script]).arg(weir().get_program());
    shell
}

#[test]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let url = format!("source.url={}/", log.display());
    let definitions = ["source.kind=ndjson", &url, "log.partitions=2", "ingest.shed.min_free_bytes=0"];
    let mut process = IngestProcess::start(folder.path(), &definitions);
    process.await_alive();
    process.kill();
    process.spawn(limited());
    let (book, servers) = (Book::new(), [process.address]);
    let load = Load {
        clients: 4,
        seed: 1,
        prefix: "disk",
        servers: &servers,
        first_ms: now_ms() - 3_600_000,
        patience_ms: PATIENT,
    };
    load.during(&book, || {
        await_more(&book, 100);
        await_until("the disk to be full", || get(process.address, "/readyz").unwrap().status == 503);
        assert_eq!(get(process.address, "/livez").unwrap().status, 200);
        let full = book.accepted();
        sleep(Duration::from_secs(2));
        println!("full: {} clicks, {} more two seconds later", full, book.accepted() - full);
        let pid = process.pid().to_string();
        assert!(Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status().unwrap().success());
        let lifted = Instant::now();
        await_more(&book, 1_000);
        println!("room again: 1,000 more clicks are accepted after {:?}", lifted.elapsed());
        await_until("ingest to be ready", || get(process.address, "/readyz").unwrap().status == 200);
    });
    // Not even a large batch that is refused costs its connection.
    assert_eq!(book.closed.load(Ordering::Relaxed), 0, "{}", book.facts());
    assert_eq!(process.terminate(), 0, "{}", process.log());
    let found = read_back::folder(&log);
    println!("{}, {} torn lines; {}", book.compare("disk", &found.clicks), found.torn, book.facts());
}
