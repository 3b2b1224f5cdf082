//! Clients that mean harm, or are broken: no panic, no 5xx but 503, and nothing that takes a place for ever.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::client::{Client, post_json, request_head};
use crate::server::Server;

const CLICK: &str = r#"{"ad_id":"a","user_id":"u","timestamp":1790000000,"click_id":"c-1"}"#;

fn json_head(length: usize) -> String {
    request_head("POST", "/v1/clicks", &[("content-type", "application/json")], length)
}

#[test]
fn a_slow_or_silent_client_is_let_go() {
    let server = Server::start(&["ingest.limits.head_timeout=300ms", "ingest.limits.body_timeout=300ms"]);
    let half_a_head = &json_head(10)[..30];
    let beginnings = ["", "P", half_a_head, &json_head(100), &(json_head(100) + "{\"ad_id\":")];
    let mut clients: Vec<Client> = beginnings.iter().map(|_| Client::connect(server.address)).collect();
    for (client, beginning) in clients.iter_mut().zip(beginnings) {
        client.send(beginning);
    }
    let started = Instant::now();
    for (client, beginning) in clients.iter_mut().zip(beginnings) {
        let mut rest = Vec::new();
        let _ = client.stream.read_to_end(&mut rest);
        let text = String::from_utf8_lossy(&rest);
        assert!(rest.is_empty() || text.contains(" 408 "), "{beginning:?}: {text}");
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    post_json(server.address, CLICK).expect(202);
}

#[test]
fn a_client_that_drips_its_head_has_no_more_time_than_others() {
    let server = Server::start(&["ingest.limits.head_timeout=400ms"]);
    let mut stream = TcpStream::connect(server.address).unwrap();
    let started = Instant::now();
    while stream.write_all(b"x").is_ok() && started.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(50));
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn heads_are_limited() {
    let server = Server::start(&["ingest.limits.headers=20", "ingest.limits.head_bytes=8192"]);
    let flood: String = (0..100).map(|number| format!("x-{number}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(100_000));
    for headers in [flood, long] {
        let mut client = Client::connect(server.address);
        let _ = client.stream.write_all(format!("POST /v1/clicks HTTP/1.1\r\nhost: w\r\n{headers}\r\n").as_bytes());
        assert!(client.answer().is_none_or(|answer| answer.status == 431), "too long a head is taken");
    }
    post_json(server.address, CLICK).expect(202);
}

#[test]
fn connections_beyond_the_limit_wait_for_a_place() {
    let server = Server::start(&["ingest.limits.connections=3"]);
    let mut first: Vec<Client> = (0..3).map(|_| Client::connect(server.address)).collect();
    for (id, client) in first.iter_mut().enumerate() {
        let body = CLICK.replace("c-1", &id.to_string());
        client.send(json_head(body.len()) + &body);
        client.answer().unwrap().expect(202);
    }
    let mut waiting = Client::connect(server.address);
    waiting.send(json_head(CLICK.len()) + CLICK);
    waiting.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(waiting.answer().is_none());
    drop(first);
    waiting.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    waiting.answer().unwrap().expect(202);
}

#[test]
fn a_half_closed_connection_is_answered_or_closed() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.address);
    client.send(json_head(CLICK.len()) + CLICK);
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert!(client.answer().is_none_or(|answer| answer.status == 202));
    let mut broken = Client::connect(server.address);
    broken.send(json_head(1000) + "{");
    broken.stream.shutdown(Shutdown::Write).unwrap();
    assert!(broken.answer().is_none_or(|answer| answer.status == 400));
    post_json(server.address, CLICK.replace("c-1", "c-2")).expect(202);
}

/// JSON texts at the edges of the grammar, each alone and as a field's value. What they are, the decoder's own tests know;
/// here it matters that each is answered, with 400 or as a click.
fn texts() -> Vec<Vec<u8>> {
    let scalars = [
        "null",
        "true",
        "1",
        "-0",
        "1e400",
        "01",
        "1.",
        ".5",
        "+1",
        "--1",
        "0x10",
        "NaN",
        "Infinity",
        "\"\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\x\"",
        "\"\u{7f}\"",
        "\"\t\"",
        "\"a",
        "'a'",
        "tru",
        "\u{feff}1",
        "[1,]",
        "{,}",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{1:2}",
        "{\"a\":1,\"a\":1}",
        "[",
        "]",
        "{",
        "}",
        "[1 2]",
        "[,1]",
        "//",
        "/* */ 1",
        "1 1",
        "",
        " ",
        "\n",
    ];
    let mut texts: Vec<Vec<u8>> = scalars.iter().map(|text| text.as_bytes().to_vec()).collect();
    texts.extend(
        [
            &b"\xff"[..],
            b"\"\xc0\x80\"",
            b"\"\xed\xa0\x80\"",
            b"\"\xf4\x90\x80\x80\"",
            b"\xef\xbb\xbf{}",
            b"\0",
            b"\"\0\"",
        ]
        .map(<[u8]>::to_vec),
    );
    texts.extend([b'[', b'{'].map(|open| vec![open; 30_000]));
    texts.push("[".repeat(10_000).into_bytes().into_iter().chain("]".repeat(10_000).into_bytes()).collect());
    texts.push(b"{\"a\":".repeat(10_000));
    texts.push(format!("1{}", "0".repeat(10_000)).into_bytes());
    texts
}

#[test]
fn whatever_is_sent_is_answered_in_order() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.address);
    for text in texts() {
        let as_field = [&br#"{"ad_id":"a","user_id":"u","timestamp":1,"x":"#[..], &text, b"}"].concat();
        let as_id = [&br#"{"user_id":"u","timestamp":1,"ad_id":"#[..], &text, b"}"].concat();
        let as_item = [&b"["[..], &text, b"]"].concat();
        for body in [&text, &as_field, &as_id, &as_item] {
            for media_type in ["application/json", "application/x-ndjson", "text/plain"] {
                let head = request_head("POST", "/v1/clicks", &[("content-type", media_type)], body.len());
                client.send([head.as_bytes(), body].concat());
                let answer =
                    client.answer().unwrap_or_else(|| panic!("no answer to {:?}", String::from_utf8_lossy(body)));
                assert!(
                    [200, 202, 400, 413].contains(&answer.status),
                    "{answer:?} to {:?}",
                    String::from_utf8_lossy(body)
                );
            }
        }
    }
}

/// Requests that are damaged at random: the service answers or closes, and is there afterwards.
#[test]
fn damaged_requests_do_no_harm() {
    const REQUESTS: u64 = 3_000;
    let seed = match std::env::var("WEIR_TEST_SEED") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
    };
    println!("WEIR_TEST_SEED={seed}");
    let server = Server::start(&["ingest.limits.head_timeout=200ms", "ingest.limits.body_timeout=200ms"]);
    let mut random = SmallRng::seed_from_u64(seed);
    let encodings = [
        "",
        "content-encoding: gzip\r\n",
        "content-encoding: zstd\r\n",
        "transfer-encoding: chunked\r\n",
        "expect: 100-continue\r\n",
    ];
    for number in 0..REQUESTS {
        let encoding = encodings.choose(&mut random).unwrap();
        let body = CLICK.repeat(random.random_range(0..4)).replace("c-1", &format!("{seed}-{number}"));
        let mut bytes = format!(
            "POST /v1/clicks HTTP/1.1\r\nhost: w\r\ncontent-type: application/x-ndjson\r\n{encoding}content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes();
        for _ in 0..random.random_range(0..6) {
            let at = random.random_range(0..bytes.len().max(1));
            match random.random_range(0..4) {
                0 if !bytes.is_empty() => bytes[at] = random.random(),
                1 if !bytes.is_empty() => drop(bytes.remove(at)),
                2 => bytes.insert(at, *b"\r\n\0:;{}\"\xff0".choose(&mut random).unwrap()),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let mut client = Client::connect(server.address);
        let _ = client.stream.write_all(&bytes);
        let _ = client.stream.shutdown(Shutdown::Write);
        if let Some(answer) = client.answer() {
            assert!(answer.status < 500 || answer.status == 503, "seed {seed}, request {number}: {answer:?}");
        }
    }
    post_json(server.address, CLICK).expect(202);
}
