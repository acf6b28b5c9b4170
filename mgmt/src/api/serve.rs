//! Listening: connections with limits on their number, their headers and their time.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

use crate::config::services::MetricsConfig;

/// What one listener allows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// How long a client may take to send its headers.
    pub headers: Duration,
    /// How long a connection may last, unless it carries a stream.
    pub lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            headers: Duration::from_secs(10),
            lifetime: Duration::from_secs(300),
        }
    }
}

/// How long a listener rests when the system has no descriptor for a new connection.
const REST: Duration = Duration::from_millis(100);

/// The most streams that can be open on the management socket.
pub const STREAMS_MAX: u32 = 16;

/// The places for streams, which are not those for requests: a stream may last as long as the
/// gateway.
#[derive(Debug, Clone)]
pub struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS_MAX as usize)))
    }
}

impl Streams {
    /// Waits until every stream has ended and its connection is closed.
    pub async fn ended(&self) {
        // Nobody closes the semaphore; if somebody did, there would be nothing to wait for.
        let _all = self.0.acquire_many(STREAMS_MAX).await;
    }
}

/// A client's connection, as a request that comes in by it sees it.
#[derive(Debug, Clone)]
pub(super) struct Visit(Arc<Place>);

#[derive(Debug)]
struct Place {
    /// Among the requests, and once it stays among the streams.
    held: Mutex<OwnedSemaphorePermit>,
    stays: AtomicBool,
    streams: Streams,
}

impl Visit {
    fn new(held: OwnedSemaphorePermit, streams: Streams) -> Self {
        Self(Arc::new(Place {
            held: Mutex::new(held),
            stays: AtomicBool::new(false),
            streams,
        }))
    }

    /// A place among the streams, if there is one.
    pub fn stream_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.streams.0).try_acquire_owned().ok()
    }

    /// Gives up its place among the requests for `place`, for as long as the connection lasts.
    pub fn stay(&self, place: OwnedSemaphorePermit) {
        *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) = place;
        self.0.stays.store(true, Ordering::Relaxed);
    }

    fn stays(&self) -> bool {
        self.0.stays.load(Ordering::Relaxed)
    }
}

/// Serves `router` on a Unix socket for ever.
///
/// # Errors
/// The listener cannot be used by the event loop.
pub async fn serve_socket(
    listener: std::os::unix::net::UnixListener,
    router: Router,
    limits: Limits,
    streams: Streams,
) -> std::io::Result<Infallible> {
    let listener = UnixListener::from_std(listener)?;
    let slots = Arc::new(Semaphore::new(limits.connections));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            continue;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let visit = Visit::new(slot, streams.clone());
                tokio::spawn(one(stream, router.clone(), limits, visit));
            }
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

/// Opens the metrics port on every address of the host, of both families where it can.
///
/// # Errors
/// The port is taken, or may not be opened.
pub fn open_metrics(port: u16) -> std::io::Result<std::net::TcpListener> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = match std::net::TcpListener::bind(both) {
        Ok(listener) => listener,
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => return Err(error),
        // A host without IPv6 has no such address.
        Err(_) => std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves `router` on the metrics port for ever, to peers that the configuration allows.
///
/// # Errors
/// The listener cannot be used by the event loop.
pub async fn serve_metrics(
    listener: std::net::TcpListener,
    config: MetricsConfig,
    router: Router,
    limits: Limits,
) -> std::io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    let slots = Arc::new(Semaphore::new(limits.connections));
    // Nothing that is served here is a stream.
    let streams = Streams(Arc::new(Semaphore::new(0)));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            continue;
        };
        match listener.accept().await {
            Ok((stream, peer)) if config.allows(peer.ip()) => {
                let visit = Visit::new(slot, streams.clone());
                tokio::spawn(one(stream, router.clone(), limits, visit));
            }
            Ok((stream, _)) => drop(stream),
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

/// One connection from its first byte to its last.
async fn one<S>(stream: S, router: Router, limits: Limits, visit: Visit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let visitor = visit.clone();
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(visitor.clone());
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A client that breaks off is its own affair; one that stays too long is let finish its
    // request first, and a stream ends when the client or the gateway does.
    let over = tokio::time::timeout(limits.lifetime, connection.as_mut()).await;
    if over.is_ok() {
        return;
    }
    if visit.stays() {
        let _ = connection.await;
        return;
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(limits.headers, connection).await;
}
