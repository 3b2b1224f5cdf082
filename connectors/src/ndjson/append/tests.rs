//! A log whose disk does not answer: nobody runs its lane here.

use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::log::Settled;

const NOW: Duration = Duration::ZERO;

fn stuck() -> NdjsonLog {
    let shared = Arc::new(Shared::new(Books::new("file:///log/".to_owned(), 100), 1));
    // The thread that will not end.
    shared.enter();
    let (folder, retention) = (PathBuf::new(), Retention::default());
    NdjsonLog { folder, partitions: 1, retention, shared, threads: Mutex::default() }
}

fn append(log: &NdjsonLog, value: &str) -> Receiver<Settled> {
    let (sender, receiver) = channel();
    let mut group = Group::default();
    group.push("A", |to| to.extend_from_slice(value.as_bytes()));
    log.append(group, Box::new(move |settled| sender.send(settled).unwrap()));
    receiver
}

fn error(outcome: &Receiver<Settled>) -> String {
    let settled = outcome.try_recv().unwrap();
    assert_eq!(settled.failed, [0]);
    // The sender went with `settle`: nothing more will come.
    outcome.try_recv().unwrap_err();
    settled.error.unwrap().to_string()
}

#[test]
fn close_fails_what_is_not_settled_in_time() {
    let log = stuck();
    let in_hand = append(&log, "in the thread's hand");
    log.probe(NOW).unwrap();
    let lane = log.shared.lanes.first().unwrap();
    assert!(lane.take(&mut Vec::new(), &mut Vec::new()));
    thread::sleep(Duration::from_millis(5));
    assert!(log.probe(NOW).unwrap_err().to_string().contains("has not answered"));
    log.probe(Duration::from_secs(60)).unwrap();
    let waiting = append(&log, "waiting");
    assert_eq!((log.load().records, log.load().bytes), (2, 29));
    assert!(log.close(Duration::from_millis(5)).unwrap_err().to_string().contains("did not take everything"));
    for outcome in [in_hand, waiting] {
        assert!(error(&outcome).contains("did not take everything"));
    }
    assert!(error(&append(&log, "late")).contains("it is closed"));
    assert_eq!(log.load().records, 0);
    // What the thread does when the disk answers after all.
    assert!(lane.take_in_flight().is_empty() && !lane.take(&mut Vec::new(), &mut Vec::new()));
    log.shared.leave();
}

#[test]
fn a_full_log_lets_a_large_group_in_alone() {
    let log = stuck();
    let large = append(&log, &"x".repeat(200));
    large.try_recv().unwrap_err();
    assert!(error(&append(&log, "x")).contains("its buffer is full"));
    log.shared.leave();
    log.shared.fail_waiting(log.shared.lanes.first().unwrap().take_waiting(), &log.shared.books.unavailable("over"));
    append(&log, "x").try_recv().unwrap_err();
}
