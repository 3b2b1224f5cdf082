//! What is looked at beside the requests: the log's buffer and health, the disk, the job's lag, files that may change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio::time::{MissedTickBehavior, interval};
use weir_dataflow::JobMetrics;

use super::overload::{Cause, LOOK_EVERY, Signal};
use super::service::Service;
use crate::config::IngestConfig;
use crate::http::Certificates;

/// How often the disk is looked at, files are, and quiet clients forgotten.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// How often the log is asked whether it is there, and how long that may take.
const PROBE_EVERY: Duration = Duration::from_secs(2);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the job's lag is asked for.
const LAG_EVERY: Duration = Duration::from_secs(3);

/// How far the job is behind the log's end, in records or bytes; none while that is not known. May wait.
pub type Lag = Box<dyn FnMut() -> Option<u64> + Send>;

/// What there is to look at besides the log.
#[derive(Default)]
pub struct Watched {
    /// The folder that must not fill its disk.
    pub folder: Option<PathBuf>,
    /// The job's lag.
    pub lag: Option<Lag>,
    /// Deletes what the log need not keep.
    pub retain: Option<Box<dyn FnMut() + Send>>,
    /// A job that runs in the same process: its name and its figures.
    pub job: Option<(String, Arc<JobMetrics>)>,
}

/// Looks until it is told to stop.
pub(super) async fn run(
    service: Arc<Service>,
    config: IngestConfig,
    certificates: Option<Certificates>,
    watched: Watched,
    mut stop: Receiver<bool>,
) {
    let Watched { folder, lag, retain, job: _ } = watched;
    tokio::join!(
        until_stopped(stop.clone(), watch_buffer(&service)),
        until_stopped(stop.clone(), watch_log(Arc::clone(&service))),
        until_stopped(stop.clone(), watch_files(&service, certificates)),
        until_stopped(stop.clone(), watch_disk(&service, folder, config.shed.min_free_bytes)),
        until_stopped(stop.clone(), watch_lag(&service, lag, config.shed.max_lag)),
        until_stopped(stop.clone(), run_retention(retain)),
        async {
            // An error means that the service is gone.
            let _ = stop.wait_for(|stop| *stop).await;
            service.health.drain();
        },
    );
}

async fn until_stopped(mut stop: Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn every(period: Duration, mut look: impl FnMut()) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        look();
    }
}

/// The log itself refuses what does not fit; this only refuses earlier, and for all.
async fn watch_buffer(service: &Service) {
    const FULL_PER_MILLE: u64 = 1000;
    let mut signal = Signal::new(FULL_PER_MILLE * 9 / 10, FULL_PER_MILLE / 2);
    every(LOOK_EVERY, || {
        let load = service.clicks.log.load();
        let per_mille = load.bytes * FULL_PER_MILLE / load.capacity_bytes.max(1);
        service.clicks.overload.set(Cause::Buffer, signal.update(per_mille));
    })
    .await;
}

async fn watch_log(service: Arc<Service>) {
    loop {
        let log = Arc::clone(&service.clicks.log);
        let probed = tokio::task::spawn_blocking(move || log.probe(PROBE_TIMEOUT)).await;
        if let Ok(outcome) = probed {
            if let Err(error) = &outcome {
                tracing::debug!(%error, "the log is not ready");
            }
            service.health.log_is(outcome.map_err(|error| error.to_string()));
        }
        tokio::time::sleep(PROBE_EVERY).await;
    }
}

async fn watch_files(service: &Service, certificates: Option<Certificates>) {
    every(MAINTAIN_EVERY, || {
        service.clicks.clients.maintain();
        if let Some(certificates) = &certificates {
            certificates.reload_if_changed();
        }
    })
    .await;
}

async fn watch_disk(service: &Service, folder: Option<PathBuf>, min_free_bytes: u64) {
    let Some(folder) = folder.filter(|_| min_free_bytes > 0) else { return };
    // What is missing to the free space that there must be; it is over only when there is a tenth more.
    let (enough, plenty) = (min_free_bytes, min_free_bytes + min_free_bytes / 10);
    let mut signal = Signal::new(plenty - enough, 1);
    every(MAINTAIN_EVERY, || match rustix::fs::statvfs(&folder) {
        Ok(disk) => {
            let free_bytes = disk.f_bavail * disk.f_frsize;
            service.clicks.overload.set(Cause::Disk, signal.update(plenty.saturating_sub(free_bytes)));
        }
        Err(error) => tracing::warn!(folder = %folder.display(), %error, "cannot see how much of the disk is free"),
    })
    .await;
}

async fn watch_lag(service: &Service, lag: Option<Lag>, max_lag: Option<u64>) {
    let (Some(mut lag), Some(max_lag)) = (lag, max_lag) else { return };
    let mut signal = Signal::new(max_lag, max_lag / 4 * 3);
    loop {
        let asked = tokio::task::spawn_blocking(move || {
            let records = lag();
            (lag, records)
        });
        let Ok((again, records)) = asked.await else { return };
        lag = again;
        // While it is not known, what was last known stands.
        if let Some(records) = records {
            service.clicks.overload.set(Cause::Lag, signal.update(records));
        }
        tokio::time::sleep(LAG_EVERY).await;
    }
}

async fn run_retention(retain: Option<Box<dyn FnMut() + Send>>) {
    let Some(mut retain) = retain else { return };
    loop {
        let ran = tokio::task::spawn_blocking(move || {
            retain();
            retain
        });
        let Ok(again) = ran.await else { return };
        retain = again;
        tokio::time::sleep(RETAIN_EVERY).await;
    }
}

/// How often old segments are looked for.
const RETAIN_EVERY: Duration = Duration::from_secs(30);
