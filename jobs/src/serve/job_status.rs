//! A job that runs in this process, as queries see it.

use std::sync::Arc;

use weir_dataflow::{HotWindows, JobMetrics};

use super::answers::{CheckpointStatus, JobStatus};

/// A job that runs in this process.
#[derive(Clone)]
pub struct JobInProcess {
    /// Its name.
    pub name: String,
    /// Its own region.
    pub region: Option<String>,
    /// What its lag is counted in.
    pub lag_unit: &'static str,
    /// Its figures.
    pub metrics: Arc<JobMetrics>,
    /// Its windows.
    pub hot: Arc<HotWindows>,
}

impl JobInProcess {
    pub(crate) fn status(&self) -> JobStatus {
        let committed = self.metrics.committed();
        let lag = self.metrics.source_lag().into_iter().map(|(partition, lag)| (partition.to_string(), lag));
        JobStatus {
            name: self.name.clone(),
            region: self.region.clone(),
            ready: self.metrics.ready(),
            watermark: self.metrics.watermark_ms().and_then(shown_seconds),
            epoch: self.metrics.epoch().0,
            lag: lag.collect(),
            lag_unit: self.lag_unit.to_owned(),
            checkpoint: CheckpointStatus {
                epoch: committed.epoch.0,
                attempt: self.metrics.attempt(),
                committed_at: Some(committed.written_ms / 1000).filter(|seconds| *seconds > 0),
                duration_ms: self.metrics.checkpoint_duration().as_millis() as u64,
                bytes: self.metrics.checkpoint_bytes(),
                state_bytes: committed.state_bytes,
                count: self.metrics.checkpoints(),
            },
            totals: committed.totals,
        }
    }
}

/// Unix time in seconds; none for the ends of time.
pub(crate) fn shown_seconds(time_ms: i64) -> Option<i64> {
    (time_ms > i64::MIN && time_ms < i64::MAX).then(|| time_ms.div_euclid(1000))
}
