use dockin_core::percent_encode;

use crate::{client::Client, failure::Failure, kubeconfig::Connection};

/// A pod that a command is about, and the way to it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The gateway.
    pub(crate) connection: Connection,
    /// The pod's namespace.
    pub(crate) namespace: String,
    /// The pod.
    pub(crate) pod: String,
    /// The container asked for; without one the server chooses.
    pub(crate) container: Option<String>,
}

impl Target {
    /// A client for the gateway.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.connection)
    }

    /// The path of the pod, or of one of its subresources: `exec`, `log`, …
    pub(crate) fn path(&self, subresource: Option<&str>) -> String {
        let mut path = pods_path(Some(&self.namespace));
        path.push('/');
        path.push_str(&percent_encode(&self.pod));
        if let Some(subresource) = subresource {
            path.push('/');
            path.push_str(subresource);
        }
        path
    }
}

/// The path of the pods of one namespace, or of all.
pub(crate) fn pods_path(namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("/api/v1/namespaces/{}/pods", percent_encode(namespace)),
        None => "/api/v1/pods".to_owned(),
    }
}

/// The name in `NAME`, `pod/NAME` or `pods/NAME`.
pub(crate) fn pod_name(text: &str) -> Result<String, Failure> {
    let name = match text.split_once('/') {
        Some(("pod" | "pods" | "po", name)) => name,
        Some((kind, _)) => {
            return Err(Failure::usage(format!(
                "`{kind}` is not supported, name a pod: `{text}`"
            )));
        }
        None => text,
    };
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(Failure::usage(format!("`{text}` is no pod name")));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{pod_name, pods_path};

    #[test]
    fn a_pod_may_be_named_with_its_kind() {
        assert_eq!(pod_name("web-1").unwrap(), "web-1");
        assert_eq!(pod_name("pod/web-1").unwrap(), "web-1");
        for text in ["deploy/web", "", "pod/", "..", "pod/a/b"] {
            assert!(pod_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_namespace_cannot_leave_its_place_in_the_path() {
        assert_eq!(
            pods_path(Some("a/../b?c")),
            "/api/v1/namespaces/a%2F..%2Fb%3Fc/pods"
        );
    }
}
