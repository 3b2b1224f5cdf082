//! What ingest does, in figures.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use weir_connectors::log::Log;
use weir_dataflow::RejectReason;

use super::overload::{Cause, Overload};
use super::recent::Recent;
use crate::http::budget::Budget;
use crate::serve::IngestStatus;

/// Upper bounds of latencies in seconds: from a quarter of a millisecond to ten seconds.
const LATENCIES_SECONDS: [f64; 15] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Counters and histograms of one ingest process, since it started.
#[derive(Debug)]
pub(super) struct IngestMetrics {
    requests: Family<Code, Counter>,
    accepted: Counter,
    duplicate: Counter,
    rejected: Family<Reason, Counter>,
    request_seconds: Histogram,
    log_seconds: Histogram,
    body_bytes: Counter,
}

impl Default for IngestMetrics {
    fn default() -> Self {
        let rejected = Family::default();
        for reason in RejectReason::ALL {
            let _at_zero: &Counter = &rejected.get_or_create(&Reason { reason: reason.as_str() });
        }
        Self {
            requests: Family::default(),
            accepted: Counter::default(),
            duplicate: Counter::default(),
            rejected,
            request_seconds: Histogram::new(LATENCIES_SECONDS),
            log_seconds: Histogram::new(LATENCIES_SECONDS),
            body_bytes: Counter::default(),
        }
    }
}

impl IngestMetrics {
    pub(super) fn answered(&self, status: StatusCode, after: Duration) {
        self.requests.get_or_create(&Code { code: status.as_u16() }).inc();
        self.request_seconds.observe(after.as_secs_f64());
    }

    pub(super) fn taken(&self, accepted: u64, duplicate: u64) {
        self.accepted.inc_by(accepted);
        self.duplicate.inc_by(duplicate);
    }

    pub(super) fn rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&Reason { reason }).inc();
    }

    /// The counts for people to look at.
    pub(super) fn status(&self, overload: &Overload) -> IngestStatus {
        let rejected =
            RejectReason::ALL.map(|reason| self.rejected.get_or_create(&Reason { reason: reason.as_str() }).get());
        IngestStatus {
            accepted: self.accepted.get(),
            duplicate: self.duplicate.get(),
            rejected: rejected.iter().sum(),
            shedding: Cause::ALL.into_iter().find(|cause| overload.is_raised(*cause)).map(Cause::as_str),
        }
    }

    pub(super) fn in_log(&self, after: Duration) {
        self.log_seconds.observe(after.as_secs_f64());
    }

    pub(super) fn body(&self, bytes: usize) {
        self.body_bytes.inc_by(bytes as u64);
    }
}

/// Everything that is measured at the moment it is asked for.
pub(super) struct Gauges {
    pub(super) log: Arc<dyn Log>,
    pub(super) recent: Arc<Recent>,
    pub(super) overload: Arc<Overload>,
    pub(super) budget: Budget,
    pub(super) connections: Arc<AtomicUsize>,
}

/// All figures of ingest.
pub(super) fn registry(metrics: &IngestMetrics, gauges: Gauges) -> Registry {
    let mut root = Registry::default();
    let registry = root.sub_registry_with_prefix("weir_ingest");
    registry.register("requests", "Requests by the status of their answer", metrics.requests.clone());
    registry.register("clicks_accepted", "Clicks that went into the log", metrics.accepted.clone());
    registry.register("clicks_duplicate", "Clicks that were in the log already", metrics.duplicate.clone());
    registry.register("clicks_rejected", "Items that are no clicks, by reason", metrics.rejected.clone());
    registry.register("body_bytes", "Bytes of bodies, decompressed", metrics.body_bytes.clone());
    let requests = "Time from a request's head to its answer";
    registry.register("request_duration_seconds", requests, metrics.request_seconds.clone());
    let appends = "Time until the log has a group of clicks";
    registry.register("log_append_duration_seconds", appends, metrics.log_seconds.clone());
    registry.register_collector(Box::new(gauges));
    root
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let load = self.log.load();
        gauge(&mut encoder, "queue_records", "Clicks on their way into the log", load.records)?;
        gauge(&mut encoder, "queue_bytes", "Their bytes", load.bytes)?;
        gauge(&mut encoder, "queue_capacity_bytes", "How many bytes may be on their way", load.capacity_bytes)?;
        gauge(&mut encoder, "recent_ids", "Click ids that are remembered", self.recent.len() as u64)?;
        let connections = self.connections.load(Ordering::Relaxed) as u64;
        gauge(&mut encoder, "connections", "Open connections", connections)?;
        gauge(&mut encoder, "body_memory_bytes", "Memory that bodies take", self.budget.used_bytes() as u64)?;
        let help = "Click ids that were forgotten before their window was over, for want of room";
        let forgotten = ConstCounter::new(self.recent.forgotten_early());
        forgotten.encode(encoder.encode_descriptor(
            "recent_ids_forgotten_early",
            help,
            None,
            MetricType::Counter,
        )?)?;
        let help = "Whether clicks are refused with 503, by cause";
        let mut shedding = encoder.encode_descriptor("shedding", help, None, MetricType::Gauge)?;
        for cause in Cause::ALL {
            let raised = ConstGauge::new(i64::from(self.overload.is_raised(cause)));
            raised.encode(shedding.encode_family(&[("cause", cause.as_str())])?)?;
        }
        Ok(())
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}
