//! What a Kubernetes request is called in policies: action and object.

use super::{Mode, singular::singular};

/// What a request to an API server wants.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attributes {
    /// `get`, `list`, `create` and so on.
    pub verb: String,
    /// API group, empty for the core group.
    pub group: String,
    /// Resource in the plural; empty for a request to a path that is no resource.
    pub resource: String,
    /// Sub-resource, such as `exec`.
    pub subresource: String,
    /// Name of the object; empty for all of them.
    pub name: String,
    /// Namespace; empty for none.
    pub namespace: String,
    /// The path of the URL, if it is known.
    pub path: String,
    /// The cluster, when it is one behind this request.
    pub cluster: Option<String>,
}

/// What policies call a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ActionOnObject {
    /// Such as `createPodExec`.
    pub action: String,
    /// Such as `cluster:cls-1/namespace:shop/pod:web`.
    pub object: String,
}

/// The group of TKEStack whose namespaces are projects.
const BUSINESS: &str = "business.tkestack.io";

/// The group of TKEStack whose namespaces hold images.
const REGISTRY: &str = "registry.tkestack.io";

/// Sub-resources that are read with `get`, and that are no kind of their own below a cluster.
const PLAIN: [&str; 4] = ["status", "log", "finalize", "proxy"];

/// Sub-resources that get into a container, over GET as well as POST.
const SESSIONS: [&str; 3] = ["exec", "attach", "portforward"];

/// What policies call `attributes`.
///
/// As TKEStack has it, but for one thing: in [`Mode::Strict`] to open a session is one action,
/// `createPodExec`, `createPodAttach` or `createPodPortforward`, whatever the method of HTTP.
#[must_use]
pub fn action_on_object(attributes: &Attributes, mode: Mode) -> ActionOnObject {
    let whole = below_a_cluster(attributes);
    let Attributes {
        verb,
        group,
        resource,
        subresource,
        name,
        namespace,
        path,
        cluster,
    } = whole.as_ref().unwrap_or(attributes);
    let resource = match (group.as_str(), resource.as_str()) {
        (REGISTRY, "namespaces") => "registrynamespaces",
        (_, resource) => resource,
    };
    let one = match resource {
        "status" => resource.to_owned(),
        _ => singular(resource),
    };
    let session = SESSIONS.contains(&subresource.as_str());
    let verb = match verb.as_str() {
        "get" if mode == Mode::Strict && session => "create",
        "get" if name.is_empty() => "list",
        "get" if !subresource.is_empty() && !PLAIN.contains(&subresource.as_str()) => "list",
        "patch" => "update",
        "deletecollection" => "delete",
        verb => verb,
    };
    let (action, mut object) = if resource.is_empty() {
        let path = path.split('?').next().unwrap_or_default();
        (verb.to_owned(), path.to_owned())
    } else {
        let noun = if verb == "list" && name.is_empty() {
            resource
        } else {
            &one
        };
        let action = format!("{verb}{}{}", capital(noun), capital(subresource));
        let name = if name.is_empty() { "*" } else { name };
        (action, format!("{one}:{name}"))
    };
    let kind = match group.as_str() {
        BUSINESS => "project",
        REGISTRY => "registrynamespace",
        _ => "namespace",
    };
    let namespace = match namespace.as_str() {
        "" => query_namespace(path).unwrap_or_default(),
        namespace => namespace,
    };
    if !resource.is_empty() && !namespace.is_empty() && kind != one {
        object = format!("{kind}:{namespace}/{object}");
    }
    if let Some(cluster) = cluster.as_deref().filter(|cluster| !cluster.is_empty())
        && one != "cluster"
    {
        object = format!("cluster:{cluster}/{object}");
    }
    ActionOnObject { action, object }
}

/// A resource of TKEStack's `clusters/{cluster}/{resource}/{name}/{subresource}` as one of that
/// cluster.
fn below_a_cluster(attributes: &Attributes) -> Option<Attributes> {
    let below = &attributes.subresource;
    if attributes.resource != "clusters" || below.is_empty() || PLAIN.contains(&below.as_str()) {
        return None;
    }
    let path = attributes.path.split('?').next().unwrap_or_default();
    let mut segments = path
        .split('/')
        .skip_while(|segment| *segment != "clusters")
        .skip(3);
    Some(Attributes {
        resource: below.clone(),
        name: segments.next().unwrap_or_default().to_owned(),
        subresource: segments.next().unwrap_or_default().to_owned(),
        cluster: attributes
            .cluster
            .clone()
            .or_else(|| Some(attributes.name.clone())),
        ..attributes.clone()
    })
}

/// The namespace that the query of a path asks for.
fn query_namespace(path: &str) -> Option<&str> {
    let (_, query) = path.split_once('?')?;
    let mut pairs = query.split('&');
    pairs.find_map(|pair| pair.strip_prefix("namespace="))
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}
