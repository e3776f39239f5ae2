use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerInspectResponse, ContainerState as DockerState, ContainerStateStatusEnum as Status,
};
use jiff::Timestamp;

use crate::directory::{Container, ContainerState};

const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_UID: &str = "io.kubernetes.pod.uid";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";
const CONTAINER_TYPE: &str = "io.kubernetes.docker.type";
/// How a node's labels carry annotations.
const ANNOTATION: &str = "annotation.";
const RESTART_COUNT: &str = "annotation.io.kubernetes.container.restartCount";

/// One container of the daemon, as a part of a pod.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) container: Container,
    /// It only holds the pod's network, and tells its labels.
    pub(super) sandbox: bool,
    pub(super) created: Timestamp,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) ip: Option<String>,
    /// Process 1 of the container, as the daemon numbers it.
    pub(super) main_process: Option<u32>,
    /// Whether input is closed with the first client that closes it.
    pub(super) stdin_once: bool,
    /// Docker's own name, to see renames.
    pub(super) docker_name: String,
}

impl Entry {
    /// Reads what the daemon says of a container; `None` when it lacks an id or a name.
    pub(super) fn read(inspected: ContainerInspectResponse) -> Option<Self> {
        let id = inspected.id.filter(|id| !id.is_empty())?;
        let docker_name = inspected.name?.trim_start_matches('/').to_owned();
        let config = inspected.config.unwrap_or_default();
        let labels = config.labels.unwrap_or_default();
        let state = inspected.state.unwrap_or_default();
        let label = |name: &str| labels.get(name).filter(|value| !value.is_empty()).cloned();

        let kubernetes = label(POD_NAMESPACE).zip(label(POD_NAME));
        let name = label(CONTAINER_NAME).filter(|_| kubernetes.is_some());
        let sandbox = kubernetes.is_some()
            && (label(CONTAINER_TYPE).as_deref() == Some("podsandbox")
                || name.as_deref() == Some("POD"));
        let restarts = label(RESTART_COUNT)
            .and_then(|count| count.parse().ok())
            .or_else(|| {
                inspected
                    .restart_count
                    .and_then(|count| u32::try_from(count).ok())
            })
            .unwrap_or_default();
        let uid = label(POD_UID)
            .filter(|_| kubernetes.is_some())
            .unwrap_or_else(|| uid_from(&id));
        let (namespace, pod) =
            kubernetes.unwrap_or_else(|| ("default".to_owned(), docker_name.clone()));
        if pod.is_empty() {
            return None;
        }
        let ip = inspected.network_settings.and_then(|network| {
            let networks = network.networks.unwrap_or_default();
            let mut names: Vec<_> = networks.into_iter().collect();
            names.sort_by(|a, b| a.0.cmp(&b.0));
            names
                .into_iter()
                .find_map(|(_, at)| at.ip_address.filter(|ip| !ip.is_empty()))
        });
        let (labels, annotations) = split_labels(labels);
        let main_process = state.pid.and_then(|pid| u32::try_from(pid).ok());
        Some(Self {
            namespace,
            uid,
            container: Container {
                name: name.unwrap_or_else(|| pod.clone()),
                id,
                image: config.image.unwrap_or_default(),
                tty: config.tty.unwrap_or_default(),
                stdin: config.open_stdin.unwrap_or_default(),
                restarts,
                state: container_state(&state),
            },
            pod,
            sandbox,
            created: timestamp(inspected.created.as_deref()),
            labels,
            annotations,
            ip,
            main_process: main_process.filter(|pid| *pid > 0),
            stdin_once: config.stdin_once.unwrap_or_default(),
            docker_name,
        })
    }

    /// Whether its main process lives.
    pub(super) const fn is_running(&self) -> bool {
        matches!(self.container.state, ContainerState::Running { .. })
    }
}

fn container_state(state: &DockerState) -> ContainerState {
    let started = timestamp(state.started_at.as_deref()).as_second().max(0);
    match state.status {
        Some(Status::RUNNING | Status::STOPPING) => ContainerState::Running { started },
        Some(Status::EXITED | Status::DEAD | Status::REMOVING) => ContainerState::Terminated {
            exit_code: state
                .exit_code
                .and_then(|code| i32::try_from(code).ok())
                .unwrap_or(-1),
            started,
            finished: timestamp(state.finished_at.as_deref()).as_second().max(0),
        },
        _ => ContainerState::Waiting,
    }
}

/// A time of the daemon's; the epoch for none. Year 1 means "never" there.
fn timestamp(text: Option<&str>) -> Timestamp {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// What the pod's owner wrote, without what the node wrote for itself.
fn split_labels(
    labels: HashMap<String, String>,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let mut annotations = BTreeMap::new();
    let mut own = BTreeMap::new();
    for (key, value) in labels {
        if let Some(key) = key.strip_prefix(ANNOTATION) {
            annotations.insert(key.to_owned(), value);
        } else if !key.starts_with("io.kubernetes.") {
            own.insert(key, value);
        }
    }
    (own, annotations)
}

/// A UID of the usual form, from the first half of a container id.
fn uid_from(id: &str) -> String {
    match [
        id.get(..8),
        id.get(8..12),
        id.get(12..16),
        id.get(16..20),
        id.get(20..32),
    ] {
        [Some(a), Some(b), Some(c), Some(d), Some(e)] => format!("{a}-{b}-{c}-{d}-{e}"),
        _ => id.to_owned(),
    }
}
