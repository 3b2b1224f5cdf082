//! What HTTP clients rely on: ETags, methods, keys, limits, and one document for all of it.

use std::path::Path;

use serde_json::Value;

use crate::process::{Process, free_address, get, request, succeeds, wait_ready, weir};

fn serve(folder: &Path, more: &[&str]) -> (Process, std::net::SocketAddr) {
    let job = "[job]\nname = \"clicks\"\n[source]\nkind = \"ndjson\"\nurl = \"log/\"\n\
               [checkpoint]\nurl = \"checkpoints/\"\n[tables]\nurl = \"tables/\"\n";
    std::fs::write(folder.join("job.toml"), job).unwrap();
    let address = free_address();
    let listen = format!("serve.listen={address}");
    let process = Process::start(folder, &[&["serve", "job.toml", "-D", &listen], more].concat());
    wait_ready(address);
    (process, address)
}

/// Some clicks of long ago, all counted.
fn counted(folder: &Path) {
    let generate = ["generate", "--to", "log/", "--clicks", "5000", "--ads", "20", "--users", "100"];
    let stream = ["--start", "2025-01-15T14:00:00Z", "--events-per-second", "5"];
    succeeds(&weir(folder, &[generate.as_slice(), &stream].concat()).output().unwrap());
    succeeds(&weir(folder, &["run", "job.toml"]).output().unwrap());
}

const QUESTION: &str =
    "/v1/stats?ad_id=ad-00000000&window=1m&start=2025-01-15T14:00:00Z&end=2025-01-15T15:00:00%2B00:00";

#[test]
fn an_answer_that_is_known_is_not_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let (_process, address) = serve(folder.path(), &[]);
    counted(folder.path());
    crate::process::wait_until("the table is seen", || !get(address, QUESTION)["data"].as_array().unwrap().is_empty());
    for question in
        [QUESTION, "/v1/top?window=5m&at=1736949900", "/v1/uniques?ad_id=ad-00000001&start=1736949600&end=1736953200"]
    {
        // The one above may still have been partial.
        crate::process::wait_until("whole", || get(address, question)["partial"] == false);
        let first = request(address, "GET", question, "");
        let etag = first.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
        assert!(first.head.contains("cache-control: private, max-age=60"), "{}", first.head);
        let again =
            request(address, "GET", question, &format!("if-none-match: \"x\", {}\r\n", etag.replace("w/", "W/")));
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{question}");
        let head = request(address, "HEAD", question, "");
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(request(address, "GET", question, "").body, first.body, "from the cache");
    }
    let one = get(address, QUESTION);
    let several = get(address, &QUESTION.replace("&window", "&ad_id=nobody&window"));
    assert_eq!(several["series"][0]["data"], one["data"]);
    assert_eq!(several["series"][1]["data"], Value::Array(Vec::new()));
    let seconds = get(address, "/v1/stats?ad_id=ad-00000000&window=1m&start=1736949600&end=1736953200");
    assert_eq!(seconds, one);
    let filled = get(address, &format!("{QUESTION}&fill=zero"));
    assert_eq!(filled["data"].as_array().unwrap().len(), 60);
    assert!(filled["data"].as_array().unwrap().iter().all(|point| point["final"] == true));
    let clicks = |answer: &Value| -> u64 {
        answer["data"].as_array().unwrap().iter().map(|point| point["click_count"].as_u64().unwrap()).sum()
    };
    assert_eq!(clicks(&filled), clicks(&one));
    assert!(get(address, &format!("{QUESTION}&region=eu-1"))["data"].as_array().unwrap().is_empty());
}

#[test]
fn what_cannot_be_answered_is_a_problem_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (_process, address) = serve(folder.path(), &["-D", "serve.max_points=1000"]);
    let check = |method: &str, target: &str, status: u16, reason: &str| {
        let answer = request(address, method, target, "");
        assert_eq!(answer.status, status, "{target}: {}", answer.body);
        assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem["reason"], reason, "{target}");
        assert_eq!(problem["status"], status);
    };
    check("GET", "/v1/stats", 400, "missing_parameter");
    check("GET", "/v1/stats?ad_id=a&window=1m&start=0&end=100000", 400, "too_much");
    check("GET", "/v1/stats?ad_id=a&window=1m&start=5&end=1", 400, "invalid_parameter");
    check("GET", "/v1/top?window=1m&limit=0", 400, "invalid_parameter");
    check("GET", "/v1/uniques?ad_id=a&start=0&end=253402300799", 400, "too_much");
    check("GET", "/v1/status?verbose=1", 400, "unknown_parameter");
    check("POST", "/v1/stats", 405, "method_not_allowed");
    check("GET", "/v1/nothing", 404, "not_found");
    // A table that is not there yet has no windows, and nobody can say that there are no more.
    let empty = get(address, "/v1/stats?ad_id=a&window=1m&start=0&end=60");
    assert_eq!((&empty["data"], &empty["partial"]), (&Value::Array(Vec::new()), &Value::Bool(true)));
    assert!(get(address, "/v1/top?window=1m")["timestamp"].is_null());
}

#[test]
fn keys_are_asked_for_where_there_are_any() {
    let folder = tempfile::tempdir().unwrap();
    let made = weir(folder.path(), &["ingest", "--new-key", "reports"]).output().unwrap();
    let entry = String::from_utf8(made.stdout).unwrap();
    std::fs::write(folder.path().join("keys.toml"), &entry).unwrap();
    let key = entry.lines().find_map(|line| line.strip_prefix("# weir_")).unwrap();
    let key = format!("weir_{key}");
    let (_process, address) = serve(folder.path(), &["-D", "serve.auth.keys_file=keys.toml"]);
    let question = "/v1/stats?ad_id=a&window=1m&start=0&end=60";
    for path in [question, "/v1/top?window=1m", "/v1/uniques?ad_id=a&start=0&end=60", "/v1/status"] {
        let answer = request(address, "GET", path, "");
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.head.contains("www-authenticate: bearer"));
        assert_eq!(request(address, "GET", path, "authorization: Bearer weir_wrong\r\n").status, 401);
        assert_eq!(request(address, "GET", path, &format!("authorization: Bearer {key}\r\n")).status, 200, "{path}");
        assert_eq!(request(address, "GET", path, &format!("x-api-key: {key}\r\n")).status, 200, "{path}");
    }
    assert_eq!(request(address, "GET", &format!("{question}&key={key}"), "").status, 200);
    // What shows no figures of clicks is open.
    for path in ["/", "/docs", "/openapi.json", "/livez", "/readyz", "/metrics"] {
        assert_eq!(request(address, "GET", path, "").status, 200, "{path}");
    }
    let metrics = request(address, "GET", "/metrics", "").body;
    assert!(metrics.contains("weir_serve_requests_total{path=\"/v1/stats\",code=\"401\"} 2"), "{metrics}");
}
