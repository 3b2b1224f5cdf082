//! Questions of every wrong kind, made from the OpenAPI document: each is answered, and none with a 5xx.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use url::form_urlencoded;

use crate::process::{Process, free_address, get, request, wait_ready};

const QUESTIONS: usize = 2_000;

/// Longer ones do not fit into a request's head.
const MAX_QUESTION_BYTES: usize = 14_000;

/// A value that the schema allows, or one that nobody should send.
fn value(rng: &mut StdRng, name: &str) -> String {
    let fitting: &[&str] = match name {
        "window" => &["1m", "5m", "1h"],
        "start" | "end" | "at" => {
            &["0", "1736949600", "1736953200", "2025-01-15T14:40:00Z", "2025-01-15T14:40:00.123+05:30"]
        }
        "fill" => &["zero"],
        "limit" => &["1", "10", "1000"],
        "region" => &["eu-1", "x"],
        _ => &["ad-00000000", "ad-00000001", "no such ad", "\u{1f600}", "'; DROP TABLE clicks_agg; --", "a\0b", "%"],
    };
    let wrong = [
        "",
        " ",
        "0",
        "-1",
        "1.5",
        "1e9",
        "NaN",
        "null",
        "true",
        "[]",
        "{}",
        "9223372036854775807",
        "18446744073709551616",
        "-9223372036854775808",
        "253402300799",
        "253402300800",
        "9999-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "1m ",
        "60s",
        "2025-02-30T00:00:00Z",
        "\u{0}",
        "\r\n",
        "../../etc/passwd",
        "%00",
        "\u{202e}",
        "ZERO",
        "1001",
    ];
    match rng.random_range(0..10) {
        0..6 => (*fitting.choose(rng).unwrap()).to_owned(),
        6..9 => (*wrong.choose(rng).unwrap()).to_owned(),
        _ => {
            let length = rng.random_range(0..600);
            (0..length).map(|_| char::from_u32(rng.random_range(0..0x3000)).unwrap_or('x')).collect()
        }
    }
}

fn question(rng: &mut StdRng, path: &str, parameters: &[String]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in parameters {
        let times = *[0, 1, 1, 1, 1, 1, 1, 2, 120].choose(rng).unwrap();
        let times = if times == 120 && rng.random_bool(0.9) { 1 } else { times };
        for _ in 0..times {
            query.append_pair(name, &value(rng, name));
        }
    }
    if rng.random_bool(0.05) {
        query.append_pair(&value(rng, "ad_id"), &value(rng, "ad_id"));
    }
    let mut query = query.finish();
    if rng.random_bool(0.1) && !query.is_empty() {
        // Half of an escape, or something else that no library writes.
        let at = rng.random_range(0..query.len());
        query.replace_range(at..at + 1, ["%", "&", "=", "%f", "%ff", "+", ""].choose(rng).unwrap());
    }
    format!("{path}?{query}")
}

#[test]
fn no_question_is_answered_with_a_server_error() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let listen = format!("ingest.listen={address}");
    let up = Process::start(folder.path(), &["up", "--demo", "--data", "data", "-D", &listen]);
    wait_ready(address);
    let document = get(address, "/openapi.json");
    let mut paths: Vec<(String, Vec<String>)> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(operation) = item.get("get").filter(|_| path.starts_with("/v1/")) else { continue };
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let names = parameters.iter().map(|parameter| parameter["name"].as_str().unwrap().to_owned());
        paths.push((path.clone(), names.collect()));
    }
    let names: Vec<&str> = paths.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(names, ["/v1/stats", "/v1/status", "/v1/top", "/v1/uniques"]);

    let seed = std::env::var("WEIR_TEST_SEED").map_or(7, |seed| seed.parse().unwrap());
    let rng = &mut StdRng::seed_from_u64(seed);
    let (mut answered, mut refused) = (0, 0);
    for number in 0..QUESTIONS {
        let (path, parameters) = paths.choose(rng).unwrap();
        let question = question(rng, path, parameters);
        if question.len() > MAX_QUESTION_BYTES {
            continue;
        }
        let answer = request(address, "GET", &question, "");
        let body: Value = serde_json::from_str(&answer.body)
            .unwrap_or_else(|error| panic!("seed {seed}, question {number} {question}: {error}: {}", answer.body));
        match answer.status {
            200 => {
                answered += 1;
                assert!(body.get("partial").is_some() || path == "/v1/status", "{question}: {body}");
            }
            400 => {
                refused += 1;
                assert!(body["reason"].is_string() && body["detail"].is_string(), "{question}: {body}");
            }
            status => panic!("seed {seed}, question {number} {question}: {status} {body}"),
        }
    }
    assert!(answered > QUESTIONS / 20 && refused > QUESTIONS / 4, "{answered} answered, {refused} refused");
    up.terminate();
}
