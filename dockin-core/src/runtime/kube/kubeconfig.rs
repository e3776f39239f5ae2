use std::{
    fs,
    path::{Path, PathBuf},
};

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::Deserialize;

use super::CONNECT_TIMEOUT;
use crate::{Error, ErrorKind};

/// A kubeconfig that has Dockin's section, checked.
pub struct ClusterConfig {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) config: Config,
}

/// What of a kubeconfig names other files.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Referring {
    certificate_authority: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_key: Option<PathBuf>,
}

impl ClusterConfig {
    /// Reads the kubeconfig at `path` as cluster `name`; files that it names are relative to it.
    ///
    /// # Errors
    ///
    /// `Misuse` that names the file and what is wrong with it. A kubeconfig that turns
    /// certificate checks off, does without TLS or impersonates on its own is refused.
    pub async fn read(name: &str, path: &Path) -> Result<Self, Error> {
        let wrong = |what: String| {
            let message = format!("kubeconfig {}: {what}", path.display());
            Error::new(ErrorKind::Misuse, message)
        };
        // kube resolves what is relative; it knows the folder by the path alone.
        let kubeconfig = Kubeconfig::read_from(path)
            .map_err(|error| wrong("is no kubeconfig".to_owned()).with_source(error))?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| wrong("cannot be used".to_owned()).with_source(error))?;
        if config.accept_invalid_certs {
            return Err(wrong(
                "`insecure-skip-tls-verify` is not accepted: give `certificate-authority`"
                    .to_owned(),
            ));
        }
        if config.cluster_url.scheme_str() != Some("https") {
            return Err(wrong(
                "`server` must be an https URL: the credential is sent to it".to_owned(),
            ));
        }
        if config.proxy_url.is_some() {
            return Err(wrong(
                "`proxy-url` is not supported: the gateway reaches apiservers directly".to_owned(),
            ));
        }
        let own = &config.auth_info;
        if own.impersonate.is_some()
            || own.impersonate_uid.is_some()
            || own.impersonate_groups.is_some()
            || own.impersonate_user_extra.is_some()
        {
            // It would be sent beside, or instead of, the person who asks.
            return Err(wrong(
                "`as` and what begins with it are not accepted: the gateway impersonates who asks"
                    .to_owned(),
            ));
        }
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // Up to 15 times, over minutes; an exec may have been started by a request that failed.
        config.default_retry = false;
        Ok(Self {
            path: path.to_owned(),
            name: name.to_owned(),
            config,
        })
    }

    /// The files whose changes change the cluster: certificates and keys that the kubeconfig at
    /// `path` names. None when it cannot be read.
    #[must_use]
    pub fn referred(path: &Path) -> Vec<PathBuf> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Document {
            clusters: Vec<Cluster>,
            users: Vec<User>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Cluster {
            cluster: Referring,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct User {
            user: Referring,
        }

        let text = fs::read_to_string(path).unwrap_or_default();
        let document: Document = serde_saphyr::from_str(&text).unwrap_or_default();
        let base = path.parent().unwrap_or(Path::new(""));
        let clusters = document.clusters.into_iter().map(|one| one.cluster);
        let users = document.users.into_iter().map(|one| one.user);
        clusters
            .chain(users)
            .flat_map(|one| {
                [
                    one.certificate_authority,
                    one.client_certificate,
                    one.client_key,
                ]
            })
            .flatten()
            .map(|file| base.join(file))
            .collect()
    }
}
