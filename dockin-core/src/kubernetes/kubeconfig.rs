use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{Error, ErrorKind, percent_encode};

/// A kubeconfig for one person at one gateway, without a secret: kubectl runs
/// `dockctl credential` for a token, which knows one after `dockctl login`.
///
/// Spec: Kubernetes `client-go/tools/clientcmd/api/v1/types.go`.
#[derive(Clone, Copy, Debug)]
// Exhaustive: who wants one fills it.
pub struct Kubeconfig<'a> {
    /// URL of the gateway, without a slash at its end.
    pub server: &'a str,
    /// PEM of the authority of the gateway's certificate.
    pub authority: &'a [u8],
    /// Whose it is.
    pub user: &'a str,
    /// A context is made for each, the first one is the current one.
    pub clusters: &'a [String],
    /// Namespace of every context.
    pub namespace: Option<&'a str>,
}

impl Kubeconfig<'_> {
    /// Its text.
    ///
    /// # Errors
    ///
    /// `Misuse` when the serializer fails, which it does for nothing that a person is called.
    pub fn to_yaml(self) -> Result<String, Error> {
        let user = format!("dockin-{}", self.user);
        let clusters = self.clusters.iter().map(|name| {
            json!({ "name": name, "cluster": {
                "server": format!("{}/clusters/{}", self.server, percent_encode(name)),
                "certificate-authority-data": STANDARD.encode(self.authority),
            }})
        });
        let contexts = self.clusters.iter().map(|name| {
            let mut context = json!({ "cluster": name, "user": user });
            if let (Some(namespace), Some(fields)) = (self.namespace, context.as_object_mut()) {
                fields.insert("namespace".to_owned(), namespace.into());
            }
            json!({ "name": name, "context": context })
        });
        let exec = credential_plugin("dockctl", "--server", self.server, "dockctl login");
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": self.clusters.first().map_or("", String::as_str),
            "clusters": clusters.collect::<Vec<_>>(),
            "contexts": contexts.collect::<Vec<_>>(),
            "users": [ { "name": user, "user": { "exec": exec } } ],
        });
        serde_saphyr::to_string(&config).map_err(|error| {
            Error::new(ErrorKind::Misuse, "the kubeconfig cannot be written")
                .with_source(error.to_string())
        })
    }
}

/// What a kubeconfig says of `command`, dockctl by whatever path, which kubectl runs for a token:
/// `dockctl credential OPTION OF`. `hint` is what makes one be there.
///
/// Spec: Kubernetes `client.authentication.k8s.io/v1`.
#[must_use]
pub fn credential_plugin(command: &str, option: &str, of: &str, hint: &str) -> Value {
    json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": command,
        "args": ["credential", option, of],
        "interactiveMode": "Never",
        "provideClusterInfo": false,
        "installHint": format!("install dockctl, and log in with `{hint}`"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use serde_json::Value;

    use super::Kubeconfig;

    fn made(clusters: &[&str], user: &str) -> (String, Value) {
        let clusters: Vec<String> = clusters.iter().map(|one| (*one).to_owned()).collect();
        let text = Kubeconfig {
            server: "https://gate:6443",
            authority: b"PEM",
            user,
            clusters: &clusters,
            namespace: Some("dev"),
        }
        .to_yaml()
        .unwrap();
        let read = serde_saphyr::from_str(&text).unwrap();
        (text, read)
    }

    #[test]
    fn each_cluster_has_a_context_and_nobody_a_token() {
        let (text, config) = made(&["a", "b c"], "alice");
        assert_eq!(
            config["clusters"][1]["cluster"]["server"],
            "https://gate:6443/clusters/b%20c"
        );
        assert_eq!(config["contexts"][1]["context"]["namespace"], "dev");
        assert_eq!(config["current-context"], "a");
        assert_eq!(
            config["users"][0]["user"]["exec"]["args"][2],
            "https://gate:6443"
        );
        assert!(
            !text.contains("token:") && !text.contains("insecure"),
            "{text}"
        );
    }

    #[test]
    fn a_strange_name_stays_one_name() {
        let (_, config) = made(&[], "a: {b}\n- \"c");
        assert_eq!(config["users"][0]["name"], "dockin-a: {b}\n- \"c");
        assert_eq!(config["clusters"].as_array().map(Vec::len), Some(0));
    }
}
