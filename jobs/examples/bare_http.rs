//! The least that a server for clicks can do: it reads each body and says that all of it was accepted. What ingest costs
//! on top of that is its own. Any GET is answered with 200, so that it can be asked whether it is ready.
//!
//! `cargo run --release -p weir --example bare_http 127.0.0.1:8080`

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

const ACCEPTED: &[u8] = br#"{"click_id":"00000000-0000-0000-0000-000000000000","status":"accepted"}"#;

#[tokio::main]
async fn main() -> Result<()> {
    let listen: SocketAddr = std::env::args().nth(1).context("where to listen?")?.parse()?;
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            if let Err(error) = served {
                eprintln!("a connection broke: {error}");
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == Method::GET {
        return Ok(response(StatusCode::OK, Bytes::from_static(b"ready\n")));
    }
    let batch = request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/x-ndjson");
    let Ok(body) = request.into_body().collect().await else {
        return Ok(response(StatusCode::BAD_REQUEST, Bytes::new()));
    };
    if !batch {
        return Ok(response(StatusCode::ACCEPTED, Bytes::from_static(ACCEPTED)));
    }
    let clicks = body.to_bytes().iter().filter(|byte| **byte == b'\n').count() + 1;
    let verdict = format!(r#"{{"accepted":{clicks},"duplicate":0,"rejected":[]}}"#);
    Ok(response(StatusCode::OK, Bytes::from(verdict)))
}

fn response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}
