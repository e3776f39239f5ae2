//! How the gateway is reached: certificates, connections, host names, and how agents enrol.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use dockin_core::{Error, ErrorKind, service::ConnectionLimits};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{Age, Config, TlsFiles};

/// How many connections there may be; the gateway's own defaults where nothing is given.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connections {
    #[serde(default)]
    total: Option<usize>,
    #[serde(default)]
    per_address: Option<usize>,
    #[serde(default)]
    per_user: Option<usize>,
    /// For a handshake, for the head of a request.
    #[serde(default)]
    head_timeout: Option<Age>,
}

/// How machines become agents.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Enrolment {
    /// List of agents of this gateway alone; `dockin-opserver agent` changes it.
    #[serde(default)]
    pub(crate) agents: Option<PathBuf>,
    /// The agents are in the `store` in place of that.
    #[serde(default)]
    pub(crate) shared: bool,
    /// Private key of the authority that `agents_tls` names; without it the list is kept, and
    /// nobody is enrolled.
    #[serde(default)]
    pub(crate) key: Option<PathBuf>,
    /// How long an agent's certificate is good.
    #[serde(default)]
    lifetime: Option<Age>,
}

/// Agents renew at half of it.
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);

impl Connections {
    /// The same for the engine.
    pub(crate) fn limits(&self) -> ConnectionLimits {
        let default = ConnectionLimits::default();
        ConnectionLimits {
            total: self.total.unwrap_or(default.total),
            per_address: self.per_address.unwrap_or(default.per_address),
            per_user: self.per_user.unwrap_or(default.per_user),
            head_timeout: self.head_timeout.map_or(default.head_timeout, |it| it.0),
        }
    }
}

impl TlsFiles {
    /// All of them, the certificate first.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        vec![
            self.certificate.clone(),
            self.key.clone(),
            self.authority.clone(),
        ]
    }
}

impl Enrolment {
    /// How long an agent's certificate is good.
    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime.map_or(LIFETIME, |it| it.0)
    }

    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.agents.iter_mut().chain(self.key.as_mut())
    }
}

impl Config {
    /// Serves plain HTTP whatever `tls` says; nobody is enrolled then.
    ///
    /// # Errors
    ///
    /// `Misuse` when it does not listen on a loopback address.
    pub(crate) fn without_tls(mut self) -> Result<Self, Error> {
        self.tls = None;
        self.check_door()?;
        Ok(self)
    }

    /// The files of the gateway's own certificate.
    ///
    /// # Errors
    ///
    /// `Misuse` when it serves plain HTTP.
    pub(crate) fn tls_files(&self) -> Result<&TlsFiles, Error> {
        self.tls.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Misuse,
                "plain HTTP has no certificates: give them under `tls`",
            )
        })
    }

    pub(super) fn check_door(&self) -> Result<(), Error> {
        let bad = |what: String| Err(Error::new(ErrorKind::Misuse, what));
        if self.tls.is_none() {
            check_loopback(self.listen)?;
            let needs = [
                ("client_authority", self.client_authority.is_some()),
                ("resource_manager", self.resource_manager.is_some()),
            ];
            if let Some((key, _)) = needs.into_iter().find(|(_, given)| *given) {
                return bad(format!(
                    "`{key}` needs certificates: give them under `tls`, or leave `{key}` out"
                ));
            }
        }
        if self.enrolment.is_some() && self.agents_tls.is_none() {
            return bad("`enrolment` needs `agents_tls`".to_owned());
        }
        if let Some(enrolment) = &self.enrolment
            && enrolment.agents.is_some() == enrolment.shared
        {
            return bad(
                "`enrolment` needs either `agents`, or `shared: true` to have them in the `store`"
                    .to_owned(),
            );
        }
        let limits = self.connections.limits();
        let counts = [limits.total, limits.per_address, limits.per_user];
        if counts.contains(&0) {
            return bad(
                "a `connections` of 0 lets nobody in; leave it out for the default".to_owned(),
            );
        }
        if let Some(domain) = &self.cluster_domain {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
            let whole = !domain.starts_with('.') && !domain.ends_with('.');
            if domain.is_empty() || !whole || !domain.bytes().all(legal) {
                return bad(format!(
                    "`cluster_domain` `{}` is no domain: write it as gateway.example.com",
                    domain.escape_debug()
                ));
            }
        }
        Ok(())
    }
}

fn check_loopback(listen: SocketAddr) -> Result<(), Error> {
    if listen.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let what = format!(
        "plain HTTP on `listen` {listen} would show tokens to everybody on the way: listen on \
         127.0.0.1 or [::1], or give certificates under `tls`"
    );
    Err(Error::new(ErrorKind::Misuse, what))
}

/// `tls`: files, or the word `none`.
pub(super) fn tls_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<TlsFiles>, D::Error> {
    struct Both;

    impl<'de> Visitor<'de> for Both {
        type Value = Option<TlsFiles>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("`certificate`, `key` and `authority`, or none")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            match text {
                "none" => Ok(None),
                _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            TlsFiles::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_any(Both)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::fs;

    use super::Config;

    const FILES: &str = "{ certificate: server.pem, key: server.key, authority: ca.pem }";

    fn load(listen: &str, tls: &str, more: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opserver.yaml");
        let text = format!(
            "listen: \"{listen}\"\ntls: {tls}\ntokens: tokens.yaml\nrules: rules.yaml\n\
             audit: audit.jsonl\nclusters_directory: clusters\n{more}\n"
        );
        fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|error| error.chain())
    }

    #[test]
    fn plain_http_is_for_loopback_alone() {
        for listen in ["127.0.0.1:80", "[::1]:80", "127.9.9.9:0"] {
            let config = load(listen, "none", "").unwrap();
            assert!(config.tls_files().is_err());
            load(listen, FILES, "").unwrap().without_tls().unwrap();
        }
        for listen in ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "192.168.1.1:80"] {
            let error = load(listen, "none", "").unwrap_err();
            assert!(
                error.contains("plain HTTP") && error.contains(listen),
                "{error}"
            );
            let flag = load(listen, FILES, "").unwrap().without_tls();
            assert!(flag.is_err());
        }
        let error = load("127.0.0.1:80", "none", "client_authority: people.pem").unwrap_err();
        assert!(error.contains("`client_authority`"), "{error}");
        for wrong in ["off", "true", "[]", "{ certificate: a }"] {
            assert!(load("127.0.0.1:80", wrong, "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_said_of_the_door_is_checked() {
        for (more, words) in [
            ("connections: { total: 0 }", "`connections`"),
            ("cluster_domain: .example.com", "`cluster_domain`"),
            ("cluster_domain: \"\"", "`cluster_domain`"),
            ("enrolment: { agents: agents.yaml }", "`agents_tls`"),
            (
                &format!("agents_tls: {FILES}\nenrolment: {{ key: ca.key }}"),
                "`shared: true`",
            ),
            (
                &format!("agents_tls: {FILES}\nenrolment: {{ agents: a.yaml, shared: true }}"),
                "`shared: true`",
            ),
        ] {
            let error = load("127.0.0.1:80", FILES, more).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let more = "connections: { total: 7, head_timeout: 2s }\ncluster_domain: gate.example";
        let config = load("127.0.0.1:80", FILES, more).unwrap();
        let limits = config.connections.limits();
        assert_eq!((limits.total, limits.head_timeout.as_secs()), (7, 2));
    }
}
