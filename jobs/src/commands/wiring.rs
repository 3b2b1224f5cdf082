//! Puts together what a job's configuration names: source, sinks, stores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use weir_checkpoints::Settings;
use weir_connectors::dead_letters::DeadLetters;
use weir_connectors::delta::{DeltaConfig, DeltaSink, Restoring};
use weir_connectors::kafka::{KafkaDeadLetters, KafkaGroupOffsets, KafkaSourceFactory};
use weir_connectors::ndjson::{NdjsonConfig, NdjsonSourceFactory};
use weir_dataflow::{
    CheckpointSettings, EpochSettings, HotSettings, HotWindows, Job, JobMetrics, SinkFactory, SourceFactory,
    TimeSettings,
};

use crate::commands::open_store;
use crate::config::{HotConfig, JobConfig, ServeConfig, SourceConfig};
use crate::serve::{JobInProcess, Queries, Tiers, restore};

/// What a worker may have gathered for the archive before a checkpoint is taken ahead of its time. It bounds the memory
/// of a job that reads much faster than its clicks were written.
const MAX_ARCHIVE_BYTES: u64 = 256 << 20;

/// Readers of the tables look for a new version every half second; several times that.
const READERS_LAG: Duration = Duration::from_secs(5);

/// The job, ready to run.
pub(super) fn job(
    config: &JobConfig,
    metrics: Arc<JobMetrics>,
    hot: Arc<HotWindows>,
    stop: Arc<AtomicBool>,
) -> Result<Job> {
    let source = source(config)?;
    Ok(Job {
        name: config.name.clone(),
        region: config.region.clone(),
        time: TimeSettings {
            out_of_orderness_ms: signed(config.time.out_of_orderness_ms),
            allowed_lateness_ms: signed(config.time.allowed_lateness_ms),
            idle_timeout_ms: signed(config.time.idle_timeout_ms),
            max_future_skew_ms: signed(config.time.max_future_skew_ms),
            max_partition_lead_ms: signed(config.time.max_partition_lead_ms),
        },
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
        sinks: sinks(config, source.topic(), &hot)?,
        source,
        store: open_store(config.checkpoint.url.as_str())?,
        hot,
        metrics,
        stop,
    })
}

/// The job's windows, to be asked for while it runs; where nobody can ask, what closed is not kept.
pub(super) fn hot(config: &JobConfig, asked: bool) -> Arc<HotWindows> {
    let HotConfig { retention_ms, memory_bytes } = config.hot;
    let retention_ms = if asked { signed(retention_ms) } else { 0 };
    let settings = HotSettings { retention_ms, memory_bytes, readers_lag: READERS_LAG };
    Arc::new(HotWindows::new(config.region.as_deref(), settings))
}

/// The job's source.
pub(super) fn source(config: &JobConfig) -> Result<Arc<dyn SourceFactory>> {
    Ok(match &config.source {
        SourceConfig::Kafka(kafka) => Arc::new(KafkaSourceFactory::new(kafka.clone())?),
        SourceConfig::Ndjson { url, follow } => {
            Arc::new(NdjsonSourceFactory::new(NdjsonConfig { url: url.to_string(), follow: *follow })?)
        }
    })
}

fn sinks(config: &JobConfig, topic: &str, hot: &Arc<HotWindows>) -> Result<Vec<Arc<dyn SinkFactory>>> {
    let store = open_store(config.tables.url.as_str())?;
    let delta = DeltaConfig {
        extra: config.archive.is_some_and(|archive| archive.extra),
        target_file_bytes: config.tables.target_file_bytes,
        roll_interval_ms: signed(config.tables.roll_interval_ms),
        ..DeltaConfig::new(&config.name, topic)
    };
    let mut sinks: Vec<Arc<dyn SinkFactory>> = vec![
        Arc::new(DeltaSink::clicks_agg(delta.clone(), Arc::clone(&store)).restoring(restoring(hot))),
        Arc::new(DeltaSink::clicks_late(delta.clone(), Arc::clone(&store))),
    ];
    if config.archive.is_some() {
        sinks.push(Arc::new(DeltaSink::clicks_raw(delta, Arc::clone(&store))));
    }
    match &config.source {
        SourceConfig::Kafka(kafka) => {
            sinks.push(Arc::new(KafkaDeadLetters::new(kafka.clone())?));
            sinks.push(Arc::new(KafkaGroupOffsets::new(kafka.clone())?));
        }
        SourceConfig::Ndjson { .. } => sinks.push(Arc::new(DeadLetters::new(topic, store))),
    }
    Ok(sinks)
}

fn restoring(hot: &Arc<HotWindows>) -> Restoring {
    let hot = Arc::clone(hot);
    Arc::new(move |row| hot.restore(row).map_err(|error| error.to_string()))
}

/// The job as queries see it.
pub(super) fn in_process(config: &JobConfig, metrics: &Arc<JobMetrics>, hot: &Arc<HotWindows>) -> JobInProcess {
    JobInProcess {
        name: config.name.clone(),
        region: config.region.clone(),
        lag_unit: match config.source {
            SourceConfig::Kafka(_) => "records",
            SourceConfig::Ndjson { .. } => "bytes",
        },
        metrics: Arc::clone(metrics),
        hot: Arc::clone(hot),
    }
}

/// What answers questions; `job` is the one in this process, if there is one.
pub(super) fn queries(config: &ServeConfig, job: Option<JobInProcess>) -> Result<Queries> {
    let tables = open_store(config.tables.as_str())?;
    let checkpoints = open_store(config.checkpoints.as_str())?;
    Queries::new(config, Tiers { job, tables, checkpoints })
}

/// Fills the job's memory again with what it closed lately, in the background: the job does not wait for it.
pub(super) fn restore_hot(config: &JobConfig, hot: &Arc<HotWindows>, stop: &Arc<AtomicBool>) -> Result<()> {
    let (hot, stop) = (Arc::clone(hot), Arc::clone(stop));
    let tables = open_store(config.tables.url.as_str())?;
    let (url, retention_ms) = (config.tables.url.to_string(), signed(config.hot.retention_ms));
    let work = move || {
        if let Err(error) = restore(&hot, tables, &url, retention_ms, || stop.load(Ordering::Relaxed)) {
            tracing::warn!("queries go to the tables for windows before this start: {error:#}");
        }
    };
    std::thread::Builder::new().name("weir-restore".to_owned()).spawn(work).context("cannot start a thread")?;
    Ok(())
}

/// What stored state and rows held back depend on.
fn settings(config: &JobConfig, source: &dyn SourceFactory) -> Settings {
    BTreeMap::from([
        ("job.region".to_owned(), config.region.clone().unwrap_or_default()),
        ("source".to_owned(), source.identity()),
        ("tables.url".to_owned(), config.tables.url.to_string()),
    ])
}

/// Durations are checked to be far below where this would matter.
fn signed(duration_ms: u64) -> i64 {
    i64::try_from(duration_ms).unwrap_or(i64::MAX)
}
