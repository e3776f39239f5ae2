use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::directory::{Container, ContainerState, Pod};

/// Where a pod is in its life, as its containers tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: Kubernetes has these; `Unknown` is not used by any kubelet today.
pub enum Phase {
    /// No container has started.
    Pending,
    /// At least one runs, or waits to be started again.
    Running,
    /// Every container ended with 0. kubectl refuses exec.
    Succeeded,
    /// Every container ended, at least one not with 0. kubectl refuses exec.
    Failed,
}

impl Phase {
    /// The word in `status.phase`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

/// The phase that the states of `pod`'s containers make.
#[must_use]
pub fn phase(pod: &Pod) -> Phase {
    let states = || pod.containers.iter().map(|container| &container.state);
    let ended = |state: &ContainerState| matches!(state, ContainerState::Terminated { .. });
    if states().any(|state| matches!(state, ContainerState::Running { .. })) {
        Phase::Running
    } else if pod.containers.is_empty() || !states().all(ended) {
        // A container that waits after a restart keeps its pod running.
        if states().any(ended)
            || pod
                .containers
                .iter()
                .any(|container| container.restarts > 0)
        {
            Phase::Running
        } else {
            Phase::Pending
        }
    } else if states().all(|state| matches!(state, ContainerState::Terminated { exit_code: 0, .. }))
    {
        Phase::Succeeded
    } else {
        Phase::Failed
    }
}

/// The v1 `Pod` object.
///
/// `resourceVersion` is a digest of the pod: equal while nothing changed, without an order.
///
/// Spec: Kubernetes `staging/src/k8s.io/api/core/v1/types.go`, `Pod`.
#[must_use]
pub fn pod(pod: &Pod) -> Value {
    let phase = phase(pod);
    let ready = phase == Phase::Running && pod.containers.iter().all(is_ready);
    let mut status = json!({
        "phase": phase.as_str(),
        "conditions": [
            condition("Ready", ready, pod.created),
            condition("ContainersReady", ready, pod.created),
            condition("PodScheduled", !pod.node.is_empty(), pod.created),
        ],
        "containerStatuses": pod.containers.iter().map(container_status).collect::<Vec<_>>(),
    });
    if let (Some(ip), Some(status)) = (&pod.ip, status.as_object_mut()) {
        status.insert("podIP".to_owned(), json!(ip));
        status.insert("podIPs".to_owned(), json!([{ "ip": ip }]));
    }
    if let (Some(time), Some(status)) = (time(pod.created), status.as_object_mut()) {
        status.insert("startTime".to_owned(), json!(time));
    }
    let containers: Vec<Value> = pod
        .containers
        .iter()
        .map(|container| {
            let mut value = json!({ "name": container.name, "image": container.image });
            if let Some(object) = value.as_object_mut() {
                flag(object, "stdin", container.stdin);
                flag(object, "tty", container.tty);
            }
            value
        })
        .collect();
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": metadata(pod),
        "spec": { "containers": containers, "nodeName": pod.node },
        "status": status,
    })
}

/// The v1 `PodList` of `pods`, in their order.
#[must_use]
pub fn pod_list<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Value {
    let items: Vec<Value> = pods.into_iter().map(pod).collect();
    json!({
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": { "resourceVersion": LIST_VERSION },
        "items": items,
    })
}

/// The v1 `Namespace` called `name`. Namespaces have no age here: they are where pods are.
#[must_use]
pub fn namespace(name: &str) -> Value {
    json!({
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": namespace_metadata(name),
        "spec": { "finalizers": ["kubernetes"] },
        "status": { "phase": "Active" },
    })
}

/// The v1 `NamespaceList` of `names`, each once, in order.
#[must_use]
pub fn namespace_list<'a>(names: impl IntoIterator<Item = &'a str>) -> Value {
    let names: BTreeSet<&str> = names.into_iter().collect();
    json!({
        "kind": "NamespaceList",
        "apiVersion": "v1",
        "metadata": { "resourceVersion": LIST_VERSION },
        "items": names.into_iter().map(namespace).collect::<Vec<_>>(),
    })
}

/// Version of every list. Nothing can be watched from a version, so one serves all.
pub(super) const LIST_VERSION: &str = "1";

/// The pod's `ObjectMeta`.
pub(super) fn metadata(pod: &Pod) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(pod.name));
    metadata.insert("namespace".to_owned(), json!(pod.namespace));
    metadata.insert("uid".to_owned(), json!(pod.uid));
    metadata.insert(
        "resourceVersion".to_owned(),
        json!(version(pod).to_string()),
    );
    metadata.insert("creationTimestamp".to_owned(), json!(time(pod.created)));
    if !pod.labels.is_empty() {
        metadata.insert("labels".to_owned(), json!(pod.labels));
    }
    if !pod.annotations.is_empty() {
        metadata.insert("annotations".to_owned(), json!(pod.annotations));
    }
    Value::Object(metadata)
}

/// The `ObjectMeta` of a namespace.
pub(super) fn namespace_metadata(name: &str) -> Value {
    json!({
        "name": name,
        "resourceVersion": LIST_VERSION,
        "creationTimestamp": null,
        "labels": { "kubernetes.io/metadata.name": name },
    })
}

/// Ready means running: plain containers have no probes that would say more.
pub(super) fn is_ready(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running { .. })
}

/// Why a container that does not run does not.
pub(super) const fn idle_reason(state: &ContainerState) -> Option<&'static str> {
    match state {
        ContainerState::Waiting => Some("Waiting"),
        ContainerState::Terminated { exit_code: 0, .. } => Some("Completed"),
        ContainerState::Terminated { .. } => Some("Error"),
        ContainerState::Running { .. } => None,
    }
}

fn container_status(container: &Container) -> Value {
    let reason = idle_reason(&container.state);
    let state = match &container.state {
        ContainerState::Waiting => json!({ "waiting": { "reason": reason } }),
        ContainerState::Running { started } => {
            json!({ "running": { "startedAt": time(*started) } })
        }
        ContainerState::Terminated {
            exit_code,
            started,
            finished,
        } => json!({
            "terminated": {
                "exitCode": exit_code,
                "reason": reason,
                "startedAt": time(*started),
                "finishedAt": time(*finished),
                "containerID": container.id,
            }
        }),
    };
    json!({
        "name": container.name,
        "state": state,
        "lastState": {},
        "ready": is_ready(container),
        "started": is_ready(container),
        "restartCount": container.restarts,
        "image": container.image,
        "imageID": container.image,
        "containerID": container.id,
    })
}

fn condition(kind: &str, holds: bool, since: i64) -> Value {
    json!({
        "type": kind,
        "status": if holds { "True" } else { "False" },
        "lastProbeTime": null,
        "lastTransitionTime": time(since),
    })
}

/// Kubernetes leaves false flags out.
fn flag(object: &mut Map<String, Value>, name: &str, value: bool) {
    if value {
        object.insert(name.to_owned(), json!(true));
    }
}

/// RFC 3339 in whole seconds, as `metav1.Time`; `None` for 0 (not known) and impossible times.
fn time(seconds: i64) -> Option<String> {
    (seconds != 0)
        .then(|| Timestamp::from_second(seconds).ok())?
        .map(|time| time.to_string())
}

/// FNV-1a over the pod, in the range of an `int64`, never 0 (which means "any").
fn version(pod: &Pod) -> u64 {
    let bytes = serde_json::to_vec(pod).unwrap_or_default();
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    (hash >> 1).max(1)
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use serde_json::json;

    use super::{Phase, phase, pod, pod_list};
    use crate::directory::{Container, ContainerState, Pod};

    /// A pod of two running containers, made at 1_700_000_000.
    pub(in crate::kubernetes) fn web() -> Pod {
        let container = |name: &str, restarts| Container {
            name: name.to_owned(),
            id: format!("docker://{name}-id"),
            image: "nginx:1.27".to_owned(),
            tty: name == "app",
            stdin: false,
            restarts,
            state: ContainerState::Running {
                started: 1_700_000_060,
            },
        };
        Pod {
            namespace: "dev".to_owned(),
            name: "web-0".to_owned(),
            uid: "6c1f5a2e-0000-4000-8000-000000000001".to_owned(),
            node: "node1".to_owned(),
            ip: Some("10.0.0.7".to_owned()),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            annotations: [].into(),
            created: 1_700_000_000,
            containers: vec![container("app", 0), container("log", 2)],
        }
    }

    #[test]
    fn running_pod_is_shown_as_kubernetes_shows_it() {
        let value = pod(&web());
        assert_eq!(value["kind"], "Pod");
        assert_eq!(
            value["metadata"]["creationTimestamp"],
            "2023-11-14T22:13:20Z"
        );
        assert_eq!(
            value["spec"],
            json!({
                "containers": [
                    { "name": "app", "image": "nginx:1.27", "tty": true },
                    { "name": "log", "image": "nginx:1.27" },
                ],
                "nodeName": "node1",
            })
        );
        assert_eq!(value["status"]["phase"], "Running");
        assert_eq!(value["status"]["podIPs"], json!([{ "ip": "10.0.0.7" }]));
        assert_eq!(
            value["status"]["containerStatuses"][1],
            json!({
                "name": "log",
                "state": { "running": { "startedAt": "2023-11-14T22:14:20Z" } },
                "lastState": {},
                "ready": true,
                "started": true,
                "restartCount": 2,
                "image": "nginx:1.27",
                "imageID": "nginx:1.27",
                "containerID": "docker://log-id",
            })
        );
    }

    #[test]
    fn version_changes_only_with_the_pod() {
        let before = web();
        let mut after = web();
        assert_eq!(
            pod(&before)["metadata"]["resourceVersion"],
            pod(&after)["metadata"]["resourceVersion"]
        );
        after.containers[0].restarts = 1;
        assert_ne!(
            pod(&before)["metadata"]["resourceVersion"],
            pod(&after)["metadata"]["resourceVersion"]
        );
    }

    #[test]
    fn phase_follows_the_containers() {
        let ended = |exit_code| ContainerState::Terminated {
            exit_code,
            started: 1,
            finished: 2,
        };
        let running = ContainerState::Running { started: 1 };
        for (states, expected) in [
            (vec![], Phase::Pending),
            (vec![ContainerState::Waiting], Phase::Pending),
            (
                vec![ContainerState::Waiting, running.clone()],
                Phase::Running,
            ),
            (vec![ended(0), running], Phase::Running),
            (vec![ended(0), ContainerState::Waiting], Phase::Running),
            (vec![ended(0), ended(0)], Phase::Succeeded),
            (vec![ended(0), ended(137)], Phase::Failed),
        ] {
            let containers = states.into_iter().map(|state| Container {
                state,
                ..Container::default()
            });
            let pod = Pod {
                containers: containers.collect(),
                ..Pod::default()
            };
            assert_eq!(phase(&pod), expected, "{:?}", pod.containers);
        }
    }

    #[test]
    fn list_carries_every_pod_and_unknown_times_are_null() {
        let unknown = Pod {
            created: 0,
            ..web()
        };
        let pods = pod_list([&web(), &unknown]);
        assert_eq!(pods["kind"], "PodList");
        assert_eq!(pods["items"].as_array().unwrap().len(), 2);
        assert!(pods["items"][1]["metadata"]["creationTimestamp"].is_null());
    }
}
