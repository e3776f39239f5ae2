//! The one table of paths.

use dockin_policy::access::Endpoint;
use http::Method;
use serde_json::Value;

use crate::{Error, ErrorKind, kubernetes::discovery};

/// Where a request goes.
#[derive(Debug, PartialEq)]
pub(super) enum Route {
    /// `/healthz`, `/readyz`, `/livez`.
    Health,
    /// `/dockin/v1/clusters`.
    OwnClusters,
    /// `/dockin/v1/audit`.
    OwnAudit,
    /// `/dockin/v1/sessions`.
    OwnSessions,
    /// `/dockin/v1/login`.
    Login,
    /// `/dockin/v1/logout`.
    Logout,
    /// `/dockin/v1/tokens[/{id}]`.
    OwnTokens { id: Option<String> },
    /// `/dockin/v1/authority`.
    Authority,
    /// `/dockin/v1/agents/enrol`.
    Enrol,
    /// `/kubeconfig`.
    OwnKubeconfig,
    /// `/auth/authz`, `/auth/restauthz`, `/auth/batchauthz`.
    Review(Endpoint),
    /// `/version`, `/api`, `/apis`, `/api/v1`.
    Discovery(Value),
    /// `/api/v1/namespaces[/{name}]`.
    Namespaces { name: Option<String> },
    /// `/api/v1[/namespaces/{namespace}]/pods`.
    Pods { namespace: Option<String> },
    /// `…/pods/{pod}`.
    Pod { namespace: String, pod: String },
    /// `…/pods/{pod}/exec`.
    Exec { namespace: String, pod: String },
    /// `…/pods/{pod}/attach`.
    Attach { namespace: String, pod: String },
    /// `…/pods/{pod}/log`.
    Logs { namespace: String, pod: String },
    /// `…/pods/{pod}/portforward`.
    PortForward { namespace: String, pod: String },
    /// Anything else, which only a kube-apiserver may know.
    Other,
}

impl Route {
    /// Whether it is the gateway's own affair, once it is known who asks.
    pub(super) const fn is_own(&self) -> bool {
        matches!(
            self,
            Self::OwnClusters
                | Self::OwnAudit
                | Self::OwnSessions
                | Self::Logout
                | Self::OwnTokens { .. }
                | Self::OwnKubeconfig
                | Self::Review(_)
        )
    }

    /// Whether it opens a session, which policy and audit must see whatever carries it on.
    #[cfg(feature = "kube")]
    pub(super) const fn is_session(&self) -> bool {
        matches!(
            self,
            Self::Exec { .. } | Self::Attach { .. } | Self::PortForward { .. } | Self::Logs { .. }
        )
    }
}

/// A route, and the cluster that the path names.
#[derive(Debug, PartialEq)]
pub(super) struct Routed {
    pub(super) cluster: Option<String>,
    pub(super) route: Route,
    /// What is behind `/clusters/{cluster}`, as it goes on to an API server.
    pub(super) path: String,
}

/// Finds the route of a path behind the host name of a cluster, if the request came by one: it is
/// that of the path below `/clusters/{cluster}`, so that nothing of the gateway's own and no other
/// cluster is found there.
pub(super) fn parse_at(
    cluster: Option<&str>,
    method: &Method,
    path: &str,
) -> Result<Routed, Error> {
    let Some(cluster) = cluster else {
        return parse(method, path);
    };
    parse(
        method,
        &format!("/clusters/{cluster}/{}", path.trim_start_matches('/')),
    )
}

/// Finds the route of a path. Segments are compared as they are on the wire: a path with an
/// empty or a dot segment, or an escape of what needs none, matches nothing, so that no second
/// reading of it can mean something else.
pub(super) fn parse(method: &Method, path: &str) -> Result<Routed, Error> {
    let mut segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    if segments.last() == Some(&"") {
        segments.pop();
    }
    if segments.iter().any(|segment| {
        segment.is_empty() || *segment == "." || *segment == ".." || has_odd_escape(segment)
    }) {
        return Err(Error::new(
            ErrorKind::NotFound,
            "the server could not find the requested path",
        ));
    }
    let mut cluster = None;
    let mut rest = segments.as_slice();
    if let ["clusters", name, behind @ ..] = rest {
        cluster = Some((*name).to_owned());
        rest = behind;
    }
    let end = if path.ends_with('/') && !rest.is_empty() {
        "/"
    } else {
        ""
    };
    let onward = format!("/{}{end}", rest.join("/"));
    let read = method == Method::GET;
    let upgrade = read || method == Method::POST;
    let owned = |text: &str| text.to_owned();
    let route = match *rest {
        ["healthz" | "readyz" | "livez"] if read => Route::Health,
        ["dockin", "v1", "clusters"] if read && cluster.is_none() => Route::OwnClusters,
        ["dockin", "v1", "audit"] if read && cluster.is_none() => Route::OwnAudit,
        ["dockin", "v1", "sessions"] if read && cluster.is_none() => Route::OwnSessions,
        ["dockin", "v1", "login"] if method == Method::POST && cluster.is_none() => Route::Login,
        ["dockin", "v1", "logout"] if method == Method::POST && cluster.is_none() => Route::Logout,
        ["dockin", "v1", "tokens"] if upgrade && cluster.is_none() => Route::OwnTokens { id: None },
        ["dockin", "v1", "tokens", id] if method == Method::DELETE && cluster.is_none() => {
            Route::OwnTokens {
                id: Some(owned(id)),
            }
        }
        ["dockin", "v1", "authority"] if read && cluster.is_none() => Route::Authority,
        ["dockin", "v1", "agents", "enrol"] if method == Method::POST && cluster.is_none() => {
            Route::Enrol
        }
        ["kubeconfig"] if read && cluster.is_none() => Route::OwnKubeconfig,
        ["auth", "authz"] if method == Method::POST => Route::Review(Endpoint::Plain),
        ["auth", "restauthz"] if method == Method::POST => Route::Review(Endpoint::Converted),
        ["auth", "batchauthz"] if method == Method::POST => Route::Review(Endpoint::Batch),
        ["version"] if read => Route::Discovery(discovery::version()),
        ["api"] if read => Route::Discovery(discovery::api_versions()),
        ["apis"] if read => Route::Discovery(discovery::api_groups()),
        ["api", "v1"] if read => Route::Discovery(discovery::resources()),
        ["api", "v1", "namespaces"] if read => Route::Namespaces { name: None },
        ["api", "v1", "namespaces", name] if read => Route::Namespaces {
            name: Some(owned(name)),
        },
        ["api", "v1", "pods"] if read => Route::Pods { namespace: None },
        ["api", "v1", "namespaces", namespace, "pods"] if read => Route::Pods {
            namespace: Some(owned(namespace)),
        },
        ["api", "v1", "namespaces", namespace, "pods", pod] if read => Route::Pod {
            namespace: owned(namespace),
            pod: owned(pod),
        },
        ["api", "v1", "namespaces", namespace, "pods", pod, "log"] if read => Route::Logs {
            namespace: owned(namespace),
            pod: owned(pod),
        },
        ["api", "v1", "namespaces", namespace, "pods", pod, "exec"] if upgrade => Route::Exec {
            namespace: owned(namespace),
            pod: owned(pod),
        },
        ["api", "v1", "namespaces", namespace, "pods", pod, "attach"] if upgrade => Route::Attach {
            namespace: owned(namespace),
            pod: owned(pod),
        },
        [
            "api",
            "v1",
            "namespaces",
            namespace,
            "pods",
            pod,
            "portforward",
        ] if upgrade => Route::PortForward {
            namespace: owned(namespace),
            pod: owned(pod),
        },
        _ => Route::Other,
    };
    let path = onward;
    Ok(Routed {
        cluster,
        route,
        path,
    })
}

/// Whether a segment has an escape that is broken, or of a byte that can stand for itself, is a
/// separator, or controls something. What is left is read the same by everybody.
fn has_odd_escape(segment: &str) -> bool {
    const NEEDED: &[u8] = b" \"#<>?[]^`{|}";
    if !segment.contains('%') {
        return false;
    }
    let mut bytes = segment.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
            return true;
        };
        match u8::try_from(high * 16 + low) {
            Ok(byte) if byte >= 0x80 || NEEDED.contains(&byte) => decoded.push(byte),
            _ => return true,
        }
    }
    std::str::from_utf8(&decoded).is_err()
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{Route, parse, parse_at};

    #[test]
    fn a_path_with_two_readings_matches_nothing() {
        for path in [
            "/api/v1/namespaces/default/pods/web%2f..%2fother/exec",
            "/api/v1/namespaces/default/pods/web/%65xec",
            "/api/v1/namespaces/default/pods/web/exe%63",
            "/api/v1/namespaces/default/pods/%2e%2e/x",
            "/api/v1/namespaces/default/pods/a%00b",
            "/api/v1/namespaces/default/pods/a%5cb",
            "/api/v1/namespaces/default/pods/a%25b",
            "/api/v1/namespaces/default/pods/a%b",
            "/api/v1/namespaces/default/pods/a%",
            "/api/v1/namespaces/default/pods/a%ff",
            "/api/v1/namespaces/../pods",
            "/clusters//api/v1/pods",
            "//api/v1/pods/../x",
        ] {
            assert!(parse(&Method::GET, path).is_err(), "{path}");
        }
    }

    #[test]
    fn what_goes_on_is_what_was_read() {
        for (path, onward) in [
            ("/clusters/prod/api/v1/pods", "/api/v1/pods"),
            ("/clusters/prod", "/"),
            ("/clusters/prod/", "/"),
            ("//clusters/prod/api", "/api"),
            (
                "/clusters/prod/api/v1/namespaces/a/services/s/proxy/",
                "/api/v1/namespaces/a/services/s/proxy/",
            ),
            (
                "/clusters/prod/api/v1/x/a%20b%C3%BC",
                "/api/v1/x/a%20b%C3%BC",
            ),
            ("/api/v1/pods", "/api/v1/pods"),
            ("/", "/"),
        ] {
            let routed = parse(&Method::GET, path).map(|routed| routed.path);
            assert_eq!(routed.ok().as_deref(), Some(onward), "{path}");
        }
    }

    /// KubeCube W8: what needs no credential is found by its whole path, not by a part of it.
    #[test]
    fn w8_only_the_gateways_own_health_needs_no_credential() {
        for path in [
            "/clusters/prod/healthz",
            "/api/v1/namespaces/a/services/s/proxy/healthz",
            "/healthz/more",
            "/x/healthz",
        ] {
            let routed = parse(&Method::GET, path);
            let open = routed.is_ok_and(|one| one.cluster.is_none() && one.route == Route::Health);
            assert!(!open, "{path}");
        }
    }

    #[test]
    fn the_cluster_prefix_is_taken_off_once() {
        let routed = parse(
            &Method::POST,
            "/clusters/prod/api/v1/namespaces/a/pods/b/exec",
        );
        let routed = routed.map(|routed| (routed.cluster, routed.route)).ok();
        let exec = Route::Exec {
            namespace: "a".to_owned(),
            pod: "b".to_owned(),
        };
        assert_eq!(routed, Some((Some("prod".to_owned()), exec)));
        let twice = parse(&Method::GET, "/clusters/a/clusters/b/version");
        assert_eq!(twice.map(|routed| routed.route).ok(), Some(Route::Other));
    }

    #[test]
    fn behind_a_clusters_host_name_there_is_that_cluster_alone() {
        for (path, onward) in [
            ("/", "/"),
            ("/api/v1/pods", "/api/v1/pods"),
            ("/clusters/b/api", "/clusters/b/api"),
            ("/dockin/v1/clusters", "/dockin/v1/clusters"),
            ("/kubeconfig", "/kubeconfig"),
        ] {
            let routed = parse_at(Some("a"), &Method::GET, path).ok();
            let found = routed.as_ref().map(|it| (it.cluster.as_deref(), &*it.path));
            assert_eq!(found, Some((Some("a"), onward)), "{path}");
            assert!(routed.is_some_and(|it| !it.route.is_own()), "{path}");
        }
        assert!(parse_at(Some("a"), &Method::GET, "/../b/api").is_err());
        let none = parse_at(None, &Method::GET, "/kubeconfig").ok();
        assert_eq!(none.map(|it| it.route), Some(Route::OwnKubeconfig));
    }

    #[test]
    fn only_reading_and_upgrading_methods_have_routes() {
        let exec = parse(&Method::DELETE, "/api/v1/namespaces/a/pods/b/exec");
        assert_eq!(exec.map(|routed| routed.route).ok(), Some(Route::Other));
        let pods = parse(&Method::POST, "/api/v1/namespaces/a/pods");
        assert_eq!(pods.map(|routed| routed.route).ok(), Some(Route::Other));
    }
}
