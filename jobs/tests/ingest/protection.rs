//! Who may send how much, and what happens when it is too much.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Answer, post, post_json, request};
use crate::gate::Mode;
use crate::server::{Server, gated};

fn click(id: u32) -> String {
    format!(r#"{{"ad_id":"a","user_id":"u","timestamp":1790000000,"click_id":"{id}"}}"#)
}

fn post_from(address: SocketAddr, client: &str, id: u32) -> Answer {
    let headers = [("content-type", "application/json"), ("x-forwarded-for", client)];
    request(address, "POST", "/v1/clicks", &headers, click(id).as_bytes())
}

fn number(answer: &Answer, header: &str) -> u64 {
    answer.header(header).unwrap_or_else(|| panic!("no {header} in {answer:?}")).parse().unwrap()
}

#[test]
fn a_client_has_a_rate_and_is_told_how_much_is_left() {
    let server = Server::start(&[
        "ingest.rate.clicks_per_second=1",
        "ingest.rate.burst=5",
        "ingest.proxy.trusted=127.0.0.0/8,::1",
    ]);
    let answer = post_from(server.address, "192.0.2.1", 1).expect(202);
    assert_eq!((number(&answer, "ratelimit-limit"), number(&answer, "ratelimit-remaining")), (5, 4));
    for id in 2..6 {
        post_from(server.address, "192.0.2.1", id).expect(202);
    }
    let answer = post_from(server.address, "192.0.2.1", 6).expect_problem(429, "rate_limited");
    assert_eq!(number(&answer, "ratelimit-remaining"), 0);
    assert!(number(&answer, "retry-after") >= 1 && number(&answer, "ratelimit-reset") >= 1);
    // Another client has its own limit; and a batch counts its clicks.
    let batch = format!("[{},{},{}]", click(10), click(11), click(12));
    let headers = [("content-type", "application/json"), ("x-forwarded-for", "192.0.2.2")];
    request(server.address, "POST", "/v1/clicks", &headers, batch.as_bytes()).expect(200);
    request(server.address, "POST", "/v1/clicks", &headers, batch.as_bytes()).expect_problem(429, "rate_limited");
    thread::sleep(Duration::from_millis(1500));
    post_from(server.address, "192.0.2.1", 7).expect(202);
    assert_eq!(server.stop().len(), 9);
}

#[test]
fn keys_let_in_and_have_limits_of_their_own() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    // The hash of `secret-1`.
    let hash = "f7e7c36e458e80e6b6a2c67d0a9ec09bd718dadd7bfa8d6bf6e7ad526e46c2f7";
    let entry = |limits: &str| format!("[[key]]\nname = \"sdk\"\nsha256 = \"{hash}\"\n{limits}");
    fs::write(keys.path(), entry("clicks_per_second = 1\nburst = 2\n")).unwrap();
    let file = format!("ingest.auth.keys_file={}", keys.path().display());
    let server = Server::start(&[&file]);
    let with = |name: &str, value: &str, id: u32| {
        let headers = [("content-type", "application/json"), (name, value)];
        request(server.address, "POST", "/v1/clicks", &headers, click(id).as_bytes())
    };
    let refused = post_json(server.address, click(1)).expect_problem(401, "unauthorized");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    with("authorization", "Bearer secret-2", 1).expect_problem(401, "unauthorized");
    with("x-api-key", "", 1).expect_problem(401, "unauthorized");
    with("authorization", "Bearer secret-1", 1).expect(202);
    let last = with("x-api-key", "secret-1", 2).expect(202);
    assert_eq!(number(&last, "ratelimit-remaining"), 0);
    with("x-api-key", "secret-1", 3).expect_problem(429, "rate_limited");

    // The file changes: the limit is gone, then the key.
    let rewrite = |text: &str, seconds: u64| {
        fs::write(keys.path(), text).unwrap();
        let later = std::time::SystemTime::now() + Duration::from_secs(seconds);
        fs::File::options().write(true).open(keys.path()).unwrap().set_modified(later).unwrap();
    };
    rewrite(&entry(""), 10);
    eventually(|| with("x-api-key", "secret-1", 4).header("ratelimit-limit").is_none());
    rewrite("", 20);
    eventually(|| with("x-api-key", "secret-1", 5).status == 401);
}

#[track_caller]
fn eventually(mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(15), "it never was");
        thread::sleep(Duration::from_millis(50));
    }
}

fn ready(address: SocketAddr) -> bool {
    request(address, "GET", "/readyz", &[], b"").status == 200
}

#[test]
fn a_full_buffer_sheds_until_it_is_half_empty() {
    let (server, gate) = gated(&[]);
    gate.set_load(1, 1000);
    eventually(|| ready(server.address));
    gate.set_load(950, 1000);
    eventually(|| post_json(server.address, click(1)).status == 503);
    let refused = post_json(server.address, click(1)).expect_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(!ready(server.address));
    let figures = request(server.address, "GET", "/metrics", &[], b"").body;
    assert!(String::from_utf8(figures).unwrap().contains("weir_ingest_shedding{cause=\"buffer\"} 1"));
    gate.set_load(600, 1000);
    thread::sleep(Duration::from_millis(400));
    post_json(server.address, click(1)).expect(503);
    gate.set_load(100, 1000);
    eventually(|| post_json(server.address, click(2)).status == 202);
}

#[test]
fn a_job_that_is_too_far_behind_sheds() {
    let lag = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let told = std::sync::Arc::clone(&lag);
    let server = Server::lagging(
        &["ingest.shed.max_lag=1000", "job.name=clicks"],
        Box::new(move || Some(told.load(std::sync::atomic::Ordering::Relaxed))),
    );
    post_json(server.address, click(1)).expect(202);
    lag.store(1001, std::sync::atomic::Ordering::Relaxed);
    eventually(|| post_json(server.address, click(2)).status == 503);
    let refused = post_json(server.address, click(2)).expect_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("10"));
    lag.store(10, std::sync::atomic::Ordering::Relaxed);
    eventually(|| post_json(server.address, click(3)).status == 202);
}

#[test]
fn a_full_disk_sheds() {
    let server = Server::start(&["ingest.shed.min_free_bytes=1000000000000000000"]);
    eventually(|| post_json(server.address, click(1)).status == 503);
    assert_eq!(post_json(server.address, click(1)).header("retry-after"), Some("30"));
}

#[test]
fn a_log_that_takes_nothing_is_left_alone() {
    let (server, gate) = gated(&[]);
    gate.set(Mode::Fail);
    for id in 0..40 {
        post_json(server.address, click(id)).expect_problem(503, "overloaded");
    }
    assert!(gate.appended() < 25, "{} records came to a log that takes nothing", gate.appended());
    gate.set(Mode::Pass);
    eventually(|| post_json(server.address, click(100)).status == 202);
    post(server.address, "application/x-ndjson", click(101)).expect(200);
    assert_eq!(server.stop().len(), 2);
}

/// The log fails until it is left alone, and works from then on.
fn recovering() -> (Server, std::sync::Arc<crate::gate::Gate>) {
    let (server, gate) = gated(&[]);
    eventually(|| ready(server.address));
    gate.set(Mode::Fail);
    // On a slow machine it may be half open again before the last of these.
    eventually(|| {
        for id in 0..40 {
            post_json(server.address, click(id)).expect_problem(503, "overloaded");
        }
        !ready(server.address)
    });
    gate.set(Mode::Pass);
    (server, gate)
}

#[test]
fn a_log_that_works_again_is_found_by_batches_alone() {
    for media_type in ["application/json", "application/x-ndjson"] {
        let (server, _gate) = recovering();
        let batch = if media_type == "application/json" { format!("[{}]", click(100)) } else { click(100) };
        eventually(|| post(server.address, media_type, &batch).status == 200);
        assert_eq!(server.stop().len(), 1);
    }
}

#[test]
fn a_log_that_works_again_is_found_among_requests_that_bring_nothing() {
    let (server, _gate) = recovering();
    eventually(|| {
        let broken = post_json(server.address, "{}").status;
        assert!(matches!(broken, 400 | 503), "{broken}");
        post_json(server.address, click(100)).status == 202
    });
}

#[test]
fn who_is_sent_nothing_becomes_ready_again() {
    let (server, _gate) = recovering();
    eventually(|| ready(server.address));
    post_json(server.address, click(100)).expect(202);
}
