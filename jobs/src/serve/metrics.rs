//! What is answered, in figures.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of latencies in seconds: from a tenth of a millisecond to ten seconds.
const LATENCIES_SECONDS: [f64; 15] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathCode {
    path: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Path {
    path: &'static str,
}

#[derive(Debug, Clone)]
struct Latencies;

impl MetricConstructor<Histogram> for Latencies {
    fn new_metric(&self) -> Histogram {
        Histogram::new(LATENCIES_SECONDS)
    }
}

/// Counters and histograms of one query service, since it started.
#[derive(Debug)]
pub struct ServeMetrics {
    requests: Family<PathCode, Counter>,
    seconds: Family<Path, Histogram, Latencies>,
    from_cache: Counter,
}

impl Default for ServeMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(Latencies),
            from_cache: Counter::default(),
        }
    }
}

impl ServeMetrics {
    pub(super) fn answered(&self, path: &str, status: StatusCode, after: Duration) {
        let path = match path {
            "/v1/stats" => "/v1/stats",
            "/v1/top" => "/v1/top",
            "/v1/uniques" => "/v1/uniques",
            _ => "/v1/status",
        };
        self.requests.get_or_create(&PathCode { path, code: status.as_u16() }).inc();
        self.seconds.get_or_create(&Path { path }).observe(after.as_secs_f64());
    }

    pub(super) fn answered_from_cache(&self) {
        self.from_cache.inc();
    }

    /// Adds the figures to others.
    pub(crate) fn register(self: &Arc<Self>, root: &mut Registry) {
        let registry = root.sub_registry_with_prefix("weir_serve");
        registry.register("requests", "Questions by path and by the status of their answer", self.requests.clone());
        registry.register("request_duration_seconds", "Time from a question to its answer", self.seconds.clone());
        registry.register("answers_from_cache", "Answers that were still true", self.from_cache.clone());
    }
}
