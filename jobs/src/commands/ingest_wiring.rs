//! Puts together what ingest's configuration names: the log, and what is looked at beside it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use url::Url;
use weir_checkpoints::{Offset, PartitionId};
use weir_connectors::kafka::{KafkaConfig, KafkaLag, KafkaLog, KafkaLogConfig};
use weir_connectors::log::Log;
use weir_connectors::ndjson::{NdjsonLog, NdjsonLogConfig, Region, Removed, Retention};

use crate::commands::open_store;
use crate::config::{IngestConfig, SourceConfig};
use crate::ingest::{Lag, Needed, Watched};

/// How long the cluster may take to say how far the job is behind.
const LAG_TIMEOUT: Duration = Duration::from_secs(10);

/// The log that `[source]` names, and what is to be watched.
pub(super) fn log(config: &IngestConfig) -> Result<(Arc<dyn Log>, Watched)> {
    match &config.source {
        SourceConfig::Kafka(kafka) => kafka_log(config, kafka),
        SourceConfig::Ndjson { url, .. } => {
            let job = config.job.as_deref().zip(config.checkpoints.as_ref());
            let needed = job.map(|(job, url)| Ok::<_, anyhow::Error>(Needed::new(open_store(url.as_str())?, job)));
            let (log, watched) = embedded_log(config, url, needed.transpose()?)?;
            Ok((log, watched))
        }
    }
}

fn kafka_log(config: &IngestConfig, kafka: &KafkaConfig) -> Result<(Arc<dyn Log>, Watched)> {
    let log = KafkaLog::open(KafkaLogConfig {
        kafka: kafka.clone(),
        region: config.region.clone(),
        capacity_bytes: config.buffer_bytes,
        delivery_timeout: config.log_timeout,
    })?;
    let lag = config.shed.max_lag.map(|_| kafka_lag(kafka)).transpose()?;
    Ok((Arc::new(log), Watched { lag, ..Watched::default() }))
}

fn kafka_lag(kafka: &KafkaConfig) -> Result<Lag> {
    let lag = KafkaLag::new(kafka.clone())?;
    Ok(Box::new(move || {
        let asked = lag.records(LAG_TIMEOUT);
        asked.map_err(|error| tracing::warn!(%error, "it is not known how far the job is behind")).ok()
    }))
}

/// An embedded log whose old segments are deleted once nobody needs them.
pub(super) fn embedded_log(
    config: &IngestConfig,
    url: &Url,
    needed: Option<Needed>,
) -> Result<(Arc<NdjsonLog>, Watched)> {
    let folder = folder_of(url)?;
    let log = Arc::new(NdjsonLog::open(NdjsonLogConfig {
        partitions: config.log.partitions,
        segment_bytes: config.log.segment_bytes,
        capacity_bytes: config.buffer_bytes,
        region: config.region.as_deref().map(Region::new).transpose()?,
        retention: Retention { age: config.log.retention, bytes: config.log.retention_bytes },
        ..NdjsonLogConfig::new(folder.clone())
    })?);
    let needed = needed.map(Arc::new);
    let lag = needed.clone().map(|needed| -> Lag {
        let log = Arc::clone(&log);
        Box::new(move || known(lag_bytes(&log, &needed)))
    });
    let kept = Arc::clone(&log);
    let retain = move || {
        if let Some(removed) = known(delete_old(&kept, needed.as_deref())).filter(|removed| removed.segments > 0) {
            tracing::info!(segments = removed.segments, bytes = removed.bytes, "old segments of the log were deleted");
        }
    };
    Ok((log, Watched { folder: Some(folder), lag, retain: Some(Box::new(retain)), job: None }))
}

/// While it is not known what the job still needs, nothing is deleted.
fn delete_old(log: &NdjsonLog, needed: Option<&Needed>) -> Result<Removed> {
    let offsets = needed.map(Needed::offsets).transpose()?;
    Ok(log.retain(offsets.as_ref())?)
}

fn lag_bytes(log: &NdjsonLog, needed: &Needed) -> Result<u64> {
    let read = needed.offsets()?;
    let behind = |(partition, end): (PartitionId, Offset)| {
        end.0.saturating_sub(read.get(&partition).map_or(0, |offset| offset.0))
    };
    Ok(log.ends().into_iter().map(behind).sum())
}

fn known<T>(outcome: Result<T>) -> Option<T> {
    outcome.map_err(|error| tracing::warn!("the log cannot be compared with the job's checkpoints: {error:#}")).ok()
}

fn folder_of(url: &Url) -> Result<PathBuf> {
    url.to_file_path().ok().filter(|_| url.scheme() == "file").with_context(|| {
        format!("`source.url` = {url}: clicks can be appended to a folder on this machine only; use Kafka otherwise")
    })
}
