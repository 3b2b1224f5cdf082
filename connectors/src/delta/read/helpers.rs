//! Threads that help a query with its files.
//!
//! ```text
//!   caller  ─── file ─ file ─ drain ─ file ─ … ─ drain until the helpers are done
//!   helper  ─── file ─ file ─ file ─ …   ─┐
//!   helper  ─── file ─ …                 ─┴─▶ bounded channel: results go to the caller alone
//! ```
//!
//! A query always has its caller's thread, so none waits for another's helpers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// A helper is worth starting for this many files.
const FILES_PER_HELPER: usize = 4;

/// Results of a helper that wait for the caller.
const WAITING_PER_HELPER: usize = 2;

/// What a helper ends with whose caller needs no more; nobody gets to see it.
pub(super) struct CallerGone;

/// Threads that all queries share.
pub(super) struct Helpers {
    free: AtomicUsize,
}

/// Threads that one query has.
struct Taken<'a> {
    helpers: &'a Helpers,
    count: usize,
}

impl Helpers {
    pub(super) fn new(count: usize) -> Self {
        Self { free: AtomicUsize::new(count) }
    }

    /// Does `work` for every item and gives what it emits to `take`, on the caller's thread; stops at the first error.
    pub(super) fn run<I: Sync, T: Send, E: From<CallerGone> + Send>(
        &self,
        items: &[I],
        work: impl Fn(&I, &mut dyn FnMut(T) -> Result<(), E>) -> Result<(), E> + Sync,
        mut take: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        let taken = self.take(items.len() / FILES_PER_HELPER);
        if taken.count == 0 {
            return items.iter().try_for_each(|item| work(item, &mut take));
        }
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let next_item =
            || if stop.load(Ordering::Relaxed) { None } else { items.get(next.fetch_add(1, Ordering::Relaxed)) };
        let (sender, receiver) = sync_channel(taken.count * WAITING_PER_HELPER);
        let help = |sender: SyncSender<Result<T, E>>| {
            while let Some(item) = next_item() {
                // The caller drops its end when it needs no more.
                let sent = work(item, &mut |result| sender.send(Ok(result)).map_err(|_| CallerGone.into()));
                if let Err(error) = sent {
                    let _ = sender.send(Err(error));
                    return;
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..taken.count {
                let sender = sender.clone();
                scope.spawn(|| help(sender));
            }
            drop(sender);
            let outcome = lead(&next_item, &work, &receiver, &mut take);
            stop.store(true, Ordering::Relaxed);
            drop(receiver);
            outcome
        })
    }

    fn take(&self, wanted: usize) -> Taken<'_> {
        let mut count = 0;
        let _ = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
            count = free.min(wanted);
            Some(free - count)
        });
        Taken { helpers: self, count }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.helpers.free.fetch_add(self.count, Ordering::Relaxed);
    }
}

/// The caller's part.
fn lead<'i, I: 'i, T, E>(
    next_item: &impl Fn() -> Option<&'i I>,
    work: &impl Fn(&I, &mut dyn FnMut(T) -> Result<(), E>) -> Result<(), E>,
    receiver: &Receiver<Result<T, E>>,
    take: &mut impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    while let Some(item) = next_item() {
        work(item, take)?;
        while let Ok(result) = receiver.try_recv() {
            take(result?)?;
        }
    }
    receiver.iter().try_for_each(|result| take(result?))
}
