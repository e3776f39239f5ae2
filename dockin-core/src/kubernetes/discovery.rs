//! What a client asks before anything else: version, groups and resources.
//!
//! kubectl since 1.26 asks `/api` and `/apis` for the aggregated form
//! (`as=APIGroupDiscoveryList`); the plain documents here, sent as `application/json`, make it fall
//! back to the older walk over `/api/v1`.

use serde_json::{Value, json};

/// `GET /version`. The minor version is that of the Kubernetes API spoken here.
///
/// kubectl warns in `kubectl version` when it is more than one minor version away.
#[must_use]
pub fn version() -> Value {
    json!({
        "major": "1",
        "minor": "33",
        "gitVersion": concat!("v1.33.0+dockin-", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `GET /api`: the core group has `v1`.
#[must_use]
pub fn api_versions() -> Value {
    json!({
        "kind": "APIVersions",
        "apiVersion": "v1",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    })
}

/// `GET /apis`: no other group.
#[must_use]
pub fn api_groups() -> Value {
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] })
}

/// `GET /api/v1`: pods with what can be done to them, and namespaces.
#[must_use]
pub fn resources() -> Value {
    let stream = ["create", "get"];
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "v1",
        "resources": [
            {
                "name": "namespaces",
                "singularName": "namespace",
                "namespaced": false,
                "kind": "Namespace",
                "verbs": ["get", "list"],
                "shortNames": ["ns"],
            },
            {
                "name": "pods",
                "singularName": "pod",
                "namespaced": true,
                "kind": "Pod",
                "verbs": ["get", "list"],
                "shortNames": ["po"],
                "categories": ["all"],
            },
            subresource("pods/attach", "PodAttachOptions", &stream),
            subresource("pods/exec", "PodExecOptions", &stream),
            subresource("pods/log", "Pod", &["get"]),
            subresource("pods/portforward", "PodPortForwardOptions", &stream),
        ],
    })
}

fn subresource(name: &str, kind: &str, verbs: &[&str]) -> Value {
    json!({ "name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": verbs })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "a failed index is a failed test")]

    use super::{api_groups, api_versions, resources, version};

    #[test]
    fn every_document_names_its_kind() {
        assert_eq!(api_versions()["kind"], "APIVersions");
        assert_eq!(api_groups()["kind"], "APIGroupList");
        assert_eq!(resources()["kind"], "APIResourceList");
        assert_eq!(version()["major"], "1");
    }

    #[test]
    fn streams_may_be_opened_with_get_and_with_post() {
        let resources = resources();
        for name in ["pods/exec", "pods/attach", "pods/portforward"] {
            let found = resources["resources"]
                .as_array()
                .and_then(|all| all.iter().find(|resource| resource["name"] == name));
            assert_eq!(
                found.map(|resource| &resource["verbs"]),
                Some(&serde_json::json!(["create", "get"])),
                "{name}"
            );
        }
    }
}
