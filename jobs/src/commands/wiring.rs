//! Puts together what a job's configuration names: the only place that knows all crates.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use weir_checkpoints::{Settings, Store};
use weir_connectors::dead_letters::DeadLetters;
use weir_connectors::delta::{DeltaConfig, DeltaSink};
use weir_connectors::kafka::{KafkaDeadLetters, KafkaGroupOffsets, KafkaSourceFactory};
use weir_connectors::ndjson::{NdjsonConfig, NdjsonSourceFactory};
use weir_dataflow::{CheckpointSettings, EpochSettings, Job, JobMetrics, SinkFactory, SourceFactory, TimeSettings};

use super::open_store;
use crate::config::{JobConfig, SourceConfig};

/// Archive bytes after which a worker asks for a checkpoint before its time: bounds the memory of rows that are not yet in
/// a file, and makes files of a useful size.
const MAX_ARCHIVE_BYTES: u64 = 256 << 20;

/// The whole job. Setting `stop` ends it with a checkpoint.
pub(super) fn job(config: &JobConfig, metrics: Arc<JobMetrics>, stop: Arc<AtomicBool>) -> anyhow::Result<Job> {
    let source = source(config)?;
    let tables = open_store(config.tables.url.as_str())?;
    Ok(Job {
        name: config.name.clone(),
        time: time(config),
        dedup_horizon_ms: signed(config.dedup_horizon_ms),
        epoch: EpochSettings {
            interval: Duration::from_millis(config.epoch.interval_ms),
            max_records: config.epoch.max_records,
        },
        checkpoint: CheckpointSettings {
            interval: Duration::from_millis(config.checkpoint.interval_ms),
            max_archive_bytes: MAX_ARCHIVE_BYTES,
            retain: config.checkpoint.retain as usize,
            retain_manifests: Duration::from_millis(config.checkpoint.retain_manifests_ms),
        },
        extra_fields: config.archive.is_some_and(|archive| archive.extra),
        settings: settings(config, source.as_ref()),
        sinks: sinks(config, source.topic(), &tables)?,
        source,
        store: open_store(config.checkpoint.url.as_str())?,
        metrics,
        stop,
    })
}

/// The job's source.
pub(super) fn source(config: &JobConfig) -> anyhow::Result<Arc<dyn SourceFactory>> {
    Ok(match &config.source {
        SourceConfig::Kafka(kafka) => Arc::new(KafkaSourceFactory::new(kafka.clone())?),
        SourceConfig::Ndjson { url, follow } => {
            Arc::new(NdjsonSourceFactory::new(NdjsonConfig { url: url.to_string(), follow: *follow })?)
        }
    })
}

fn sinks(config: &JobConfig, topic: &str, tables: &Arc<dyn Store>) -> anyhow::Result<Vec<Arc<dyn SinkFactory>>> {
    let delta = DeltaConfig {
        region: config.region.clone(),
        extra: config.archive.is_some_and(|archive| archive.extra),
        target_file_bytes: config.tables.target_file_bytes,
        roll_interval_ms: signed(config.tables.roll_interval_ms),
        ..DeltaConfig::new(&config.name, topic)
    };
    let mut sinks: Vec<Arc<dyn SinkFactory>> = vec![
        Arc::new(DeltaSink::clicks_agg(delta.clone(), Arc::clone(tables))),
        Arc::new(DeltaSink::clicks_late(delta.clone(), Arc::clone(tables))),
    ];
    if config.archive.is_some() {
        sinks.push(Arc::new(DeltaSink::clicks_raw(delta, Arc::clone(tables))));
    }
    match &config.source {
        SourceConfig::Kafka(kafka) => {
            sinks.push(Arc::new(KafkaDeadLetters::new(kafka.clone())?));
            sinks.push(Arc::new(KafkaGroupOffsets::new(kafka.clone())?));
        }
        SourceConfig::Ndjson { .. } => sinks.push(Arc::new(DeadLetters::new(topic, Arc::clone(tables)))),
    }
    Ok(sinks)
}

fn time(config: &JobConfig) -> TimeSettings {
    TimeSettings {
        out_of_orderness_ms: signed(config.time.out_of_orderness_ms),
        allowed_lateness_ms: signed(config.time.allowed_lateness_ms),
        idle_timeout_ms: signed(config.time.idle_timeout_ms),
        max_future_skew_ms: signed(config.time.max_future_skew_ms),
        max_partition_lead_ms: signed(config.time.max_partition_lead_ms),
    }
}

/// What stored state depends on. Brokers, credentials, workers, intervals and lateness may change between attempts.
fn settings(config: &JobConfig, source: &dyn SourceFactory) -> Settings {
    Settings::from([
        ("source".to_owned(), source.identity()),
        ("tables.url".to_owned(), config.tables.url.to_string()),
        ("job.region".to_owned(), config.region.clone().unwrap_or_default()),
    ])
}

/// A checked duration; none is anywhere near the limit.
fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
