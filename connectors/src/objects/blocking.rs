//! Runs futures for callers that block.
//!
//! The future is spawned and its result sent back, rather than run with `block_on`: that would panic on a thread that
//! already drives an async runtime. The runtime is never dropped, since dropping one blocks too.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;

use tokio::runtime::{Builder, Runtime};

const THREADS: usize = 2;

/// Waits for `future`; `None` if it panicked, or if no runtime could be started.
pub(super) fn wait<T, F>(future: F) -> Option<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (sender, receiver) = sync_channel(1);
    runtime()?.spawn(async move {
        // The receiver waits below; a send can only fail if its thread is gone.
        let _ = sender.send(future.await);
    });
    receiver.recv().ok()
}

fn runtime() -> Option<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            Builder::new_multi_thread().worker_threads(THREADS).thread_name("objects").enable_all().build().ok()
        })
        .as_ref()
}
