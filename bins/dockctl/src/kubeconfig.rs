//! Kubernetes client configuration files: reading, merging, resolving, writing.
//!
//! Spec: Kubernetes `client-go/tools/clientcmd/api/v1/types.go` and its loading rules.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Uri;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// What one file says, or several merged.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct KubeConfig {
    #[serde(default, rename = "apiVersion")]
    pub(crate) api_version: String,
    #[serde(default)]
    pub(crate) kind: String,
    #[serde(
        default,
        rename = "current-context",
        deserialize_with = "null_as_default"
    )]
    pub(crate) current_context: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) clusters: Vec<NamedCluster>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) contexts: Vec<NamedContext>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) users: Vec<NamedUser>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct NamedCluster {
    pub(crate) name: String,
    pub(crate) cluster: Cluster,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Cluster {
    pub(crate) server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_authority: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_authority_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_server_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy_url: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) insecure_skip_tls_verify: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct NamedContext {
    pub(crate) name: String,
    pub(crate) context: Context,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Context {
    pub(crate) cluster: String,
    pub(crate) user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct NamedUser {
    pub(crate) name: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) user: User,
}

#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct User {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    #[serde(rename = "tokenFile", skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_certificate_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_key_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exec: Option<serde_json::Value>,
    #[serde(skip_serializing)]
    pub(crate) auth_provider: Option<serde_json::Value>,
}

// The token and the key are secrets, which logs and panics must not show.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").finish_non_exhaustive()
    }
}

/// Where the gateway is, how to know that it is the one, and who we are: all files read.
#[derive(Clone)]
pub(crate) struct Connection {
    /// Scheme, host and port, and a path in front of every request.
    pub(crate) server: Uri,
    /// PEM of the authority; `None` asks the system's.
    pub(crate) authority: Option<Vec<u8>>,
    /// The name that the certificate must have instead of the server's host.
    pub(crate) server_name: Option<String>,
    /// The URL of the proxy that leads to the server.
    pub(crate) proxy_url: Option<String>,
    /// The certificate is not looked at. Only ever true for a loopback address.
    pub(crate) insecure: bool,
    /// Bearer token.
    pub(crate) token: Option<String>,
    /// What the client shows of itself, when it has a certificate.
    pub(crate) client_certificate: Option<ClientCertificate>,
    /// The context's namespace.
    pub(crate) namespace: Option<String>,
}

/// The client's certificate chain and its key, both PEM.
#[derive(Clone)]
pub(crate) struct ClientCertificate {
    pub(crate) chain: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("server", &self.server)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// The files to read: the one named, else those of `KUBECONFIG`, else `~/.kube/config`.
pub(crate) fn paths(named: Option<&Path>) -> Vec<PathBuf> {
    if let Some(named) = named {
        return vec![named.to_owned()];
    }
    if let Some(list) = env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        return env::split_paths(&list)
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
    }
    env::home_dir()
        .map(|home| home.join(".kube/config"))
        .into_iter()
        .collect()
}

impl KubeConfig {
    /// Reads and merges `paths`; of things with the same name the first is taken. Files that are
    /// not there are passed over as long as one is.
    pub(crate) fn load(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut merged = Self::default();
        let mut found = false;
        for path in paths {
            let text = match fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(Failure::local(format!(
                        "cannot read kubeconfig `{}`: {error}",
                        path.display()
                    )));
                }
            };
            found = true;
            let folder = path.parent().unwrap_or_else(|| Path::new(""));
            merged.merge(Self::parse(&text, folder).map_err(|error| {
                Failure::local(format!("kubeconfig `{}`: {error}", path.display()))
            })?);
        }
        if !found {
            let tried: Vec<_> = paths
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            return Err(Failure::local(format!(
                "no kubeconfig at `{}`\nname one with --kubeconfig or KUBECONFIG, or write one with `dockctl kubeconfig`",
                tried.join("`, `")
            )));
        }
        Ok(merged)
    }

    /// Reads one file's text; relative paths in it start at `folder`.
    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        // The error is cut down to its place: its excerpt of the file may hold a token.
        let mut config: Self =
            serde_saphyr::from_str(text).map_err(|error| match error.location() {
                Some(at) => format!(
                    "not a kubeconfig, near line {} column {}",
                    at.line(),
                    at.column()
                ),
                None => "not a kubeconfig".to_owned(),
            })?;
        let anchor = |path: &mut Option<PathBuf>| {
            if let Some(path) = path {
                *path = folder.join(&*path);
            }
        };
        for named in &mut config.clusters {
            anchor(&mut named.cluster.certificate_authority);
        }
        for named in &mut config.users {
            anchor(&mut named.user.token_file);
            anchor(&mut named.user.client_certificate);
            anchor(&mut named.user.client_key);
        }
        Ok(config)
    }

    fn merge(&mut self, other: Self) {
        if self.current_context.is_empty() {
            self.current_context = other.current_context;
        }
        for cluster in other.clusters {
            if !self.clusters.iter().any(|have| have.name == cluster.name) {
                self.clusters.push(cluster);
            }
        }
        for context in other.contexts {
            if !self.contexts.iter().any(|have| have.name == context.name) {
                self.contexts.push(context);
            }
        }
        for user in other.users {
            if !self.users.iter().any(|have| have.name == user.name) {
                self.users.push(user);
            }
        }
    }

    /// Picks the context (the one named, else the current one) and reads what it points to.
    /// `cluster` takes the place of the context's.
    pub(crate) fn resolve(
        &self,
        context: Option<&str>,
        cluster: Option<&str>,
    ) -> Result<Connection, Failure> {
        let name = context.unwrap_or(&self.current_context);
        if name.is_empty() {
            return Err(Failure::usage(format!(
                "the kubeconfig has no current context: choose one of [{}] with --context",
                names(self.contexts.iter().map(|context| &context.name))
            )));
        }
        let context = &self
            .contexts
            .iter()
            .find(|context| context.name == name)
            .ok_or_else(|| {
                Failure::usage(format!(
                    "no context `{name}` in the kubeconfig: it has [{}]",
                    names(self.contexts.iter().map(|context| &context.name))
                ))
            })?
            .context;
        let cluster_name = cluster.unwrap_or(&context.cluster);
        let cluster = &self
            .clusters
            .iter()
            .find(|cluster| cluster.name == cluster_name)
            .ok_or_else(|| {
                Failure::usage(format!(
                    "no cluster `{cluster_name}` in the kubeconfig: it has [{}]",
                    names(self.clusters.iter().map(|cluster| &cluster.name))
                ))
            })?
            .cluster;
        let user = match self.users.iter().find(|user| user.name == context.user) {
            Some(named) => named.user.clone(),
            None if context.user.is_empty() => User::default(),
            None => {
                return Err(Failure::usage(format!(
                    "no user `{}` in the kubeconfig: it has [{}]",
                    context.user,
                    names(self.users.iter().map(|user| &user.name))
                )));
            }
        };
        let (server, insecure) = check_server(cluster_name, cluster)?;
        let (token, client_certificate) = credential(&context.user, &user)?;
        Ok(Connection {
            server,
            authority: material(
                "certificate-authority",
                cluster.certificate_authority_data.as_deref(),
                cluster.certificate_authority.as_deref(),
            )?,
            server_name: cluster.tls_server_name.clone(),
            proxy_url: cluster.proxy_url.clone().filter(|url| !url.is_empty()),
            insecure,
            token,
            client_certificate,
            namespace: context
                .namespace
                .clone()
                .filter(|namespace| !namespace.is_empty()),
        })
    }
}

/// Whether a host of a URI is this machine's loopback: where nobody sits in between.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Reads the server's address, and whether its certificate may go unchecked.
fn check_server(name: &str, cluster: &Cluster) -> Result<(Uri, bool), Failure> {
    let server: Uri = cluster.server.parse().map_err(|error| {
        Failure::local(format!(
            "cluster `{name}`: server `{}` is no URL: {error}",
            cluster.server
        ))
    })?;
    let Some(host) = server.host() else {
        return Err(Failure::local(format!(
            "cluster `{name}`: server `{}` is no URL: it has no host",
            cluster.server
        )));
    };
    match server.scheme_str() {
        Some("https") => {}
        Some("http") if is_loopback(host) => {}
        Some("http") => {
            return Err(Failure::local(format!(
                "cluster `{name}`: plain http to `{host}` would show the token to everyone on the way\nuse https; http is for loopback only"
            )));
        }
        _ => {
            return Err(Failure::local(format!(
                "cluster `{name}`: server `{}` must start with https://",
                cluster.server
            )));
        }
    }
    if cluster.insecure_skip_tls_verify && !is_loopback(host) {
        return Err(Failure::local(format!(
            "cluster `{name}`: insecure-skip-tls-verify is refused for `{host}`: anyone on the way could take the token\nput the authority's certificate into certificate-authority-data"
        )));
    }
    if cluster.proxy_url.is_some() && server.scheme_str() == Some("http") {
        return Err(Failure::local(format!(
            "cluster `{name}`: plain http through proxy-url would show the token to the proxy\nuse https"
        )));
    }
    Ok((server, cluster.insecure_skip_tls_verify))
}

/// Bearer token and client certificate of `user`.
fn credential(
    name: &str,
    user: &User,
) -> Result<(Option<String>, Option<ClientCertificate>), Failure> {
    for (there, what) in [
        (user.auth_provider.is_some(), "auth-provider"),
        (user.username.is_some(), "username"),
    ] {
        if there {
            return Err(Failure::local(format!(
                "user `{name}`: `{what}` is not supported, use token, tokenFile or a client certificate"
            )));
        }
    }
    // A file is read anew each time, so it wins over what was copied once, as in client-go.
    let token = match &user.token_file {
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| {
                Failure::local(format!(
                    "cannot read token file `{}`: {error}",
                    path.display()
                ))
            })?;
            Some(text.trim().to_owned())
        }
        None => match &user.exec {
            Some(exec) if user.token.is_none() => Some(run_plugin(name, exec)?),
            _ => user.token.clone(),
        },
    };
    let chain = material(
        "client-certificate",
        user.client_certificate_data.as_deref(),
        user.client_certificate.as_deref(),
    )?;
    let key = material(
        "client-key",
        user.client_key_data.as_deref(),
        user.client_key.as_deref(),
    )?;
    let client_certificate = match (chain, key) {
        (Some(chain), Some(key)) => Some(ClientCertificate { chain, key }),
        (None, None) => None,
        (Some(_), None) => {
            return Err(Failure::local(format!(
                "user `{name}`: client-certificate without client-key"
            )));
        }
        (None, Some(_)) => {
            return Err(Failure::local(format!(
                "user `{name}`: client-key without client-certificate"
            )));
        }
    };
    Ok((token.filter(|token| !token.is_empty()), client_certificate))
}

/// Runs the credential plugin of a user entry, and gives the token that it prints.
///
/// Spec: Kubernetes `client.authentication.k8s.io`, `ExecCredential`.
fn run_plugin(name: &str, exec: &serde_json::Value) -> Result<String, Failure> {
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let field = |name: &str| exec.get(name).and_then(text).unwrap_or_default();
    let broken = |what: String| Failure::local(format!("user `{name}`: `exec` {what}"));
    let (program, version) = (field("command"), field("apiVersion"));
    if program.is_empty() || !version.starts_with("client.authentication.k8s.io/v1") {
        return Err(broken(
            "needs a `command` and an `apiVersion` of client.authentication.k8s.io".to_owned(),
        ));
    }
    let list = |name: &str| {
        exec.get(name)
            .and_then(serde_json::Value::as_array)
            .cloned()
    };
    let mut command = Command::new(&program);
    command.args(list("args").unwrap_or_default().iter().filter_map(text));
    for pair in list("env").unwrap_or_default() {
        if let (Some(name), Some(value)) = (
            pair.get("name").and_then(text),
            pair.get("value").and_then(text),
        ) {
            command.env(name, value);
        }
    }
    let info = serde_json::json!({
        "apiVersion": version, "kind": "ExecCredential", "spec": { "interactive": false },
    });
    // What it says on standard error is for the person.
    let ran = command
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| broken(format!("cannot run `{program}`: {error}")))?;
    if !ran.status.success() {
        return Err(broken(format!("`{program}` gave no token")));
    }
    let credential: serde_json::Value = serde_json::from_slice(&ran.stdout)
        .map_err(|_| broken(format!("`{program}` printed no ExecCredential")))?;
    let token = credential.pointer("/status/token").and_then(text);
    token.ok_or_else(|| broken(format!("`{program}` printed a credential without a token")))
}

/// PEM text given as base64 or as a file; the former wins, as in client-go.
fn material(
    what: &str,
    data: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<Vec<u8>>, Failure> {
    if let Some(data) = data.filter(|data| !data.is_empty()) {
        let joined: String = data.split_whitespace().collect();
        return STANDARD
            .decode(joined)
            .map(Some)
            .map_err(|_| Failure::local(format!("{what}-data is not base64")));
    }
    let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) else {
        return Ok(None);
    };
    fs::read(file).map(Some).map_err(|error| {
        Failure::local(format!("cannot read {what} `{}`: {error}", file.display()))
    })
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// kubectl writes `null` for lists that are empty.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
