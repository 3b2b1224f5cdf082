//! Lists of hosts, and what all processes of a cluster do.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::RunningJob;

/// Addresses of this host that are free.
pub fn free(processes: usize) -> Vec<String> {
    let free: Vec<_> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    free.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

/// Writes a list of hosts; returns its path.
pub fn write(folder: &Path, hosts: &[String]) -> String {
    let path = folder.join(format!("hosts-{}", hosts.len()));
    std::fs::write(&path, hosts.join("\n")).unwrap();
    path.display().to_string()
}

/// Expects that all processes end within this time because of what is said of one of them; returns how long it took.
#[track_caller]
pub fn all_stop<'a>(
    processes: impl IntoIterator<Item = &'a mut RunningJob>,
    within: Duration,
    expect: &[&str],
) -> Duration {
    let began = Instant::now();
    for process in processes {
        process.wait_at_most(within.saturating_sub(began.elapsed()));
        assert!(began.elapsed() <= within, "not within {within:?}\n{}", process.log());
        assert_eq!(process.wait(), Some(1), "{}", process.log());
        let log = process.log();
        assert!(expect.iter().all(|text| log.contains(text)), "{expect:?} is not in:\n{log}");
    }
    began.elapsed()
}

/// Tells all processes to stop, and expects that they do so in order.
pub fn terminate(processes: &mut [RunningJob]) {
    for process in processes.iter() {
        process.signal("TERM");
    }
    for process in processes {
        assert_eq!(process.wait(), Some(0), "{}", process.log());
    }
}
