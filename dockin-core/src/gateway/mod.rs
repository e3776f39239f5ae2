//! The gateway's service: a Kubernetes API through which people reach containers, judged and
//! written down.
//!
//! One file per surface: [`pods`](self) lists and reads, `exec` opens sessions, `logs` and
//! `ports` carry what their names say; `routes` is the one table of paths.

mod address_list;
mod approval;
mod auditor;
mod beside;
mod cluster;
mod cluster_file;
mod cluster_folder;
mod cluster_set;
#[cfg(feature = "authority")]
mod enrolment;
mod exec;
mod file_sizes;
mod host_name;
mod impersonate;
mod kubeconfig;
mod limits;
mod live;
mod login;
mod login_failures;
mod logs;
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

use std::{
    net::{IpAddr, SocketAddr},
    ops::ControlFlow,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dockin_policy::{access::Attributes, audit::redact_text};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[cfg(feature = "authority")]
pub use self::enrolment::{Enrolment, EnrolmentOptions};
#[cfg(feature = "dockin-ops")]
pub use self::ops::{DockinOps, OpsDoor, OpsLabels};
pub use self::{
    address_list::AddressList,
    beside::Beside,
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
    routes::{Route, Routed},
};
use crate::{
    Error, ErrorKind, Target, TargetError,
    access::{self, Authorizer, Decision, Permit, SessionId, Verb},
    access_policy::{AccessChange, AccessPolicy},
    approval::Approvals,
    audit::AuditSink,
    identity::{Authenticator, Credentials, Principal, authenticate},
    policy::{Reload, Rules},
    recording::RecordingStore,
    service::{
        Body, Caller, ConnectionLimits, Peer, Server, Transport, json, serve_limited,
        status_response, text,
    },
    store::{RuleAddresses, Store},
    tls::TlsChange,
};

/// Builds a [`Gateway`] from its ports.
#[must_use]
pub struct GatewayBuilder {
    authenticator: Arc<dyn Authenticator>,
    authorizer: Arc<dyn Authorizer>,
    audit: Arc<dyn AuditSink>,
    rules: Arc<Rules>,
    recordings: Option<Arc<RecordingStore>>,
    clusters: Vec<Cluster>,
    folder: Option<ClusterFolder>,
    limits: RequestLimits,
    logins: Option<Logins>,
    access_policy: Option<Arc<AccessPolicy>>,
    idle_timeout: Option<Duration>,
    asks_shells: bool,
    second_person: Option<SecondPerson>,
    beside: Option<Arc<dyn Beside>>,
    store: Option<Arc<dyn Store>>,
    rule_addresses: Option<Arc<RuleAddresses>>,
    object_cache: Option<Arc<dyn Store>>,
    connections: ConnectionLimits,
    authority: Option<PathBuf>,
    cluster_domain: Option<String>,
    #[cfg(feature = "authority")]
    enrolment: Option<Enrolment>,
    #[cfg(feature = "dockin-ops")]
    dockin_ops: Option<Arc<DockinOps>>,
}

/// The one door to the containers of many clusters.
pub struct Gateway {
    authenticator: Arc<dyn Authenticator>,
    authorizer: Arc<dyn Authorizer>,
    auditor: Auditor,
    rules: Arc<Rules>,
    recordings: Option<Arc<RecordingStore>>,
    clusters: ClusterSet,
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

impl GatewayBuilder {
    /// Adds a cluster; the first one is also served without the `/clusters/{name}` prefix.
    pub fn cluster(mut self, cluster: Cluster) -> Self {
        self.clusters.push(cluster);
        self
    }

    /// Finds more clusters in `folder`, and follows what becomes of them.
    pub fn cluster_folder(mut self, folder: ClusterFolder) -> Self {
        self.folder = Some(folder);
        self
    }

    /// What one person may ask, in place of [`RequestLimits::default`].
    pub const fn limits(mut self, limits: RequestLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Lets people log in and have personal tokens. The authenticator must know them.
    pub fn logins(mut self, logins: Logins) -> Self {
        self.logins = Some(logins);
        self
    }

    /// Records sessions; without this none is.
    pub fn recordings(mut self, store: Arc<RecordingStore>) -> Self {
        self.recordings = Some(store);
        self
    }

    /// Answers the `SubjectAccessReview`s of API servers by `policy`, under `/auth/authz` and
    /// `/clusters/{name}/auth/authz`, for principals that it allows to ask.
    pub fn reviews(mut self, policy: Arc<AccessPolicy>) -> Self {
        self.access_policy = Some(policy);
        self
    }

    /// Ends a session in which nothing is typed and nothing printed for `limit`, and a
    /// port-forward without a byte either way; the client is told, and the audit trail. Pings do
    /// not count. Without this no session is ended for that.
    pub const fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = Some(limit);
        self
    }

    /// Holds what the rules say `ask` about until `approvals` answers, for up to `wait`; without
    /// this it is refused at once.
    pub fn approvals(mut self, approvals: Arc<dyn Approvals>, wait: Duration) -> Self {
        self.second_person = Some(SecondPerson { approvals, wait });
        self
    }

    /// Serves clients of Dockin-Ops too, under `/v1/dockin/opserver/`.
    #[cfg(feature = "dockin-ops")]
    pub fn dockin_ops(mut self, ops: DockinOps) -> Self {
        self.dockin_ops = Some(Arc::new(ops));
        self
    }

    /// Whether interactive shells that can, which are bash and zsh, are asked for the line they
    /// hold before it goes on; they are by default. Without that, lines are read from keys and
    /// screen alone, as those of other shells are.
    pub const fn ask_shells(mut self, ask: bool) -> Self {
        self.asks_shells = ask;
        self
    }

    /// Has `service` see every request, and every client certificate, before the gateway does.
    pub fn beside(mut self, service: Arc<dyn Beside>) -> Self {
        self.beside = Some(service);
        self
    }

    /// Tells `store` which sessions are open, and asks it for those of the gateways beside this one.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Lets clusters that have a rule be reached from the addresses that `lists` has for it alone,
    /// beside what their own whitelists say.
    pub fn rule_addresses(mut self, lists: Arc<RuleAddresses>) -> Self {
        self.rule_addresses = Some(lists);
        self
    }

    /// Keeps the pods and nodes of every cluster in `store`, for who looks for them there. One
    /// gateway does it for each cluster, and another when that one is gone.
    pub fn object_cache(mut self, store: Arc<dyn Store>) -> Self {
        self.object_cache = Some(store);
        self
    }

    /// How many connections there may be, in place of [`ConnectionLimits::default`].
    pub const fn connections(mut self, limits: ConnectionLimits) -> Self {
        self.connections = limits;
        self
    }

    /// The file of the authority of the gateway's own certificate, PEM: anybody may read it under
    /// `/dockin/v1/authority`, and kubeconfigs have it in them. It is read for each.
    pub fn authority(mut self, file: PathBuf) -> Self {
        self.authority = Some(file);
        self
    }

    /// Serves each cluster under `CLUSTER.domain` as well, found by the host of a request or of
    /// the handshake.
    pub fn cluster_domain(mut self, domain: &str) -> Self {
        self.cluster_domain = Some(domain.to_ascii_lowercase());
        self
    }

    /// Gives certificates to agents that show an invitation, and renews them.
    #[cfg(feature = "authority")]
    pub fn enrolment(mut self, enrolment: Enrolment) -> Self {
        self.enrolment = Some(enrolment);
        self
    }

    /// The gateway.
    ///
    /// # Errors
    ///
    /// `Misuse` without a cluster and a folder of them, or when two have the same name.
    pub fn build(self) -> Result<Gateway, Error> {
        if self.clusters.is_empty() && self.folder.is_none() {
            return Err(Error::new(
                ErrorKind::Misuse,
                "`clusters` is empty: name at least one",
            ));
        }
        let mut names: Vec<&str> = self.clusters.iter().map(Cluster::name).collect();
        names.sort_unstable();
        if let Some([twice, _]) = names.array_windows().find(|[one, other]| one == other) {
            return Err(Error::new(
                ErrorKind::Misuse,
                format!("cluster `{twice}` is named twice"),
            ));
        }
        Ok(Gateway {
            authenticator: self.authenticator,
            authorizer: self.authorizer,
            auditor: Auditor::new(self.audit),
            rules: self.rules,
            recordings: self.recordings,
            clusters: ClusterSet::new(self.clusters.into_iter().map(Arc::new).collect()),
            folder: Mutex::new(self.folder),
            limiter: Limiter::new(self.limits),
            logins: self.logins,
            access_policy: self.access_policy,
            idle_timeout: self.idle_timeout,
            refusals: RefusalMemory::default(),
            asks_shells: self.asks_shells,
            second_person: self.second_person,
            beside: self.beside,
            live: LiveSessions::new(self.store),
            rule_addresses: self.rule_addresses,
            object_cache: self.object_cache,
            connections: self.connections,
            authority: self.authority,
            cluster_domain: self.cluster_domain,
            #[cfg(feature = "authority")]
            enrolment: self.enrolment,
            #[cfg(feature = "dockin-ops")]
            dockin_ops: self.dockin_ops,
            sessions: TaskTracker::new(),
            cut: CancellationToken::new(),
        })
    }
}

/// How long sessions may go on after the order to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// What the clients of those that are cut are told.
const STOPPING: &str = "session ended: the server is stopping";

/// How often the health of clusters is looked at.
const HEALTH: Duration = Duration::from_secs(5);

/// What a handler knows about a request that has passed authentication.
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
        GatewayBuilder {
            authenticator,
            authorizer,
            audit,
            rules,
            recordings: None,
            clusters: Vec::new(),
            folder: None,
            limits: RequestLimits::default(),
            logins: None,
            access_policy: None,
            idle_timeout: None,
            asks_shells: true,
            second_person: None,
            beside: None,
            store: None,
            rule_addresses: None,
            object_cache: None,
            connections: ConnectionLimits::default(),
            authority: None,
            cluster_domain: None,
            #[cfg(feature = "authority")]
            enrolment: None,
            #[cfg(feature = "dockin-ops")]
            dockin_ops: None,
        }
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

    async fn authenticate(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
    ) -> Result<Arc<Principal>, Error> {
        let credentials = Credentials {
            bearer: bearer(headers),
            certificate: peer.certificate.clone(),
            address: Some(peer.address.ip()),
        };
        let result = authenticate(&*self.authenticator, &credentials).await;
        if let Err(error) = &result
            && (credentials.bearer.is_some() || credentials.certificate.is_some())
        {
            self.auditor.login_failed(peer.address, error).await?;
        }
        result
    }

    /// The cluster of that name, the first one without a name, if the caller may do anything
    /// there from where he is. Whether there is one of a name is told to nobody else.
    async fn reached_cluster(
        &self,
        call: &Call,
        name: Option<&str>,
        path: &str,
    ) -> Result<Arc<Cluster>, Error> {
        let found = self.clusters.find(name);
        let known = found.as_ref().map(|cluster| cluster.name().to_owned());
        let name = name.or(known.as_deref()).unwrap_or_default();
        let user = &call.principal.user;
        let wanted = || Attributes {
            verb: "reach".to_owned(),
            path: path.to_owned(),
            cluster: Some(name.to_owned()),
            ..Attributes::default()
        };
        if !self.authorizer.reaches(&call.principal, name).await {
            let message = format!(
                "user `{user}` may not reach cluster `{name}`; `dockctl login` writes \
                 down which ones you may"
            );
            let error = refusal::refused(&message, &call.principal, &wanted());
            let everything = Target::namespace(name, "*");
            let list = self
                .authorizer
                .decide(&call.principal, Verb::List, &everything);
            let error = match list.await {
                Decision::Deny {
                    rule: Some(rule), ..
                } => error.with_rule(rule),
                _ => error.with_rule("no rule matches"),
            };
            return Err(self.refused(call, &wanted(), error).await);
        }
        let Some(cluster) = found else {
            let message = format!("cluster \"{name}\" not found");
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        let address = call.client.ip();
        if !cluster.admits(address) {
            let message = format!(
                "cluster `{name}` is not reached from {address}, which is not in its `whitelist`; \
                 come from another network"
            );
            let error = Error::new(ErrorKind::Forbidden, message);
            let error = error.with_rule(format!("`whitelist` of cluster `{name}`"));
            return Err(self.refused(call, &wanted(), error).await);
        }
        if !self.rule_admits(&cluster, address)? {
            let message = format!(
                "cluster `{name}` is not reached from {address}, which is not in the list of its \
                 rule; come from another network"
            );
            return Err(self.request_refused(call, &wanted(), message).await);
        }
        Ok(cluster)
    }

    /// Whether the list of the cluster's rule has the address, when there are such lists.
    fn rule_admits(&self, cluster: &Cluster, address: IpAddr) -> Result<bool, Error> {
        match (&self.rule_addresses, cluster.rule()) {
            (Some(lists), Some(rule)) => lists.admits(rule, address),
            _ => Ok(true),
        }
    }

    /// Lets a request pass that the caller may make, or refuses it and writes that down.
    async fn authorize_request(&self, call: &Call, wanted: &Attributes) -> Result<(), Error> {
        let decision = self
            .authorizer
            .decide_request(&call.principal, wanted)
            .await;
        let Decision::Deny { reason, rule } = decision else {
            return Ok(());
        };
        let error = refusal::refused(&reason, &call.principal, wanted);
        let error = match rule {
            Some(rule) => error.with_rule(rule),
            None => error,
        };
        Err(self.refused(call, wanted, error).await)
    }

    /// The refusal, written down; or why it cannot be.
    #[cfg(feature = "kube")]
    async fn request_refused(&self, call: &Call, wanted: &Attributes, message: String) -> Error {
        // It would reach a container past the sessions, or it is none that is carried at all.
        let error = Error::new(ErrorKind::Forbidden, message).with_rule("never carried");
        self.refused(call, wanted, error).await
    }

    /// The refusal, written down; or why it cannot be.
    async fn refused(&self, call: &Call, wanted: &Attributes, error: Error) -> Error {
        match self.auditor.request_denied(call, wanted, &error).await {
            Ok(()) => error,
            Err(unwritten) => unwritten,
        }
    }

    /// The permit, or a refusal that is written down.
    async fn authorize(&self, call: &Call, verb: Verb, target: Target) -> Result<Permit, Error> {
        let authorizer = &*self.authorizer;
        let session = SessionId::new();
        let wanted = target.clone();
        let result = access::authorize(authorizer, &call.principal, verb, target, session).await;
        let result =
            result.map_err(|error| refusal::explained(error, &call.principal, verb, &wanted));
        if let Err(error) = &result {
            // kubectl repeats a refused WebSocket upgrade over SPDY: one denial, two requests.
            let upgrades = matches!(verb, Verb::Exec | Verb::Attach | Verb::PortForward);
            if !(upgrades && self.refusals.seen_before(call, (verb, &wanted))) {
                self.auditor
                    .access_denied(call, verb, &wanted, error)
                    .await?;
            }
        }
        result
    }

    /// The pod and its container, and the permit for it. Whether a pod exists is told only to
    /// those who may use it.
    async fn permit(
        &self,
        call: &Call,
        cluster: &Cluster,
        verb: Verb,
        (namespace, pod): (&str, &str),
        container: Option<&str>,
    ) -> Result<(Permit, Found), Error> {
        let (permit, found) = self
            .pod_permit(call, cluster, verb, (namespace, pod))
            .await?;
        let container = &found.pod.container(container)?.name;
        let target = permit
            .target()
            .clone()
            .with_container(container)
            .map_err(malformed)?;
        let permit = self.authorize(call, verb, target).await?;
        Ok((permit, found))
    }

    /// The pod, and the permit for it as a whole.
    async fn pod_permit(
        &self,
        call: &Call,
        cluster: &Cluster,
        verb: Verb,
        (namespace, pod): (&str, &str),
    ) -> Result<(Permit, Found), Error> {
        let target = Target::pod(cluster.name(), namespace, pod).map_err(malformed)?;
        let permit = self.authorize(call, verb, target).await?;
        let found = cluster.find(call, namespace, pod).await?;
        Ok((permit, found))
    }
}

impl Server for Gateway {
    fn caller(&self, chain: &[CertificateDer<'static>]) -> Caller {
        let service = self.beside.as_ref();
        service.map_or(Caller::Named, |service| service.caller(chain))
    }

    async fn handle(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Response<Body> {
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
