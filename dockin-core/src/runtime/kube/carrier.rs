use std::{error::Error as StdError, fmt, time::Duration};

use futures::{TryFutureExt as _, future::BoxFuture};
use http::{Request, Response, uri::Scheme};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{Config, client::ConfigExt as _};
use rustls::pki_types::ServerName;
use tower::{BoxError, ServiceBuilder, ServiceExt as _, util::BoxCloneSyncService};

use super::CONNECT_TIMEOUT;
use crate::service::Body;

/// Sends requests to one apiserver with the gateway's credential, over connections that are kept:
/// HTTP/2 where the apiserver offers it, else HTTP/1.1.
#[derive(Clone)]
pub(super) struct Carrier {
    service: BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct CarryError(BoxError);

/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(60);
/// How often a connection of HTTP/2 is tried, so that a dead one is not kept, and how long the
/// answer may take.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// Bytes of a stream and of a connection of HTTP/2 on their way to a reader who is slow.
const WINDOW: (u32, u32) = (1024 * 1024, 4 * 1024 * 1024);

impl Carrier {
    /// A carrier with the credential and the authority of `config`.
    ///
    /// # Errors
    ///
    /// The credential cannot be used.
    pub(super) fn new(config: &Config) -> Result<Self, BoxError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_keepalive(Some(Duration::from_secs(30)));
        let tls = config.rustls_client_config()?;
        let mut builder = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only();
        if let Some(name) = &config.tls_server_name {
            let name = ServerName::try_from(name.clone())?;
            builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
        }
        let connector = builder.enable_http1().enable_http2().wrap_connector(http);
        // TLS as well: who accepts and then says nothing is not there, either.
        let mut connector = TimeoutConnector::new(connector);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(PING.0)
            .http2_keep_alive_timeout(PING.1)
            .http2_initial_stream_window_size(WINDOW.0)
            .http2_initial_connection_window_size(WINDOW.1)
            .build(connector);
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer()?)
            .map_err(BoxError::from)
            .service(client);
        Ok(Self {
            service: BoxCloneSyncService::new(service),
        })
    }

    /// Sends `request`, and gives the answer once its head is there.
    pub(super) fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Incoming>, CarryError>> {
        // INVARIANT: the path is relative; the scheme and the address are the kubeconfig's.
        debug_assert_ne!(request.uri().scheme(), Some(&Scheme::HTTP));
        Box::pin(self.service.clone().oneshot(request).map_err(CarryError))
    }
}

impl CarryError {
    /// Whether nothing was sent, because there was nobody to send it to.
    pub(super) fn never_connected(&self) -> bool {
        let error = self.0.downcast_ref::<legacy::Error>();
        error.is_some_and(legacy::Error::is_connect)
    }
}

impl fmt::Display for CarryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for CarryError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
