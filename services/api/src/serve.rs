//! The HTTP server: a bounded number of connections, each bounded in time.
//!
//! `axum::serve` bounds neither, and this listener may face a network.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

/// The most connections at once; more wait in the listener's backlog.
const MAX_CONNECTIONS: u32 = 256;

/// How long a peer may take to send a request's head.
const HEAD: Duration = Duration::from_secs(10);

/// How long a connection may live: a peer that reads no answer would hold it for ever.
const CONNECTION: Duration = Duration::from_secs(300);

/// How long requests in progress may take after the end was ordered.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Answers requests until `shutdown` completes, then finishes those in progress. Returns within a few seconds of that.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()> + Send) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    let (stop, stopping) = watch::channel(());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let (router, stopping) = (router.clone(), stopping.clone());
        tokio::spawn(async move {
            connection(stream, peer, router, stopping).await;
            drop(permit);
        });
    }
    drop(listener);
    stop.send_replace(());
    if tokio::time::timeout(LAST_ANSWERS, connections.acquire_many(MAX_CONNECTIONS)).await.is_err() {
        tracing::warn!("API connections were cut: they did not end within {LAST_ANSWERS:?}");
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    // Never closed.
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            // Out of descriptors, most likely: it passes, and trying at once would only burn a core.
            tracing::warn!(%error, "the API cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, mut stopping: watch::Receiver<()>) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        answer(router.clone(), request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let done = tokio::select! {
        done = serving.as_mut() => done,
        _ = stopping.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
        () = tokio::time::sleep(CONNECTION) => return,
    };
    if let Err(error) = done {
        tracing::debug!(%peer, %error, "API connection ended badly");
    }
}

async fn answer(mut router: Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    // A router is always ready.
    router.call(request.map(Body::new)).await
}
