//! What the suite asks of a kind of log, and what it shares with the other tests of logs.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use weir_connectors::log::{Group, Log, Settled};

/// A kind of log.
pub(crate) trait Harness {
    /// A new, empty log that may hold so many bytes.
    fn new_log(&self, capacity_bytes: u64) -> Box<dyn OpenLog>;

    /// Whether groups that were appended one after the other keep the order of the clicks on one ad.
    fn orders_groups(&self) -> bool;

    /// A value that the log refuses for good, if there is one.
    fn refused_value(&self) -> Option<Vec<u8>>;
}

/// One log.
pub(crate) trait OpenLog {
    fn log(&self) -> &dyn Log;

    /// All values that are in the log, partition by partition in their order. May be called after it was closed.
    fn read_back(&self) -> Vec<Vec<Vec<u8>>>;
}

/// A group of values on one ad each.
pub(crate) fn group<'a>(records: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Group {
    let mut group = Group::default();
    for (ad, value) in records {
        group.push(ad, |to| to.extend_from_slice(value));
    }
    group
}

/// Appends, and gives back where the outcome will come.
pub(crate) fn append(log: &dyn Log, group: Group) -> Receiver<Settled> {
    let (sender, receiver) = channel();
    log.append(
        group,
        Box::new(move |settled| {
            let _ = sender.send(settled);
        }),
    );
    receiver
}

pub(crate) fn settled(receiver: &Receiver<Settled>) -> Settled {
    receiver.recv_timeout(Duration::from_secs(60)).unwrap()
}
