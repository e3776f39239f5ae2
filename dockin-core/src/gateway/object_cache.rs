//! Pods and nodes in the store, for who looks for them there: written as they change, and taken
//! out when they go.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

#[cfg(feature = "kube")]
use futures::StreamExt as _;
#[cfg(feature = "kube")]
use http::{HeaderMap, Method, Response, StatusCode};
#[cfg(feature = "kube")]
use http_body_util::BodyStream;
#[cfg(feature = "kube")]
use serde::Deserialize;
#[cfg(feature = "kube")]
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Cluster, Gateway};
use crate::{
    Error, kubernetes,
    store::{Lease, ObjectKind, ObjectPlace, Store},
};
#[cfg(feature = "kube")]
use crate::{
    ErrorKind,
    identity::{Principal, Proof},
    percent_encode,
    runtime::kube::{KubeCluster, KubeRuntime},
    service::{Body, empty},
};

/// How often a gateway says that it still keeps a cluster, and how long that counts.
const BEAT: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(15);
/// How long until a cluster that could not be read is read again, and pods of agents in any case.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a watch lasts: then everything is listed again, and what was missed is found.
#[cfg(feature = "kube")]
const WATCH: Duration = Duration::from_secs(5 * 60);
/// Objects of a page, and bytes.
#[cfg(feature = "kube")]
const PAGE: (usize, usize) = (500, 64 * 1024 * 1024);
/// Bytes of a line of a watch; etcd takes objects of 1.5 MiB.
#[cfg(feature = "kube")]
const MAX_LINE: usize = 4 * 1024 * 1024;
/// Who lists and watches: an API server must allow that.
#[cfg(feature = "kube")]
const USER: &str = "dockin:cache";

/// Keeps one cluster until it is dropped.
struct Keeper {
    cluster: Arc<Cluster>,
    _stop: DropGuard,
}

impl Gateway {
    /// Keeps the clusters that no other gateway keeps until `stop`.
    pub(super) async fn keep_objects(self: Arc<Self>, stop: CancellationToken) {
        let Some(store) = self.object_cache.clone() else {
            return;
        };
        let me = self.live.gateway().to_owned();
        let mut kept: HashMap<String, Keeper> = HashMap::new();
        loop {
            let clusters = self.clusters.all();
            let there: BTreeSet<&str> = clusters.iter().map(|cluster| cluster.name()).collect();
            let gone: Vec<String> = kept
                .keys()
                .filter(|name| !there.contains(name.as_str()))
                .cloned()
                .collect();
            for name in gone {
                kept.remove(&name);
                if let Err(error) = forget(&*store, &name).await {
                    tracing::warn!(cluster = name, error = error.chain(), "objects stay cached");
                }
            }
            for cluster in clusters.iter() {
                let name = cluster.name();
                let lease = store.lease(&format!("objects:{name}"), &me, LEASE).await;
                let is_kept = kept
                    .get(name)
                    .is_some_and(|keeper| Arc::ptr_eq(&keeper.cluster, cluster));
                match lease {
                    Ok(Lease::Kept) if is_kept => {}
                    // Nobody kept it: what is in the store may be old, or lost.
                    Ok(Lease::Kept | Lease::Taken) => {
                        let keeper = Keeper::start(Arc::clone(cluster), Arc::clone(&store));
                        kept.insert(name.to_owned(), keeper);
                    }
                    Ok(Lease::Others) | Err(_) => {
                        kept.remove(name);
                    }
                }
            }
            let pause = tokio::time::sleep(BEAT);
            if stop.run_until_cancelled(pause).await.is_none() {
                break;
            }
        }
    }
}

impl Keeper {
    fn start(cluster: Arc<Cluster>, store: Arc<dyn Store>) -> Self {
        let stop = CancellationToken::new();
        for kind in [ObjectKind::Pod, ObjectKind::Node] {
            let (cluster, store, stop) = (Arc::clone(&cluster), Arc::clone(&store), stop.clone());
            tokio::spawn(async move {
                stop.run_until_cancelled(follow(&cluster, &*store, kind))
                    .await;
            });
        }
        Self {
            cluster,
            _stop: stop.drop_guard(),
        }
    }
}

async fn follow(cluster: &Cluster, store: &dyn Store, kind: ObjectKind) {
    let mut told = String::new();
    loop {
        match keep(cluster, store, kind).await {
            Ok(()) => told.clear(),
            Err(error) => {
                let why = error.chain();
                if why != told {
                    tracing::warn!(cluster = cluster.name(), ?kind, error = why, "not cached");
                }
                told = why;
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn keep(cluster: &Cluster, store: &dyn Store, kind: ObjectKind) -> Result<(), Error> {
    #[cfg(feature = "kube")]
    if let Some(upstream) = cluster.upstream() {
        let keeping = keep_watched(cluster.name(), upstream, store, kind);
        // A watch that an API server does not end is ended here.
        let kept = tokio::time::timeout(WATCH + Duration::from_secs(30), keeping).await;
        return kept.unwrap_or(Ok(()));
    }
    if kind == ObjectKind::Node {
        // Agents tell of none.
        return Ok(());
    }
    let listing = cluster.list(None).await?;
    let mut there = BTreeSet::new();
    for pod in &listing.pods {
        let place = ObjectPlace {
            kind,
            cluster: cluster.name(),
            namespace: &pod.namespace,
            name: &pod.name,
        };
        let object = kubernetes::pod(pod);
        let uid = object.pointer("/metadata/uid").and_then(|uid| uid.as_str());
        store
            .cache_object(&place, uid.unwrap_or_default(), &object.to_string())
            .await?;
        there.insert((pod.namespace.clone(), pod.name.clone()));
    }
    if listing.warnings.is_empty() {
        sweep(store, kind, cluster.name(), &there).await?;
    }
    Ok(())
}

/// Takes out what is not there any more.
async fn sweep(
    store: &dyn Store,
    kind: ObjectKind,
    cluster: &str,
    there: &BTreeSet<(String, String)>,
) -> Result<(), Error> {
    for found in store.cached_objects(kind, cluster).await? {
        if !there.contains(&found) {
            let place = ObjectPlace {
                kind,
                cluster,
                namespace: &found.0,
                name: &found.1,
            };
            store.uncache_object(&place).await?;
        }
    }
    Ok(())
}

/// Takes out everything of a cluster that is gone.
async fn forget(store: &dyn Store, cluster: &str) -> Result<(), Error> {
    let nothing = BTreeSet::new();
    sweep(store, ObjectKind::Pod, cluster, &nothing).await?;
    sweep(store, ObjectKind::Node, cluster, &nothing).await
}

#[cfg(feature = "kube")]
#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
    items: Vec<Value>,
}

#[cfg(feature = "kube")]
#[derive(Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "resourceVersion")]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

#[cfg(feature = "kube")]
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

/// Writes all there is, takes out what is not, and then follows what changes, for as long as the
/// API server tells.
#[cfg(feature = "kube")]
async fn keep_watched(
    cluster: &str,
    upstream: &KubeCluster,
    store: &dyn Store,
    kind: ObjectKind,
) -> Result<(), Error> {
    let principal = Arc::new(Principal::new(USER, Vec::new(), Proof::Internal));
    let runtime = upstream.for_principal(&principal);
    let path = match kind {
        ObjectKind::Pod => "/api/v1/pods",
        ObjectKind::Node => "/api/v1/nodes",
    };
    let mut there = BTreeSet::new();
    let mut next = String::new();
    let version = loop {
        let page = page(&runtime, &format!("{path}?limit={}{next}", PAGE.0)).await?;
        for object in page.items {
            there.insert(write(store, kind, cluster, object).await?);
        }
        if page.metadata.next.is_empty() {
            break page.metadata.resource_version;
        }
        next = format!("&continue={}", percent_encode(&page.metadata.next));
    };
    sweep(store, kind, cluster, &there).await?;
    let seconds = WATCH.as_secs();
    let version = percent_encode(&version);
    let query = format!("watch=true&resourceVersion={version}&timeoutSeconds={seconds}");
    let response = ask(&runtime, &format!("{path}?{query}")).await?;
    let mut frames = BodyStream::new(response.into_body());
    let mut buffer = Vec::new();
    while let Some(frame) = frames.next().await {
        let frame =
            frame.map_err(|error| broken("the watch broke off").with_source(error.to_string()))?;
        buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let event: Event = serde_json::from_slice(&line)
                .map_err(|error| broken("a line of the watch is no event").with_source(error))?;
            match event.kind.as_str() {
                "ADDED" | "MODIFIED" => {
                    write(store, kind, cluster, event.object).await?;
                }
                "DELETED" => {
                    let (namespace, name) = names(&event.object)?;
                    let place = ObjectPlace {
                        kind,
                        cluster,
                        namespace: &namespace,
                        name: &name,
                    };
                    store.uncache_object(&place).await?;
                }
                // The version is too old: everything is listed again.
                "ERROR" => return Ok(()),
                _ => {}
            }
        }
        if buffer.len() > MAX_LINE {
            return Err(broken("a line of the watch is too long"));
        }
    }
    Ok(())
}

#[cfg(feature = "kube")]
async fn write(
    store: &dyn Store,
    kind: ObjectKind,
    cluster: &str,
    mut object: Value,
) -> Result<(String, String), Error> {
    let (namespace, name) = names(&object)?;
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
    let uid = uid.unwrap_or_default().to_owned();
    if let Some(fields) = object.as_object_mut() {
        // Items of a list come without.
        let word = match kind {
            ObjectKind::Pod => "Pod",
            ObjectKind::Node => "Node",
        };
        fields.insert("kind".to_owned(), word.into());
        fields.insert("apiVersion".to_owned(), "v1".into());
        // Half of an object, and nobody looks for it.
        let metadata = fields.get_mut("metadata").and_then(Value::as_object_mut);
        let _unused = metadata.map(|metadata| metadata.remove("managedFields"));
    }
    let place = ObjectPlace {
        kind,
        cluster,
        namespace: &namespace,
        name: &name,
    };
    store
        .cache_object(&place, &uid, &object.to_string())
        .await?;
    Ok((namespace, name))
}

#[cfg(feature = "kube")]
fn names(object: &Value) -> Result<(String, String), Error> {
    let field = |path: &str| object.pointer(path).and_then(Value::as_str);
    let namespace = field("/metadata/namespace").unwrap_or_default();
    match field("/metadata/name") {
        Some(name) => Ok((namespace.to_owned(), name.to_owned())),
        None => Err(broken("an object has no name")),
    }
}

#[cfg(feature = "kube")]
async fn page(runtime: &KubeRuntime, path: &str) -> Result<Page, Error> {
    let mut frames = BodyStream::new(ask(runtime, path).await?.into_body());
    let mut read = Vec::new();
    while let Some(frame) = frames.next().await {
        let frame =
            frame.map_err(|error| broken("a list broke off").with_source(error.to_string()))?;
        read.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
        if read.len() > PAGE.1 {
            return Err(broken("a page of a list is too long"));
        }
    }
    serde_json::from_slice(&read).map_err(|error| broken("a list is none").with_source(error))
}

#[cfg(feature = "kube")]
async fn ask(runtime: &KubeRuntime, path: &str) -> Result<Response<Body>, Error> {
    let response = runtime
        .carry(Method::GET, path, HeaderMap::new(), empty())
        .await?;
    match response.status() {
        StatusCode::OK => Ok(response),
        status => Err(broken(&format!(
            "it answers {status} to user `{USER}`: let him list and watch pods and nodes"
        ))),
    }
}

#[cfg(feature = "kube")]
fn broken(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the API server: {what}"))
}
