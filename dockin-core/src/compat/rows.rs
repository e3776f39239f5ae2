use serde::Serialize;
use serde_json::Value;

use crate::{
    directory::Pod,
    kubernetes::table::{IncludeObject, pods},
};

/// One row of `rm`: a pod with what a configuration data base would know of it. All are texts.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AppInstance {
    /// Subsystem.
    pub sub_sys_name: String,
    /// Its number.
    pub sub_sys_id: String,
    /// Its tag.
    pub sub_sys_tag: String,
    /// Data centre.
    pub dcn: String,
    /// Pod.
    pub pod_name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its cluster.
    pub cluster_id: String,
    /// Its node.
    pub host_ip: String,
    /// Its address.
    pub pod_ip: String,
    /// Version of its image.
    pub version: String,
    /// Limit of memory.
    pub limit_mem: String,
    /// Limit of processors.
    pub limit_cpu: String,
    /// How it is.
    pub state: String,
}

/// What `ctrl/getPodByName` answers.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodAddress {
    /// Pod.
    pub pod_name: String,
    /// Its cluster.
    pub cluster_id: String,
    /// Its address.
    pub pod_ip: String,
    /// Its node.
    pub host_ip: String,
}

/// A pod of `echo` in wide form, in the predecessor's order; `ClusterID` is spelt as there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WidePod<'a> {
    name: &'a str,
    ready: String,
    status: String,
    restarts: u64,
    age: String,
    ip: &'a str,
    node: &'a str,
    nominated_node_name: &'a str,
    namespace: &'a str,
    labels: &'a std::collections::BTreeMap<String, String>,
    uid: &'a str,
    #[serde(rename = "ClusterID")]
    cluster_id: &'a str,
}

/// A node of `echo` in wide form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WideNode<'a> {
    name: &'a str,
    status: &'a str,
    roles: &'a str,
    age: &'a str,
    version: &'a str,
    #[serde(rename = "Internal-IP")]
    internal_ip: &'a str,
    #[serde(rename = "External-IP")]
    external_ip: &'a str,
    os_image: &'a str,
    kernel_version: &'a str,
    container_runtime_version: &'a str,
    cluster_id: &'a str,
}

/// The pods of a cluster as the text that `echo` has under the cluster's name; `now` in seconds
/// since the epoch, for their age.
#[must_use]
pub fn wide_pods<'a>(found: impl IntoIterator<Item = &'a Pod>, cluster: &str, now: i64) -> String {
    let rows: Vec<WidePod<'_>> = found
        .into_iter()
        .map(|pod| {
            let table = pods([pod], IncludeObject::None, now);
            let cell = |number: usize| table.pointer(&format!("/rows/0/cells/{number}"));
            let text = |number| cell(number).and_then(Value::as_str).unwrap_or_default();
            let restarts: u32 = pod.containers.iter().map(|one| one.restarts).sum();
            WidePod {
                name: &pod.name,
                ready: text(1).to_owned(),
                status: text(2).to_owned(),
                restarts: u64::from(restarts),
                age: text(4).to_owned(),
                ip: pod.ip.as_deref().unwrap_or("<none>"),
                node: &pod.node,
                nominated_node_name: "<none>",
                namespace: &pod.namespace,
                labels: &pod.labels,
                uid: &pod.uid,
                cluster_id: cluster,
            }
        })
        .collect();
    // Texts and numbers are always JSON.
    serde_json::to_string(&rows).unwrap_or_default()
}

/// How a pod is, in the words of kubectl.
#[must_use]
pub fn pod_state(pod: &Pod) -> String {
    let table = pods([pod], IncludeObject::None, 0);
    let state = table.pointer("/rows/0/cells/2").and_then(Value::as_str);
    state.unwrap_or_default().to_owned()
}

/// A node of which no more is known than this, as an element of what `echo` has for nodes.
#[must_use]
pub fn wide_node(name: &str, status: &str, cluster: &str) -> Value {
    let row = WideNode {
        name,
        status,
        roles: "<none>",
        age: "<unknown>",
        version: "",
        internal_ip: "<none>",
        external_ip: "<none>",
        os_image: "<unknown>",
        kernel_version: "<unknown>",
        container_runtime_version: "<unknown>",
        cluster_id: cluster,
    };
    serde_json::to_value(row).unwrap_or_default()
}

/// The version in an image's name: its tag up to `_img`; empty without a tag. A registry's port is
/// no tag.
#[must_use]
pub fn image_version(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    let name = image.rsplit_once('/').map_or(image, |(_, name)| name);
    let tag = name.split_once(':').map_or("", |(_, tag)| tag);
    tag.split_once("_img").map_or(tag, |(version, _)| version)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use crate::directory::{Container, ContainerState, Pod};

    use super::{AppInstance, PodAddress, image_version, pod_state, wide_node, wide_pods};
    use crate::compat::Reply;

    #[test]
    fn a_row_of_rm_has_the_keys_of_the_field_in_their_order() {
        let text = |text: &str| text.to_owned();
        let row = AppInstance {
            sub_sys_name: text("wx"),
            sub_sys_id: text("5582"),
            dcn: text("1C1"),
            pod_name: text("wx-app-20200101-0"),
            namespace: text("test"),
            cluster_id: text("ft"),
            host_ip: text("10.0.1.1"),
            pod_ip: text("10.0.0.7"),
            version: text("1.2.3"),
            limit_mem: text("4"),
            limit_cpu: text("2"),
            state: text("Running"),
            ..AppInstance::default()
        };
        assert_eq!(
            Reply::success(vec![row]).to_json(),
            r#"{"Code":0,"Message":"Success","Data":[{"SubSysName":"wx","SubSysId":"5582","SubSysTag":"","Dcn":"1C1","PodName":"wx-app-20200101-0","Namespace":"test","ClusterId":"ft","HostIp":"10.0.1.1","PodIp":"10.0.0.7","Version":"1.2.3","LimitMem":"4","LimitCpu":"2","State":"Running"}]}"#
        );
    }

    #[test]
    fn an_address_has_the_keys_of_the_field() {
        let address = PodAddress {
            pod_name: "wx-app-20200101-0".to_owned(),
            cluster_id: "ft".to_owned(),
            pod_ip: "10.0.0.7".to_owned(),
            host_ip: "10.0.1.1".to_owned(),
        };
        assert_eq!(
            Reply::success(address).to_json(),
            r#"{"Code":0,"Message":"Success","Data":{"podName":"wx-app-20200101-0","clusterId":"ft","podIp":"10.0.0.7","hostIp":"10.0.1.1"}}"#
        );
    }

    #[test]
    fn wide_rows_have_the_keys_of_the_field_in_their_order() {
        let pod = Pod {
            name: "wx-app-20200101-0".to_owned(),
            namespace: "test".to_owned(),
            uid: "u1".to_owned(),
            node: "10.0.1.1".to_owned(),
            ip: Some("10.0.0.7".to_owned()),
            created: 100,
            containers: vec![Container {
                name: "app".to_owned(),
                restarts: 2,
                state: ContainerState::Running { started: 100 },
                ..Container::default()
            }],
            ..Pod::default()
        };
        assert_eq!(pod_state(&pod), "Running");
        assert_eq!(
            wide_pods([&pod], "ft", 160),
            r#"[{"name":"wx-app-20200101-0","ready":"1/1","status":"Running","restarts":2,"age":"60s","ip":"10.0.0.7","node":"10.0.1.1","nominatedNodeName":"<none>","namespace":"test","labels":{},"uid":"u1","ClusterID":"ft"}]"#
        );
        let node = wide_node("n1", "Ready", "ft").to_string();
        for key in [
            "name",
            "status",
            "roles",
            "age",
            "version",
            "Internal-IP",
            "External-IP",
            "osImage",
            "kernelVersion",
            "containerRuntimeVersion",
            "clusterId",
        ] {
            assert!(node.contains(&format!("\"{key}\":")), "{key}: {node}");
        }
    }

    #[test]
    fn an_image_has_the_version_of_its_tag_and_not_of_its_registry() {
        for (image, version) in [
            ("registry.local:5000/wx/app:1.2.3_img", "1.2.3"),
            ("registry.local:5000/wx/app", ""),
            ("app:2", "2"),
            ("app:2@sha256:00", "2"),
            ("app@sha256:00", ""),
            ("", ""),
        ] {
            assert_eq!(image_version(image), version, "{image}");
        }
    }
}
