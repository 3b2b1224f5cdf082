//! The groups of one request on their way into the log, and what becomes of them.

use std::collections::VecDeque;

use tokio::sync::oneshot;
use weir_connectors::log::{LogError, Settled};

use super::overload::Cause;
use super::refusals::{not_in_log, refused};
use super::verdict::BatchVerdict;
use crate::http::problem::Problem;

/// How many groups of one request are on their way at a time.
const GROUPS_ON_THEIR_WAY: usize = 4;

/// Groups of one request, and what is known of them.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) verdict: BatchVerdict,
    /// The place of the next item.
    pub(super) next_index: u64,
    on_their_way: VecDeque<Pending>,
}

/// A group on its way into the log.
pub(super) struct Pending {
    pub(super) records: u64,
    pub(super) settled: oneshot::Receiver<Settled>,
    /// Other groups that bring clicks which this one was asked for too.
    pub(super) twins: Vec<oneshot::Receiver<bool>>,
}

impl Batch {
    /// Adds a group, and waits while there are too many on their way.
    pub(super) async fn push(&mut self, group: Pending) -> Result<(), Problem> {
        self.on_their_way.push_back(group);
        while self.on_their_way.len() >= GROUPS_ON_THEIR_WAY {
            self.settle_first().await?;
        }
        Ok(())
    }

    /// Waits for all groups: the verdict on the whole.
    pub(super) async fn finish(mut self) -> Result<BatchVerdict, Problem> {
        while !self.on_their_way.is_empty() {
            self.settle_first().await?;
        }
        Ok(self.verdict)
    }

    async fn settle_first(&mut self) -> Result<(), Problem> {
        let Some(first) = self.on_their_way.pop_front() else { return Ok(()) };
        let (accepted, twins) = (first.records, first.twins.len() as u64);
        first.done().await?;
        self.verdict.accepted += accepted;
        self.verdict.duplicate += twins;
        Ok(())
    }
}

impl Pending {
    /// Waits until all of it is in the log.
    pub(super) async fn done(self) -> Result<(), Problem> {
        let lost = || LogError::Unavailable { place: "the log".to_owned(), reason: "it gave no answer".to_owned() };
        let settled = self.settled.await.unwrap_or_else(|_| Settled::all_failed(0, lost()));
        if let Some(error) = settled.error {
            return Err(not_in_log(error));
        }
        for twin in self.twins {
            if !twin.await.unwrap_or(false) {
                return Err(refused(Cause::Log));
            }
        }
        Ok(())
    }
}
