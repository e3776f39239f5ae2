use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// A pod as the gateway shows it, and where its containers run.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pod {
    /// Kubernetes namespace; `default` for plain containers.
    pub namespace: String,
    /// Pod name; the container's name for plain containers.
    pub name: String,
    /// Kubernetes UID; made from the container id for plain containers.
    pub uid: String,
    /// Node (agent) it runs on.
    pub node: String,
    /// Address, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// When it was made, seconds since the epoch.
    pub created: i64,
    /// Its containers in order of name.
    pub containers: Vec<Container>,
}

/// One container of a [`Pod`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Container {
    /// Name inside the pod.
    pub name: String,
    /// The runtime's id.
    pub id: String,
    /// Image reference.
    pub image: String,
    /// Whether the main process has a terminal.
    pub tty: bool,
    /// Whether the main process's standard input is open.
    pub stdin: bool,
    /// Times it was started again.
    pub restarts: u32,
    /// What it does now.
    pub state: ContainerState,
}

/// What a container does now.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
#[non_exhaustive]
pub enum ContainerState {
    /// Not started yet, or stopped for a moment.
    #[default]
    Waiting,
    /// Running since that many seconds after the epoch.
    Running {
        /// Start, seconds since the epoch.
        started: i64,
    },
    /// Ended.
    Terminated {
        /// Its exit code.
        exit_code: i32,
        /// Start, seconds since the epoch.
        started: i64,
        /// End, seconds since the epoch.
        finished: i64,
    },
}

impl Pod {
    /// The container that `wanted` names, or without a wish the default one: the annotation
    /// `kubectl.kubernetes.io/default-container`, else the only one.
    ///
    /// # Errors
    ///
    /// `NotFound` for a name that is not there, `Malformed` when there are several and none was
    /// named, as the kube-apiserver answers.
    pub fn container(&self, wanted: Option<&str>) -> Result<&Container, Error> {
        let names = || {
            let names: Vec<&str> = self.containers.iter().map(|c| c.name.as_str()).collect();
            names.join(" ")
        };
        let wanted = wanted.or_else(|| {
            self.annotations
                .get("kubectl.kubernetes.io/default-container")
                .map(String::as_str)
        });
        match (wanted, self.containers.as_slice()) {
            (Some(wanted), containers) => containers
                .iter()
                .find(|container| container.name == wanted)
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::Malformed,
                        format!(
                            "container {wanted} is not valid for pod {}: it has [{}]",
                            self.name,
                            names()
                        ),
                    )
                }),
            (None, [only]) => Ok(only),
            (None, _) => Err(Error::new(
                ErrorKind::Malformed,
                format!(
                    "a container name must be specified for pod {}, choose one of: [{}]",
                    self.name,
                    names()
                ),
            )),
        }
    }
}
