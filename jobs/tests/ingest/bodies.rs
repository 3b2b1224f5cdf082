//! Bodies: compressed, chunked, long, broken, and larger than allowed.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Client, post, request, request_head};
use crate::server::Server;

const NDJSON: &str = "application/x-ndjson";

fn clicks(ids: std::ops::Range<u32>) -> String {
    let click = |id| format!(r#"{{"ad_id":"a","user_id":"u","timestamp":1790000000,"click_id":"{id}"}}"#);
    ids.map(|id| click(id) + "\n").collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn compressed(server: &Server, media_type: &str, encoding: &str, body: &[u8]) -> crate::client::Answer {
    let headers = [("content-type", media_type), ("content-encoding", encoding)];
    request(server.address, "POST", "/v1/clicks", &headers, body)
}

#[test]
fn bodies_may_be_compressed() {
    let server = Server::start(&[]);
    let array = |text: String| format!("[{}]", text.trim_end().replace('\n', ","));
    let lines = clicks(0..5000);
    let accepted = |answer: crate::client::Answer| answer.expect(200).json()["accepted"].as_u64();
    assert_eq!(accepted(compressed(&server, NDJSON, "gzip", &gzip(lines.as_bytes()))), Some(5000));
    let more = array(clicks(5000..9000));
    assert_eq!(
        accepted(compressed(&server, "application/json", "zstd", &zstd::encode_all(more.as_bytes(), 3).unwrap())),
        Some(4000)
    );
    let one = clicks(9000..9001);
    compressed(&server, "application/json", "GZIP", &gzip(one.as_bytes())).expect(202);
    compressed(&server, "application/json", "identity", one.as_bytes()).expect(200);
    compressed(&server, NDJSON, "br", b"x").expect_problem(415, "unsupported_media_type");
    compressed(&server, NDJSON, "gzip, gzip", b"x").expect_problem(415, "unsupported_media_type");
    assert_eq!(server.stop().len(), 9001);
}

#[test]
fn what_breaks_off_is_refused() {
    let server = Server::start(&[]);
    let whole = gzip(clicks(0..100).as_bytes());
    compressed(&server, "application/json", "gzip", &whole[..whole.len() - 5]).expect_problem(400, "invalid_body");
    compressed(&server, "application/json", "zstd", b"no zstd").expect_problem(400, "invalid_body");
    // Lines that came before the break are taken; the whole body can be sent again.
    compressed(&server, NDJSON, "gzip", &whole[..whole.len() - 5]).expect_problem(400, "invalid_body");
    let again = compressed(&server, NDJSON, "gzip", &whole).expect(200).json();
    assert_eq!(again["accepted"].as_u64().unwrap() + again["duplicate"].as_u64().unwrap(), 100);
    assert_eq!(server.stop().len(), 100);
}

#[test]
fn sizes_are_limited() {
    let server = Server::start(&["ingest.limits.body_bytes=100000", "ingest.limits.clicks=10"]);
    let long = format!("[{}]", "1,".repeat(60_000));
    post(server.address, "application/json", &long).expect_problem(413, "too_large");
    // The same without a length: it is found out on the way.
    let mut client = Client::connect(server.address);
    client.send(
        "POST /v1/clicks HTTP/1.1\r\nhost: w\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    for piece in long.as_bytes().chunks(10_000) {
        client.send(format!("{:x}\r\n", piece.len())).send(piece).send("\r\n");
    }
    client.send("0\r\n\r\n");
    client.answer().unwrap().expect_problem(413, "too_large");
    post(server.address, "application/json", "[1,2,3,4,5,6,7,8,9,10]").expect(200);
    post(server.address, "application/json", "[1,2,3,4,5,6,7,8,9,10,11]").expect_problem(413, "too_large");
}

#[test]
fn lines_are_taken_as_they_come() {
    let server = Server::start(&["ingest.limits.body_bytes=100000"]);
    let mut client = Client::connect(server.address);
    client.send(format!(
        "POST /v1/clicks HTTP/1.1\r\nhost: w\r\ncontent-type: {NDJSON}\r\ntransfer-encoding: chunked\r\n\r\n"
    ));
    let text = clicks(0..30_000);
    let (first, rest) = text.as_bytes().split_at(text.len() / 2);
    let mut send = |bytes: &[u8]| {
        for piece in bytes.chunks(9_973) {
            client.send(format!("{:x}\r\n", piece.len())).send(piece).send("\r\n");
        }
    };
    send(first);
    // The first half is in the log while the second one is still to come.
    let started = Instant::now();
    while server.clicks_so_far() < 5_000 {
        assert!(started.elapsed() < Duration::from_secs(20), "{} clicks", server.clicks_so_far());
        std::thread::sleep(Duration::from_millis(20));
    }
    send(rest);
    client.send("0\r\n\r\n");
    let verdict = client.answer().unwrap().expect(200).json();
    assert_eq!(verdict["accepted"], 30_000, "{verdict}");
    let mut ids: Vec<u32> = server.stop().iter().map(id).collect();
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(0..30_000));
}

fn id(click: &Value) -> u32 {
    click["click_id"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_body_that_does_not_go_on_is_given_up() {
    let server = Server::start(&["ingest.limits.body_timeout=200ms"]);
    for media_type in ["application/json", NDJSON] {
        let mut client = Client::connect(server.address);
        client.send(format!(
            "POST /v1/clicks HTTP/1.1\r\nhost: w\r\ncontent-type: {media_type}\r\ncontent-length: 1000\r\n\r\n{{"
        ));
        client.answer().unwrap().expect_problem(408, "timeout");
    }
}

#[test]
fn bodies_together_have_a_limit() {
    let server = Server::start(&["ingest.limits.memory_bytes=1048576", "ingest.limits.inflated_bytes=1048576"]);
    let head =
        "POST /v1/clicks HTTP/1.1\r\nhost: w\r\ncontent-type: application/json\r\ncontent-length: 900000\r\n\r\n";
    let mut waiting: Vec<Client> = (0..2).map(|_| Client::connect(server.address)).collect();
    for client in &mut waiting {
        client.send(head).send(vec![b' '; 800_000]);
    }
    let refused = waiting.iter_mut().map(|client| {
        client.stream.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
        client.answer()
    });
    let refused: Vec<_> = refused.flatten().collect();
    // One of two would fit, but the second one may ask for more before the first one has given back what it had.
    assert!(!refused.is_empty(), "both had room");
    for answer in refused {
        assert_eq!(answer.expect_problem(503, "overloaded").header("retry-after"), Some("1"));
    }
    drop(waiting);
    let started = Instant::now();
    while post(server.address, "application/json", clicks(0..1)).status != 202 {
        assert!(started.elapsed() < Duration::from_secs(10), "the memory did not come back");
    }
}

#[test]
fn who_is_refused_early_keeps_the_connection_or_is_told_that_it_ends() {
    let server = Server::start(&["ingest.limits.body_bytes=65536", "ingest.limits.stream_bytes=65536"]);
    let mut client = Client::connect(server.address);
    for _ in 0..5 {
        let answer = client.request("POST", "/v1/clicks", &[("content-type", "application/xml")], &[b'x'; 60_000]);
        assert_eq!((answer.status, answer.header("connection")), (415, None));
    }
    // More than would be read to be thrown away; it is announced, and not sent.
    client.send(request_head("POST", "/v1/clicks", &[("content-type", NDJSON)], 200_000));
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    assert!(client.answer().is_none());
}
