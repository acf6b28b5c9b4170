//! Listening: connections with limits on their number, their headers and their time.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tower_service::Service;

use crate::config::services::MetricsConfig;

/// What one listener allows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// How long a client may take to send its headers.
    pub headers: Duration,
    /// How long a connection may last.
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

/// Serves `router` on a Unix socket for ever.
///
/// # Errors
/// The listener cannot be used by the event loop.
pub async fn serve_socket(
    listener: std::os::unix::net::UnixListener,
    router: Router,
    limits: Limits,
) -> std::io::Result<Infallible> {
    let listener = UnixListener::from_std(listener)?;
    let slots = Arc::new(Semaphore::new(limits.connections));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            continue;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    one(stream, router, limits).await;
                    drop(slot);
                });
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
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            continue;
        };
        match listener.accept().await {
            Ok((stream, peer)) if config.allows(peer.ip()) => {
                let router = router.clone();
                tokio::spawn(async move {
                    one(stream, router, limits).await;
                    drop(slot);
                });
            }
            Ok((stream, _)) => drop(stream),
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

/// One connection from its first byte to its last.
async fn one<S>(stream: S, router: Router, limits: Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        router.clone().call(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A client that breaks off is its own affair; one that stays too long is let finish its
    // request first.
    if tokio::time::timeout(limits.lifetime, connection.as_mut())
        .await
        .is_err()
    {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(limits.headers, connection).await;
    }
}
