use dockin_policy::access::Attributes;
use http::{Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use jiff::Timestamp;

use super::{
    Call, Cluster, Gateway,
    long_answer::Asked,
    onward::{WithoutTrailers, disarm, onward, returned},
};
use crate::{
    Error, Target,
    access::Verb,
    kubernetes::{is_discovery, only_reads, request_attributes},
    runtime::kube::KubeCluster,
    service::Body,
};

impl Gateway {
    /// Carries a request that is no session to the cluster's kube-apiserver, as the caller, and
    /// the answer back. `path` is the one behind `/clusters/{cluster}`.
    pub(super) async fn pass_through(
        &self,
        call: &Call,
        cluster: &Cluster,
        upstream: &KubeCluster,
        path: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let since = Timestamp::now();
        let (head, body) = request.into_parts();
        let query = head.uri.query();
        let name = cluster.name();
        let wanted = request_attributes(&head.method, name, path, query.unwrap_or_default())?;
        let discovery = is_discovery(&wanted);
        if !discovery {
            self.authorize_request(call, &wanted).await?;
        }
        if let Some(why) = not_carried(&wanted) {
            let message = format!(
                "{why} is not carried to cluster \"{name}\"; open a session with kubectl exec, \
                 attach, port-forward or logs"
            );
            return Err(self.request_refused(call, &wanted, message).await);
        }
        if head.headers.contains_key(header::UPGRADE) {
            let what = "protocols are switched for exec, attach and port-forward alone";
            return Err(self.request_refused(call, &wanted, what.to_owned()).await);
        }
        if (wanted.resource.as_str(), wanted.subresource.as_str())
            == ("pods", "ephemeralcontainers")
            && !only_reads(&wanted)
        {
            // A container of one's own in the pod is at least a shell in it.
            let target = Target::pod(name, &wanted.namespace, &wanted.name);
            let target = target.map_err(super::malformed)?;
            self.authorize(call, Verb::Exec, target).await?;
        }
        let place = self.limiter.open(&call.principal.user, name)?;
        if !discovery && (!only_reads(&wanted) || call.principal.impersonator.is_some()) {
            self.auditor.request_carried(call, &wanted).await?;
        }
        let onward_path = match query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let headers = onward(&head.headers, call.client.ip());
        let body = WithoutTrailers(body).boxed_unsync();
        let runtime = upstream.for_principal(&call.principal);
        let mut response = runtime
            .carry(head.method, &onward_path, headers, body)
            .await?;
        returned(response.headers_mut());
        if wanted.subresource == "proxy" {
            disarm(response.headers_mut());
        }
        let asked = Asked {
            call: call.clone(),
            since,
            wanted,
            runtime: None,
        };
        Ok(response.map(|body| self.answers.give(body, asked, place)))
    }
}

/// Why a request is not carried to any apiserver, whoever asks: it would reach a container past
/// the sessions, which policy, audit and recording see.
fn not_carried(wanted: &Attributes) -> Option<String> {
    let Attributes {
        verb,
        resource,
        subresource,
        path,
        ..
    } = wanted;
    if verb == "proxy" {
        return Some("the old `proxy/` path".to_owned());
    }
    match (resource.as_str(), subresource.as_str()) {
        ("pods", "exec" | "attach" | "portforward" | "log") => {
            Some(format!("this form of `pods/{subresource}`"))
        }
        ("nodes", "proxy") if verb != "get" || !KUBELET_READINGS.contains(&kubelet_path(path)) => {
            Some("what of a kubelet is more than metrics, statistics and health".to_owned())
        }
        _ => None,
    }
}

/// What a kubelet only tells. Its other paths run commands, read logs and forward ports.
const KUBELET_READINGS: [&str; 6] = ["configz", "healthz", "metrics", "pods", "spec", "stats"];

/// The first segment behind `/nodes/{node}/proxy/`.
fn kubelet_path(path: &str) -> &str {
    let behind = path.split("/proxy/").nth(1).unwrap_or_default();
    behind.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use http::Method;

    use super::not_carried;
    use crate::kubernetes::request_attributes;

    fn carried(method: &str, path: &str) -> bool {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        not_carried(&request_attributes(&method, "c", path, "").unwrap()).is_none()
    }

    #[test]
    fn what_reaches_into_containers_past_the_sessions_is_not_carried() {
        for (method, path) in [
            ("PUT", "/api/v1/namespaces/dev/pods/web/exec"),
            ("GET", "/api/v1/namespaces/dev/pods/web/exec/more"),
            ("GET", "/api/v1/namespaces/dev/pods/web/log/more"),
            ("GET", "/api/v1/watch/namespaces/dev/pods/web/attach"),
            ("DELETE", "/api/v1/namespaces/dev/pods/web/portforward"),
            ("GET", "/api/v1/proxy/namespaces/dev/pods/web"),
            ("POST", "/api/v1/nodes/n1/proxy/run/dev/web/main"),
            ("GET", "/api/v1/nodes/n1/proxy/run/dev/web/main"),
            ("GET", "/api/v1/nodes/n1/proxy/exec/dev/web/main"),
            ("GET", "/api/v1/nodes/n1/proxy/cri/exec/abc"),
            ("GET", "/api/v1/nodes/n1/proxy/containerLogs/dev/web/main"),
            ("GET", "/api/v1/nodes/n1/proxy"),
            ("POST", "/api/v1/nodes/n1/proxy/metrics"),
        ] {
            assert!(!carried(method, path), "{method} {path}");
        }
    }

    #[test]
    fn the_rest_is_carried() {
        for (method, path) in [
            ("GET", "/api/v1/nodes/n1/proxy/metrics/cadvisor"),
            ("GET", "/api/v1/nodes/n1/proxy/stats/summary"),
            ("POST", "/api/v1/namespaces/dev/services/web:80/proxy/exec"),
            ("PATCH", "/apis/apps/v1/namespaces/dev/deployments/web"),
            ("DELETE", "/api/v1/namespaces/dev/pods"),
            ("POST", "/api/v1/namespaces/dev/pods/web/eviction"),
        ] {
            assert!(carried(method, path), "{method} {path}");
        }
    }
}
