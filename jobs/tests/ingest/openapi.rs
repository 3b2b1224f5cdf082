//! The served answers are those that the OpenAPI document describes.

use serde_json::Value;

use crate::client::{Answer, post, post_json, request};
use crate::server::{Server, gated};

const CLICK: &str = r#"{"ad_id":"a","user_id":"u","timestamp":1790000000,"click_id":"c-1"}"#;

fn document(server: &Server) -> Value {
    request(server.address, "GET", "/openapi.json", &[], b"").expect(200).json()
}

/// Checks an answer against what the document says of its status.
#[track_caller]
fn check(document: &Value, method: &str, path: &str, answer: &Answer) {
    let responses = &document["paths"][path][method]["responses"];
    let described = &responses[answer.status.to_string()];
    assert!(described.is_object(), "{method} {path}: {} is not described", answer.status);
    let media_type = answer.header("content-type").unwrap_or_default().split(';').next().unwrap();
    let content = &described["content"][media_type];
    assert!(content.is_object(), "{method} {path} {}: `{media_type}` is not described in {described}", answer.status);
    if media_type.ends_with("json") {
        let body = answer.json();
        let schema = &content["schema"];
        assert_eq!(mismatch(document, schema, &body), None);
    }
}

/// What of a value is not as its schema says. Knows the words that the document uses, and no others.
fn mismatch(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return mismatch(document, &document["components"]["schemas"][name], value);
    }
    let wrong = |what: String| Some(format!("{what}: {value} for {schema}"));
    if let Some(schemas) = schema["oneOf"].as_array() {
        let fitting = schemas.iter().filter(|schema| mismatch(document, schema, value).is_none()).count();
        return if fitting == 1 { None } else { wrong(format!("{fitting} schemas fit")) };
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return wrong("none of the allowed".to_owned());
    }
    match schema["type"].as_str() {
        Some("object") => {
            let members = value.as_object()?;
            let known = schema["properties"].as_object().unwrap();
            let missing = schema["required"]
                .as_array()
                .unwrap()
                .iter()
                .find(|name| !members.contains_key(name.as_str().unwrap()));
            if let Some(name) = missing {
                return wrong(format!("{name} is missing"));
            }
            members.iter().find_map(|(name, member)| match known.get(name) {
                None => wrong(format!("`{name}` is not described")),
                Some(schema) => mismatch(document, schema, member),
            })
        }
        Some("array") => value.as_array()?.iter().find_map(|item| mismatch(document, &schema["items"], item)),
        Some("string") if !value.is_string() => wrong("no string".to_owned()),
        Some("integer") if !value.is_u64() => wrong("no integer".to_owned()),
        Some("string" | "integer") => None,
        other => wrong(format!("the test does not know type {other:?}")),
    }
}

#[test]
fn what_is_served_is_what_is_described() {
    let (server, gate) = gated(&["ingest.limits.body_timeout=200ms", "ingest.limits.clicks=3"]);
    let document = document(&server);
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let clicks = |answer: &Answer| check(&document, "post", "/v1/clicks", answer);
    clicks(&post_json(server.address, CLICK).expect(202));
    clicks(&post_json(server.address, CLICK).expect(200));
    clicks(&post_json(server.address, format!("[{CLICK},7]")).expect(200));
    clicks(&post(server.address, "application/x-ndjson", CLICK).expect(200));
    clicks(&post_json(server.address, "{").expect(400));
    clicks(&post_json(server.address, "[1,2,3,4]").expect(413));
    clicks(&post(server.address, "image/png", CLICK).expect(415));
    let differing = [("content-type", "application/json"), ("idempotency-key", "other")];
    clicks(&request(server.address, "POST", "/v1/clicks", &differing, CLICK.as_bytes()).expect(422));
    clicks(&request(server.address, "PUT", "/v1/clicks", &[], b"").expect(405));
    let mut slow = crate::client::Client::connect(server.address);
    slow.send("POST /v1/clicks HTTP/1.1\r\nhost: w\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{");
    clicks(&slow.answer().unwrap().expect(408));
    gate.set(crate::gate::Mode::Fail);
    clicks(&post_json(server.address, CLICK.replace("c-1", "c-2")).expect(503));
    for path in ["/livez", "/readyz", "/metrics"] {
        check(&document, "get", path, &request(server.address, "GET", path, &[], b""));
    }
}

#[test]
fn refusals_of_clients_are_described_too() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    let file = format!("ingest.auth.keys_file={}", keys.path().display());
    let server =
        Server::start(&[&file, "ingest.auth.required=false", "ingest.rate.clicks_per_second=1", "ingest.rate.burst=1"]);
    let document = document(&server);
    let headers = [("content-type", "application/json"), ("x-api-key", "unknown")];
    let refused = request(server.address, "POST", "/v1/clicks", &headers, CLICK.as_bytes()).expect(401);
    check(&document, "post", "/v1/clicks", &refused);
    post_json(server.address, CLICK).expect(202);
    check(&document, "post", "/v1/clicks", &post_json(server.address, CLICK).expect(429));
}
