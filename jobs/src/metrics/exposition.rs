//! The job's figures in the Prometheus text format.
//!
//! Counters named `weir_…_total` are of this process since it started; `weir_committed_records_total` is the job's since its
//! first attempt, as the newest manifest has it: the only one that says what billing will see.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use weir_dataflow::{Figure, FigureKind, JobMetrics};

use crate::serve::ServeMetrics;

/// Writes figures as text.
#[derive(Debug)]
pub struct Exposition {
    registry: Registry,
}

impl Exposition {
    /// The figures of the job called `job`.
    #[must_use]
    pub fn new(job: &str, metrics: Arc<JobMetrics>) -> Self {
        let mut exposition = Self { registry: Registry::default() };
        exposition.add_job(job, metrics);
        exposition
    }

    /// The figures that are in a registry.
    pub(crate) fn of(registry: Registry) -> Self {
        Self { registry }
    }

    /// Adds those of a job.
    pub(crate) fn add_job(&mut self, job: &str, metrics: Arc<JobMetrics>) {
        let label = ("job".into(), job.to_owned().into());
        let registry = self.registry.sub_registry_with_prefix("weir").sub_registry_with_label(label);
        registry.register_collector(Box::new(Figures { metrics }));
    }

    /// Adds those of a query service.
    pub(crate) fn add_queries(&mut self, metrics: &Arc<ServeMetrics>) {
        metrics.register(&mut self.registry);
    }

    /// The figures of this moment.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct Figures {
    metrics: Arc<JobMetrics>,
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = &self.metrics;
        let mut out = Writer { encoder: &mut encoder };
        out.counter("read", "Records read by this process", figures.read())?;
        out.counter("rejected", "Records read by this process that are no clicks", figures.rejected())?;
        out.counter("future", "Clicks read by this process from too far in the future", figures.future())?;
        out.counter("late", "Clicks read by this process whose window was closed", figures.late())?;
        out.gauge("source_partitions", "Partitions that the job reads, in all its processes", figures.partitions())?;
        let help = "Partitions that were added to the log while the job ran, and that this process took over";
        out.counter("source_partitions_added", help, figures.partitions_added())?;
        out.counter("windows_closed", "Windows closed by this process", figures.windows_closed())?;
        out.counter("checkpoints", "Checkpoints committed by this process", figures.checkpoints())?;
        out.committed(figures)?;
        out.watermark(figures)?;
        out.lag(figures)?;
        out.state(figures)?;
        out.gauge("epoch", "The last epoch that all workers have ended", figures.epoch().0)?;
        out.gauge("epochs_in_flight", "Epochs ended but not yet committed", figures.epochs_in_flight())?;
        let duration = figures.checkpoint_duration().as_secs_f64();
        out.float("checkpoint_duration_seconds", "How long the last commit took", duration)?;
        out.gauge("checkpoint_bytes", "State that the last checkpoint added", figures.checkpoint_bytes())?;
        out.gauge("attempt", "The number of the job's attempt; 0 before it has begun", figures.attempt())?;
        out.gauge("ready", "1 once the state is restored and the source is being read", u64::from(figures.ready()))?;
        figures.more_figures().iter().try_for_each(|figure| out.figure(figure))
    }
}

struct Writer<'a, 'e> {
    encoder: &'a mut DescriptorEncoder<'e>,
}

impl Writer<'_, '_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let encoder = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let encoder = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder)
    }

    fn float(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let encoder = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn figure(&mut self, figure: &Figure) -> fmt::Result {
        let kind = match figure.kind {
            FigureKind::Counter => MetricType::Counter,
            FigureKind::Gauge => MetricType::Gauge,
        };
        let encoder = self.encoder.encode_descriptor(figure.name, figure.help, None, kind)?;
        match figure.kind {
            FigureKind::Counter => ConstCounter::new(figure.value).encode(encoder),
            FigureKind::Gauge => ConstGauge::new(figure.value).encode(encoder),
        }
    }

    fn committed(&mut self, figures: &JobMetrics) -> fmt::Result {
        let committed = figures.committed();
        let totals = committed.totals;
        let outcomes = [
            ("counted", totals.counted),
            ("duplicate", totals.duplicate),
            ("late", totals.late),
            ("future", totals.future),
            ("rejected", totals.rejected),
        ];
        let help = "What became of all records that the job has read, as committed";
        let mut family = self.encoder.encode_descriptor("committed_records", help, None, MetricType::Counter)?;
        for (outcome, records) in outcomes {
            ConstCounter::new(records).encode(family.encode_family(&[("outcome", outcome)])?)?;
        }
        self.gauge("last_committed_epoch", "The last committed epoch", committed.epoch.0)?;
        self.gauge("committed_state_bytes", "State that a restart would read", committed.state_bytes)
    }

    /// There is no watermark before the first click, and none worth showing once it has gone to the end of time.
    fn watermark(&mut self, figures: &JobMetrics) -> fmt::Result {
        let Some(watermark_ms) =
            figures.watermark_ms().filter(|watermark| *watermark < weir_dataflow::MAX_EVENT_TIME_MS)
        else {
            return Ok(());
        };
        let lag_seconds = (now_ms() - watermark_ms) as f64 / 1000.0;
        self.float("watermark_seconds", "The watermark, unix time", watermark_ms as f64 / 1000.0)?;
        self.float("watermark_lag_seconds", "How far the watermark is behind the wall clock", lag_seconds)
    }

    fn lag(&mut self, figures: &JobMetrics) -> fmt::Result {
        let help = "How far a partition is behind its log's end, in the unit of its offsets";
        let mut family = self.encoder.encode_descriptor("source_lag", help, None, MetricType::Gauge)?;
        for (partition, lag) in figures.source_lag() {
            let label = [("partition", partition.to_string())];
            ConstGauge::new(i64::try_from(lag).unwrap_or(i64::MAX)).encode(family.encode_family(&label)?)?;
        }
        Ok(())
    }

    fn state(&mut self, figures: &JobMetrics) -> fmt::Result {
        let state = figures.state();
        let mut bytes =
            self.encoder.encode_descriptor("state_bytes", "State in memory, by kind", None, MetricType::Gauge)?;
        for (kind, size) in &state {
            let gauge = ConstGauge::new(i64::try_from(size.bytes).unwrap_or(i64::MAX));
            gauge.encode(bytes.encode_family(&[("kind", *kind)])?)?;
        }
        let mut entries =
            self.encoder.encode_descriptor("state_entries", "Entries of state, by kind", None, MetricType::Gauge)?;
        for (kind, size) in &state {
            let gauge = ConstGauge::new(i64::try_from(size.entries).unwrap_or(i64::MAX));
            gauge.encode(entries.encode_family(&[("kind", *kind)])?)?;
        }
        Ok(())
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_has_not_begun_has_all_its_figures() {
        let text = Exposition::new("clicks", Arc::default()).text().unwrap();
        for line in [
            "weir_read_total{job=\"clicks\"} 0",
            "weir_committed_records_total{job=\"clicks\",outcome=\"counted\"} 0",
            "weir_last_committed_epoch{job=\"clicks\"} 0",
            "weir_epochs_in_flight{job=\"clicks\"} 0",
            "weir_checkpoint_duration_seconds{job=\"clicks\"} 0.0",
            "weir_ready{job=\"clicks\"} 0",
        ] {
            assert!(text.lines().any(|there| there == line), "`{line}` is missing from\n{text}");
        }
        assert!(!text.contains("weir_watermark_seconds"), "{text}");
    }
}
