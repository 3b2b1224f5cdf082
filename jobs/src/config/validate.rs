//! From raw values to a [`JobConfig`]: ranges, and whether the values fit together.

use chrono_tz::Tz;
use weir_checkpoints::KEY_GROUPS;

use super::clickhouse::clickhouse;
use super::layers::Layers;
use super::reader::{DAY_MS, HOUR_MS, MINUTE_MS, Reader, SECOND_MS};
use super::source::source;
use super::values::format_duration_ms;
use super::{
    ArchiveConfig, BillingConfig, CheckpointConfig, ClusterConfig, ConfigError, EpochConfig, HotConfig, JobConfig,
    TablesConfig, TimeConfig,
};

/// Checks what a job needs.
pub(super) fn job(layers: &Layers) -> Result<JobConfig, ConfigError> {
    let raw = Reader { layers };
    let name = raw.required_name("job.name", "name the job, for example name = \"clicks\"")?;
    let region = raw.optional_name("job.region")?;
    let source = source(&raw, &name)?;
    let time = time(&raw)?;
    let dedup_horizon_ms = dedup_horizon_ms(&raw, &time)?;
    let clickhouse = clickhouse(&raw, &name)?;
    let epoch = EpochConfig {
        interval_ms: raw.duration_ms("epoch.interval", 10..=MINUTE_MS)?,
        max_records: raw.integer("epoch.max_records", 1..=100_000_000)?,
    };
    Ok(JobConfig {
        name,
        region,
        workers: workers(&raw)?,
        source,
        time,
        dedup_horizon_ms,
        epoch,
        cluster: ClusterConfig {
            start_timeout_ms: raw.duration_ms("cluster.start_timeout", SECOND_MS..=DAY_MS)?,
            peer_timeout_ms: raw.duration_ms("cluster.peer_timeout", 2 * SECOND_MS..=HOUR_MS)?,
            worker_timeout_ms: raw.duration_ms("cluster.worker_timeout", 10 * SECOND_MS..=DAY_MS)?,
        },
        checkpoint: checkpoint(&raw, &epoch)?,
        tables: TablesConfig {
            url: raw
                .location("tables.url", "say where the tables go, for example url = \"s3://bucket/weir/tables\"")?,
            target_file_bytes: raw.integer("tables.target_file_bytes", 1 << 16..=1 << 32)?,
            roll_interval_ms: raw.duration_ms("tables.roll_interval", SECOND_MS..=DAY_MS)?,
        },
        archive: archive(&raw)?,
        billing: BillingConfig {
            timezone: timezone(&raw)?,
            margin_ms: raw.duration_ms("billing.margin", 0..=DAY_MS)?,
            index: raw.boolean("billing.index")?,
        },
        hot: HotConfig {
            retention_ms: raw.duration_ms("hot.retention", 0..=30 * DAY_MS)?,
            memory_bytes: raw.size("hot.memory_bytes", 0..=1 << 40)?,
        },
        clickhouse,
        metrics_listen: raw.optional_address("metrics.listen")?,
    })
}

fn workers(raw: &Reader<'_>) -> Result<u32, ConfigError> {
    let most = u64::from(KEY_GROUPS);
    if raw.layers.get("job.workers").is_some() {
        return Ok(raw.integer("job.workers", 1..=most)? as u32);
    }
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    Ok(cores.min(most) as u32)
}

fn time(raw: &Reader<'_>) -> Result<TimeConfig, ConfigError> {
    let max_partition_lead_ms = raw.duration_ms("time.max_partition_lead", SECOND_MS..=DAY_MS)?;
    Ok(TimeConfig {
        out_of_orderness_ms: raw.duration_ms("time.out_of_orderness", 0..=HOUR_MS)?,
        allowed_lateness_ms: raw.duration_ms("time.allowed_lateness", 0..=7 * DAY_MS)?,
        idle_timeout_ms: raw.duration_ms("time.idle_timeout", SECOND_MS..=DAY_MS)?,
        max_future_skew_ms: raw.duration_ms("time.max_future_skew", 0..=DAY_MS)?,
        max_partition_lead_ms,
    })
}

/// A click is taken until its window closes; until then its id must be remembered, or its copy would be counted.
fn dedup_horizon_ms(raw: &Reader<'_>, time: &TimeConfig) -> Result<u64, ConfigError> {
    let least_ms = time.allowed_lateness_ms + time.out_of_orderness_ms + MINUTE_MS;
    let horizon_ms = raw.duration_ms("dedup.horizon", MINUTE_MS..=30 * DAY_MS)?;
    if horizon_ms >= least_ms {
        return Ok(horizon_ms);
    }
    let least = format_duration_ms(least_ms);
    let allowed = format!(
        "at least {least} (time.allowed_lateness + time.out_of_orderness + 1m), or a copy of a click could be \
         counted while its window is open"
    );
    Err(raw.invalid("dedup.horizon", &allowed))
}

fn checkpoint(raw: &Reader<'_>, epoch: &EpochConfig) -> Result<CheckpointConfig, ConfigError> {
    let interval_ms = raw.duration_ms("checkpoint.interval", 10..=HOUR_MS)?;
    if interval_ms < epoch.interval_ms {
        let least = format_duration_ms(epoch.interval_ms);
        return Err(raw.invalid("checkpoint.interval", &format!("at least epoch.interval, which is {least}")));
    }
    Ok(CheckpointConfig {
        url: raw.location(
            "checkpoint.url",
            "say where checkpoints go, for example url = \"s3://bucket/weir/checkpoints\"",
        )?,
        interval_ms,
        interval_epochs: interval_ms.div_ceil(epoch.interval_ms),
        retain: raw.integer("checkpoint.retain", 1..=10_000)? as u32,
        retain_manifests_ms: raw.duration_ms("checkpoint.retain_manifests", HOUR_MS..=3650 * DAY_MS)?,
    })
}

fn timezone(raw: &Reader<'_>) -> Result<Tz, ConfigError> {
    const KEY: &str = "billing.timezone";
    let (name, _) = raw.text(KEY, "a time zone")?;
    name.parse().map_err(|_| raw.invalid(KEY, "the IANA name of a time zone, such as \"UTC\" or \"Europe/Berlin\""))
}

fn archive(raw: &Reader<'_>) -> Result<Option<ArchiveConfig>, ConfigError> {
    let extra = raw.boolean("archive.extra")?;
    let enabled = raw.boolean("archive.enabled")?;
    if extra && !enabled {
        return Err(raw.invalid("archive.extra", "false while archive.enabled is false"));
    }
    Ok(enabled.then_some(ArchiveConfig { extra }))
}
