//! How fast a table of windows is compacted.
//!
//! `cargo run --release -p weir-connectors --example delta_compact_speed FOLDER [target MiB]`
//!
//! FOLDER is one that `delta_read_speed` has filled, and that it can be asked about again afterwards. What was replaced is
//! removed at the end.

mod measure;

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use weir_connectors::delta::{CompactSettings, Compactor, Table};
use weir_connectors::objects;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder with a table");
    let target_mib: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(128);
    let folder = Path::new(&folder).canonicalize().expect("the folder is there");
    let store = objects::open(&format!("file://{}", folder.display())).expect("a local folder opens");
    let settings =
        CompactSettings { target_bytes: target_mib << 20, min_files: 2, settled_until_ms: i64::MAX, dates: None };
    let (started, begun) = (Instant::now(), measure::cpu_seconds());
    let compactor = Compactor::open(Table::Agg, store, settings).expect("its log is read");
    let mut compactor = compactor.expect("there is a table");
    let merges = compactor.plan().expect("its log is read");
    let before = compactor.size();
    let planned = started.elapsed();
    let (mut rows, mut largest) = (0, 0);
    for merge in merges {
        let compacted = compactor.write(merge).expect("it is written").compacted.expect("files fit together");
        compactor.commit(&compacted).expect("it is committed");
        rows += compacted.rows();
        largest = largest.max(compacted.bytes());
    }
    let peak = peak_memory_mib();
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), measure::cpu_seconds() - begun);
    compactor.follow().expect("its log is read");
    let after = compactor.size();
    say(&format!(
        "{rows} rows in {seconds:.1} s, {:.1} s of processor time: {:.0} rows/s, {:.0} for each second of processor time; {:.1} s for \
         the log before; {peak} MiB at most",
        cpu,
        rows as f64 / seconds,
        rows as f64 / cpu,
        planned.as_secs_f64(),
    ));
    say(&format!(
        "{} files of {:.1} MB became {} of {:.1} MB, the largest {:.1} MB",
        before.files,
        before.bytes as f64 / 1e6,
        after.files,
        after.bytes as f64 / 1e6,
        largest as f64 / 1e6
    ));
    let deleted = compactor.delete_replaced(i64::MAX, None, false).expect("they are removed");
    say(&format!("{} replaced files removed", deleted.files));
}

/// From `/proc/self/status`.
fn peak_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) >> 10
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
