//! A cluster from a file: a kubeconfig with Dockin's section, or a list of agents with it.

use std::path::Path;

use serde::Deserialize;

use super::{AddressList, Cluster};
#[cfg(feature = "kube")]
use crate::runtime::kube::{ClusterConfig, KubeCluster};
use crate::{
    Error, ErrorKind, Target,
    runtime::agent::{AgentRuntime, AgentsTls},
};

/// The section that makes a file one of Dockin's. A misspelt key is refused: a `whitelist` that
/// nobody reads would let everybody in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Section {
    cluster_id: String,
    #[serde(default)]
    rule: Option<String>,
    #[serde(default)]
    whitelist: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Document {
    dockin: Option<Section>,
    #[serde(default)]
    agents: Vec<Agent>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Agent {
    name: String,
    address: String,
}

impl Cluster {
    /// The cluster that the file at `path` describes. With `agents` of its own the file needs
    /// `agents_tls`, the gateway's side of mutual TLS with them.
    ///
    /// # Errors
    ///
    /// `Misuse` that names the file and what is wrong with it; never what is secret in it.
    pub async fn from_file(path: &Path, agents_tls: Option<&AgentsTls>) -> Result<Self, Error> {
        let wrong = |what: &str| {
            let message = format!("kubeconfig {}: {what}", path.display());
            Error::new(ErrorKind::Misuse, message)
        };
        let text = tokio::fs::read_to_string(path)
            .await
            .map_err(|error| wrong("cannot be read").with_source(error))?;
        let document: Document = serde_saphyr::from_str(&text).map_err(|error| {
            wrong("is not YAML with what Dockin needs")
                .with_source(error.without_snippet().to_string())
        })?;
        let section = document
            .dockin
            .ok_or_else(|| wrong("has no `dockin:` section: add `dockin: { cluster-id: NAME }`"))?;
        let name = section.cluster_id;
        Target::pod(&name, "default", "any").map_err(|error| wrong(&error.to_string()))?;
        let whitelist =
            AddressList::parse(&section.whitelist).map_err(|error| wrong(error.message()))?;
        let cluster = if document.agents.is_empty() {
            Self::behind_apiserver(&name, path).await?
        } else {
            let tls = agents_tls.ok_or_else(|| wrong("has `agents`, so `agents_tls` is needed"))?;
            let agents = document.agents.into_iter().map(|agent| {
                let runtime = AgentRuntime::at(&agent.name, &agent.address, tls.clone())?;
                Ok((agent.name, runtime))
            });
            let agents: Result<Vec<_>, Error> = agents.collect();
            let agents = agents.map_err(|error| wrong(error.message()))?;
            Self::of_agents(&name, agents)
        };
        Ok(cluster.with_rule(section.rule).with_whitelist(whitelist))
    }

    #[cfg(feature = "kube")]
    async fn behind_apiserver(name: &str, path: &Path) -> Result<Self, Error> {
        let config = ClusterConfig::read(name, path).await?;
        Ok(Self::of_kube(name, KubeCluster::open(config)?))
    }

    #[cfg(not(feature = "kube"))]
    async fn behind_apiserver(name: &str, _path: &Path) -> Result<Self, Error> {
        let message = format!("cluster `{name}`: this gateway is built without `kube`");
        Err(Error::new(ErrorKind::Misuse, message))
    }
}
