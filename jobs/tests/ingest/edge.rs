//! What stands between clients and the service: balancers, TLS, HTTP/2, pipelines, and the end of the process.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::client::{Client, request, request_head};
use crate::gate::Mode;
use crate::server::{Server, gated};

fn click(id: u32) -> String {
    format!(r#"{{"ad_id":"a","user_id":"u","timestamp":1790000000,"click_id":"{id}"}}"#)
}

fn single(id: u32) -> String {
    let body = click(id);
    request_head("POST", "/v1/clicks", &[("content-type", "application/json")], body.len()) + &body
}

#[test]
fn the_client_behind_proxies_is_the_clicks_address() {
    let server = Server::start(&["ingest.proxy.trusted=127.0.0.1,10.0.0.0/8"]);
    let post = |forwarded: &str, id| {
        let headers = [("content-type", "application/json"), ("x-forwarded-for", forwarded)];
        request(server.address, "POST", "/v1/clicks", &headers, click(id).as_bytes()).expect(202);
    };
    post("203.0.113.9, 192.0.2.1, 10.1.2.3", 1);
    post("2001:db8::7", 2);
    let mut clicks = server.stop();
    clicks.sort_by_key(|click| click["click_id"].to_string());
    assert_eq!((&clicks[0]["ip_address"], &clicks[1]["ip_address"]), (&json!("192.0.2.1"), &json!("2001:db8::7")));

    let untrusting = Server::start(&[]);
    let headers = [("content-type", "application/json"), ("x-forwarded-for", "192.0.2.1")];
    request(untrusting.address, "POST", "/v1/clicks", &headers, click(1).as_bytes()).expect(202);
    assert_eq!(untrusting.stop()[0]["ip_address"], "127.0.0.1");
}

#[test]
fn a_balancer_says_whose_connection_it_passes_on() {
    let server = Server::start(&["ingest.proxy.protocol=true"]);
    let mut client = Client::connect(server.address);
    client.send("PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n").send(single(1) + &single(2));
    client.answer().unwrap().expect(202);
    client.answer().unwrap().expect(202);
    let mut without = Client::connect(server.address);
    without.send(single(3));
    assert!(without.answer().is_none(), "a connection without the header is closed");
    let clicks = server.stop();
    assert_eq!(clicks.len(), 2);
    assert!(clicks.iter().all(|click| click["ip_address"] == "192.0.2.7"), "{clicks:?}");
}

#[test]
fn requests_may_be_pipelined_on_a_connection_that_stays_open() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.address);
    let pipeline: String = (0..200).map(single).collect();
    client.send(pipeline);
    for id in 0..200 {
        assert_eq!(client.answer().unwrap().expect(202).json()["click_id"], id.to_string());
    }
    client.send(single(0));
    client.answer().unwrap().expect(200);
    assert_eq!(server.stop().len(), 200);
}

struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let authority = Self { folder: tempfile::tempdir().unwrap() };
        authority.issue(0);
        authority
    }

    /// Writes a new certificate; how much later its files were written.
    fn issue(&self, seconds: u64) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        for (name, text) in [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())] {
            let path = self.path(name);
            fs::write(&path, text).unwrap();
            let written = SystemTime::now() + Duration::from_secs(seconds);
            fs::File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
        }
        made.cert.der().clone()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

fn definitions(authority: &Authority) -> [String; 2] {
    let set = |key: &str, path: &Path| format!("ingest.tls.{key}={}", path.display());
    [set("certificate", &authority.path("cert.pem")), set("key", &authority.path("key.pem"))]
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_over_tls_with_a_certificate_that_changes() {
    let authority = Authority::new();
    let first = authority.issue(10);
    let definitions = definitions(&authority);
    let server = Server::start(&definitions.each_ref().map(String::as_str));
    let stream = connect(server.address, &first, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // Many at once on one connection.
    let answers = (0..100).map(|id| {
        let request = hyper::Request::post("https://localhost/v1/clicks")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(click(id))))
            .unwrap();
        sender.send_request(request)
    });
    for answer in futures::future::join_all(answers).await {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 202);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["status"], "accepted");
    }

    let second = authority.issue(20);
    let started = Instant::now();
    while connect(server.address, &second, b"http/1.1").await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "the new certificate is not used");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(connect(server.address, &first, b"http/1.1").await.is_err(), "the old one is not used any more");
    fs::write(authority.path("key.pem"), "no key").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(connect(server.address, &second, b"http/1.1").await.is_ok(), "what cannot be read changes nothing");
    let clicks = tokio::task::spawn_blocking(|| server.stop()).await.unwrap();
    assert_eq!(clicks.len(), 100);
}

#[test]
fn http_2_without_tls_is_understood_too() {
    let server = Server::start(&[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let status = runtime.block_on(async {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::post(format!("http://{}/v1/clicks", server.address))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(click(1))))
            .unwrap();
        sender.send_request(request).await.unwrap().status()
    });
    assert_eq!(status, 202);
}

#[test]
fn told_to_stop_it_answers_what_has_begun() {
    let (server, gate) = gated(&[]);
    let mut idle = Client::connect(server.address);
    idle.send(single(0));
    idle.answer().unwrap().expect(202);
    gate.set(Mode::Hold);
    let mut begun = Client::connect(server.address);
    begun.send(single(1));
    while gate.appended() < 2 {
        thread::sleep(Duration::from_millis(5));
    }
    let address = server.address;
    let stopping = thread::spawn(|| server.stop());
    thread::sleep(Duration::from_millis(300));
    assert!(std::net::TcpStream::connect(address).is_err(), "no new connections");
    assert!(idle.answer().is_none(), "connections without a request are closed");
    gate.set(Mode::Pass);
    let answer = begun.answer().unwrap().expect(202);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(stopping.join().unwrap().len(), 2);
}

#[test]
fn a_client_that_never_ends_does_not_keep_the_process() {
    let server = Server::start(&["ingest.drain_timeout=300ms"]);
    let mut client = Client::connect(server.address);
    client
        .send("POST /v1/clicks HTTP/1.1\r\nhost: w\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{");
    thread::sleep(Duration::from_millis(100));
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(client.answer().is_none_or(|answer| answer.status >= 400));
}
