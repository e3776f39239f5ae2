//! The resource manager that `dockin-cni` asks: `/rmController/…` over TLS, for plugins with a
//! certificate of their authority or with the token. It is on the gateway's port, or on one of its
//! own.

mod callers;
mod config;
mod pools;

use std::{
    net::SocketAddr,
    ops::ControlFlow,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use callers::{Callers, PluginAuthority};
pub(crate) use config::ResourceManager;
use dockin_core::{
    Error, ErrorKind,
    gateway::{Beside, Gateway},
    service::{Body, Caller, Peer, Server, json, serve, text},
    tls::{self, Identity, Live},
};
use dockin_net::resource_manager::{Network, answer};
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use pools::Pools;
use rustls::{ServerConfig, pki_types::CertificateDer};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

/// Where the predecessor's resource manager has its calls.
const PREFIX: &str = "/rmController/";
/// Calls that are answered at once; a store that stands still must not take every thread.
const AT_ONCE: usize = 32;
/// How long the others wait for their turn: plugins give up after five seconds.
const TURN: Duration = Duration::from_secs(2);

/// The service.
pub(crate) struct Service {
    networks: Arc<[Network]>,
    pools: Pools,
    callers: Callers,
    turns: Semaphore,
    /// Who writes refusals down. It has this service, which must not keep it alive.
    gateway: OnceLock<Weak<Gateway>>,
}

/// What somebody who is no plugin is told, and the audit trail of him.
const NO_PLUGIN: &str = "the certificate or the token of a plugin is missing or wrong";

impl Service {
    /// Reads what `config` names; nothing is served yet.
    ///
    /// # Errors
    ///
    /// `Misuse` naming the file or key.
    pub(crate) fn new(config: &ResourceManager) -> Result<Self, Error> {
        Ok(Self {
            networks: config.networks()?.into(),
            pools: Pools::open(config)?,
            callers: Callers::load(config)?,
            turns: Semaphore::new(AT_ONCE),
            gateway: OnceLock::new(),
        })
    }

    /// Has the gateway write refusals down from here on.
    pub(crate) fn tell(&self, gateway: &Arc<Gateway>) {
        let _known = self.gateway.set(Arc::downgrade(gateway));
    }

    /// Whose certificates clients of the port may show when plugins come there too.
    ///
    /// # Errors
    ///
    /// `Misuse` when plugins and people could not be told apart.
    pub(crate) fn authorities(
        &self,
        people: Option<Vec<CertificateDer<'static>>>,
    ) -> Result<Option<Vec<CertificateDer<'static>>>, Error> {
        let mut all = people.unwrap_or_default();
        self.callers.check_beside(&all)?;
        if let Some(authority) = self.callers.authority() {
            all.extend_from_slice(authority.certificates());
        }
        Ok((!all.is_empty()).then_some(all))
    }

    /// What secures an address of its own, where this server has `identity`; the authority of
    /// plugins is read again, and counts from then on.
    ///
    /// # Errors
    ///
    /// `Misuse` naming the file; the authority of before stays in force.
    pub(crate) fn secure(
        &self,
        config: &ResourceManager,
        identity: Identity,
    ) -> Result<Arc<ServerConfig>, Error> {
        let authority = Callers::read_authority(config)?;
        // With both, a certificate is asked for: the token is then a second proof.
        let certificates = authority.as_deref().map(PluginAuthority::certificates);
        let secured = tls::server_config(identity, certificates)?;
        if let Some(authority) = authority {
            self.callers.replace_authority(authority);
        }
        Ok(secured)
    }

    /// Serves on the address of its own until `stop`.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on.
    pub(crate) async fn listen(
        self: Arc<Self>,
        address: SocketAddr,
        secured: Live<ServerConfig>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let unavailable = |error| {
            let what = format!("cannot listen on {address}");
            Error::new(ErrorKind::Unavailable, what).with_source(error)
        };
        let listener = TcpListener::bind(address).await.map_err(unavailable)?;
        let address = listener.local_addr().map_err(unavailable)?;
        eprintln!("resource manager on https://{address}{PREFIX}");
        tokio::spawn(serve(listener, secured, Arc::new(Alone(self)), stop));
        Ok(())
    }

    async fn refused(&self, peer: &Peer) {
        tracing::warn!(address = %peer.address, "no plugin asks the resource manager");
        let Some(gateway) = self.gateway.get().and_then(Weak::upgrade) else {
            return;
        };
        let reason = format!("resource manager: {NO_PLUGIN}");
        if let Err(error) = gateway.refused_beside(peer.address, &reason).await {
            tracing::error!(
                error = error.chain(),
                "refusal of the resource manager not audited"
            );
        }
    }

    async fn respond(&self, peer: &Peer, request: &Request<Incoming>) -> Response<Body> {
        let given = request.headers().get(header::AUTHORIZATION);
        let given = given.and_then(|it| it.to_str().ok()?.strip_prefix("Bearer "));
        if !self.callers.know(peer.is_other, given) {
            self.refused(peer).await;
            return text(StatusCode::UNAUTHORIZED, &format!("{NO_PLUGIN}\n"));
        }
        let call = request.uri().path_and_query().map(|it| it.as_str());
        let Some(call) = call.and_then(|it| it.strip_prefix(PREFIX)) else {
            return text(StatusCode::NOT_FOUND, "calls are under /rmController/\n");
        };
        let (method, call) = (request.method().to_string(), call.to_owned());
        let Ok(Ok(_turn)) = timeout(TURN, self.turns.acquire()).await else {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many calls wait for their answer, ask again\n",
            );
        };
        let networks = Arc::clone(&self.networks);
        let mut pools = self.pools.clone();
        // Files are locked, read and made durable, or etcd is asked: not on a thread that others
        // wait for.
        let answered =
            tokio::task::spawn_blocking(move || answer(&networks, &method, &call, &mut pools));
        let Ok(answered) = answered.await else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "the call was cut off\n");
        };
        let Ok(value) = serde_json::from_str(&answered.body) else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "no answer\n");
        };
        let mut response = json(&value);
        let status = StatusCode::from_u16(answered.status);
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
    }
}

#[async_trait::async_trait]
impl Beside for Service {
    fn caller(&self, chain: &[CertificateDer<'static>]) -> Caller {
        self.callers.caller(chain)
    }

    async fn handle(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> ControlFlow<Response<Body>, Request<Incoming>> {
        if !request.uri().path().starts_with(PREFIX) {
            return ControlFlow::Continue(request);
        }
        ControlFlow::Break(self.respond(peer, &request).await)
    }
}

/// The service where nobody else comes.
struct Alone(Arc<Service>);

impl Server for Alone {
    fn caller(&self, chain: &[CertificateDer<'static>]) -> Caller {
        self.0.caller(chain)
    }

    async fn handle(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Response<Body> {
        self.0.respond(&peer, &request).await
    }
}
