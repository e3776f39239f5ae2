mod dockin_ops;
mod door;
mod identity;
mod store;
mod trail;

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use dockin_core::{
    Error, ErrorKind, Target,
    access_list::{AccessEntry, AccessList},
    gateway::RequestLimits,
    tls,
};
pub(crate) use dockin_ops::DockinOps;
use dockin_policy::{access, io::access_file::AccessFiles};
pub(crate) use door::{Connections, Enrolment};
pub(crate) use identity::{IdentityConfig, Method, ServiceAccountsConfig};
use serde::Deserialize;
pub(crate) use store::override_url;
pub(crate) use trail::{Age, Audit, Mode, Recording};

use crate::resource_manager::ResourceManager;

/// `opserver.yaml`, checked, with every path relative to nothing but the working directory.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Address to serve; port 0 picks one.
    pub(crate) listen: SocketAddr,
    /// What clients see; nothing secures them with the word `none`.
    #[serde(deserialize_with = "door::tls_or_none")]
    pub(crate) tls: Option<TlsFiles>,
    /// What agents see; needed when a cluster has agents.
    #[serde(default)]
    pub(crate) agents_tls: Option<TlsFiles>,
    /// Token file.
    pub(crate) tokens: PathBuf,
    /// Who can log in with a password; nobody, without.
    #[serde(default)]
    pub(crate) accounts: Option<Accounts>,
    /// Who people are besides, and who is asked first.
    #[serde(default)]
    pub(crate) identity: IdentityConfig,
    /// Authority of client certificates that people show; none are asked for, without.
    #[serde(default)]
    pub(crate) client_authority: Option<PathBuf>,
    /// Rule file.
    pub(crate) rules: PathBuf,
    /// Audit trail: the name of its file, or more about it.
    pub(crate) audit: Audit,
    /// Where sessions are recorded; they are not, without.
    #[serde(default)]
    pub(crate) recording: Option<Recording>,
    /// How long a session may be silent; without end when absent.
    #[serde(default)]
    pub(crate) idle_timeout: Option<Age>,
    /// Whether bash and zsh are asked for the line they hold before it goes on.
    #[serde(default = "yes")]
    pub(crate) ask_shells: bool,
    /// Who may reach what.
    #[serde(default)]
    access: Vec<AccessEntry>,
    /// Who may reach what, by roles in projects, in place of `access`.
    #[serde(default)]
    access_rules: Option<AccessRules>,
    /// What there is to reach, the default one first.
    #[serde(default)]
    pub(crate) clusters: Vec<Cluster>,
    /// A directory with more of it: kubeconfigs with a `dockin:` section, which may come, change
    /// and go while the gateway serves.
    #[serde(default)]
    pub(crate) clusters_directory: Option<PathBuf>,
    /// What is shared with the gateways beside this one; nothing, without.
    #[serde(default)]
    pub(crate) store: Option<store::Store>,
    /// What one person may ask.
    #[serde(default)]
    limits: Limits,
    /// How many connections there may be.
    #[serde(default)]
    pub(crate) connections: Connections,
    /// Below which each cluster has a host name; none has, without.
    #[serde(default)]
    pub(crate) cluster_domain: Option<String>,
    /// Who is an agent, and how machines become such; whoever has a certificate, without.
    #[serde(default)]
    pub(crate) enrolment: Option<Enrolment>,
    /// The resource manager that plugins ask; none when absent.
    #[serde(default)]
    pub(crate) resource_manager: Option<ResourceManager>,
    /// Clients of Dockin-Ops; they find nothing when absent.
    #[serde(default)]
    pub(crate) dockin_ops: Option<DockinOps>,
}

const fn yes() -> bool {
    true
}

/// Accounts, and the sessions that people get for logging in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accounts {
    /// Account file; `dockin-opserver account add` makes it.
    #[serde(default)]
    pub(crate) file: Option<PathBuf>,
    /// Keep them in the store, for all gateways that share it, in place of a file.
    #[serde(default)]
    pub(crate) shared: bool,
    /// Directory of the signing key and the revoked tokens.
    pub(crate) sessions: PathBuf,
    /// Whom session tokens are for: the same for gateways that share them.
    #[serde(default = "default_audience")]
    pub(crate) audience: String,
    /// How long a session lasts, in minutes.
    #[serde(default = "default_minutes")]
    session_minutes: u32,
}

impl Accounts {
    /// How long a session lasts.
    pub(crate) fn lifetime(&self) -> Duration {
        Duration::from_secs(u64::from(self.session_minutes) * 60)
    }
}

fn default_audience() -> String {
    "dockin".to_owned()
}

const fn default_minutes() -> u32 {
    // A working day: whoever leaves it sooner logs out.
    10 * 60
}

/// What one person may ask; the gateway's own defaults where nothing is given.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    /// Requests a second in the long run.
    #[serde(default)]
    requests_per_second: Option<u32>,
    /// Requests at once after a pause.
    #[serde(default)]
    burst: Option<u32>,
    /// Requests whose answer has not ended, in one cluster.
    #[serde(default)]
    open_requests: Option<usize>,
}

/// Access rules: one document, or a Casbin model and policy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessRules {
    /// YAML of users, groups, roles, policies, projects and tenants.
    #[serde(default)]
    file: Option<PathBuf>,
    /// Casbin model.
    #[serde(default)]
    model: Option<PathBuf>,
    /// Casbin policy.
    #[serde(default)]
    policy: Option<PathBuf>,
    /// YAML of tenants and projects beside a Casbin policy.
    #[serde(default)]
    tenancy: Option<PathBuf>,
    /// Decide as TKEStack does, traps included.
    #[serde(default)]
    compatible: bool,
}

/// Files of one side of TLS, PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFiles {
    /// Certificate chain, own certificate first.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// Authority whose certificates are trusted.
    pub(crate) authority: PathBuf,
}

/// One cluster: agents, or a kube-apiserver.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cluster {
    /// Its name in URLs, rules and audit.
    pub(crate) name: String,
    /// The agents whose containers it has.
    #[serde(default)]
    pub(crate) agents: Vec<Agent>,
    /// The kubeconfig of a kube-apiserver.
    #[serde(default)]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// Where an agent listens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Agent {
    /// Its name; its certificate is for `NAME.agent.dockin.internal`.
    pub(crate) name: String,
    /// `HOST:PORT`.
    pub(crate) address: String,
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    ///
    /// `Misuse` naming the file, the line or key, and what it should be.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|error| {
            let hint = "cannot be read; `dockin-opserver init --data DIR` makes one";
            wrong(path, hint).with_source(error)
        })?;
        let mut config: Self =
            serde_saphyr::from_str(&text).map_err(|error| wrong(path, error.without_snippet()))?;
        config
            .check()
            .map_err(|error| wrong(path, error.message()))?;
        config.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Who may reach what.
    ///
    /// # Errors
    ///
    /// None after [`load`](Self::load), which has checked it.
    pub(crate) fn access(&self) -> Result<AccessList, Error> {
        AccessList::new(self.access.clone())
    }

    /// The files of roles in projects and how they are read, when they are what decides.
    ///
    /// # Errors
    ///
    /// None after [`load`](Self::load), which has checked it.
    pub(crate) fn access_rules(&self) -> Result<Option<(AccessFiles, access::Mode)>, Error> {
        let Some(rules) = &self.access_rules else {
            return Ok(None);
        };
        let bad = |what: &str| Err(Error::new(ErrorKind::Misuse, what));
        if !self.access.is_empty() {
            return bad("`access` and `access_rules` are both given; keep one of them");
        }
        let mode = match rules.compatible {
            true => access::Mode::Compatible,
            false => access::Mode::Strict,
        };
        let AccessRules {
            file,
            model,
            policy,
            tenancy,
            ..
        } = rules;
        let files = match (file, model, policy) {
            (Some(file), None, None) if tenancy.is_none() => AccessFiles::Document(file.clone()),
            (None, Some(model), Some(policy)) => AccessFiles::Casbin {
                model: model.clone(),
                policy: policy.clone(),
                tenancy: tenancy.clone(),
            },
            _ => {
                return bad(
                    "`access_rules` needs either `file`, or `model` and `policy` and, if wanted, \
                     `tenancy`",
                );
            }
        };
        Ok(Some((files, mode)))
    }

    /// What one person may ask.
    pub(crate) fn limits(&self) -> RequestLimits {
        let default = RequestLimits::default();
        RequestLimits {
            per_second: self
                .limits
                .requests_per_second
                .map_or(default.per_second, f64::from),
            burst: self.limits.burst.map_or(default.burst, f64::from),
            open: self.limits.open_requests.unwrap_or(default.open),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let bad = |what: String| Err(Error::new(ErrorKind::Misuse, what));
        self.access()?;
        self.audit.check()?;
        self.store.as_ref().map(store::Store::check).transpose()?;
        self.check_door()?;
        self.access_rules()?;
        self.resource_manager
            .as_ref()
            .map(ResourceManager::check)
            .transpose()?;
        if self.clusters.is_empty() && self.clusters_directory.is_none() {
            return bad(
                "`clusters` is empty; name at least one, or `clusters_directory`".to_owned(),
            );
        }
        if let Some(accounts) = &self.accounts
            && !(1..=24 * 60).contains(&accounts.session_minutes)
        {
            return bad("`session_minutes` is 1 to 1440: sessions are short-lived".to_owned());
        }
        if let Some(accounts) = &self.accounts
            && accounts.file.is_some() == accounts.shared
        {
            return bad(
                "`accounts` needs either `file`, or `shared: true` to have them in the `store`"
                    .to_owned(),
            );
        }
        let (certificates, accounts) = (self.client_authority.is_some(), self.accounts.is_some());
        self.identity.check(
            certificates,
            accounts,
            &self.clusters,
            self.clusters_directory.is_some(),
        )?;
        let Limits {
            requests_per_second,
            burst,
            open_requests,
        } = self.limits;
        if requests_per_second == Some(0) || burst == Some(0) || open_requests == Some(0) {
            return bad("a `limits` of 0 lets nobody in; leave it out for the default".to_owned());
        }
        let mut clusters = BTreeSet::new();
        for Cluster {
            name,
            agents,
            kubeconfig,
        } in &self.clusters
        {
            Target::pod(name, "default", "any")
                .map_err(|error| Error::new(ErrorKind::Misuse, error.to_string()))?;
            if !clusters.insert(name) {
                return bad(format!("cluster `{name}` is given twice; rename one"));
            }
            match (agents.as_slice(), kubeconfig) {
                ([], None) => {
                    return bad(format!("cluster `{name}` needs `agents` or `kubeconfig`"));
                }
                ([_, ..], Some(_)) => {
                    return bad(format!(
                        "cluster `{name}` has `agents` and `kubeconfig`; make two clusters of it"
                    ));
                }
                ([_, ..], None) if self.agents_tls.is_none() => {
                    return bad(format!(
                        "cluster `{name}` has agents, so `agents_tls` is needed"
                    ));
                }
                _ => {}
            }
            let mut names = BTreeSet::new();
            for agent in agents {
                check_agent(&agent.name, &agent.address)?;
                if !names.insert(&agent.name) {
                    let agent = &agent.name;
                    return bad(format!(
                        "agent `{agent}` of cluster `{name}` is given twice"
                    ));
                }
            }
        }
        Ok(())
    }

    fn resolve(&mut self, base: &Path) {
        store::resolve(&mut self.store, base);
        let mut paths = vec![&mut self.tokens, &mut self.rules];
        paths.extend(self.clusters_directory.as_mut());
        paths.extend(self.client_authority.as_mut());
        if let Some(accounts) = &mut self.accounts {
            paths.push(&mut accounts.sessions);
            paths.extend(accounts.file.as_mut());
        }
        paths.extend(self.identity.paths());
        paths.extend(self.audit.paths());
        paths.extend(self.recording.iter_mut().flat_map(Recording::paths));
        paths.extend(self.enrolment.iter_mut().flat_map(Enrolment::paths));
        for files in [self.tls.as_mut(), self.agents_tls.as_mut()]
            .into_iter()
            .flatten()
        {
            paths.extend([&mut files.certificate, &mut files.key, &mut files.authority]);
        }
        if let Some(rules) = &mut self.access_rules {
            let AccessRules {
                file,
                model,
                policy,
                tenancy,
                ..
            } = rules;
            paths.extend([file, model, policy, tenancy].into_iter().flatten());
        }
        paths.extend(
            self.clusters
                .iter_mut()
                .filter_map(|cluster| cluster.kubeconfig.as_mut()),
        );
        paths.extend(
            self.resource_manager
                .iter_mut()
                .flat_map(ResourceManager::paths),
        );
        paths.extend(self.dockin_ops.iter_mut().flat_map(DockinOps::paths));
        for path in paths {
            *path = base.join(&*path);
        }
    }
}

/// Whether an agent can have this name and address.
///
/// # Errors
///
/// `Misuse` saying what is wrong with which.
pub(crate) fn check_agent(name: &str, address: &str) -> Result<(), Error> {
    tls::agent_name(name)?;
    let port = address.rsplit_once(':').and_then(|(host, port)| {
        let port: u16 = port.parse().ok()?;
        (!host.is_empty() && port != 0).then_some(port)
    });
    match port {
        Some(_) => Ok(()),
        None => Err(Error::new(
            ErrorKind::Misuse,
            format!("address `{address}` of agent `{name}` is not HOST:PORT"),
        )),
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

    use super::Config;

    const GOOD: &str = r#"
listen: 127.0.0.1:6443
tls: { certificate: tls/server.pem, key: tls/server.key, authority: tls/ca.pem }
agents_tls: { certificate: tls/gateway.pem, key: tls/gateway.key, authority: tls/ca.pem }
tokens: tokens.yaml
rules: /etc/rules.yaml
audit: audit/audit.jsonl
access:
  - { groups: [admins], verbs: ["*"], clusters: ["*"], namespaces: ["*"] }
clusters:
  - name: local
    agents: [ { name: node1, address: "127.0.0.1:10250" } ]
  - name: prod
    kubeconfig: prod.kubeconfig
"#;

    fn load(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opserver.yaml");
        fs::write(&path, text).unwrap();
        Config::load(&path)
            .map_err(|error| error.chain().replace(&*folder.path().to_string_lossy(), ""))
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = load(GOOD).unwrap();
        assert!(config.tokens.is_absolute() && config.tokens.ends_with("tokens.yaml"));
        assert_eq!(config.rules.to_str(), Some("/etc/rules.yaml"));
        assert!(config.clusters.iter().any(|cluster| {
            cluster
                .kubeconfig
                .as_ref()
                .is_some_and(|path| path.is_absolute())
        }));
        assert!(config.access().is_ok());
    }

    #[test]
    fn trail_and_recordings_can_be_described_in_full() {
        let all = GOOD.replace(
            "audit: audit/audit.jsonl",
            "audit:\n  file: audit/audit.jsonl\n  mode: best-effort\n  key: audit.key\n  \
             max_size: 64MiB\n  max_age: 7d\n  export:\n    - { name: siem, syslog: \"udp://siem:514\" }\n    \
             - { name: lake, url: \"http://127.0.0.1/in\" }\n\
             recording: { directory: recordings, input: true }",
        );
        let config = load(&all).unwrap();
        assert_eq!(config.audit.mode, super::Mode::BestEffort);
        let options = config.audit.options();
        assert_eq!(options.max_size, 64 << 20);
        assert_eq!(
            options.max_age,
            Some(std::time::Duration::from_secs(7 * 24 * 60 * 60))
        );
        assert!(options.key.unwrap().is_absolute() && config.audit.file.is_absolute());
        assert_eq!(config.audit.exporters().unwrap().len(), 2);
        let recording = config.recording.unwrap().options().unwrap();
        assert!(recording.strict && recording.input && recording.directory.is_absolute());
    }

    #[test]
    fn errors_name_file_place_and_fix() {
        for (from, to, words) in [
            ("audit: audit", "audits: audit", ["line 7", "audit"]),
            ("127.0.0.1:6443", "nowhere", ["line 2", "socket address"]),
            ("[\"*\"], clusters", "[run], clusters", ["entry 1", "`run`"]),
            (
                "name: prod\n    kubeconfig: prod.kubeconfig",
                "name: prod",
                ["`prod`", "`kubeconfig`"],
            ),
            ("name: prod\n", "name: local\n", ["`local`", "twice"]),
            (
                "clusters:\n",
                "limits: { burst: 0 }\nclusters:\n",
                ["`limits`", "default"],
            ),
            (
                "clusters:\n",
                "limits: { bursts: 1 }\nclusters:\n",
                ["line 10", "bursts"],
            ),
            ("10250", "0", ["127.0.0.1:0", "HOST:PORT"]),
            ("name: node1", "name: a b", ["a b", "DNS"]),
            ("agents_tls:", "#", ["`local`", "`agents_tls`"]),
            (
                "audit: audit/audit.jsonl",
                "audit: { file: a, mode: lax }",
                ["line 7", "lax"],
            ),
            (
                "audit: audit/audit.jsonl",
                "audit: { file: a, max_size: 3 }",
                ["line 7", "256MiB"],
            ),
            (
                "audit: audit/audit.jsonl",
                "audit: { file: a, fil: b }",
                ["line 7", "fil"],
            ),
            (
                "audit: audit/audit.jsonl",
                "audit: { file: a, export: [ { name: x } ] }",
                ["export `x`", "`syslog` or `url`"],
            ),
            (
                "audit: audit/audit.jsonl",
                "audit: { file: a, export: [ { name: x, syslog: 'tcp://nowhere' } ] }",
                ["tcp://nowhere", "tcp://HOST:PORT"],
            ),
            (
                "audit: audit/audit.jsonl",
                "audit: { file: a, export: [ { name: x, url: 'https://h/p' } ] }",
                ["export `x`", "`authority`"],
            ),
            (
                "clusters:\n",
                "access_rules: { file: a.yaml }\nclusters:\n",
                ["`access_rules`", "keep one"],
            ),
            (
                "access:\n  - { groups: [admins], verbs: [\"*\"], clusters: [\"*\"], namespaces: [\"*\"] }",
                "access_rules: { model: m.conf }",
                ["`model`", "`policy`"],
            ),
            (
                "clusters:\n",
                "accounts: { sessions: s, file: a.yaml, shared: true }\nclusters:\n",
                ["`accounts`", "`shared: true`"],
            ),
            (
                "clusters:\n",
                "accounts: { sessions: s }\nclusters:\n",
                ["`file`", "`shared: true`"],
            ),
            (
                "clusters:\n",
                "resource_manager: { listen: \"127.0.0.1:0\", data: rm, networks: [] }\nclusters:\n",
                ["`authority`", "`token`"],
            ),
            (
                "clusters:\n",
                "resource_manager: { listen: \"127.0.0.1:0\", data: rm, token: t, networks: \
             [ { name: web, interface: eth0, subnet: 10.0.0.1/24, master: true } ] }\nclusters:\n",
                ["`web`", "host bits"],
            ),
        ] {
            let error = load(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains("/opserver.yaml"), "{error}");
            for word in words {
                assert!(error.contains(word), "{word} in: {error}");
            }
        }
    }
}
