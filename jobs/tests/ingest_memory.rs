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
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use client::{Answer, post_json, request};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use server::Server;

const CLICK: &str = r#"{"ad_id":"a","user_id":"u","timestamp":1790000000,"click_id":"c-1"}"#;

#[test]
fn misuse_costs_little_memory() {
    ten_thousand_idle_connections_cost_little();
    a_bomb_is_refused_before_it_has_gone_off();
}

/// The server is a process of its own, and starts with the few open files that most systems give.
fn ten_thousand_idle_connections_cost_little() {
    const WANTED: u64 = 10_000;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let wanted = limit.maximum.map_or(WANTED, |most| WANTED.min(most.saturating_sub(300)));
    assert!(wanted > 2_000, "this system lets a process have {wanted} connections: the test shows nothing");

    let folder = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let maximum = limit.maximum.map_or_else(|| "unlimited".to_owned(), |most| most.to_string());
    let mut server = Command::new("prlimit")
        .arg(format!("--nofile=1024:{maximum}"))
        .args([env!("CARGO_BIN_EXE_weir"), "ingest", "-D", "source.kind=ndjson"])
        .args(["-D", &format!("source.url={}", folder.path().display())])
        .args(["-D", &format!("ingest.listen={address}")])
        .spawn()
        .unwrap();
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "the server does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    post_json(address, CLICK).expect(202);
    let before = resident_bytes_of(&server.id().to_string());
    let idle: Vec<TcpStream> = (0..wanted).map(|_| TcpStream::connect(address).unwrap()).collect();
    let connected = Instant::now();
    while open_connections(address) < wanted {
        assert!(connected.elapsed() < Duration::from_secs(20), "{} of {wanted} were taken", open_connections(address));
        std::thread::sleep(Duration::from_millis(50));
    }
    post_json(address, CLICK).expect(200);
    let each = resident_bytes_of(&server.id().to_string()).saturating_sub(before) / wanted;
    println!("{wanted} idle connections, {each} bytes each");
    drop(idle);
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(each < 20_000, "{each} bytes for an idle connection");
}

fn open_connections(address: SocketAddr) -> u64 {
    let figures = String::from_utf8(request(address, "GET", "/metrics", &[], b"").body).unwrap();
    let line = figures.lines().find(|line| line.starts_with("weir_ingest_connections ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn resident_bytes() -> u64 {
    resident_bytes_of("self")
}

fn resident_bytes_of(process: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
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
