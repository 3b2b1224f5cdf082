//! ClickHouse keeps the contract, on the oldest server and on the current engine.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use weir_checkpoints::{Epoch, Store};
use weir_connectors::clickhouse::{ClickHouseMetrics, ClickHouseReader, ClickHouseSink, LATEST_MS};
use weir_connectors::memory::{MemoryStore, Unreliable};
use weir_dataflow::{Row, Window, WindowQuery, WindowRow};

use crate::clickhouse_engines::{Engine, Server, wait_until};
use crate::contract::{self, Subject};
use crate::rows::describe;

#[test]
fn the_oldest_server_keeps_the_contract() {
    check(Engine::Oldest);
}

#[test]
fn the_current_engine_keeps_the_contract() {
    check(Engine::Current);
}

fn check(engine: Engine) {
    let server = Server::start(engine);
    let subjects = Cell::new(0);
    let schedules = 6;
    contract::check_some(
        &move |seed, faults| {
            subjects.set(subjects.get() + 1);
            let config = server.config(&format!("contract-{}", subjects.get()), "contract");
            let store = Arc::new(Unreliable::new(MemoryStore::new(), seed, faults));
            let manifests = Arc::clone(&store);
            let newest: Rc<RefCell<Option<Arc<ClickHouseMetrics>>>> = Rc::default();
            let reader = ClickHouseReader::new(config.clone());
            let shown = Rc::clone(&newest);
            Subject {
                factory: Box::new(move || {
                    let sink = ClickHouseSink::new(config.clone(), store.clone(), Arc::default());
                    *newest.borrow_mut() = Some(sink.metrics());
                    Box::new(sink)
                }),
                visible: Box::new(move || {
                    let metrics = shown.borrow().clone().unwrap();
                    wait_until("everything inserted", || metrics.backlog_checkpoints() == 0);
                    visible(&reader)
                }),
                store_manifest: Some(Box::new(move |name, bytes| manifests.inner().put(name, bytes).unwrap())),
                latest_ms: LATEST_MS,
            }
        },
        schedules,
    );
}

fn visible(reader: &ClickHouseReader) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let of = |window: Window| {
        let query =
            WindowQuery { ads: Vec::new(), window, start_ms: 0, end_ms: LATEST_MS, region: None, sketches: true };
        runtime.block_on(reader.windows(&query)).unwrap()
    };
    let rows = Window::ALL.into_iter().flat_map(of);
    let described = rows.map(|row| {
        assert!(row.is_final);
        describe(&Row::Window(WindowRow {
            ad_id: &row.ad_id,
            region: row.region.as_deref(),
            window: row.window,
            start_ms: row.start_ms,
            click_count: row.click_count,
            unique_users: row.unique_users,
            user_sketch: &row.user_sketch,
            epoch: Epoch(row.epoch),
        }))
    });
    described.collect()
}
