use std::{
    fmt::Write as _,
    fs::{DirBuilder, OpenOptions},
    io::Write as _,
    net::{Ipv6Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use clap::Args;
use dockin_core::{
    Error, ErrorKind, Target,
    identity::AgentList,
    policy::DEFAULT_RULES,
    tls::{self, authority::Authority},
};
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::config::check_agent;

/// What a data directory is made from.
#[derive(Args)]
pub(crate) struct Init {
    /// Directory to make; must be new or empty.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Address to serve.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Name or address that clients reach the server at, beside localhost; may be repeated.
    #[arg(long = "host", value_name = "NAME_OR_IP")]
    hosts: Vec<String>,
    /// An agent and where it listens; may be repeated.
    #[arg(
        long = "agent",
        value_name = "NAME=HOST:PORT",
        default_value = "node1=127.0.0.1:10250"
    )]
    agents: Vec<String>,
    /// Domain of which each cluster gets a host name: CLUSTER.DOMAIN.
    #[arg(long, value_name = "DOMAIN")]
    cluster_domain: Option<String>,
    /// Name of the cluster that the agents are.
    #[arg(long, value_name = "NAME", default_value = "local")]
    cluster: String,
}

/// Makes the directory with all that `serve` needs, and what each agent needs.
///
/// # Errors
///
/// `Conflict` when something is there already; nothing of it is changed.
pub(crate) fn init(wanted: &Init) -> Result<(), Error> {
    Target::pod(&wanted.cluster, "default", "any")
        .map_err(|error| Error::new(ErrorKind::Misuse, error.to_string()))?;
    let agents = wanted
        .agents
        .iter()
        .map(|text| agent(text))
        .collect::<Result<Vec<_>, _>>()?;
    let now = Timestamp::now();
    let authority = Authority::new(now)?;
    let server = authority.server(&server_names(wanted), now)?;
    let gateway = authority.client("dockin-gateway", tls::GATEWAY_NAME, now)?;

    let url = url(wanted);
    let data = &wanted.data;
    make_empty(data)?;
    let certificates = data.join("tls");
    make(&certificates)?;
    let file = |name: &str| certificates.join(name);
    authority.write(&file("ca.pem"), &file("ca.key"))?;
    server.write(&file("server.pem"), &file("server.key"))?;
    gateway.write(&file("gateway.pem"), &file("gateway.key"))?;
    write(&data.join("rules.yaml"), DEFAULT_RULES)?;
    write(&data.join("tokens.yaml"), "users: []\n")?;
    write(&data.join("accounts.yaml"), "accounts: []\n")?;
    write(&data.join("agents.yaml"), "agents: []\n")?;
    write(&data.join("opserver.yaml"), &configuration(wanted, &agents))?;
    for agent in &agents {
        let folder = data.join("agents").join(&agent.name);
        make(&folder)?;
        // The address is for people with curl.
        let also = std::slice::from_ref(&agent.host);
        let issued = authority.agent_pair(&agent.name, also, now)?;
        let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes());
        let certificate = certificate.map_err(|error| {
            Error::new(ErrorKind::Misuse, "the agent's certificate").with_source(error)
        })?;
        AgentList::add(&data.join("agents.yaml"), &agent.name, &certificate, now)?;
        // In one file, so that the agent replaces both in one step when it renews them.
        let identity = format!("{}{}", issued.certificate, issued.key);
        write(&folder.join("identity.pem"), &identity)?;
        write(&folder.join("ca.pem"), authority.certificate())?;
        write(&folder.join("gateway-ca.pem"), authority.certificate())?;
        let text = agent_configuration(agent, url.as_deref());
        write(&folder.join("opagent.yaml"), &text)?;
    }
    eprint!("{}", next_steps(data, &agents));
    if url.is_none() {
        eprintln!(
            "  agents renew their certificates once `enrolment` in their opagent.yaml names this \
             gateway: give --host and a --listen with a port to have that written"
        );
    }
    Ok(())
}

struct Agent {
    name: String,
    host: String,
    port: u16,
    address: String,
}

fn agent(text: &str) -> Result<Agent, Error> {
    let wrong = || {
        Error::new(
            ErrorKind::Misuse,
            format!("--agent `{text}` is not NAME=HOST:PORT"),
        )
    };
    let (name, address) = text.split_once('=').ok_or_else(wrong)?;
    check_agent(name, address)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(Agent {
        name: name.to_owned(),
        host: host.to_owned(),
        port: port.parse().map_err(|_| wrong())?,
        address: address.to_owned(),
    })
}

fn server_names(wanted: &Init) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"]
        .map(str::to_owned)
        .to_vec();
    let ip = wanted.listen.ip();
    if !ip.is_unspecified() {
        names.push(ip.to_string());
    }
    names.extend(wanted.hosts.iter().cloned());
    if let Some(domain) = &wanted.cluster_domain {
        names.extend([domain.clone(), format!("*.{domain}")]);
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// Where agents reach the gateway to renew their certificates, when that is known.
fn url(wanted: &Init) -> Option<String> {
    let (ip, port) = (wanted.listen.ip(), wanted.listen.port());
    let own = (!ip.is_unspecified()).then(|| ip.to_string());
    let host = wanted.hosts.first().cloned().or(own)?;
    let host = match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host,
    };
    (port != 0).then(|| format!("https://{host}:{port}"))
}

fn configuration(wanted: &Init, agents: &[Agent]) -> String {
    let mut text = format!(
        r#"# Paths are relative to this file.
listen: "{}"
tls: {{ certificate: tls/server.pem, key: tls/server.key, authority: tls/ca.pem }}
agents_tls: {{ certificate: tls/gateway.pem, key: tls/gateway.key, authority: tls/ca.pem }}
tokens: tokens.yaml
accounts: {{ file: accounts.yaml, sessions: sessions }}
# client_authority: tls/people.pem
# Agents that are not in the list are spoken to no more: dockin-opserver agent.
enrolment: {{ agents: agents.yaml, key: tls/ca.key }}
# connections: {{ total: 20000, per_address: 5000, per_user: 2000, head_timeout: 30s }}
# identity: {{ oidc: [ {{ issuer: "https://id.example", audiences: [dockin], groups_claim: groups }} ] }}
rules: rules.yaml
# Or: audit: {{ file: audit/audit.jsonl, mode: strict, max_size: 256MiB, max_age: 30d,
#               export: [ {{ name: siem, syslog: "tls://siem.example:6514", authority: siem.pem }} ] }}
audit: audit/audit.jsonl
# recording: {{ directory: recordings, input: false, key: recording.key }}
# Ends sessions in which nothing is typed, printed or forwarded for so long.
# idle_timeout: 30m
# bash and zsh are asked for the line they hold before it is judged: ask_shells: false ends that.
# Shared with other gateways: store: redis://redis.example:6379/0
# and the accounts, too: accounts: {{ shared: true, sessions: sessions }}
# and the agents: enrolment: {{ shared: true, key: tls/ca.key }}, then dockin-opserver agent import
# Clients of Dockin-Ops, in their own protocol: see bins/opserver/README.md.
# dockin_ops: {{ key: ops.key, rules: {{ default: {{ whitelist: [127.0.0.1] }} }} }}
# Who may reach what; nothing matches = denied. Verbs: get, list, exec, attach, logs,
# port-forward, audit, write.
access:
  - {{ groups: [admins], verbs: ["*"], clusters: ["*"], namespaces: ["*"] }}
  # - {{ groups: [dev], verbs: [get, list, exec, logs], clusters: ["*"], namespaces: [default] }}
clusters:
  - name: {}
    agents:
"#,
        wanted.listen,
        quoted(&wanted.cluster),
    );
    for agent in agents {
        let (name, address) = (quoted(&agent.name), quoted(&agent.address));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "      - {{ name: {name}, address: {address} }}");
    }
    if let Some(domain) = &wanted.cluster_domain {
        let _ = writeln!(text, "cluster_domain: {}", quoted(domain));
    }
    text
}

fn agent_configuration(agent: &Agent, gateway: Option<&str>) -> String {
    let listen: SocketAddr = agent
        .address
        .parse()
        .unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], agent.port)));
    format!(
        r#"# Paths are relative to this file.
name: {}
listen: "{listen}"
tls: {{ certificate: identity.pem, key: identity.pem, authority: ca.pem }}
# Renews the certificate at half its life.
{}enrolment: {{ gateway: {}, authority: gateway-ca.pem }}
docker: {{ host: "unix:///var/run/docker.sock" }}
"#,
        quoted(&agent.name),
        gateway.map_or("# ", |_| ""),
        quoted(gateway.unwrap_or("https://HOST:PORT")),
    )
}

fn next_steps(data: &Path, agents: &[Agent]) -> String {
    let data = data.display();
    let mut text = format!("made {data}; next:\n");
    for Agent { name, address, .. } in agents {
        let _ = writeln!(
            text,
            "  on {address}: dockin-opagent --config opagent.yaml   (with {data}/agents/{name})"
        );
    }
    let _ = writeln!(
        text,
        "  dockin-opserver token add --data {data} --user NAME --group admins   (for a program)\n  \
         dockin-opserver account add --data {data} --user NAME --group admins   (for a person)"
    );
    let _ = writeln!(text, "  dockin-opserver serve --data {data}");
    text
}

/// A YAML string, which JSON's are.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn make_empty(path: &Path) -> Result<(), Error> {
    make(path)?;
    let mut entries = path.read_dir().map_err(|error| unwritable(path, error))?;
    if entries.next().is_some() {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("`{}` is not empty; name a new directory", path.display()),
        ));
    }
    Ok(())
}

fn make(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| unwritable(path, error))
}

/// Writes a new file that only its owner can read.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| unwritable(path, error))
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("`{}` cannot be made", path.display()),
    )
    .with_source(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{fs, os::unix::fs::PermissionsExt as _};

    use dockin_core::{ErrorKind, tls::Identity};

    use super::{Init, init};
    use crate::config::Config;

    #[test]
    fn made_directory_can_be_served_and_is_never_made_twice() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("dockin");
        let wanted = Init {
            data: data.clone(),
            listen: "0.0.0.0:7443".parse().unwrap(),
            hosts: vec!["gateway.example.com".to_owned(), "10.0.0.1".to_owned()],
            agents: vec![
                "node1=10.0.0.2:10250".to_owned(),
                "node2=[::1]:10250".to_owned(),
                "n3=n3.example.com:9".to_owned(),
            ],
            cluster_domain: Some("gateway.example.com".to_owned()),
            cluster: "local".to_owned(),
        };
        init(&wanted).unwrap();
        let config = Config::load(&data.join("opserver.yaml")).unwrap();
        for files in [config.tls.as_ref(), config.agents_tls.as_ref()]
            .into_iter()
            .flatten()
        {
            Identity::load(&files.certificate, &files.key).unwrap();
            dockin_core::tls::certificates(&files.authority).unwrap();
        }
        assert!(config.rules.is_file());
        dockin_core::identity::TokenFile::load(&config.tokens).unwrap();
        let mode = |path| fs::metadata(data.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            [mode(""), mode("tls/ca.key"), mode("tokens.yaml")],
            [0o700, 0o600, 0o600]
        );
        let agent = fs::read_to_string(data.join("agents/n3/opagent.yaml")).unwrap();
        assert!(agent.contains("0.0.0.0:9"), "{agent}");
        // It renews its certificate where people reach the gateway.
        let renews = "\nenrolment: { gateway: \"https://gateway.example.com:7443\"";
        assert!(agent.contains(renews), "{agent}");
        let identity = data.join("agents/n3/identity.pem");
        Identity::load(&identity, &identity).unwrap();
        assert_eq!(mode("agents/n3/identity.pem"), 0o600);
        assert_eq!(init(&wanted).unwrap_err().kind(), ErrorKind::Conflict);
    }

    #[test]
    fn where_agents_renew_their_certificates_is_written_when_it_is_known() {
        for (listen, host, expected) in [
            ("10.0.0.1:6443", None, Some("https://10.0.0.1:6443")),
            ("[::1]:6443", None, Some("https://[::1]:6443")),
            (
                "0.0.0.0:443",
                Some("fd00::1"),
                Some("https://[fd00::1]:443"),
            ),
            (
                "0.0.0.0:443",
                Some("gate.example"),
                Some("https://gate.example:443"),
            ),
            ("0.0.0.0:443", None, None),
            ("127.0.0.1:0", Some("gate.example"), None),
        ] {
            let wanted = Init {
                data: "unused".into(),
                listen: listen.parse().unwrap(),
                hosts: host.map(str::to_owned).into_iter().collect(),
                agents: vec![],
                cluster_domain: None,
                cluster: "local".to_owned(),
            };
            assert_eq!(
                super::url(&wanted).as_deref(),
                expected,
                "{listen} {host:?}"
            );
        }
    }

    #[test]
    fn impossible_wishes_make_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("dockin");
        for (agent, cluster) in [
            ("node1", "local"),
            ("a b=h:1", "local"),
            ("n=h:x", "local"),
            ("n=h:1", "a/b"),
        ] {
            let wanted = Init {
                data: data.clone(),
                listen: "127.0.0.1:0".parse().unwrap(),
                hosts: vec![],
                agents: vec![agent.to_owned()],
                cluster_domain: None,
                cluster: cluster.to_owned(),
            };
            assert_eq!(
                init(&wanted).unwrap_err().kind(),
                ErrorKind::Misuse,
                "{agent} {cluster}"
            );
            assert!(!data.exists());
        }
    }
}
