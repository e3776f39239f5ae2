use std::sync::Arc;

use futures::future::join_all;

use super::Call;
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
        Self {
            name: name.into(),
            kind: Kind::Agents(nodes),
        }
    }

    /// A cluster behind a kube-apiserver.
    #[cfg(feature = "kube")]
    pub fn of_kube(name: impl Into<String>, cluster: KubeCluster) -> Self {
        Self {
            name: name.into(),
            kind: Kind::Kube(Arc::new(cluster)),
        }
    }

    /// As the configuration names it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
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
