//! The Delta tables keep the contract.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use weir_connectors::delta::{DeltaConfig, DeltaSink, Table};
use weir_connectors::memory::{MemoryStore, Unreliable};

use crate::contract::{self, Subject};
use crate::delta_reader;

#[test]
fn clicks_raw_keeps_the_contract() {
    check(Table::Raw);
}

#[test]
fn clicks_late_keeps_the_contract() {
    check(Table::Late);
}

#[test]
fn clicks_agg_keeps_the_contract() {
    check(Table::Agg);
}

fn check(table: Table) {
    contract::check(&move |seed, faults| {
        let store = Arc::new(Unreliable::new(MemoryStore::new(), seed, faults));
        let reader = store.clone();
        Subject {
            factory: Box::new(move || Box::new(DeltaSink::new(table, config(), store.clone()))),
            visible: Box::new(move || delta_reader::rows(reader.inner(), table.name())),
            store_manifest: None,
            latest_ms: weir_dataflow::MAX_EVENT_TIME_MS,
        }
    });
}

/// Files are written after a few stages: for their size now and then, or for their age. Time passes as it is looked at.
fn config() -> DeltaConfig {
    let now_ms = AtomicI64::new(1_736_952_000_000);
    DeltaConfig {
        extra: true,
        target_file_bytes: 6_000,
        roll_interval_ms: 12_000,
        clock: Arc::new(move || now_ms.fetch_add(1_000, Ordering::Relaxed)),
        ..DeltaConfig::new("contract", "clicks")
    }
}
