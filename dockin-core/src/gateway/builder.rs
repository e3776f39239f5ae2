//! What a gateway is put together from.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[cfg(feature = "kube")]
use super::cluster_accounts::ClusterAccounts;
#[cfg(feature = "authority")]
use super::enrolment::Enrolment;
#[cfg(feature = "dockin-ops")]
use super::ops::DockinOps;
use super::{
    Gateway,
    approval::SecondPerson,
    auditor::Auditor,
    beside::Beside,
    cluster::Cluster,
    cluster_folder::ClusterFolder,
    cluster_set::ClusterSet,
    exec::RefusalMemory,
    limits::{Limiter, RequestLimits},
    live::LiveSessions,
    login::Logins,
};
use crate::{
    Error, ErrorKind,
    access::Authorizer,
    access_policy::AccessPolicy,
    approval::Approvals,
    audit::AuditSink,
    identity::Authenticator,
    policy::Rules,
    recording::RecordingStore,
    service::ConnectionLimits,
    store::{RuleAddresses, Store},
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
    #[cfg(feature = "kube")]
    cluster_accounts: Vec<Arc<ClusterAccounts>>,
}

impl GatewayBuilder {
    pub(super) fn new(
        authenticator: Arc<dyn Authenticator>,
        authorizer: Arc<dyn Authorizer>,
        audit: Arc<dyn AuditSink>,
        rules: Arc<Rules>,
    ) -> Self {
        Self {
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
            #[cfg(feature = "kube")]
            cluster_accounts: Vec::new(),
        }
    }

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

    /// Lets `accounts`, which the authenticator asks, find this gateway's clusters.
    #[cfg(feature = "kube")]
    pub fn cluster_accounts(mut self, accounts: Arc<ClusterAccounts>) -> Self {
        self.cluster_accounts.push(accounts);
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
        let clusters = self.clusters.into_iter().map(Arc::new).collect();
        let clusters = Arc::new(ClusterSet::new(clusters));
        #[cfg(feature = "kube")]
        for accounts in &self.cluster_accounts {
            accounts.bind(&clusters);
        }
        Ok(Gateway {
            authenticator: self.authenticator,
            authorizer: self.authorizer,
            auditor: Auditor::new(self.audit),
            rules: self.rules,
            recordings: self.recordings,
            clusters,
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
            answers: Arc::default(),
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
