//! Verdicts: what the contract says of single clicks and of batches.

use serde_json::json;

use crate::client::{post, post_json, request};
use crate::server::Server;

const CLICK: &str = r#"{"ad_id":"a","user_id":"u","timestamp":1790000000,"click_id":"c-1"}"#;

#[test]
fn a_click_is_accepted_once_and_then_a_duplicate() {
    let server = Server::start(&[]);
    let first = post_json(server.address, CLICK).expect(202);
    assert_eq!(first.json(), json!({"click_id": "c-1", "status": "accepted"}));
    assert_eq!(first.header("content-type"), Some("application/json"));
    let second = post_json(server.address, CLICK).expect(200);
    assert_eq!(second.json(), json!({"click_id": "c-1", "status": "duplicate"}));
    let clicks = server.stop();
    assert_eq!(clicks.len(), 1);
    assert_eq!(clicks[0]["click_id"], "c-1");
}

#[test]
fn a_click_without_an_id_gets_one_from_its_fields() {
    let server = Server::start(&["ingest.proxy.trusted=127.0.0.1"]);
    let body = r#"{"ad_id":"a","user_id":"u","timestamp":1790000000}"#;
    let from = |address| {
        let headers = [("content-type", "application/json"), ("x-forwarded-for", address), ("user-agent", address)];
        request(server.address, "POST", "/v1/clicks", &headers, body.as_bytes())
    };
    let first = from("192.0.2.1").expect(202).json();
    // The same fields are the same click, also from another network.
    let second = from("192.0.2.2").expect(200).json();
    assert_eq!(first["click_id"], second["click_id"]);
    assert_eq!(second["status"], "duplicate");
    // The id that was given is this click's id from now on, and another timestamp is another click.
    let id = first["click_id"].as_str().unwrap();
    post_json(server.address, body.replace('}', &format!(r#","click_id":"{id}"}}"#))).expect(200);
    post_json(server.address, body.replace("1790000000", "1790000001")).expect(202);
    let clicks = server.stop();
    assert_eq!(clicks.len(), 2);
    assert_eq!(clicks.iter().filter(|click| click["click_id"] == id).count(), 1);
}

#[test]
fn what_a_click_lacks_is_filled_in_and_what_it_has_stays() {
    let server = Server::start(&[]);
    let headers = [("content-type", "application/json"), ("user-agent", "browser \"1\"")];
    let post = |body: &str| request(server.address, "POST", "/v1/clicks", &headers, body.as_bytes()).expect(202);
    post(r#"{"ad_id":"a","user_id":"u","timestamp":1,"click_id":"1","extra":{"x":[1]}}"#);
    post(
        "{\n\t\"ad_id\":\"a\",\r\n\"user_id\":\"u\",\"timestamp\":1,\"click_id\":\"2\",\"ip_address\":\"::7\",\"user_agent\":\"own\"}\n",
    );
    let mut clicks = server.stop();
    clicks.sort_by_key(|click| click["click_id"].to_string());
    assert_eq!(
        clicks[0],
        json!({"ad_id": "a", "user_id": "u", "timestamp": 1, "click_id": "1", "extra": {"x": [1]},
               "ip_address": "127.0.0.1", "user_agent": "browser \"1\""})
    );
    assert_eq!((&clicks[1]["ip_address"], &clicks[1]["user_agent"]), (&json!("::7"), &json!("own")));
}

#[test]
fn the_header_is_the_id_where_the_click_has_none() {
    let server = Server::start(&[]);
    let post = |key: &str, body: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        request(server.address, "POST", "/v1/clicks", &headers, body.as_bytes())
    };
    let body = r#"{"ad_id":"a","user_id":"u","timestamp":1790000000}"#;
    assert_eq!(post("key-1", body).expect(202).json()["click_id"], "key-1");
    post("key-1", body).expect(200);
    post("\"key-1\"", body).expect(200);
    post("key-2", body).expect(202);
    post("c-1", CLICK).expect(202);
    post("key-3", CLICK).expect_problem(422, "id_mismatch");
    post("", body).expect_problem(400, "invalid_field");
    post(&"k".repeat(129), body).expect_problem(400, "invalid_field");
    post("key-4", &format!("[{body}]")).expect_problem(422, "id_mismatch");
    assert_eq!(server.stop().len(), 3);
}

#[test]
fn one_bad_click_never_sinks_its_batch() {
    let server = Server::start(&[]);
    let good = |id: u32| format!(r#"{{"ad_id":"a","user_id":"u","timestamp":1790000000,"click_id":"{id}"}}"#);
    let items = [
        good(1),
        r#"{"ad_id":"a","user_id":"u"}"#.to_owned(),
        good(2),
        "17".to_owned(),
        good(1),
        r#"{"ad_id":1,"user_id":"u","timestamp":1}"#.to_owned(),
        good(3),
    ];
    let expected = json!({"accepted": 3, "duplicate": 1, "rejected": [
        {"index": 1, "reason": "missing_field", "detail": "`timestamp` is missing"},
        {"index": 3, "reason": "invalid_json", "detail": "not an object"},
        {"index": 5, "reason": "invalid_field", "detail": "`ad_id` is not a string"},
    ]});
    let check = |answer: serde_json::Value, accepted: u64, duplicate: u64| {
        assert_eq!(
            (answer["accepted"].as_u64(), answer["duplicate"].as_u64()),
            (Some(accepted), Some(duplicate)),
            "{answer}"
        );
        let reasons = |value: &serde_json::Value| -> Vec<(u64, String)> {
            let rejected = value["rejected"].as_array().unwrap();
            rejected
                .iter()
                .map(|item| (item["index"].as_u64().unwrap(), item["reason"].as_str().unwrap().to_owned()))
                .collect()
        };
        assert_eq!(reasons(&answer), reasons(&expected), "{answer}");
    };
    check(post_json(server.address, format!("[{}]", items.join(","))).expect(200).json(), 3, 1);
    check(post(server.address, "application/x-ndjson", items.join("\n")).expect(200).json(), 0, 4);
    check(post(server.address, "application/x-ndjson", items.join("\r\n\n") + "\n").expect(200).json(), 0, 4);
    assert_eq!(
        post_json(server.address, "[]").expect(200).json(),
        json!({"accepted": 0, "duplicate": 0, "rejected": []})
    );
    assert_eq!(post(server.address, "application/x-ndjson", "").expect(200).json()["accepted"], 0);
    assert_eq!(server.stop().len(), 3);
}

#[test]
fn what_is_no_click_is_told_why() {
    let server = Server::start(&[]);
    let check = |body: &[u8], status: u16, reason: &str| {
        post_json(server.address, body).expect_problem(status, reason);
    };
    check(b"", 400, "invalid_json");
    check(b"{", 400, "invalid_json");
    check(b"nonsense", 400, "invalid_json");
    check(b"[1,", 400, "invalid_json");
    check(b"[] []", 400, "invalid_json");
    check(b"{\"ad_id\":\"\xff\",\"user_id\":\"u\",\"timestamp\":1}", 400, "invalid_json");
    check(br#"{"user_id":"u","timestamp":1}"#, 400, "missing_field");
    check(br#"{"ad_id":"","user_id":"u","timestamp":1}"#, 400, "invalid_field");
    check(br#"{"ad_id":"a","ad_id":"b","user_id":"u","timestamp":1}"#, 400, "invalid_field");
    let large = format!(r#"{{"ad_id":"a","user_id":"u","timestamp":1,"x":"{}"}}"#, "x".repeat(65_536));
    check(large.as_bytes(), 413, "too_large");
    for (media_type, reason) in [("application/xml", "unsupported_media_type"), ("", "unsupported_media_type")] {
        post(server.address, media_type, CLICK).expect_problem(415, reason);
    }
    request(server.address, "GET", "/v1/clicks", &[], b"").expect_problem(405, "method_not_allowed");
    request(server.address, "POST", "/v1/click", &[], b"").expect_problem(404, "not_found");
    assert_eq!(server.stop().len(), 0);
}

#[test]
fn a_page_can_post_as_it_is_left() {
    let server = Server::start(&["ingest.cors.origins=https://shop.example"]);
    let page = |origin: &'static str| [("content-type", "text/plain;charset=UTF-8"), ("origin", origin)];
    let answer =
        request(server.address, "POST", "/v1/clicks", &page("https://shop.example"), CLICK.as_bytes()).expect(202);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
    let other =
        request(server.address, "POST", "/v1/clicks", &page("https://other.example"), CLICK.as_bytes()).expect(200);
    assert_eq!(other.header("access-control-allow-origin"), None);

    let preflight = |origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        request(server.address, "OPTIONS", "/v1/clicks", &headers, b"").expect(204)
    };
    let allowed = preflight("https://shop.example");
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://shop.example"));
    assert!(allowed.header("access-control-allow-methods").unwrap().contains("POST"));
    assert!(allowed.header("access-control-allow-headers").unwrap().contains("idempotency-key"));
    assert_eq!(preflight("https://other.example").header("access-control-allow-origin"), None);
}

#[test]
fn health_and_figures_are_served() {
    let server = Server::start(&[]);
    let get = |path: &str| request(server.address, "GET", path, &[], b"");
    get("/livez").expect(200);
    let ready = std::time::Instant::now();
    while get("/readyz").status != 200 {
        assert!(ready.elapsed().as_secs() < 10, "never ready");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    post_json(server.address, CLICK).expect(202);
    post_json(server.address, CLICK).expect(200);
    post_json(server.address, "{}").expect(400);
    let figures = String::from_utf8(get("/metrics").expect(200).body).unwrap();
    for line in [
        "weir_ingest_requests_total{code=\"202\"} 1",
        "weir_ingest_requests_total{code=\"400\"} 1",
        "weir_ingest_clicks_accepted_total 1",
        "weir_ingest_clicks_duplicate_total 1",
        "weir_ingest_clicks_rejected_total{reason=\"missing_field\"} 1",
        "weir_ingest_clicks_rejected_total{reason=\"too_large\"} 0",
        "weir_ingest_request_duration_seconds_count 3",
        "weir_ingest_log_append_duration_seconds_count 1",
        "weir_ingest_recent_ids 1",
        "weir_ingest_queue_records 0",
        "weir_ingest_shedding{cause=\"lag\"} 0",
        "# EOF",
    ] {
        assert!(figures.lines().any(|there| there == line), "`{line}` is missing from\n{figures}");
    }
}
