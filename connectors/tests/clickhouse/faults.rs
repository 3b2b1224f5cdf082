//! What goes wrong between a job and ClickHouse. Each time everything is there in the end, once.

use std::time::Duration;

use weir_connectors::clickhouse::{ClickHouseConfig, Coverage};
use weir_dataflow::SinkError;

use crate::clickhouse_engines::proxy::{Fault, Proxy};
use crate::clickhouse_engines::{Engine, Server, config, wait_until};
use crate::job::Job;
use crate::on_both;

/// What passes for quiet.
const MOMENT: Duration = Duration::from_millis(400);

#[test]
fn answers_are_lost_after_success() {
    strike(21, Fault::LostAnswer);
}

#[test]
fn requests_break_off_in_the_middle() {
    strike(22, Fault::BrokenOff);
}

#[test]
fn too_many_parts() {
    strike(23, Fault::Refused(252, "Too many parts (300). Merges are processing significantly slower than inserts"));
}

#[test]
fn the_table_is_read_only() {
    strike(24, Fault::Refused(242, "Table is in readonly mode"));
}

#[test]
fn the_user_is_read_only_for_a_while() {
    strike(25, Fault::Refused(164, "Cannot execute query in readonly mode"));
}

#[test]
fn a_refusal_for_good_is_waited_out_as_well() {
    strike(26, Fault::Refused(497, "default: Not enough privileges"));
}

fn strike(seed: u64, fault: Fault) {
    on_both(|engine| {
        let server = Server::start(engine);
        let proxy = Proxy::start(server.port);
        let mut job = Job::start(config(proxy.port, "weir", "clicks"), seed);
        job.steps(10);
        proxy.set(fault);
        // The job never waits.
        job.steps(10);
        wait_until("struck three times", || proxy.struck() >= 3);
        assert!(job.sink.metrics().backlog_checkpoints() > 0);
        let held = job.committer().oldest_needed();
        assert!(held.is_some(), "the manifests of what waits are kept");
        proxy.set(Fault::None);
        job.assert_all_there(&server);
        assert!(job.sink.metrics().failures() >= 3);
        assert_eq!(job.committer().oldest_needed(), None);
        assert_eq!(job.coverage(), Coverage { from_ms: 0, until_ms: job.closed_until_ms() });
    });
}

#[test]
fn the_server_is_killed_during_inserts() {
    on_both(|engine| {
        let mut server = Server::start(engine);
        let mut job = Job::start(server.config("weir", "clicks"), 31);
        for round in 0..6 {
            job.steps(4);
            // An insert is under way, or has just ended, or is about to begin.
            job.step();
            std::thread::sleep(Duration::from_millis(4 * round));
            server.kill();
            job.steps(4);
            server.restart();
        }
        assert!(job.sink.metrics().failures() > 0);
        job.assert_all_there(&server);
        assert_eq!(job.coverage(), Coverage { from_ms: 0, until_ms: job.closed_until_ms() });
    });
}

#[test]
fn the_job_crashes_while_rows_wait() {
    on_both(|engine| {
        let mut server = Server::absent(engine);
        let mut job = Job::start(server.config("weir", "clicks"), 41);
        for _ in 0..4 {
            job.steps(6);
            // What is staged without a manifest never happened.
            job.restart().unwrap();
        }
        server.restart();
        job.assert_all_there(&server);
        assert_eq!(job.coverage(), Coverage { from_ms: 0, until_ms: job.closed_until_ms() });
        let staged = weir_checkpoints::Store::list(&*job.store, "clicks/clickhouse/").unwrap();
        assert!(staged.is_empty(), "{staged:?} are no longer needed");
    });
}

#[test]
fn a_full_backlog_makes_the_job_wait_and_loses_nothing() {
    on_both(|engine| {
        let mut server = Server::absent(engine);
        let limited = ClickHouseConfig { max_backlog_checkpoints: 8, ..server.config("weir", "clicks") };
        let mut job = Job::start(limited, 51);
        // The attempt's own manifest is the first that waits.
        job.steps(6);
        job.stage();
        let (committer, manifest) = job.committing();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| committer.commit(manifest));
            std::thread::sleep(MOMENT);
            assert!(!waiting.is_finished(), "the backlog is full");
            server.restart();
            waiting.join().unwrap().unwrap();
        });
        job.steps(10);
        job.assert_all_there(&server);
    });
}

#[test]
fn a_server_that_lost_its_data_claims_only_what_it_was_given_since() {
    on_both(|engine| {
        let mut server = Server::start(engine);
        let mut job = Job::start(server.config("weir", "clicks"), 61);
        job.steps(20);
        job.wait_until_inserted();
        let lost_ms = job.closed_until_ms();
        server.kill_and_empty();
        job.steps(3);
        server.restart();
        job.steps(70);
        job.wait_until_inserted();
        assert_eq!(job.coverage(), Coverage { from_ms: lost_ms, until_ms: job.closed_until_ms() });
        let until_ms = job.closed_until_ms();
        job.assert_there(&server, |(window, start_ms, ..)| {
            *start_ms >= lost_ms && start_ms + window.length_ms() <= until_ms
        });
    });
}

#[test]
fn a_job_with_history_claims_nothing_from_before() {
    on_both(|engine| {
        let (server, elsewhere) = (Server::start(engine), Server::start(engine));
        let mut job = Job::start(elsewhere.config("weir", "clicks"), 71);
        job.steps(12);
        job.wait_until_inserted();
        job.config = server.config("weir", "clicks");
        job.restart().unwrap();
        let from_ms = job.closed_until_ms();
        job.steps(12);
        job.wait_until_inserted();
        assert_eq!(job.coverage(), Coverage { from_ms, until_ms: job.closed_until_ms() });
    });
}

#[test]
fn a_wrong_password_stops_the_job_at_its_start() {
    let server = Server::start(Engine::Oldest);
    let mut job = Job::start(server.config("weir", "clicks"), 81);
    let password = |text: &str| Some(weir_connectors::clickhouse::Password(text.to_owned()));
    let config = ClickHouseConfig { user: Some("weir".to_owned()), ..job.config.clone() };
    job.config = ClickHouseConfig { password: password("wrong"), ..config.clone() };
    let refusal = job.restart().expect_err("the password is wrong");
    assert!(matches!(&refusal, SinkError::Refused { reason, .. } if reason.contains("Code: 193")), "{refusal}");
    job.config = ClickHouseConfig { password: password("secret"), ..config };
    job.restart().unwrap();
}
