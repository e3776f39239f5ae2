//! The plain door for clients that know no TLS, on this machine alone.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode, header};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Gateway, answer::plain};
use crate::{Error, ErrorKind, service::Peer};

/// An address of this machine's own where the routes of Dockin-Ops, and nothing else, are served
/// without TLS: its clients speak plain HTTP to `127.0.0.1:8084`. Whoever serves others puts a
/// proxy with TLS before it, and names that as one that may say where requests come from.
pub struct OpsDoor {
    listener: TcpListener,
}

/// Connections at once.
const MOST: usize = 512;
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(30);
/// How long open requests may go on after the order to stop.
const DRAIN: Duration = Duration::from_secs(10);

impl OpsDoor {
    /// Listens on `address`.
    ///
    /// # Errors
    ///
    /// `Misuse` for an address that others can reach, `Unavailable` when it is not to be had.
    pub async fn open(address: SocketAddr) -> Result<Self, Error> {
        if !address.ip().is_loopback() {
            let message = format!(
                "`listen` of `dockin_ops` is {address}, which others reach without TLS: take a \
                 loopback address, and a proxy with TLS before it"
            );
            return Err(Error::new(ErrorKind::Misuse, message));
        }
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                format!("cannot listen on {address}"),
            )
            .with_source(error)
        })?;
        Ok(Self { listener })
    }

    /// Where it is.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the system does not tell.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the listener has no address").with_source(error)
        })
    }

    /// Serves `gateway` here until `stop`.
    pub async fn serve(self, gateway: Arc<Gateway>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(MOST));
        let tasks = TaskTracker::new();
        loop {
            // Who finds no place waits in the kernel's queue.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                break;
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let (socket, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (gateway, stop) = (Arc::clone(&gateway), stop.clone());
            tasks.spawn(async move {
                let _place = place;
                connection(socket, address, gateway, stop).await;
            });
        }
        tasks.close();
        let _cut = tokio::time::timeout(DRAIN, tasks.wait()).await;
    }
}

async fn connection(
    socket: TcpStream,
    address: SocketAddr,
    gateway: Arc<Gateway>,
    stop: CancellationToken,
) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let gateway = Arc::clone(&gateway);
        let peer = Peer {
            address,
            certificate_names: Arc::default(),
            certificate: None,
        };
        async move {
            let upgrading = request.headers().contains_key(header::UPGRADE);
            let mut response = if gateway.is_ops(request.uri().path()) {
                gateway.ops(peer, request).await
            } else {
                plain(StatusCode::NOT_FOUND, "not found")
            };
            // What follows a refused upgrade may be meant for another protocol: it is not read.
            if upgrading && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%address, %error, "connection ended");
    }
}
