mod server;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::oracle::OracleReader;
use super::super::stream::{PartitionBy, Shares};
use super::*;
use server::{Ingest, Plain, Reply, Script, bare, ingest};

fn stream(records: u64) -> StreamOptions {
    StreamOptions {
        seed: 3,
        generation: 0,
        records,
        partitions: 1,
        partition_by: PartitionBy::Ad,
        ads: 50,
        ad_skew: 1.05,
        users: 300,
        start_ms: 1_736_952_000_000,
        log_start_ms: 1_736_952_000_000,
        events_per_second: 200.0,
        record_bytes: 300,
        out_of_order_ms: 4_000,
        shares: Shares::default(),
        tombstones: false,
    }
}

fn mixed(records: u64) -> StreamOptions {
    let shares = Shares { duplicates: 0.05, late: 0.01, future: 0.01, poison: 0.05, without_click_id: 0.1 };
    StreamOptions { shares, ..stream(records) }
}

fn options(server: SocketAddr) -> HttpOptions {
    let address = HttpAddress::parse(&format!("http://{server}")).unwrap();
    HttpOptions { connections: 8, timeout: Duration::from_secs(5), ..HttpOptions::new(address) }
}

fn run(options: &HttpOptions, stream: &StreamOptions) -> HttpReport {
    post(options, stream, None, None, &AtomicBool::new(false), |_| {}).unwrap()
}

fn sum(report: &HttpReport) -> u64 {
    let rejected: u64 = report.rejected.values().sum();
    report.accepted + report.duplicate + rejected + report.lost()
}

fn accepted(body: &[u8]) -> Vec<u8> {
    let text = format!("HTTP/1.1 202 Accepted\r\nContent-Length: {}\r\n\r\n", body.len());
    [text.as_bytes(), body].concat()
}

const ACCEPTED: &[u8] = br#"{"click_id":"x","status":"accepted"}"#;

/// Posts everything there is in a form, and compares what the server took with the report, the accepted file and the oracle.
fn check_verdicts(change: impl FnOnce(&mut HttpOptions)) {
    let folder = tempfile::tempdir().unwrap();
    let (oracle, file) = (folder.path().join("oracle.ndjson"), folder.path().join("accepted"));
    let (address, server) = ingest(Script::default());
    let mut how = HttpOptions { accepted: Some(file.clone()), ..options(address) };
    change(&mut how);
    let stream = mixed(4_003);
    let report = post(&how, &stream, None, Some(&oracle), &AtomicBool::new(false), |_| {}).unwrap();

    assert_eq!(report.failures, Vec::<String>::new(), "{how:?}");
    let totals = report.totals.unwrap();
    assert_eq!(report.accepted, totals.counted + totals.late + totals.future, "{how:?}");
    assert_eq!(report.duplicate, totals.duplicate, "{how:?}");
    assert_eq!(report.rejected.values().sum::<u64>(), totals.rejected, "{how:?}");
    assert_eq!(sum(&report), 4_003, "{how:?}");
    assert_eq!(report.measured.requests, 4_003u64.div_ceil(u64::from(how.batch)), "{how:?}");
    check_accepted(&std::fs::read(&file).unwrap(), &server, report.accepted + report.duplicate);
    let header = OracleReader::open(&oracle).unwrap().header().clone();
    assert_eq!(header.over_http, Some(OverHttp { accepted: report.accepted, resent: 0 }));
    assert_eq!(header.totals, totals);
}

/// Every click of the log is in the file, and nothing else is.
fn check_accepted(file: &[u8], server: &Ingest, lines: u64) {
    let ids = file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| {
        let record = serde_json::from_slice::<Plain>(line);
        record.map_or_else(|_| String::from_utf8(line.to_vec()).unwrap(), |click| click.id())
    });
    let ids: Vec<String> = ids.collect();
    assert_eq!(ids.len() as u64, lines);
    let log: HashSet<String> = server.log.lock().unwrap().iter().map(Plain::id).collect();
    assert_eq!(ids.into_iter().collect::<HashSet<_>>(), log);
}

#[test]
fn single_clicks_get_the_verdicts_they_deserve() {
    check_verdicts(|_| {});
    check_verdicts(|how| how.pipeline = 5);
    check_verdicts(|how| how.compression = Some(Compression::Zstd));
    check_verdicts(|how| how.rate = Some(20_000.0));
}

#[test]
fn batches_get_the_verdicts_they_deserve() {
    check_verdicts(|how| how.batch = 100);
    check_verdicts(|how| (how.batch, how.compression) = (500, Some(Compression::Gzip)));
    check_verdicts(|how| (how.batch, how.array) = (100, true));
    check_verdicts(|how| (how.batch, how.array, how.pipeline) = (7, true, 3));
}

#[test]
fn an_appended_part_is_counted_together_with_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let oracle = folder.path().join("oracle.ndjson");
    let (address, server) = ingest(Script::default());
    let first = mixed(2_000);
    let second = StreamOptions { generation: 1, start_ms: first.end_ms(), ..mixed(1_000) };
    let stop = AtomicBool::new(false);
    post(&options(address), &first, None, Some(&oracle), &stop, |_| {}).unwrap();
    let earlier = OracleReader::open(&oracle).unwrap().header().clone();
    post(&options(address), &second, Some(&earlier), Some(&oracle), &stop, |_| {}).unwrap();
    let header = OracleReader::open(&oracle).unwrap().header().clone();
    assert_eq!((header.totals.read, header.parts), (3_000, vec![first, second]));
    let accepted = server.log.lock().unwrap().len() as u64;
    assert_eq!(header.over_http, Some(OverHttp { accepted, resent: 0 }));
}

#[test]
fn a_pause_is_seen_by_every_request_that_was_due_in_it() {
    let pause = Some((Duration::from_millis(700), Duration::from_millis(1000)));
    let (address, _) = ingest(Script { pause, ..Script::default() });
    let how = HttpOptions { rate: Some(1000.0), ..options(address) };
    let report = run(&how, &stream(2_000));
    let Latency { p50_ms, p90_ms, p99_ms, max_ms, .. } = report.latency;
    // 300 of 2,000 requests were due in the pause, evenly: 200 of them waited for a third of it, 20 for nearly all of it.
    // Only eight could be sent.
    assert!(p50_ms < 60.0, "{report:?}");
    assert!(p90_ms > 60.0, "{report:?}");
    assert!(p99_ms > 250.0, "{report:?}");
    assert!(max_ms >= p99_ms, "{report:?}");
    let open = report.open_loop.unwrap();
    assert!(open.held && open.sent_late > 250 && open.latest_ms > 200.0 && open.most_waiting > 200, "{open:?}");
    assert!((1.9..2.6).contains(&report.measured.seconds), "{:?}", report.measured);
}

#[test]
fn a_rate_that_is_not_held_is_said() {
    let (address, _) = ingest(Script { each_takes: Duration::from_millis(20), ..Script::default() });
    let how = HttpOptions { rate: Some(200.0), connections: 1, ..options(address) };
    let report = run(&how, &stream(100));
    let open = report.open_loop.unwrap();
    assert!(!open.held && open.last_late_ms > 1000.0, "{open:?}");
    assert!(report.latency.max_ms > 1000.0, "{:?}", report.latency);
}

#[test]
fn the_warm_up_is_measured_apart() {
    let (address, _) = ingest(Script::default());
    let how = HttpOptions { rate: Some(1000.0), warm_up: Duration::from_millis(300), ..options(address) };
    let report = run(&how, &stream(1_000));
    assert_eq!((report.warm_up.unwrap().requests, report.measured.requests), (300, 700));
    assert!((0.65..1.2).contains(&report.measured.seconds), "{:?}", report.measured);
}

#[test]
fn a_closed_loop_can_end_by_time() {
    let (address, server) = ingest(Script::default());
    let how = HttpOptions { duration: Some(Duration::from_millis(300)), ..options(address) };
    let started = Instant::now();
    let report = run(&how, &stream(1 << 30));
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(report.open_loop.is_none() && !report.stopped);
    assert_eq!(report.accepted as usize, server.log.lock().unwrap().len());
}

#[test]
fn requests_that_are_turned_away_are_sent_again_if_told_to() {
    let (address, server) = ingest(Script { turn_away_every: Some(3), ..Script::default() });
    let once = run(&options(address), &stream(300));
    assert_eq!((once.accepted, once.turned_away, once.resent_requests), (200, 100, 0));
    assert_eq!(once.answers[&503], 100);

    let how = HttpOptions { retry: Some(Duration::from_secs(20)), ..options(address) };
    let again = run(&how, &StreamOptions { seed: 4, ..stream(300) });
    assert_eq!((again.accepted, again.turned_away), (300, 0));
    assert_eq!(again.answers[&503], again.resent_requests);
    assert_eq!(again.measured.requests, 300);
    assert_eq!(server.log.lock().unwrap().len(), 500);
}

#[test]
fn a_request_without_an_answer_is_sent_again_and_counted_once() {
    let server = Arc::new(Ingest::default());
    let log = Arc::clone(&server);
    let address = bare(move |number, body| {
        let (status, told) = log.single(body);
        // The click is in the log, and nobody is told.
        if number.is_multiple_of(5) {
            return Reply::Close;
        }
        Reply::Bytes(format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{told}", told.len()).into_bytes())
    });
    let once = run(&HttpOptions { connections: 1, ..options(address) }, &stream(50));
    assert_eq!((once.accepted, once.unanswered), (40, 10));
    assert_eq!(once.transport_errors["connection closed"], 10);

    let how = HttpOptions { connections: 2, retry: Some(Duration::from_secs(20)), ..options(address) };
    let folder = tempfile::tempdir().unwrap();
    let oracle = folder.path().join("oracle");
    let stop = AtomicBool::new(false);
    let again = post(&how, &StreamOptions { seed: 4, ..stream(50) }, None, Some(&oracle), &stop, |_| {}).unwrap();
    assert_eq!((again.accepted + again.duplicate, again.unanswered), (50, 0));
    // Some were lost twice.
    assert!((1..=again.resent_requests).contains(&again.duplicate), "{again:?}");
    let header = OracleReader::open(&oracle).unwrap().header().clone();
    assert_eq!(header.over_http, Some(OverHttp { accepted: again.accepted, resent: again.resent_clicks }));
    assert_eq!(server.log.lock().unwrap().len(), 100);
}

#[test]
fn without_all_verdicts_there_is_no_oracle() {
    let (address, _) = ingest(Script { turn_away_every: Some(3), ..Script::default() });
    let folder = tempfile::tempdir().unwrap();
    let oracle = folder.path().join("oracle");
    let report = post(&options(address), &stream(30), None, Some(&oracle), &AtomicBool::new(false), |_| {}).unwrap();
    assert!(report.failures.iter().any(|failure| failure.contains("no oracle was written")), "{report:?}");
    assert!(!oracle.exists());
}

#[test]
fn a_connection_that_the_server_closes_is_opened_again() {
    let (address, _) = ingest(Script { close_every: Some(10), ..Script::default() });
    for pipeline in [1, 4] {
        let how = HttpOptions { pipeline, connections: 2, ..options(address) };
        let report = run(&how, &StreamOptions { seed: u64::from(pipeline), ..stream(300) });
        // What lay behind the last answer was not looked at, and is no error.
        assert_eq!((report.accepted, report.unanswered, report.transport_errors.len()), (300, 0, 0), "{report:?}");
    }
}

#[test]
fn chunked_answers_may_come_byte_by_byte() {
    let address = bare(|number, _| {
        let head = "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n";
        let text = std::str::from_utf8(ACCEPTED).unwrap();
        let (one, two) = text.split_at(10);
        let body = format!("{head}a\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", two.len()).into_bytes();
        if number % 2 == 0 {
            Reply::Slowly(body)
        } else {
            Reply::Bytes([b"HTTP/1.1 100 Continue\r\n\r\n", &body[..]].concat())
        }
    });
    let report = run(&HttpOptions { pipeline: 3, ..options(address) }, &stream(60));
    assert_eq!((report.accepted, report.malformed, report.answers[&202]), (60, 0, 60), "{report:?}");
}

#[test]
fn answers_that_are_none_are_failures() {
    let check = |bytes: &'static [u8], problem: &str| {
        let address = bare(
            move |number, _| {
                if number == 2 { Reply::Bytes(bytes.to_vec()) } else { Reply::Bytes(accepted(ACCEPTED)) }
            },
        );
        let report = run(&HttpOptions { connections: 1, ..options(address) }, &stream(5));
        assert_eq!((report.accepted, report.malformed, report.unanswered), (4, 1, 1), "{report:?}");
        assert!(report.failures.iter().any(|failure| failure.contains(problem)), "{report:?}");
    };
    check(b"hello, who are you?\r\n\r\n", "no HTTP");
    check(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}", "missing field");
    check(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "not one that is expected");
    check(b"HTTP/1.1 200 OK\r\n\r\n", "how long it is");
}

#[test]
fn an_error_of_the_server_is_a_failure() {
    let (address, _) = ingest(Script { fail_every: Some(10), ..Script::default() });
    let report = run(&options(address), &stream(100));
    assert_eq!((report.accepted, report.server_error), (90, 10));
    assert!(report.failures.iter().any(|failure| failure.contains("the server answered 500")), "{report:?}");
}

#[test]
fn a_click_that_is_rejected_and_poison_that_is_not_are_failures() {
    let refuses = bare(|_, _| Reply::Bytes(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n".to_vec()));
    assert_eq!(run(&options(refuses), &stream(20)).wrong_verdicts, 20);
    let takes = bare(|_, _| Reply::Bytes(accepted(ACCEPTED)));
    let poison = StreamOptions { shares: Shares { poison: 1.0, ..Shares::default() }, ..stream(20) };
    assert_eq!(run(&options(takes), &poison).wrong_verdicts, 20);
}

#[test]
fn an_answer_that_does_not_come_is_not_awaited_for_ever() {
    let address = bare(|number, _| if number == 3 { Reply::Hang } else { Reply::Bytes(accepted(ACCEPTED)) });
    let how = HttpOptions { timeout: Duration::from_millis(300), ..options(address) };
    let report = run(&how, &stream(20));
    assert_eq!((report.accepted, report.unanswered), (19, 1), "{report:?}");
    assert_eq!(report.transport_errors["timed out"], 1);
}

#[test]
fn a_server_that_is_not_there_is_said_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let failed = post(&options(address), &stream(20), None, None, &AtomicBool::new(false), |_| {});
    let message = format!("{:#}", failed.err().unwrap());
    assert!(message.contains("is `weir ingest` running?"), "{message}");
}

#[test]
fn a_server_that_goes_away_for_good_ends_the_run() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        let (stream, _) = listener.accept().unwrap();
        drop((listener, stream));
    };
    std::thread::spawn(serve);
    let how = HttpOptions { connections: 1, timeout: Duration::from_millis(300), ..options(address) };
    let report = run(&how, &stream(20));
    assert!(report.failures.iter().any(|failure| failure.contains("the server is gone")), "{report:?}");
    assert_eq!(report.accepted, 0, "{report:?}");
}

#[test]
fn a_stopped_run_reports_what_it_did() {
    let (address, server) = ingest(Script::default());
    let how = HttpOptions { rate: Some(1000.0), ..options(address) };
    let stop = AtomicBool::new(false);
    let stop_early = |settled: u64| stop.store(settled > 200, Ordering::Relaxed);
    let report = post(&how, &stream(100_000), None, None, &stop, stop_early).unwrap();
    assert!(report.stopped && report.unanswered == 0, "{report:?}");
    assert_eq!(report.accepted as usize, server.log.lock().unwrap().len());
}

#[test]
fn a_demo_posts_clicks_that_happen_now_until_it_is_stopped() {
    let (address, server) = ingest(Script::default());
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let target = HttpAddress::parse(&format!("http://{address}")).unwrap();
    let poster = std::thread::spawn(move || demo(&target, &Demo::default(), &told).unwrap());
    std::thread::sleep(Duration::from_millis(1500));
    let stopped = Instant::now();
    stop.store(true, Ordering::Relaxed);
    let posted = poster.join().unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(1));
    assert!((300..1500).contains(&posted), "{posted}");
    let now_ms = chrono::Utc::now().timestamp_millis() as u64;
    let log = server.log.lock().unwrap();
    assert!(log.len() as u64 <= posted && !log.is_empty());
    assert!(log.iter().all(|click| (now_ms - 20_000..=now_ms).contains(&click.timestamp)));
}
