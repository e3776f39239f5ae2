//! `echo`, `rm`, `ctrl/getPodByName` and the routes about nodes: what is there.

use std::{collections::BTreeMap, sync::Arc};

use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    DockinOps, Gateway, Wish,
    answer::{document, success},
    reach::Place,
};
use crate::{
    Error, ErrorKind, Target,
    access::Verb,
    compat::{
        AppInstance, NodeReply, OpsRequest, PodAddress, image_version, pod_state, wide_node,
        wide_pods,
    },
    directory::Pod,
    gateway::{Call, Cluster},
    kubernetes,
    service::{Body, Peer},
};

/// Names in one request for nodes.
const MAX_NODES: usize = 1024;

impl Gateway {
    /// Pods or nodes: by cluster, each a JSON text.
    pub(super) async fn ops_echo(
        &self,
        ops: &Arc<DockinOps>,
        peer: &Peer,
        wish: &Wish,
    ) -> Result<Response<Body>, Error> {
        let asked = wish.envelope(ops)?;
        let (call, rule) = self.ops_let_in(ops, peer, wish, Some(&asked)).await?;
        let call = &call;
        let texts = match asked.resource.as_str() {
            "pod" | "pods" | "po" => self.ops_echo_pods(call, &rule, &asked).await?,
            "node" | "nodes" | "no" => {
                let only = asked.cluster.as_deref();
                let clusters = self.ops_clusters(call, &rule, only).await;
                let mut texts = BTreeMap::new();
                for (cluster, node) in self.ops_all_nodes(call, &clusters).await {
                    if !asked.name.is_empty() && node.name != asked.name {
                        continue;
                    }
                    let rows: &mut Vec<Value> = texts.entry(cluster.clone()).or_default();
                    rows.push(match asked.print_type.as_str() {
                        "wide" | "" => node.wide,
                        _ => node.object,
                    });
                }
                if !asked.name.is_empty() && texts.is_empty() {
                    return Err(no_node(&asked.name));
                }
                texts
                    .into_iter()
                    .map(|(cluster, rows)| (cluster, Value::from(rows).to_string()))
                    .collect()
            }
            other => {
                let message = format!("`resource` is `pod` or `node`, not `{other}`");
                return Err(Error::new(ErrorKind::Malformed, message));
            }
        };
        Ok(success(texts))
    }

    async fn ops_echo_pods(
        &self,
        call: &Call,
        rule: &str,
        asked: &OpsRequest,
    ) -> Result<BTreeMap<String, String>, Error> {
        let places = if asked.name.is_empty() {
            let only = asked.cluster.as_deref();
            let clusters = self.ops_clusters(call, rule, only).await;
            let namespace = asked.namespace.as_deref().filter(|_| !asked.all_namespaces);
            let seen = self
                .ops_seen(call, &clusters, namespace, Verb::Get, |_| true)
                .await;
            match (seen.places.is_empty(), seen.lost) {
                (true, Some(lost)) => return Err(lost),
                _ => seen.places,
            }
        } else {
            vec![self.ops_place(call, rule, asked, Verb::Get).await?]
        };
        let mut found: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
        for Place { cluster, pod } in places {
            found
                .entry(cluster.name().to_owned())
                .or_default()
                .push(pod);
        }
        let now = Timestamp::now().as_second();
        let wide = matches!(asked.print_type.as_str(), "wide" | "");
        let text = |cluster: &str, pods: &[Pod]| match pods {
            pods if wide => wide_pods(pods, cluster, now),
            [one] => kubernetes::pod(one).to_string(),
            several => kubernetes::pod_list(several).to_string(),
        };
        let texts = found.into_iter().map(|(cluster, pods)| {
            let text = text(&cluster, &pods);
            (cluster, text)
        });
        Ok(texts.collect())
    }

    /// Pods as a configuration data base would list them.
    pub(super) async fn ops_rm(
        &self,
        ops: &Arc<DockinOps>,
        peer: &Peer,
        wish: &Wish,
    ) -> Result<Response<Body>, Error> {
        let asked = wish.envelope(ops)?;
        let (call, rule) = self.ops_let_in(ops, peer, wish, Some(&asked)).await?;
        if asked.name.is_empty() {
            return Err(Error::new(ErrorKind::Malformed, "`name` is missing"));
        }
        let call = &call;
        let only = asked.cluster.as_deref();
        let clusters = self.ops_clusters(call, &rule, only).await;
        let labels = &ops.labels;
        let label = |pod: &Pod, name: &str| pod.labels.get(name).cloned().unwrap_or_default();
        let dcns: Vec<&str> = asked
            .dcn
            .split(',')
            .map(str::trim)
            .filter(|dcn| !dcn.is_empty())
            .collect();
        let wanted = |pod: &Pod| {
            let name = asked.name.as_str();
            let named = pod.name == name
                || pod.ip.as_deref() == Some(name)
                || label(pod, &labels.subsystem).eq_ignore_ascii_case(name)
                || label(pod, &labels.subsystem_id) == name
                || label(pod, &labels.pod_set) == name;
            let dcn = label(pod, &labels.dcn);
            named && (dcns.is_empty() || dcns.iter().any(|one| dcn.eq_ignore_ascii_case(one)))
        };
        let namespace = asked.namespace.as_deref();
        let seen = self
            .ops_seen(call, &clusters, namespace, Verb::Get, wanted)
            .await;
        if let (true, Some(lost)) = (seen.places.is_empty(), seen.lost) {
            return Err(lost);
        }
        let rows: Vec<AppInstance> = seen
            .places
            .into_iter()
            .map(|Place { cluster, pod }| {
                let image = pod.containers.first().map_or("", |one| one.image.as_str());
                AppInstance {
                    sub_sys_name: label(&pod, &labels.subsystem),
                    sub_sys_id: label(&pod, &labels.subsystem_id),
                    sub_sys_tag: label(&pod, &labels.subsystem_tag),
                    dcn: label(&pod, &labels.dcn),
                    version: image_version(image).to_owned(),
                    state: pod_state(&pod),
                    cluster_id: cluster.name().to_owned(),
                    pod_name: pod.name,
                    namespace: pod.namespace,
                    host_ip: pod.node,
                    pod_ip: pod.ip.unwrap_or_default(),
                    ..AppInstance::default()
                }
            })
            .collect();
        Ok(success(rows))
    }

    /// Where a pod is.
    ///
    /// Clients ask this between logging in and opening a shell, without showing the token that they
    /// have just got. Who shows nothing is told what he said himself, and nothing is looked at; the
    /// shell that follows finds the pod again, for who may.
    pub(super) async fn ops_pod_address(
        &self,
        ops: &Arc<DockinOps>,
        peer: &Peer,
        wish: &Wish,
    ) -> Result<Response<Body>, Error> {
        let name = wish.text("podName")?.to_owned();
        if name.is_empty() {
            return Err(Error::new(ErrorKind::Malformed, "`podName` is missing"));
        }
        let shows = wish.header_token()?.is_some()
            || !wish.text("accessToken")?.is_empty()
            || wish.headers.contains_key(http::header::AUTHORIZATION);
        if !shows {
            return Ok(success(PodAddress {
                pod_name: name,
                ..PodAddress::default()
            }));
        }
        let (call, rule) = self.ops_let_in(ops, peer, wish, None).await?;
        let asked = OpsRequest {
            name,
            ..OpsRequest::default()
        };
        let place = self.ops_place(&call, &rule, &asked, Verb::Get).await?;
        Ok(success(PodAddress {
            pod_name: place.pod.name,
            cluster_id: place.cluster.name().to_owned(),
            pod_ip: place.pod.ip.unwrap_or_default(),
            host_ip: place.pod.node,
        }))
    }

    /// One node's object as text.
    pub(super) async fn ops_node(
        &self,
        ops: &Arc<DockinOps>,
        peer: &Peer,
        wish: &Wish,
    ) -> Result<Response<Body>, Error> {
        let texts = self.ops_node_texts(ops, peer, wish, 1).await?;
        let text = texts.into_iter().next().unwrap_or_default();
        if text.is_empty() {
            return Err(no_node(wish.text("nodeName")?));
        }
        let reply = NodeReply::success(wish.text("taskId")?, Value::from(text));
        Ok(document(reply.to_json()))
    }

    /// Several nodes' objects as texts, an empty one for each that is not there.
    pub(super) async fn ops_nodes(
        &self,
        ops: &Arc<DockinOps>,
        peer: &Peer,
        wish: &Wish,
    ) -> Result<Response<Body>, Error> {
        let texts = self.ops_node_texts(ops, peer, wish, MAX_NODES).await?;
        let reply = NodeReply::success(wish.text("taskId")?, Value::from(texts));
        Ok(document(reply.to_json()))
    }

    async fn ops_node_texts(
        &self,
        ops: &Arc<DockinOps>,
        peer: &Peer,
        wish: &Wish,
        most: usize,
    ) -> Result<Vec<String>, Error> {
        let known = self.ops_known(ops, peer, wish, None).await?;
        let call = &known.call;
        let names: Vec<&str> = wish.text("nodeName")?.split(',').map(str::trim).collect();
        if names.len() > most || names.iter().any(|name| name.is_empty()) {
            let message = format!("`nodeName` must be 1 to {most} names with commas between");
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        let mut clusters = Vec::new();
        for (rule, addresses) in &ops.rules {
            if addresses.admits(call.client.ip()) {
                clusters.extend(self.ops_clusters(call, rule, None).await);
            }
        }
        let nodes = self.ops_all_nodes(call, &clusters).await;
        let text = |name: &&str| {
            let found = nodes.iter().find(|(_, node)| node.name == **name);
            found.map_or_else(String::new, |(_, node)| node.object.to_string())
        };
        Ok(names.iter().map(text).collect())
    }

    /// The nodes of those of `clusters` in which the caller may list everything.
    async fn ops_all_nodes(&self, call: &Call, clusters: &[Arc<Cluster>]) -> Vec<(String, Node)> {
        let mut all = Vec::new();
        for cluster in clusters {
            let everything = Target::namespace(cluster.name(), "*");
            if self.authorize(call, Verb::List, everything).await.is_err() {
                continue;
            }
            let found = nodes(call, cluster).await.unwrap_or_else(|error| {
                tracing::debug!(
                    cluster = cluster.name(),
                    error = error.chain(),
                    "nodes not known"
                );
                Vec::new()
            });
            let name = cluster.name();
            all.extend(found.into_iter().map(|node| (name.to_owned(), node)));
        }
        all
    }
}

/// A node in both forms.
struct Node {
    name: String,
    wide: Value,
    object: Value,
}

async fn nodes(call: &Call, cluster: &Cluster) -> Result<Vec<Node>, Error> {
    #[cfg(feature = "kube")]
    if let Some(upstream) = cluster.upstream() {
        let objects = upstream.for_principal(&call.principal).nodes().await?;
        let now = Timestamp::now().as_second();
        let nodes = objects.into_iter().map(|object| Node {
            name: text(&object, "/metadata/name"),
            wide: wide(&object, cluster.name(), now),
            object,
        });
        return Ok(nodes.collect());
    }
    #[cfg(not(feature = "kube"))]
    let _asked_as_oneself = call;
    let nodes = cluster.nodes().await.into_iter().map(|(name, up)| {
        let status = if up { "True" } else { "Unknown" };
        Node {
            name: name.to_owned(),
            wide: wide_node(name, if up { "Ready" } else { "NotReady" }, cluster.name()),
            object: json!({
                "kind": "Node",
                "apiVersion": "v1",
                "metadata": { "name": name },
                "status": { "conditions": [{ "type": "Ready", "status": status }] },
            }),
        }
    });
    Ok(nodes.collect())
}

/// A node's object of an API server in wide form.
#[cfg(feature = "kube")]
fn wide(object: &Value, cluster: &str, now: i64) -> Value {
    let list = |path: &str| object.pointer(path).and_then(Value::as_array);
    let address = |kind: &str| {
        let mut addresses = list("/status/addresses").into_iter().flatten();
        let found = addresses.find(|one| one["type"] == kind);
        found.map_or_else(|| "<none>".to_owned(), |one| text(one, "/address"))
    };
    let mut conditions = list("/status/conditions").into_iter().flatten();
    let ready = conditions.any(|one| one["type"] == "Ready" && one["status"] == "True");
    let status = if ready { "Ready" } else { "NotReady" };
    let mut row = wide_node(&text(object, "/metadata/name"), status, cluster);
    let labels = object
        .pointer("/metadata/labels")
        .and_then(Value::as_object);
    let roles: Vec<&str> = labels
        .into_iter()
        .flat_map(|labels| labels.keys())
        .filter_map(|label| label.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    let roles = if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.join(",")
    };
    let made: Option<Timestamp> = text(object, "/metadata/creationTimestamp").parse().ok();
    let age = made.map(|made| kubernetes::table::human_duration(now - made.as_second()));
    let info = |name: &str| text(object, &format!("/status/nodeInfo/{name}"));
    for (key, value) in [
        ("roles", roles),
        ("age", age.unwrap_or_else(|| "<unknown>".to_owned())),
        ("version", info("kubeletVersion")),
        ("Internal-IP", address("InternalIP")),
        ("External-IP", address("ExternalIP")),
        ("osImage", info("osImage")),
        ("kernelVersion", info("kernelVersion")),
        ("containerRuntimeVersion", info("containerRuntimeVersion")),
    ] {
        if let Some(row) = row.as_object_mut() {
            row.insert(key.to_owned(), Value::from(value));
        }
    }
    row
}

#[cfg(feature = "kube")]
fn text(object: &Value, path: &str) -> String {
    let found = object.pointer(path).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

fn no_node(name: &str) -> Error {
    let name: String = name.chars().take(253).collect();
    Error::new(ErrorKind::NotFound, format!("node `{name}` is not there"))
}
