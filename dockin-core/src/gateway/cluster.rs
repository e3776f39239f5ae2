use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use jiff::Timestamp;

use super::{AddressList, Call};
#[cfg(feature = "kube")]
use crate::runtime::kube::KubeCluster;
use crate::{
    Error, ErrorKind,
    directory::{Directory, Pod},
    kubernetes::pod_not_found,
    runtime::{Runtime, agent::AgentRuntime},
};

/// One cluster behind the gateway.
pub struct Cluster {
    name: String,
    kind: Kind,
    rule: Option<String>,
    whitelist: AddressList,
    health: Mutex<Option<Health>>,
    /// Whether somebody is looking at its health just now.
    looked_at: AtomicBool,
}

/// What the last look at a cluster found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Health {
    /// When.
    pub at: Timestamp,
    /// How long the answer took, or its want.
    pub latency: Duration,
    /// Whether there was one.
    pub up: bool,
    /// The version it tells, if it does.
    pub version: Option<String>,
}

enum Kind {
    /// Node agents: their containers are the pods.
    Agents(Vec<Node>),
    /// A kube-apiserver.
    #[cfg(feature = "kube")]
    Kube(Arc<KubeCluster>),
}

struct Node {
    name: String,
    runtime: Arc<AgentRuntime>,
}

/// The pods that could be found.
#[derive(Debug, Default)]
pub struct Listing {
    /// In order of namespace and name.
    pub pods: Vec<Pod>,
    /// What is missing from the list, for people.
    pub warnings: Vec<String>,
}

/// A pod, and what runs things in it.
pub struct Found {
    /// The pod.
    pub pod: Pod,
    /// Its runtime.
    pub runtime: Arc<dyn Runtime>,
}

impl Cluster {
    /// A cluster made of node agents, each with its name.
    pub fn of_agents(
        name: impl Into<String>,
        agents: impl IntoIterator<Item = (String, AgentRuntime)>,
    ) -> Self {
        let nodes = agents
            .into_iter()
            .map(|(name, runtime)| Node {
                name,
                runtime: Arc::new(runtime),
            })
            .collect();
        Self::new(name.into(), Kind::Agents(nodes))
    }

    /// A cluster behind a kube-apiserver.
    #[cfg(feature = "kube")]
    pub fn of_kube(name: impl Into<String>, cluster: KubeCluster) -> Self {
        Self::new(name.into(), Kind::Kube(Arc::new(cluster)))
    }

    const fn new(name: String, kind: Kind) -> Self {
        Self {
            name,
            kind,
            rule: None,
            whitelist: AddressList::everywhere(),
            health: Mutex::new(None),
            looked_at: AtomicBool::new(false),
        }
    }

    /// Puts the cluster under a rule's name: a group of clusters, for who lists them.
    #[must_use]
    pub fn with_rule(mut self, rule: Option<String>) -> Self {
        self.rule = rule;
        self
    }

    /// Lets requests come from the addresses of `whitelist` only.
    #[must_use]
    pub fn with_whitelist(mut self, whitelist: AddressList) -> Self {
        self.whitelist = whitelist;
        self
    }

    /// As the configuration names it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its rule, if it has one.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// Whether requests may come from `address`.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        self.whitelist.admits(address)
    }

    /// What the last look at it found; nothing before the first.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        self.health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks at its health, unless somebody does already.
    pub(super) async fn look(&self) {
        if self.looked_at.swap(true, Ordering::AcqRel) {
            return;
        }
        let began = Instant::now();
        let answer = self.probe().await;
        let health = Health {
            at: Timestamp::now(),
            latency: began.elapsed(),
            up: answer.is_ok(),
            version: answer.as_ref().ok().cloned().flatten(),
        };
        let was = self
            .health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(health);
        match answer {
            Err(error) if was.as_ref().is_none_or(|was| was.up) => {
                tracing::warn!(
                    cluster = self.name,
                    error = error.chain(),
                    "cluster is down"
                );
            }
            Ok(version) if was.as_ref().is_none_or(|was| !was.up) => {
                tracing::info!(cluster = self.name, version, "cluster is up");
            }
            _ => {}
        }
        self.looked_at.store(false, Ordering::Release);
    }

    async fn probe(&self) -> Result<Option<String>, Error> {
        match &self.kind {
            #[cfg(feature = "kube")]
            Kind::Kube(cluster) => cluster.probe().await,
            Kind::Agents(nodes) => {
                let answers = join_all(nodes.iter().map(|node| node.runtime.probe())).await;
                let up = answers.iter().any(Result::is_ok);
                let lost = answers.into_iter().find_map(Result::err);
                match lost {
                    Some(error) if !up => Err(error),
                    _ => Ok(None),
                }
            }
        }
    }

    /// The kube-apiserver that answers what is no session.
    #[cfg(feature = "kube")]
    pub(super) const fn upstream(&self) -> Option<&Arc<KubeCluster>> {
        match &self.kind {
            Kind::Kube(cluster) => Some(cluster),
            Kind::Agents(_) => None,
        }
    }

    /// Every pod of `namespace` or of all. Agents that do not answer are named in the warnings.
    pub(super) async fn list(&self, namespace: Option<&str>) -> Result<Listing, Error> {
        match &self.kind {
            Kind::Agents(nodes) => {
                let answers = ask(nodes, namespace).await;
                let mut listing = Listing::default();
                let mut lost = None;
                for (node, answer) in answers {
                    match answer {
                        Ok(pods) => listing.pods.extend(pods),
                        Err(error) => {
                            listing.warnings.push(format!(
                                "pods of node {node} are missing: {}",
                                error.message()
                            ));
                            lost = Some(error);
                        }
                    }
                }
                if let Some(error) = lost
                    && listing.warnings.len() == nodes.len()
                {
                    return Err(error);
                }
                listing
                    .pods
                    .sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
                Ok(listing)
            }
            #[cfg(feature = "kube")]
            Kind::Kube(_) => Err(Error::new(
                ErrorKind::Misuse,
                "the apiserver lists its pods",
            )),
        }
    }

    /// The names of its agents, and whether each answers; a kube-apiserver knows its nodes itself.
    #[cfg(feature = "dockin-ops")]
    pub(super) async fn nodes(&self) -> Vec<(&str, bool)> {
        match &self.kind {
            Kind::Agents(nodes) => {
                let answers = join_all(nodes.iter().map(|node| node.runtime.probe())).await;
                let names = nodes.iter().map(|node| node.name.as_str());
                names.zip(answers.iter().map(Result::is_ok)).collect()
            }
            #[cfg(feature = "kube")]
            Kind::Kube(_) => Vec::new(),
        }
    }

    /// The pod of that name and what runs it.
    ///
    /// A pod that is not found while an agent does not answer may be there all the same: that is
    /// `Unavailable`, not `NotFound`.
    pub(super) async fn find(
        &self,
        #[cfg_attr(
            not(feature = "kube"),
            expect(unused_variables, reason = "only upstreams are asked as somebody")
        )]
        call: &Call,
        namespace: &str,
        name: &str,
    ) -> Result<Found, Error> {
        match &self.kind {
            Kind::Agents(nodes) => {
                let mut found: Vec<(Pod, &Node)> = Vec::new();
                let mut lost = None;
                for ((_, answer), node) in ask(nodes, Some(namespace)).await.into_iter().zip(nodes)
                {
                    match answer {
                        Ok(pods) => {
                            let pods = pods.into_iter().filter(|pod| pod.name == name);
                            found.extend(pods.map(|pod| (pod, node)));
                        }
                        Err(error) => lost = Some(error),
                    }
                }
                match (found.len(), found.pop(), lost) {
                    (1, Some((pod, node)), _) => Ok(Found {
                        pod,
                        runtime: Arc::clone(&node.runtime) as Arc<dyn Runtime>,
                    }),
                    (0, _, None) => Err(pod_not_found(name)),
                    (0, _, Some(error)) => Err(error),
                    (count, ..) => Err(Error::new(
                        ErrorKind::Conflict,
                        format!("pod \"{name}\" is ambiguous: {count} nodes have one of that name"),
                    )),
                }
            }
            #[cfg(feature = "kube")]
            Kind::Kube(cluster) => {
                let runtime = cluster.for_principal(&call.principal);
                let pod = runtime.pod(namespace, name).await?;
                Ok(Found {
                    pod,
                    runtime: Arc::new(runtime),
                })
            }
        }
    }
}

async fn ask<'a>(
    nodes: &'a [Node],
    namespace: Option<&str>,
) -> Vec<(&'a str, Result<Vec<Pod>, Error>)> {
    join_all(nodes.iter().map(|node| async move {
        let answer = node.runtime.pods(namespace).await.map(|mut pods| {
            // The gateway's name for the node counts, whatever the agent calls itself.
            for pod in &mut pods {
                pod.node.clone_from(&node.name);
            }
            pods
        });
        (node.name.as_str(), answer)
    }))
    .await
}
