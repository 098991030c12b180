//! A server: connections, TLS, timeouts, and an end that lets requests in flight end. It knows nothing of SCIM.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Error;
use super::rate::Peer;
use super::tls::Tls;
use crate::ops::shutdown::{self, Shutdown};

/// How long clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a handshake, for a request's head, and between two requests.
    pub arrival: Duration,
    /// For requests in flight, once the server should end.
    pub drain: Duration,
    /// How many connections are open at once; more wait.
    pub connections: usize,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            arrival: Duration::from_secs(10),
            drain: Duration::from_secs(1),
            connections: 64,
        }
    }
}

/// Listens.
pub(super) async fn bind(address: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Error::Listen(address.to_owned(), error))
}

/// Serves until the process should end, and then until the requests in flight have ended or `drain` is over.
///
/// # Errors
/// Never for a single connection.
pub async fn run(listener: TcpListener, tls: Option<Tls>, router: Router, mut end: Shutdown, timeouts: Timeouts) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(timeouts.connections));
    let graceful = GracefulShutdown::new();
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place.map_err(io::Error::other)?,
            () = shutdown::wait(&mut end) => break,
        };
        let (stream, from) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // too many open files, or a client that was gone at once: neither ends the server
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = shutdown::wait(&mut end) => break,
        };
        let router = router.clone().layer(Extension(Peer(from.ip())));
        let (tls, watcher) = (tls.clone(), graceful.watcher());
        tokio::spawn(async move {
            connection(stream, tls, router, watcher, timeouts).await;
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(timeouts.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in flight took too long and were cut off");
    }
    Ok(())
}

async fn connection(stream: TcpStream, tls: Option<Tls>, router: Router, watcher: Watcher, timeouts: Timeouts) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return http(stream, router, watcher, timeouts).await;
    };
    match tokio::time::timeout(timeouts.arrival, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => http(stream, router, watcher, timeouts).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router, watcher: Watcher, timeouts: Timeouts) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.arrival)
        .max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(timeouts.arrival)
        .keep_alive_timeout(timeouts.arrival)
        .max_concurrent_streams(256)
        .max_header_list_size(64 * 1024);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        tracing::debug!(error, "a connection ended early");
    }
}
