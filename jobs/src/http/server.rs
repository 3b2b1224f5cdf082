//! Accepts connections, speaks HTTP on them, and lets them end in order.
//!
//! - A connection that is idle, sends its head too slowly, or takes no answer is closed after a time.
//! - More connections than allowed wait in the system's queue.
//! - Told to stop, the server accepts no more, answers what it has read, and closes each connection then.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use super::tls::Certificates;
use super::{Answer, open_files, proxy_protocol};

/// How many connections the system keeps until they are accepted.
const BACKLOG: u32 = 4096;

/// Answers that a client does not take, and keep-alives that it does not acknowledge, end a connection after this time.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 256;

/// How long a full table of open files is waited for.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// The answer to a request, whatever it is.
    fn handle(&self, peer: Peer, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its address: that in the PROXY header, if connections begin with one.
    pub address: SocketAddr,
}

/// How a server treats its connections.
#[derive(Clone)]
pub struct ServerSettings {
    /// Connections at a time.
    pub connections: usize,
    /// The largest head of a request, in bytes.
    pub head_bytes: usize,
    /// The most header lines.
    pub headers: usize,
    /// How long a head may take, and a connection be idle.
    pub head_timeout: Duration,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// TLS, if it is spoken.
    pub certificates: Option<Certificates>,
}

/// A server that has its port.
pub struct HttpServer {
    listener: TcpListener,
    settings: Arc<ServerSettings>,
    open: Arc<AtomicUsize>,
}

impl HttpServer {
    /// Binds the port. Must be called in a tokio runtime.
    pub fn bind(listen: SocketAddr, settings: ServerSettings) -> io::Result<Self> {
        open_files::allow(settings.connections);
        let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(listen)?;
        Ok(Self { listener: socket.listen(BACKLOG)?, settings: Arc::new(settings), open: Arc::default() })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// How many connections are open, for others to read.
    #[must_use]
    pub fn open_connections(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.open)
    }

    /// Serves until `stop` turns true, then until the last connection is closed, for `drain_timeout` at most. Whether all of
    /// them ended by themselves.
    pub async fn serve(
        self,
        handler: Arc<impl Handler>,
        mut stop: watch::Receiver<bool>,
        drain_timeout: Duration,
    ) -> bool {
        let places = Arc::new(Semaphore::new(self.settings.connections));
        // Each connection holds a sender; when all are gone, so are the connections.
        let (alive, mut all_gone) = mpsc::channel::<Infallible>(1);
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &places) => accepted,
                () = stopped(&mut stop) => break,
            };
            let Some((stream, peer, place)) = accepted else { continue };
            let (handler, settings) = (Arc::clone(&handler), Arc::clone(&self.settings));
            let (alive, stop, open) = (alive.clone(), stop.clone(), Arc::clone(&self.open));
            open.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                if let Err(reason) = connection(stream, peer, &settings, handler, stop).await {
                    tracing::debug!(%peer, %reason, "connection ended");
                }
                open.fetch_sub(1, Ordering::Relaxed);
                drop((alive, place));
            });
        }
        drop((self.listener, alive));
        timeout(drain_timeout, all_gone.recv()).await.is_ok()
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<Accepted> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) => {
            // Too many open files, or a client that is gone already.
            tracing::debug!(%error, "no connection was accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(
    mut stream: TcpStream,
    peer: SocketAddr,
    settings: &ServerSettings,
    handler: Arc<impl Handler>,
    stop: watch::Receiver<bool>,
) -> Result<(), String> {
    prepare(&stream).map_err(|error| error.to_string())?;
    let mut address = peer;
    if settings.proxy_protocol {
        let header = timeout(settings.head_timeout, proxy_protocol::read(&mut stream)).await;
        let source = header.map_err(|_| "no PROXY header in time".to_owned())?.map_err(|error| error.to_string())?;
        address = source.unwrap_or(peer);
    }
    let peer = Peer { address };
    match &settings.certificates {
        None => serve_http(TokioIo::new(stream), peer, settings, handler, stop).await,
        Some(certificates) => {
            let handshake = timeout(settings.head_timeout, certificates.accept(stream)).await;
            let encrypted =
                handshake.map_err(|_| "no TLS handshake in time".to_owned())?.map_err(|error| error.to_string())?;
            serve_http(TokioIo::new(encrypted), peer, settings, handler, stop).await
        }
    }
}

/// Answers leave at once, and a host that has vanished is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(DEAD_AFTER).with_interval(DEAD_AFTER / 3))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(DEAD_AFTER))?;
    Ok(())
}

async fn serve_http(
    stream: impl Read + Write + Unpin + Send + 'static,
    peer: Peer,
    settings: &ServerSettings,
    handler: Arc<impl Handler>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let builder = builder(settings);
    let begun = Arc::new(AtomicBool::new(false));
    let first = Arc::clone(&begun);
    let service = service_fn(move |request| {
        first.store(true, Ordering::Relaxed);
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.handle(peer, request).await) }
    });
    let mut connection = pin!(builder.serve_connection(stream, service));
    // The library's own limit begins with the first bytes that tell the protocol.
    let mut first_is_due = pin!(tokio::time::sleep(settings.head_timeout));
    let mut watching = true;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = first_is_due.as_mut(), if watching => {
                if !begun.load(Ordering::Relaxed) {
                    return Err("no request in time".to_owned());
                }
                watching = false;
            }
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                break connection.await;
            }
        }
    };
    ended.map_err(|error| error.to_string())
}

/// Comes when the server is told to stop, or when nobody is left who could tell it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The value that is returned would keep the channel locked.
    let _ = stop.wait_for(|stop| *stop).await.map(|stop| *stop);
}

fn builder(settings: &ServerSettings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_timeout)
        .max_headers(settings.headers)
        .max_buf_size(settings.head_bytes)
        .pipeline_flush(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(settings.head_bytes as u32)
        .keep_alive_interval(DEAD_AFTER)
        .keep_alive_timeout(DEAD_AFTER);
    builder
}
