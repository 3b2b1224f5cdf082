//! SIGINT and SIGTERM: the first one asks the process to stop in order, the second one ends it at once. That is safe too:
//! what was not committed never happened, and what was accepted is in the log.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of a process that was told to stop twice.
const INTERRUPTED: i32 = 130;

/// Says `message` and calls `stop` at the first signal. Runs until the process ends.
pub(super) fn watch(message: &'static str, stop: impl FnOnce() + Send + 'static) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        let listen = |kind: SignalKind| signal(kind).context("cannot listen to signals");
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
    };
    let wait = move || {
        runtime.block_on(async {
            either(&mut interrupt, &mut terminate).await;
            tracing::info!("{message}; a second signal stops at once");
            stop();
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
