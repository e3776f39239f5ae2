//! The gateway's service: a Kubernetes API through which people reach containers, judged and
//! written down.
//!
//! One file per surface: [`pods`](self) lists and reads, `exec` opens sessions, `logs` and
//! `ports` carry what their names say; `routes` is the one table of paths.

mod address_list;
mod admit;
mod approval;
mod auditor;
mod beside;
mod builder;
mod cluster;
#[cfg(feature = "kube")]
mod cluster_accounts;
mod cluster_file;
mod cluster_folder;
mod cluster_set;
#[cfg(feature = "authority")]
mod enrolment;
mod exec;
mod file_sizes;
mod framing;
mod host_name;
mod impersonate;
mod kubeconfig;
mod limits;
mod live;
mod login;
mod login_failures;
mod logs;
mod long_answer;
mod object_cache;
#[cfg(feature = "kube")]
mod onward;
#[cfg(feature = "dockin-ops")]
mod ops;
mod own;
#[cfg(feature = "kube")]
mod pass;
mod pods;
mod ports;
mod refusal;
mod reviews;
mod routes;
mod standing;

use std::{
    net::SocketAddr,
    ops::ControlFlow,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dockin_policy::audit::redact_text;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[cfg(feature = "kube")]
pub use self::cluster_accounts::ClusterAccounts;
#[cfg(feature = "authority")]
pub use self::enrolment::{Enrolment, EnrolmentOptions};
#[cfg(feature = "dockin-ops")]
pub use self::ops::{DockinOps, OpsDoor, OpsLabels};
pub use self::{
    address_list::AddressList,
    beside::Beside,
    builder::GatewayBuilder,
    cluster::{Cluster, Found, Health, Listing},
    cluster_folder::{ClusterChange, ClusterFolder},
    limits::RequestLimits,
    login::Logins,
};
use self::{
    approval::SecondPerson,
    auditor::Auditor,
    cluster_set::ClusterSet,
    exec::RefusalMemory,
    limits::Limiter,
    live::LiveSessions,
    long_answer::LongAnswers,
    routes::{Route, Routed},
};
use crate::{
    Error, ErrorKind, TargetError,
    access::{Authorizer, Verb},
    access_policy::{AccessChange, AccessPolicy},
    audit::AuditSink,
    identity::{Authenticator, Principal},
    policy::{Reload, Rules},
    recording::RecordingStore,
    service::{
        Body, Caller, ConnectionLimits, Peer, Server, Transport, json, serve_limited,
        status_response, text,
    },
    store::{RuleAddresses, Store},
    tls::TlsChange,
};

/// The one door to the containers of many clusters.
pub struct Gateway {
    authenticator: Arc<dyn Authenticator>,
    authorizer: Arc<dyn Authorizer>,
    auditor: Auditor,
    rules: Arc<Rules>,
    recordings: Option<Arc<RecordingStore>>,
    clusters: Arc<ClusterSet>,
    /// Where more of them come from, until it is followed.
    folder: Mutex<Option<ClusterFolder>>,
    limiter: Limiter,
    /// What people log in with; nobody can, without.
    logins: Option<Logins>,
    /// What answers the reviews of API servers.
    access_policy: Option<Arc<AccessPolicy>>,
    refusals: RefusalMemory,
    /// How long a session may be silent.
    idle_timeout: Option<Duration>,
    /// Whether shells that can are asked for the lines they hold.
    asks_shells: bool,
    second_person: Option<SecondPerson>,
    /// Another service on the same port.
    beside: Option<Arc<dyn Beside>>,
    live: Arc<LiveSessions>,
    answers: Arc<LongAnswers>,
    rule_addresses: Option<Arc<RuleAddresses>>,
    object_cache: Option<Arc<dyn Store>>,
    connections: ConnectionLimits,
    /// Where the authority of the gateway's own certificate is, for who trusts it by other means.
    authority: Option<PathBuf>,
    /// Below which each cluster has a host name.
    cluster_domain: Option<String>,
    #[cfg(feature = "authority")]
    enrolment: Option<Enrolment>,
    /// What clients of Dockin-Ops find; nothing, without.
    #[cfg(feature = "dockin-ops")]
    dockin_ops: Option<Arc<DockinOps>>,
    /// Sessions that are open; they outlive the connections they came on.
    sessions: TaskTracker,
    /// Ends them.
    cut: CancellationToken,
}

/// How long sessions may go on after the order to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// What the clients of those that are cut are told.
const STOPPING: &str = "session ended: the server is stopping";

/// How often the health of clusters is looked at.
const HEALTH: Duration = Duration::from_secs(5);

/// What a handler knows about a request that has passed authentication.
#[derive(Clone)]
struct Call {
    principal: Arc<Principal>,
    client: SocketAddr,
    /// `Kubectl-Session`: the same for all requests of one kubectl.
    kubectl: Option<HeaderValue>,
    /// It asks for SPDY, perhaps for the second time.
    spdy: bool,
}

impl Gateway {
    /// Starts building: who people are, what they may, where it is written down, and the rules
    /// by which commands are judged.
    pub fn builder(
        authenticator: Arc<dyn Authenticator>,
        authorizer: Arc<dyn Authorizer>,
        audit: Arc<dyn AuditSink>,
        rules: Arc<Rules>,
    ) -> GatewayBuilder {
        GatewayBuilder::new(authenticator, authorizer, audit, rules)
    }

    /// Serves `listener` until `stop`; then sessions have 10 s to end, and those that are still
    /// open are cut and written down as ended.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        transport: impl Into<Transport>,
        stop: CancellationToken,
    ) {
        let transport = transport.into();
        let folder = self
            .folder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut folder) = folder {
            // Before the first request: what is there at the start can be reached from the start.
            self.look_for_clusters(&mut folder).await;
            let gateway = Arc::clone(&self);
            let until = stop.clone();
            tokio::spawn(async move {
                let pause = || tokio::time::sleep(cluster_folder::LOOK);
                while until.run_until_cancelled(pause()).await.is_some() {
                    gateway.look_for_clusters(&mut folder).await;
                }
            });
        }
        tokio::spawn(Arc::clone(&self).keep_objects(stop.clone()));
        tokio::spawn(Arc::clone(&self).look_after_sessions(stop.clone()));
        let telling = tokio::spawn(Arc::clone(&self.live).tell(stop.clone()));
        #[cfg(feature = "dockin-ops")]
        tokio::spawn(Arc::clone(&self).follow_ops_rules(stop.clone()));
        let gateway = Arc::clone(&self);
        let until = stop.clone();
        tokio::spawn(async move {
            loop {
                gateway.look_at_clusters();
                if until
                    .run_until_cancelled(tokio::time::sleep(HEALTH))
                    .await
                    .is_none()
                {
                    break;
                }
            }
        });
        let limits = self.connections;
        serve_limited(listener, transport, limits, Arc::clone(&self), stop).await;
        self.sessions.close();
        if tokio::time::timeout(DRAIN, self.sessions.wait())
            .await
            .is_err()
        {
            tracing::info!(
                open = self.sessions.len(),
                "drain time is over, sessions are cut"
            );
            self.cut.cancel();
            self.sessions.wait().await;
        }
        // It ends with the last session.
        let _told = telling.await;
    }

    /// Tells the audit trail that other rules from `source` are in force, or were refused.
    ///
    /// # Errors
    ///
    /// The audit trail cannot be written.
    pub async fn rules_changed(&self, source: &str, change: &Reload) -> Result<(), Error> {
        self.auditor.rules_changed(source, change).await
    }

    /// Tells the audit trail that other access rules from `source` are in force, or were
    /// refused.
    ///
    /// # Errors
    ///
    /// The audit trail cannot be written.
    pub async fn access_changed(&self, source: &str, change: &AccessChange) -> Result<(), Error> {
        self.auditor.access_changed(source, change).await
    }

    /// Tells the audit trail that other certificates from `source` are in force, or were refused.
    ///
    /// # Errors
    ///
    /// The audit trail cannot be written.
    pub async fn tls_changed(&self, source: &str, change: &TlsChange) -> Result<(), Error> {
        self.auditor.tls_changed(source, change).await
    }

    /// Puts the clusters of the folder in force.
    async fn look_for_clusters(&self, folder: &mut ClusterFolder) {
        let (found, changes) = folder.look(|name| self.clusters.is_fixed(name)).await;
        if changes.is_empty() {
            return;
        }
        self.clusters.replace(&found);
        for change in &changes {
            match change {
                ClusterChange::Opened(cluster) => tracing::info!(cluster, "cluster opened"),
                ClusterChange::Closed(cluster) => tracing::info!(cluster, "cluster closed"),
                ClusterChange::Refused(error) => tracing::error!(error, "cluster refused"),
            }
            if let Err(error) = self.auditor.cluster_changed(change).await {
                tracing::error!(error = error.chain(), "change of clusters not audited");
            }
        }
        self.look_at_clusters();
    }

    /// Looks at the health of every cluster; none waits for another.
    fn look_at_clusters(&self) {
        for cluster in self.clusters.all().iter() {
            let cluster = Arc::clone(cluster);
            tokio::spawn(async move { cluster.look().await });
        }
    }

    async fn route(
        self: &Arc<Self>,
        peer: Peer,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        #[cfg(feature = "authority")]
        if let Some(certificate) = &peer.agent {
            return self.to_agent(&peer, certificate, request).await;
        }
        let host = self.cluster_host(&peer, &request)?;
        let Routed {
            cluster,
            route,
            path,
        } = routes::parse_at(host.as_deref(), request.method(), request.uri().path())?;
        if matches!((&route, &cluster), (Route::Health, None)) {
            return Ok(text(StatusCode::OK, "ok\n"));
        }
        match route {
            Route::Authority => return self.own_authority().await,
            #[cfg(feature = "authority")]
            Route::Enrol => return self.enrol(&peer, request).await,
            #[cfg(not(feature = "authority"))]
            Route::Enrol => {
                let what = "this gateway is built without enrolment";
                return Err(Error::new(ErrorKind::NotFound, what));
            }
            _ => {}
        }
        if matches!(route, Route::Login) {
            return self.login(peer.address, request).await;
        }
        let principal = self.authenticate(&peer, request.headers()).await?;
        peer.connection.proved(&principal.user)?;
        let call = Call {
            principal,
            client: peer.address,
            kubectl: request.headers().get("kubectl-session").cloned(),
            spdy: wants_spdy(request.headers()),
        };
        self.limiter.count(&call.principal.user, Instant::now())?;
        if route.is_own() {
            return self.own(&call, cluster.as_deref(), route, request).await;
        }
        let found = self
            .reached_cluster(&call, cluster.as_deref(), &path)
            .await?;
        let cluster = &*found;
        let call = self
            .impersonating(call, cluster.name(), request.headers())
            .await?;
        if call.principal.impersonator.is_some() {
            self.reached_cluster(&call, Some(cluster.name()), &path)
                .await?;
        }
        #[cfg(feature = "kube")]
        if let Some(upstream) = cluster.upstream()
            && !route.is_session()
        {
            return self
                .pass_through(&call, cluster, upstream, &path, request)
                .await;
        }
        match route {
            Route::Discovery(document) => Ok(json(&document)),
            Route::Namespaces { name } => {
                self.namespaces(&call, cluster, name.as_deref(), &request)
                    .await
            }
            Route::Pods { namespace } => {
                self.pods(&call, cluster, namespace.as_deref(), &request)
                    .await
            }
            Route::Pod { namespace, pod } => {
                self.pod(&call, cluster, &namespace, &pod, &request).await
            }
            Route::Exec { namespace, pod } => {
                self.exec(call, cluster, Verb::Exec, &namespace, &pod, request)
                    .await
            }
            Route::Attach { namespace, pod } => {
                self.exec(call, cluster, Verb::Attach, &namespace, &pod, request)
                    .await
            }
            Route::Logs { namespace, pod } => {
                self.logs(&call, cluster, &namespace, &pod, &request).await
            }
            Route::PortForward { namespace, pod } => {
                self.ports(call, cluster, &namespace, &pod, request).await
            }
            Route::Other => Err(Error::new(
                ErrorKind::NotFound,
                "the server could not find the requested resource",
            )),
            Route::Health => Ok(text(StatusCode::OK, "ok\n")),
            _ => Err(Error::new(ErrorKind::Misuse, "route handled twice")),
        }
    }

    /// Answers what is the gateway's own affair, not a cluster's.
    async fn own(
        &self,
        call: &Call,
        cluster: Option<&str>,
        route: Route,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        if impersonate::is_wanted(request.headers()) {
            let what = "impersonation is for requests to clusters: leave out --as and --as-group";
            return Err(Error::new(ErrorKind::Forbidden, what));
        }
        match route {
            Route::OwnClusters => Ok(self.own_clusters(call).await),
            Route::OwnSessions => self.own_sessions(call).await,
            Route::OwnAudit => self.own_audit(call, request.uri().query()).await,
            Route::Logout => self.logout(call, request.headers()).await,
            Route::OwnTokens { id } => self.own_tokens(call, id.as_deref(), request).await,
            Route::OwnKubeconfig => self.own_kubeconfig(call, &request).await,
            Route::Review(endpoint) => self.access_review(call, cluster, endpoint, request).await,
            _ => Err(Error::new(ErrorKind::Misuse, "route handled twice")),
        }
    }
}

impl Server for Gateway {
    fn caller(&self, chain: &[CertificateDer<'static>]) -> Caller {
        let service = self.beside.as_ref();
        service.map_or(Caller::Named, |service| service.caller(chain))
    }

    async fn handle(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Response<Body> {
        if let Err(error) = framing::check(&request) {
            tracing::debug!(error = error.chain(), "request refused");
            return framing::refused(&request, &error);
        }
        let request = match &self.beside {
            None => request,
            Some(service) => match service.handle(&peer, request).await {
                ControlFlow::Break(response) => return response,
                ControlFlow::Continue(request) => request,
            },
        };
        #[cfg(feature = "dockin-ops")]
        if self.is_ops(request.uri().path()) {
            return self.ops(peer, request).await;
        }
        let aggregated = wants_aggregated_discovery(request.headers());
        match self.route(peer, request).await {
            Ok(response) => response,
            Err(error) => {
                // A refusal quotes the command, and that may have a secret in it.
                tracing::debug!(error = redact_text(&error.chain()), "request refused");
                let mut response = status_response(&error);
                if aggregated {
                    // client-go reads no `Status` here: it would tell its user `unknown`.
                    response = text(response.status(), &error.to_string());
                }
                if error.kind() == ErrorKind::Unauthenticated {
                    response.headers_mut().insert(
                        header::WWW_AUTHENTICATE,
                        HeaderValue::from_static("Bearer realm=\"dockin\""),
                    );
                }
                response
            }
        }
    }
}

fn malformed(error: TargetError) -> Error {
    Error::new(ErrorKind::Malformed, error.to_string())
}

/// Whether client-go asks what there is, before anything else.
fn wants_aggregated_discovery(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok());
    accept.is_some_and(|value| value.contains("g=apidiscovery.k8s.io"))
}

fn wants_spdy(headers: &HeaderMap) -> bool {
    let wanted = headers.get(header::UPGRADE);
    let wanted = wanted.and_then(|value| value.to_str().ok());
    wanted.is_some_and(|value| value.to_ascii_lowercase().contains("spdy/"))
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim().to_owned())
}
