use std::sync::Arc;

use http::{Method, Request, Response, header};
use hyper::body::Incoming;

use super::{Call, Cluster, Gateway, malformed};
use crate::{
    Error, ErrorKind, Target,
    access::{Decision, Verb},
    runtime::kube::KubeCluster,
    service::Body,
};

impl Gateway {
    /// Carries a request that only reads to the cluster's kube-apiserver, as the caller.
    pub(super) async fn pass_through(
        &self,
        call: &Call,
        cluster: &Cluster,
        upstream: &Arc<KubeCluster>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let refused = |what: &str| {
            let name = cluster.name();
            let message = format!(
                "{what} is not carried to cluster \"{name}\": only reading and sessions are"
            );
            Err(Error::new(ErrorKind::Forbidden, message))
        };
        if request.method() != Method::GET {
            return refused(request.method().as_str());
        }
        let prefix = format!("/clusters/{}", cluster.name());
        let whole = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let path = whole.strip_prefix(prefix.as_str()).unwrap_or(whole);
        let path = if path.is_empty() { "/" } else { path };
        let (verb, target) = match Reading::of(path) {
            Reading::Reaching(sub) => return refused(&format!("`{sub}`")),
            // kubectl asks for these before anything else, whatever little one may do.
            Reading::Discovery
                if self
                    .authorizer
                    .reaches(&call.principal, cluster.name())
                    .await =>
            {
                return self.carry_reading(call, upstream, path, &request).await;
            }
            Reading::Discovery => (Verb::List, Target::namespace(cluster.name(), "*")),
            Reading::Pod { namespace, pod } => {
                let target = Target::pod(cluster.name(), namespace, pod).map_err(malformed)?;
                (Verb::Get, target)
            }
            Reading::Objects { namespace } => {
                let target = Target::namespace(cluster.name(), namespace);
                self.authorize_reading(call, target, path).await?;
                return self.carry_reading(call, upstream, path, &request).await;
            }
        };
        self.authorize(call, verb, target).await?;
        self.carry_reading(call, upstream, path, &request).await
    }

    /// Refuses, and writes down, what may not be read. Objects are of many kinds, so a list of
    /// pods allows no list of anything else.
    async fn authorize_reading(
        &self,
        call: &Call,
        target: Target,
        path: &str,
    ) -> Result<(), Error> {
        let query = path.split_once('?').map_or("", |(_, query)| query);
        let watch = query.split('&').any(|pair| {
            let value = pair.strip_prefix("watch=");
            value.is_some_and(|value| !matches!(value, "" | "0" | "false"))
        });
        let decision = self
            .authorizer
            .decide_reading(&call.principal, &target, path, watch)
            .await;
        let Decision::Deny { reason } = decision else {
            return Ok(());
        };
        let user = &call.principal.user;
        let message = format!("user `{user}` may not read `{target}`: {reason}");
        let error = Error::new(ErrorKind::Forbidden, message);
        self.auditor
            .access_denied(call, Verb::List, &target, &error)
            .await?;
        Err(error)
    }

    async fn carry_reading(
        &self,
        call: &Call,
        upstream: &Arc<KubeCluster>,
        path: &str,
        request: &Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let accept = request.headers().get(header::ACCEPT);
        upstream
            .for_principal(&call.principal)
            .read(path, accept)
            .await
    }
}

/// What is read, as the kube-apiserver understands a path.
#[derive(Debug, Eq, PartialEq)]
enum Reading<'a> {
    /// Versions, groups, resources and their schemas: nothing of any namespace.
    Discovery,
    /// One pod.
    Pod { namespace: &'a str, pod: &'a str },
    /// Anything else in `namespace`; `*` for what is in none and for all of them.
    Objects { namespace: &'a str },
    /// A sub-resource that gets into containers, pods or nodes, where a GET may do anything.
    Reaching(&'a str),
}

/// Sub-resources that are more than reading. Sessions have routes of their own, so what comes
/// here under their names is not one that policy has seen.
const REACHING: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

impl<'a> Reading<'a> {
    fn of(path_and_query: &'a str) -> Self {
        let path = path_and_query.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (namespace, rest) = match segments.as_slice() {
            [""] | ["version" | "api" | "apis"] | ["openapi", ..] => return Self::Discovery,
            ["api", _] | ["apis", _] | ["apis", _, _] => return Self::Discovery,
            ["api", _, "namespaces", namespace, rest @ ..]
            | ["apis", _, _, "namespaces", namespace, rest @ ..] => (*namespace, rest),
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => ("*", rest),
            _ => ("*", [].as_slice()),
        };
        match *rest {
            ["pods", pod] if namespace != "*" => Self::Pod { namespace, pod },
            ["proxy", ..] => Self::Reaching("proxy"),
            [_, _, sub, ..] if REACHING.contains(&sub) => Self::Reaching(sub),
            _ => Self::Objects { namespace },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reading;

    #[test]
    fn paths_are_read_as_the_apiserver_reads_them() {
        let objects = |namespace| Reading::Objects { namespace };
        for (path, reading) in [
            ("/", Reading::Discovery),
            ("/api?timeout=32s", Reading::Discovery),
            ("/apis/apps/v1", Reading::Discovery),
            ("/openapi/v3/api/v1", Reading::Discovery),
            (
                "/api/v1/namespaces/dev/pods/web",
                Reading::Pod {
                    namespace: "dev",
                    pod: "web",
                },
            ),
            ("/api/v1/namespaces/dev/pods?watch=true", objects("dev")),
            ("/apis/apps/v1/namespaces/dev/deployments", objects("dev")),
            ("/api/v1/namespaces/dev", objects("dev")),
            ("/api/v1/namespaces", objects("*")),
            ("/api/v1/pods", objects("*")),
            ("/metrics", objects("*")),
            // A node may be called `namespaces`.
            ("/api/v1/nodes/namespaces/dev", objects("*")),
            (
                "/apis/x.example/v1/things/namespaces/dev/more",
                objects("*"),
            ),
            ("/api/v1/namespaces/proxy/pods", objects("proxy")),
        ] {
            assert_eq!(Reading::of(path), reading, "{path}");
        }
    }

    #[test]
    fn what_reaches_into_containers_is_no_reading() {
        for path in [
            "/api/v1/namespaces/dev/pods/web/proxy/admin",
            "/api/v1/namespaces/dev/pods/web:80/proxy",
            "/api/v1/namespaces/dev/services/web/proxy/",
            "/api/v1/namespaces/dev/pods/web/exec/more",
            "/api/v1/namespaces/dev/pods/web/log/more",
            "/api/v1/nodes/node1/proxy/run/dev/web/main",
            "/api/v1/proxy/namespaces/dev/pods/web",
        ] {
            assert!(matches!(Reading::of(path), Reading::Reaching(_)), "{path}");
        }
    }
}
