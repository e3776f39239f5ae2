use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use dockin_core::{Error, ErrorKind, tls};
use serde::Deserialize;

/// `opagent.yaml`, checked, with every path relative to nothing but the working directory.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Name of this node; the certificate is for `NAME.agent.dockin.internal`.
    pub(crate) name: String,
    /// Address to serve; port 0 picks one.
    pub(crate) listen: SocketAddr,
    /// What gateways see, and whose certificates they must show.
    pub(crate) tls: TlsFiles,
    /// The gateway that renews the certificate; nobody does, without.
    #[serde(default)]
    pub(crate) enrolment: Option<Enrolment>,
    /// The daemon whose containers are served.
    #[serde(default)]
    pub(crate) docker: Docker,
}

/// Who gave the certificate, as `dockin-opagent enrol` writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Enrolment {
    /// The gateway, `https://HOST:PORT`.
    pub(crate) gateway: String,
    /// Authority of the certificate that it has towards everybody.
    pub(crate) authority: PathBuf,
}

/// PEM files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFiles {
    /// Certificate chain, own certificate first.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// Authority that gateways' certificates are of.
    pub(crate) authority: PathBuf,
}

/// A Docker daemon.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Docker {
    /// `unix:///PATH` of its socket.
    #[serde(default = "default_host")]
    pub(crate) host: String,
    /// Who starts commands.
    #[serde(default)]
    pub(crate) exec: Exec,
}

/// Who starts commands in containers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Exec {
    /// The container's own runtime where that works, else the daemon.
    #[default]
    Direct,
    /// Always the daemon.
    Daemon,
}

fn default_host() -> String {
    "unix:///var/run/docker.sock".to_owned()
}

impl Default for Docker {
    fn default() -> Self {
        Self {
            host: default_host(),
            exec: Exec::default(),
        }
    }
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    ///
    /// `Misuse` naming the file, the line or key, and what it should be.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|error| {
            let hint = "cannot be read; `dockin-opserver init` makes one for each agent";
            wrong(path, hint).with_source(error)
        })?;
        let mut config: Self =
            serde_saphyr::from_str(&text).map_err(|error| wrong(path, error.without_snippet()))?;
        tls::agent_name(&config.name)
            .map_err(|error| wrong(path, format!("`name`: {}", error.message())))?;
        if !config.docker.host.starts_with("unix:///") {
            return Err(wrong(
                path,
                "`docker.host` must be `unix:///PATH` of the daemon's socket",
            ));
        }
        if config.enrolment.is_some() && config.tls.certificate != config.tls.key {
            return Err(wrong(
                path,
                "`enrolment` replaces certificate and key in one step: `tls.certificate` and \
                 `tls.key` must be the same file",
            ));
        }
        let base = path.parent().unwrap_or(Path::new(""));
        let files = &mut config.tls;
        for file in [&mut files.certificate, &mut files.key, &mut files.authority] {
            *file = base.join(&*file);
        }
        if let Some(enrolment) = &mut config.enrolment {
            enrolment.authority = base.join(&enrolment.authority);
        }
        Ok(config)
    }
}

fn wrong(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Misuse,
        format!("configuration `{}`: {what}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::fs;

    use super::{Config, Exec};

    const GOOD: &str = "name: node1\nlisten: 127.0.0.1:10250\n\
        tls: { certificate: agent.pem, key: agent.key, authority: ca.pem }\n";

    fn load(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opagent.yaml");
        fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|error| error.chain())
    }

    #[test]
    fn docker_may_be_left_out_and_paths_are_relative_to_the_file() {
        let config = load(GOOD).unwrap();
        assert_eq!(config.docker.host, "unix:///var/run/docker.sock");
        assert_eq!(config.docker.exec, Exec::Direct);
        assert!(config.tls.key.is_absolute());
        assert_eq!(
            (config.name.as_str(), config.listen.port()),
            ("node1", 10250)
        );
        assert!(config.tls.certificate.is_absolute() && config.tls.authority.is_absolute());
    }

    #[test]
    fn errors_name_file_place_and_fix() {
        for (from, to, words) in [
            ("listen", "listens", ["line 2", "listen"]),
            ("node1", "a b", ["`name`", "DNS"]),
            ("10250", "port", ["line 2", "socket address"]),
            (
                "name: node1",
                "name: node1\ndocker: { host: /run/docker.sock }",
                ["`docker.host`", "unix:///"],
            ),
            (
                "name: node1",
                "name: node1\nenrolment: { gateway: https://g, authority: g.pem }",
                ["`tls.key`", "same file"],
            ),
            (
                "name: node1",
                "name: node1\ndocker: { exec: both }",
                ["line 2", "daemon"],
            ),
        ] {
            let error = load(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains("opagent.yaml"), "{error}");
            for word in words {
                assert!(error.contains(word), "{word} in: {error}");
            }
        }
    }
}
