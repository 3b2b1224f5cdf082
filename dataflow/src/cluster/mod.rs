//! Several processes that work as one.
//!
//! ```text
//!   meet: greetings are compared, the roll is called
//!     └─▶ a Link to each peer ◀──▶ Timely's threads, which read and write through it
//!           ├── beats, from a thread of their own, so that a link is never quiet
//!           └── watch: a peer that is not heard for too long, or a worker that does not step, ends the process
//! ```
//!
//! Timely carries bytes between workers, and trusts whoever connects: it takes any process for the one that it says it is,
//! waits for ever, and cannot tell a peer that hangs from one that has nothing to say. What is missing is here.
//!
//! - No data flows before all processes have agreed that they are one cluster: the same job, settings and build, none that
//!   was started for an older attempt, and all links of the same start (`greeting.rs`, `meet.rs`).
//! - Beats do not come from the workers' loops. A worker may rightly be away for minutes, when it restores a large state;
//!   a process whose threads do not run at all is what a peer can see, and what it must see soon.
//! - Who stops says why, and ends without waiting for anybody: a peer that hangs never closes its connection (`frame.rs`,
//!   `link.rs`, `execute.rs`).
//! - Silence is counted by a clock that stands still while this process does: one that was stopped and wakes up accuses
//!   nobody (`watch.rs`).

mod error;
mod execute;
mod frame;
mod greeting;
mod link;
mod meet;
mod message;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

pub use error::{ClusterError, Peer};
pub(crate) use execute::{Entry, Run, execute};
pub(crate) use watch::Pulse;

/// One process of a cluster, and what it knows of the others.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Which of them this is.
    pub process: usize,
    /// The address of each, `HOST:PORT`.
    pub hosts: Vec<String>,
    /// The workers of each.
    pub threads: usize,
    /// What all processes must have in common, by name; a process with another value of one of them takes no part.
    pub facts: BTreeMap<String, String>,
    /// How long the processes have patience with each other.
    pub patience: Patience,
}

/// How long the processes of a cluster have patience with each other.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long a process waits for all others at its start.
    pub start: Duration,
    /// How long nothing may be heard from a peer.
    pub silence: Duration,
    /// How long a worker of this process may take for one step, once it has begun.
    pub worker: Duration,
}

impl ClusterSettings {
    /// A process of the cluster.
    fn peer(&self, process: usize) -> Peer {
        Peer { process, address: self.hosts.get(process).cloned().unwrap_or_default() }
    }
}
