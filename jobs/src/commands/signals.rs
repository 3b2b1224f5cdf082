//! SIGINT and SIGTERM: the first one asks the job to finish its epoch and take a checkpoint, the second one ends the
//! process at once. That is safe too: what was not committed never happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of a process that was told to stop twice.
const INTERRUPTED: i32 = 130;

/// Sets `stop` at the first signal. Runs until the process ends.
pub(super) fn watch(stop: Arc<AtomicBool>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        let listen = |kind: SignalKind| signal(kind).context("cannot listen to signals");
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
    };
    let wait = move || {
        runtime.block_on(async {
            either(&mut interrupt, &mut terminate).await;
            tracing::info!("stopping: the last checkpoint is being taken; a second signal stops at once");
            stop.store(true, Ordering::Relaxed);
            either(&mut interrupt, &mut terminate).await;
            std::process::exit(INTERRUPTED);
        });
    };
    std::thread::Builder::new().name("weir-signals".to_owned()).spawn(wait).context("cannot start a thread")?;
    Ok(())
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
