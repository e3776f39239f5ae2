//! Lists of an apiserver that are read whole, for who is answered in another shape.

use http::Method;
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{ANSWER_TIMEOUT, KubeRuntime, WirePod};
use crate::{
    Error, ErrorKind,
    directory::{ContainerState, Pod},
};

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStatus {
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(default)]
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID", default)]
    id: String,
    #[serde(default)]
    restart_count: u32,
    #[serde(default)]
    state: State,
}

#[derive(Default, Deserialize)]
struct State {
    running: Option<Value>,
    terminated: Option<Terminated>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Terminated {
    exit_code: i32,
}

/// Bytes of a list that is read whole: some ten thousand pods.
const MAX_LIST: usize = 64 * 1024 * 1024;

impl KubeRuntime {
    /// Every pod of `namespace`, or of all.
    ///
    /// # Errors
    ///
    /// What the apiserver answers; `Malformed` for what can be no namespace.
    pub async fn pods(&self, namespace: Option<&str>) -> Result<Vec<Pod>, Error> {
        let path = match namespace {
            None => "/api/v1/pods".to_owned(),
            Some(namespace) => {
                crate::Target::pod("any", namespace, "any")
                    .map_err(|error| Error::new(ErrorKind::Malformed, error.to_string()))?;
                format!("/api/v1/namespaces/{namespace}/pods")
            }
        };
        let list: List<Value> = self.read(&path).await?;
        let pods: Result<Vec<Pod>, serde_json::Error> = list.items.into_iter().map(pod).collect();
        pods.map_err(|error| self.unreadable(error))
    }

    /// Every node, as the apiserver describes it.
    ///
    /// # Errors
    ///
    /// What the apiserver answers.
    pub async fn nodes(&self) -> Result<Vec<Value>, Error> {
        let list: List<Value> = self.read("/api/v1/nodes").await?;
        Ok(list.items)
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let response = self.answer(self.request(Method::GET, path)?).await?;
        let response = self.accepted(response).await?;
        let body = Limited::new(response.into_body(), MAX_LIST).collect();
        let body = tokio::time::timeout(ANSWER_TIMEOUT, body).await;
        let body = body.map_err(|_| self.unavailable("stopped in the middle of its answer"))?;
        let body = body.map_err(|error| self.unavailable("broke off").with_source(error))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| self.unreadable(error))
    }

    fn unreadable(&self, error: serde_json::Error) -> Error {
        let message = format!(
            "cluster `{}` gave a list that cannot be read",
            self.server.name
        );
        Error::new(ErrorKind::Misbehaved, message).with_source(error)
    }
}

/// A pod of a list, with what became of it.
fn pod(mut listed: Value) -> Result<Pod, serde_json::Error> {
    let status = listed.get_mut("status").map(Value::take);
    let status: Option<PodStatus> = status.map(serde_json::from_value).transpose()?;
    let status = status.unwrap_or_default();
    let made = listed.pointer("/metadata/creationTimestamp");
    let made = made.and_then(Value::as_str);
    let made: Option<Timestamp> = made.and_then(|made| made.parse().ok());
    let mut pod = Pod::from(serde_json::from_value::<WirePod>(listed)?);
    pod.ip = status.pod_ip.filter(|ip| !ip.is_empty());
    pod.created = made.map_or(0, Timestamp::as_second);
    for status in status.container_statuses {
        let mut containers = pod.containers.iter_mut();
        let Some(container) = containers.find(|one| one.name == status.name) else {
            continue;
        };
        container.id = status.id;
        container.restarts = status.restart_count;
        container.state = match status.state {
            State {
                terminated: Some(Terminated { exit_code }),
                ..
            } => ContainerState::Terminated {
                exit_code,
                started: 0,
                finished: 0,
            },
            State {
                running: Some(_), ..
            } => ContainerState::Running { started: 0 },
            State { .. } => ContainerState::Waiting,
        };
    }
    Ok(pod)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::Value;

    use super::{List, pod};
    use crate::{
        directory::{ContainerState, Pod},
        kubernetes::{Phase, phase},
    };

    #[test]
    fn a_listed_pod_has_its_address_and_what_its_containers_do() {
        let list: List<Value> = serde_json::from_str(
            r#"{"kind":"PodList","items":[{"metadata":{"name":"web","namespace":"shop","uid":"u","creationTimestamp":"1970-01-01T00:01:40Z"},"spec":{"nodeName":"n1","containers":[{"name":"app","image":"app:1"},{"name":"side"}]},"status":{"podIP":"10.0.0.7","containerStatuses":[{"name":"app","restartCount":2,"containerID":"containerd://00","state":{"running":{"startedAt":"1970-01-01T00:01:40Z"}}},{"name":"side","state":{"terminated":{"exitCode":3}}},{"name":"gone"}]}},{"metadata":{"name":"new","namespace":"shop","creationTimestamp":null},"spec":{"containers":[]}}]}"#,
        )
        .unwrap();
        let pods: Vec<Pod> = list
            .items
            .into_iter()
            .map(|one| pod(one).unwrap())
            .collect();
        let [web, new] = pods.as_slice() else {
            panic!("{pods:?}");
        };
        assert_eq!((web.ip.as_deref(), web.created), (Some("10.0.0.7"), 100));
        assert_eq!(phase(web), Phase::Running);
        let restarts: Vec<u32> = web.containers.iter().map(|one| one.restarts).collect();
        assert_eq!(restarts, [2, 0]);
        let side = web.containers.last().map(|one| &one.state);
        assert!(
            matches!(side, Some(ContainerState::Terminated { exit_code: 3, .. })),
            "{side:?}"
        );
        assert_eq!((new.ip.as_deref(), phase(new)), (None, Phase::Pending));
    }
}
