//! What a misused ingest service costs in memory. A test binary of its own with one test: nothing else may grow meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "the client and the server are those of the other tests")]

#[path = "ingest/client.rs"]
mod client;
#[path = "ingest/gate.rs"]
mod gate;
#[path = "ingest/server.rs"]
mod server;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use client::{Answer, post_json, request};
use server::Server;

const CLICK: &str = r#"{"ad_id":"a","user_id":"u","timestamp":1790000000,"click_id":"c-1"}"#;

#[test]
fn misuse_costs_little_memory() {
    ten_thousand_idle_connections_cost_little();
    a_bomb_is_refused_before_it_has_gone_off();
}

fn ten_thousand_idle_connections_cost_little() {
    let server = Server::start(&[]);
    // Both ends are in this process: with its own files that is as many as most systems allow.
    let wanted = (open_files_allowed().saturating_sub(500) / 2).min(10_000);
    let before = resident_bytes();
    let idle: Vec<TcpStream> = (0..wanted).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let started = Instant::now();
    post_json(server.address, CLICK).expect(202);
    assert!(started.elapsed() < Duration::from_secs(10));
    let each = resident_bytes().saturating_sub(before) / wanted as u64;
    println!("{wanted} idle connections, {each} bytes each");
    assert!(each < 20_000, "{each} bytes for an idle connection");
    drop(idle);
}

fn open_files_allowed() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

fn resident_bytes() -> u64 {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn a_bomb_is_refused_before_it_has_gone_off() {
    let server = Server::start(&["ingest.limits.inflated_bytes=1000000", "ingest.limits.stream_bytes=2000000"]);
    let zeros = vec![b' '; 200_000_000];
    let before = resident_bytes();
    for bomb in [("gzip", gzip(&zeros)), ("zstd", zstd::encode_all(&zeros[..], 3).unwrap())] {
        compressed(&server, "application/json", bomb.0, &bomb.1).expect_problem(413, "too_large");
        compressed(&server, "application/x-ndjson", bomb.0, &bomb.1).expect_problem(413, "too_large");
    }
    assert!(resident_bytes() < before + 60_000_000, "{} bytes more", resident_bytes() - before);
    assert_eq!(server.stop().len(), 0);
}

fn compressed(server: &Server, media_type: &str, encoding: &str, body: &[u8]) -> Answer {
    let headers = [("content-type", media_type), ("content-encoding", encoding)];
    request(server.address, "POST", "/v1/clicks", &headers, body)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
