//! Agents that `init` has made keep their certificates good by themselves.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{fs, net::TcpListener, path::Path, process::Command, time::Duration};

use dockin_core::{
    identity::AgentList,
    tls::{Identity, authority::Authority, certificate_request::CertificateRequest},
};
use dockin_harness::{Docker, Input, Server, binary, eventually, finish};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;

/// Far more than anything here takes; what is not over by then hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// A free port on loopback.
fn free() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Makes what a gateway at a known address and its agent `name` need.
fn init(data: &Path, name: &str) {
    let mut command = Command::new(binary("dockin-opserver"));
    command
        .args(["init", "--listen", &format!("127.0.0.1:{}", free())])
        .args(["--agent", &format!("{name}=127.0.0.1:{}", free())])
        .arg("--data")
        .arg(data);
    let made = finish(&mut command, Input::Nothing, LIMIT);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let configuration = data.join("opserver.yaml");
    let text = fs::read_to_string(&configuration).unwrap();
    let short = text.replacen("key: tls/ca.key }", "key: tls/ca.key, lifetime: 12s }", 1);
    assert_ne!(short, text);
    fs::write(configuration, short).unwrap();
}

/// Gives the agent a certificate for `life`, of which `left` is left.
fn age(data: &Path, name: &str, life: Duration, left: Duration) {
    let tls = data.join("tls");
    let authority = Authority::load(&tls.join("ca.pem"), &tls.join("ca.key")).unwrap();
    let now = Timestamp::now();
    let then = now - SignedDuration::try_from(life - left).unwrap();
    let made = CertificateRequest::make(name).unwrap();
    let request = CertificateRequest::read(&made.request, name).unwrap();
    let issued = authority.agent(&request, then, life).unwrap();
    let der = CertificateDer::from(issued.der);
    AgentList::add(&data.join("agents.yaml"), name, &der, now).unwrap();
    let identity = data.join("agents").join(name).join("identity.pem");
    fs::write(identity, format!("{}{}", issued.pem, made.key)).unwrap();
}

fn start(program: &str, arguments: &[&str], path: &Path) -> Server {
    let mut command = Command::new(binary(program));
    Server::start(command.args(arguments).arg(path).env("RUST_LOG", "info"))
}

fn start_agent(data: &Path, name: &str) -> Server {
    let config = data.join("agents").join(name).join("opagent.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let own = "unix:///var/run/docker.sock";
    let docker = Docker::from_environment();
    fs::write(&config, text.replace(own, docker.host())).unwrap();
    start("dockin-opagent", &["--config"], &config)
}

#[test]
fn an_agent_that_init_made_renews_its_certificate_while_it_serves() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let name = format!("made-{}", std::process::id());
    init(&data, &name);
    let life = Duration::from_secs(12);
    age(&data, &name, life, life);
    let identity = data.join("agents").join(&name).join("identity.pem");
    let until = || {
        let known = Identity::load(&identity, &identity).unwrap();
        known.validity().unwrap().1
    };
    let first = until();
    let gateway = start("dockin-opserver", &["serve", "--data"], &data);
    let agent = start_agent(&data, &name);
    // The certificate that it was made with is worthless, and another one is in force.
    let outlived = || Timestamp::now() > first && until() > Timestamp::now();
    assert!(eventually(LIMIT, outlived), "{}", agent.log());
    let url = format!("https://{}/api/v1/pods", gateway.address());
    let mut command = Command::new(binary("dockin-opserver"));
    command
        .args(["token", "add", "--user", "alice", "--group", "admins"])
        .arg("--data")
        .arg(&data);
    let token = finish(&mut command, Input::Nothing, LIMIT);
    let token = token.text().trim().to_owned();
    let reached = || {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "10", "-o", "/dev/null"])
            .args(["-w", "%{http_code}", "--cacert"])
            .arg(data.join("tls/ca.pem"))
            .args(["-H", &format!("Authorization: Bearer {token}"), &url]);
        finish(&mut curl, Input::Nothing, LIMIT).text() == "200"
    };
    assert!(eventually(LIMIT, reached), "{}", agent.log());
    let log = agent.log();
    assert!(log.contains("the agent's certificate is renewed"), "{log}");
    assert!(!log.contains("nobody renews it"), "{log}");
}

#[test]
fn an_agent_whose_certificate_nobody_renews_says_so_weeks_before_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let name = format!("alone-{}", std::process::id());
    init(&data, &name);
    let day = Duration::from_hours(24);
    age(&data, &name, 365 * day, 20 * day);
    let config = data.join("agents").join(&name).join("opagent.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\nenrolment:", "\n# enrolment:")).unwrap();
    let agent = start_agent(&data, &name);
    let told = || {
        let log = agent.log();
        log.contains("nobody renews it") && log.contains("dockin-opserver agent invite")
    };
    assert!(eventually(LIMIT, told), "{}", agent.log());
}
