//! The plain door for clients that know no TLS, on this machine alone.

use std::{net::SocketAddr, sync::Arc};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Gateway, answer::plain};
use crate::{
    Error, ErrorKind,
    service::{Body, ConnectionLimits, Peer, Server, Transport, serve_limited},
};

/// An address of this machine's own where the routes of Dockin-Ops, and nothing else, are served
/// without TLS: its clients speak plain HTTP to `127.0.0.1:8084`. Whoever serves others puts a
/// proxy with TLS before it, and names that as one that may say where requests come from.
pub struct OpsDoor {
    listener: TcpListener,
}

/// Connections at once.
const MOST: usize = 512;

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
        let limits = ConnectionLimits {
            total: MOST,
            per_address: MOST,
            ..ConnectionLimits::default()
        };
        match Transport::plain(&self.listener) {
            Ok(plain) => {
                serve_limited(
                    self.listener,
                    plain,
                    limits,
                    Arc::new(Behind(gateway)),
                    stop,
                )
                .await;
            }
            Err(error) => tracing::error!(error = error.chain(), "no door for Dockin-Ops"),
        }
    }
}

/// The routes of Dockin-Ops and nothing else of the gateway.
struct Behind(Arc<Gateway>);

impl Server for Behind {
    async fn handle(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Response<Body> {
        if self.0.is_ops(request.uri().path()) {
            return self.0.ops(peer, request).await;
        }
        plain(StatusCode::NOT_FOUND, "not found")
    }
}
