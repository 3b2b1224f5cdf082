//! How a cluster can fail.

use std::fmt;

/// A process of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Which one, counted from 0.
    pub process: usize,
    /// Its address.
    pub address: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.process, self.address)
    }
}

/// Why the processes cannot work together, or no longer can. Each of them ends then, to be started again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// This process cannot be reached by the others.
    #[error("cannot listen on {}, which is to be the address of process {}: {reason}", .me.address, .me.process)]
    Listen {
        /// This process.
        me: Peer,
        /// What the system says.
        reason: String,
    },
    /// A process did not come.
    #[error("{peer} has not come within {seconds} s: {reason}")]
    Missing {
        /// Which one.
        peer: Peer,
        /// How long it was waited for.
        seconds: u64,
        /// What was seen of it.
        reason: String,
    },
    /// Another process does not take this one.
    #[error("{peer} refuses this process: {reason}")]
    Refused {
        /// Which one.
        peer: Peer,
        /// Why.
        reason: String,
    },
    /// This process was started for an attempt that is over.
    #[error(
        "attempt {attempt} of the job has begun since this process was started, which takes no part in it: start it again"
    )]
    Outdated {
        /// The attempt that another process knows of.
        attempt: u64,
    },
    /// Nothing is heard from a process, though its connection stands.
    #[error("{peer} has been silent for {seconds} s: it hangs, or its host cannot be reached")]
    PeerSilent {
        /// Which one.
        peer: Peer,
        /// For how long.
        seconds: u64,
    },
    /// A process has closed its connection without a word.
    #[error("{peer} is gone, it was killed or has crashed: {reason}")]
    PeerLost {
        /// Which one.
        peer: Peer,
        /// What was seen of it.
        reason: String,
    },
    /// A process has said that it stops.
    #[error("{peer} has stopped: {reason}")]
    PeerFailed {
        /// Which one.
        peer: Peer,
        /// In its own words.
        reason: String,
    },
    /// A worker of this process does not come back from what it does.
    #[error("worker {worker} of this process has been busy with one step for {seconds} s: it hangs")]
    WorkerStuck {
        /// Which one, counted over all processes.
        worker: usize,
        /// For how long.
        seconds: u64,
    },
    /// Timely could not start or stop its workers.
    #[error("timely: {0}")]
    Timely(String),
}
