//! What the sink is doing: set by its thread and its workers, read by whoever serves figures.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use weir_dataflow::{Figure, FigureKind};

/// The figures of one process.
#[derive(Debug, Default)]
pub struct ClickHouseMetrics {
    pub(super) backlog_rows: AtomicU64,
    pub(super) backlog_bytes: AtomicU64,
    pub(super) backlog_checkpoints: AtomicU64,
    pub(super) inserts: AtomicU64,
    pub(super) inserted_rows: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) declined_rows: AtomicU64,
    pub(super) last_success_ms: AtomicI64,
}

impl ClickHouseMetrics {
    /// Checkpoints whose rows are not known to be in ClickHouse.
    #[must_use]
    pub fn backlog_checkpoints(&self) -> u64 {
        self.backlog_checkpoints.load(Ordering::Relaxed)
    }

    /// Inserts and questions that failed so far; all of them were or will be repeated.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Inserts that ClickHouse acknowledged.
    #[must_use]
    pub fn inserts(&self) -> u64 {
        self.inserts.load(Ordering::Relaxed)
    }

    /// All of them, by name.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        use FigureKind::{Counter, Gauge};
        let of = |name, help, kind, value: &AtomicU64| Figure {
            name,
            help,
            kind,
            value: value.load(Ordering::Relaxed) as f64,
        };
        let last_success = self.last_success_ms.load(Ordering::Relaxed) as f64 / 1000.0;
        vec![
            of("clickhouse_backlog_rows", "Rows waiting for ClickHouse", Gauge, &self.backlog_rows),
            of("clickhouse_backlog_bytes", "Bytes staged for ClickHouse", Gauge, &self.backlog_bytes),
            of(
                "clickhouse_backlog_checkpoints",
                "Checkpoints whose rows wait for ClickHouse",
                Gauge,
                &self.backlog_checkpoints,
            ),
            of("clickhouse_inserts", "Inserts that ClickHouse acknowledged", Counter, &self.inserts),
            of("clickhouse_inserted_rows", "Rows in these inserts", Counter, &self.inserted_rows),
            of("clickhouse_failures", "Requests to ClickHouse that failed; they are repeated", Counter, &self.failures),
            of(
                "clickhouse_declined_rows",
                "Rows of windows after the year 2099, which are not written to ClickHouse",
                Counter,
                &self.declined_rows,
            ),
            Figure {
                name: "clickhouse_last_success_seconds",
                help: "When ClickHouse last had everything it was given, unix time; 0 before",
                kind: Gauge,
                value: last_success,
            },
        ]
    }
}
