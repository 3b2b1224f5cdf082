//! The contract of logs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use weir_connectors::log::{Log, LogError, Settled};

use crate::harness::{Harness, OpenLog, append, group, settled};

const CAPACITY_BYTES: u64 = 16 << 20;
const CLOSE: Duration = Duration::from_secs(60);

fn all(open: &dyn OpenLog) -> Vec<String> {
    let mut values: Vec<String> =
        open.read_back().concat().into_iter().map(|value| String::from_utf8(value).unwrap()).collect();
    values.sort();
    values
}

fn is_kept(settled: &Settled) {
    assert!(settled.failed.is_empty() && settled.error.is_none(), "{settled:?}");
}

pub(crate) fn what_is_settled_is_read_back(harness: &dyn Harness) {
    let open = harness.new_log(CAPACITY_BYTES);
    let mut expected = Vec::new();
    for size in [1, 2, 7, 100] {
        let values: Vec<String> = (0..size).map(|n| format!("{{\"n\":\"{size}-{n} é\u{1F600} \t\"}}")).collect();
        is_kept(&settled(&append(open.log(), group(values.iter().map(|value| ("A", value.as_bytes()))))));
        expected.extend(values);
        expected.sort();
        // At once, not only after a close.
        assert_eq!(all(open.as_ref()), expected);
    }
    open.log().close(CLOSE).unwrap();
    assert_eq!(all(open.as_ref()), expected);
}

pub(crate) fn many_threads_append_at_once(harness: &dyn Harness) {
    const THREADS: usize = 8;
    const GROUPS: usize = 300;
    let open = harness.new_log(CAPACITY_BYTES);
    let log: &dyn Log = open.log();
    let calls = Arc::new(AtomicU64::new(0));
    let mut expected: Vec<String> = thread::scope(|scope| {
        let append_some = |thread: usize| {
            let mut values = Vec::new();
            for number in 0..GROUPS {
                let of_group: Vec<String> =
                    (0..number % 4 + 1).map(|record| format!("t{thread} g{number} r{record}")).collect();
                let calls = Arc::clone(&calls);
                log.append(
                    group(of_group.iter().map(|value| ("A", value.as_bytes()))),
                    Box::new(move |settled| {
                        is_kept(&settled);
                        calls.fetch_add(1, Ordering::Relaxed);
                    }),
                );
                values.extend(of_group);
            }
            values
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || append_some(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    log.close(CLOSE).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), (THREADS * GROUPS) as u64);
    expected.sort();
    assert_eq!(all(open.as_ref()), expected);
}

pub(crate) fn the_records_of_an_ad_keep_their_order(harness: &dyn Harness) {
    let open = harness.new_log(CAPACITY_BYTES);
    let mut outcomes = Vec::new();
    for number in 0..100 {
        let values: Vec<(String, String)> =
            (0..20).map(|n| (format!("ad-{}", n % 3), format!("{} {number:05} {n:05}", n % 3))).collect();
        let records = values.iter().map(|(ad, value)| (ad.as_str(), value.as_bytes()));
        outcomes.push(append(open.log(), group(records)));
    }
    outcomes.iter().for_each(|outcome| is_kept(&settled(outcome)));
    for partition in open.read_back() {
        let mut series: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for value in partition {
            let value = String::from_utf8(value).unwrap();
            let (ad, rest) = value.split_once(' ').unwrap();
            let (number, n) = rest.split_once(' ').unwrap();
            let key = if harness.orders_groups() { ad.to_owned() } else { format!("{ad} {number}") };
            series.entry(key).or_default().push(format!("{number} {n}"));
        }
        for (key, values) in series {
            assert!(values.is_sorted(), "{key}: {values:?}");
        }
    }
}

pub(crate) fn an_empty_group_is_settled(harness: &dyn Harness) {
    let open = harness.new_log(CAPACITY_BYTES);
    is_kept(&settled(&append(open.log(), group([]))));
    assert_eq!(all(open.as_ref()), [""; 0]);
}

/// Settling waits for the gate, so the log fills up whatever the speed of its disk.
pub(crate) fn a_full_log_refuses_and_recovers(harness: &dyn Harness) {
    const CAPACITY: u64 = 100_000;
    let open = harness.new_log(CAPACITY);
    let value = vec![b'x'; 1_000];
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (sender, outcomes) = std::sync::mpsc::channel();
    // Far more than fits: while a group is being settled the thread is held, and the rest gathers.
    for _ in 0..500 {
        let (gate, sender) = (Arc::clone(&gate), sender.clone());
        let settle = move |settled: Settled| {
            if settled.error.is_none() {
                let open = gate.0.lock().unwrap();
                drop(gate.1.wait_while(open, |open| !*open).unwrap());
            }
            sender.send(settled).unwrap();
        };
        open.log().append(group([("A", value.as_slice())]), Box::new(settle));
        assert!(open.log().load().bytes <= CAPACITY);
    }
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let outcomes: Vec<Settled> = (0..500).map(|_| outcomes.recv_timeout(CLOSE).unwrap()).collect();
    let (kept, full): (Vec<&Settled>, Vec<&Settled>) = outcomes.iter().partition(|settled| settled.error.is_none());
    assert!(full.iter().all(|settled| matches!(settled.error, Some(LogError::Full { .. })) && settled.failed == [0]));
    assert!(!full.is_empty() && !kept.is_empty(), "{} kept, {} refused", kept.len(), full.len());
    is_kept(&settled(&append(open.log(), group([("A", b"after".as_slice())]))));
    assert_eq!(all(open.as_ref()).len(), kept.len() + 1);
}

pub(crate) fn a_record_is_refused_alone(harness: &dyn Harness) {
    let Some(bad) = harness.refused_value() else { return };
    let open = harness.new_log(CAPACITY_BYTES);
    let values: [&[u8]; 5] = [b"one", &bad, b"two", &bad, b"three"];
    let outcome = settled(&append(open.log(), group(values.map(|value| ("A", value)))));
    assert_eq!(outcome.failed, [1, 3]);
    assert!(matches!(outcome.error, Some(LogError::Refused { .. })), "{outcome:?}");
    is_kept(&settled(&append(open.log(), group([("A", b"four".as_slice())]))));
    assert_eq!(all(open.as_ref()), ["four", "one", "three", "two"]);
}

pub(crate) fn close_settles_everything_and_refuses_afterwards(harness: &dyn Harness) {
    let open = harness.new_log(CAPACITY_BYTES);
    open.log().probe(CLOSE).unwrap();
    let outcomes: Vec<Receiver<Settled>> =
        (0..1_000).map(|number| append(open.log(), group([("A", format!("{number}").as_bytes())]))).collect();
    open.log().close(CLOSE).unwrap();
    outcomes.iter().for_each(|outcome| is_kept(&outcome.try_recv().unwrap()));
    let refused = settled(&append(open.log(), group([("A", b"late".as_slice()), ("B", b"late")])));
    assert_eq!(refused.failed, [0, 1]);
    assert!(matches!(refused.error, Some(LogError::Unavailable { .. })), "{refused:?}");
    open.log().probe(CLOSE).unwrap_err();
    open.log().close(CLOSE).unwrap();
    assert_eq!(all(open.as_ref()).len(), 1_000);
}

pub(crate) fn what_is_on_its_way_is_known(harness: &dyn Harness) {
    let open = harness.new_log(CAPACITY_BYTES);
    assert_eq!((open.log().load().records, open.log().load().capacity_bytes), (0, CAPACITY_BYTES));
    let outcomes: Vec<_> = (0..100).map(|_| append(open.log(), group([("A", b"x".as_slice()); 10]))).collect();
    assert!(open.log().load().records <= 1_000);
    outcomes.iter().for_each(|outcome| is_kept(&settled(outcome)));
    assert_eq!((open.log().load().records, open.log().load().bytes), (0, 0));
    assert!(!open.log().place().is_empty());
}
