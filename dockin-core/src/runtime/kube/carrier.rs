use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use http::{Request, Response, Uri, uri::PathAndQuery};
use hyper_rustls::{
    FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream,
};
use hyper_util::{
    client::legacy::connect::{Connection as _, HttpConnector},
    rt::TokioIo,
};
use kube::{Config, client::ConfigExt as _};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tower::{
    BoxError, Service as _, ServiceBuilder, ServiceExt as _, service_fn, util::BoxCloneSyncService,
};

use super::{
    CONNECT_TIMEOUT,
    upstreams::{AnswerBody, CarryError, Dial, Upstreams},
};
use crate::service::Body;

/// Sends requests to one apiserver with the gateway's credential, over connections that are kept:
/// HTTP/2 where the apiserver offers it, else HTTP/1.1.
#[derive(Clone)]
pub(super) struct Carrier {
    service: BoxCloneSyncService<Request<Body>, Response<Answer>, BoxError>,
    /// What stands before every path, where the apiserver is not at the root of its host.
    prefix: Option<Arc<str>>,
}

/// The body of an answer.
pub(super) type Answer = AnswerBody<<Connector as Dial>::Stream>;

/// How often a connection on which nothing happens is tried.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Connects to one apiserver, with TLS.
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    server: Uri,
}

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
        http.set_keepalive(Some(KEEPALIVE));
        let tls = config.rustls_client_config()?;
        let mut builder = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only();
        if let Some(name) = &config.tls_server_name {
            let name = ServerName::try_from(name.clone())?;
            builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
        }
        let server = config.cluster_url.clone();
        let connector = Connector {
            https: builder.enable_http1().enable_http2().wrap_connector(http),
            server: server.clone(),
        };
        let prefix = server.path().trim_end_matches('/');
        let prefix = (!prefix.is_empty()).then(|| prefix.into());
        let upstreams = Upstreams::new(connector, server)?;
        let service = service_fn(move |request| Arc::clone(&upstreams).send(request));
        let service = ServiceBuilder::new()
            .option_layer(config.auth_layer()?)
            .map_err(BoxError::from)
            .service(service);
        Ok(Self {
            service: BoxCloneSyncService::new(service),
            prefix,
        })
    }

    /// Sends `request`, whose URI is a path and a query, and gives the answer once its head is
    /// there.
    pub(super) fn send(
        &self,
        mut request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Answer>, BoxError>> {
        if let Some(prefix) = &self.prefix {
            let path = request.uri().path_and_query().map(PathAndQuery::as_str);
            let whole = format!("{prefix}{}", path.unwrap_or("/"));
            match whole.parse() {
                Ok(uri) => *request.uri_mut() = uri,
                Err(error) => return Box::pin(async { Err(BoxError::from(error)) }),
            }
        }
        Box::pin(self.service.clone().oneshot(request))
    }
}

/// Whether nothing was sent, because there was nobody to send it to.
pub(super) fn never_connected(error: &BoxError) -> bool {
    let error = error.downcast_ref::<CarryError>();
    error.is_some_and(CarryError::never_connected)
}

impl Dial for Connector {
    type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

    async fn dial(&self) -> Result<(Self::Stream, bool), BoxError> {
        // TLS as well: who accepts and then says nothing is not there, either.
        let stream = self.https.clone().call(self.server.clone());
        let stream = timeout(CONNECT_TIMEOUT, stream).await??;
        let is_http2 = stream.connected().is_negotiated_h2();
        Ok((stream, is_http2))
    }
}
