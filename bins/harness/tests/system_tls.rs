//! Certificates that change while everything runs, machines that become agents, and what is
//! refused on the way.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use dockin_core::{
    identity::AgentList,
    tls::{self, Identity, authority::Authority},
};
use dockin_harness::{
    Container, Finished, House, HouseOptions, Input, Kubectl, Program, Server, Transport, binary,
    eventually, finish,
};
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};

/// Far more than anything here takes; what is not over by then hangs.
const LIMIT: Duration = Duration::from_secs(60);

fn audit(house: &House, event: &str) -> Vec<Value> {
    let events = house.audit().into_iter();
    events.filter(|found| found["event"] == event).collect()
}

/// Puts a file in the place of another in one step.
fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}

/// The fingerprint of what the gateway shows to a real client, which must find it good.
fn served(house: &House, authority: &Path) -> Option<String> {
    let mut client = Command::new("openssl");
    client
        .args([
            "s_client",
            "-servername",
            "localhost",
            "-verify_return_error",
        ])
        .args(["-connect", house.gateway_address(), "-CAfile"])
        .arg(authority);
    let got = finish(&mut client, Input::Nothing, LIMIT);
    if got.code != Some(0) {
        return None;
    }
    let der = CertificateDer::from_pem_slice(&got.stdout).ok()?;
    Some(tls::fingerprint(&der))
}

fn fingerprint(pem: &str) -> String {
    tls::fingerprint(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
}

/// A session that stays open: what is written comes back.
fn open_session(house: &House, container: &Container) -> Program {
    let mut command = house.preferred(
        Transport::WebSocket,
        &["exec", "-i", container.name(), "--", "cat"],
    );
    let mut session = Program::start(&mut command, Input::Held);
    session.write(b"first\n");
    session.expect("first");
    session
}

fn exec(house: &House, container: &Container) -> Finished {
    let arguments = ["exec", container.name(), "--", "echo", "reached"];
    finish(
        &mut house.preferred(Transport::WebSocket, &arguments),
        Input::Nothing,
        LIMIT,
    )
}

fn own_authority(house: &House) -> Authority {
    let files = house.data().join("tls");
    Authority::load(&files.join("ca.pem"), &files.join("ca.key")).unwrap()
}

#[test]
fn a_new_certificate_counts_at_once_and_a_bad_one_changes_nothing() {
    let house = House::start(&HouseOptions::default());
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    let files = house.data().join("tls");
    let ca = files.join("ca.pem");
    let first = served(&house, &ca).unwrap();
    let mut session = open_session(&house, &container);

    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let issued = own_authority(&house)
        .server(&names, Timestamp::now())
        .unwrap();
    replace(&files.join("server.pem"), &issued.certificate);
    replace(&files.join("server.key"), &issued.key);
    let second = fingerprint(&issued.certificate);
    assert_ne!(first, second);
    assert!(eventually(LIMIT, || served(&house, &ca) == Some(second.clone())));
    assert!(eventually(LIMIT, || !audit(&house, "policy.reloaded").is_empty()));

    // No certificate, another's key, and one that has expired: each is told.
    let old = Timestamp::now() - jiff::SignedDuration::from_hours(24 * 800);
    let expired = own_authority(&house).server(&names, old).unwrap();
    let other = own_authority(&house)
        .server(&names, Timestamp::now())
        .unwrap();
    for (certificate, key, words) in [
        ("no certificate", issued.key.as_str(), "server.pem"),
        (&issued.certificate, &other.key, "cannot be used"),
        (&expired.certificate, &expired.key, "expired"),
    ] {
        replace(&files.join("server.pem"), certificate);
        replace(&files.join("server.key"), key);
        let mut error = String::new();
        let told = || {
            let last = audit(&house, "policy.rejected").pop().unwrap_or_default();
            error = last["error"].as_str().unwrap_or_default().to_owned();
            error.contains(words)
        };
        assert!(eventually(LIMIT, told), "{words}: {:?}", house.audit());
        assert!(!error.contains("PRIVATE"), "{error}");
        assert_eq!(served(&house, &ca), Some(second.clone()));
    }
    // The session has lived through it all.
    session.write(b"second\n");
    session.expect("second");
    assert_eq!(exec(&house, &container).text(), "reached\n");
}

#[test]
fn another_authority_of_people_lets_its_own_in_and_those_of_before_out() {
    let off = "# client_authority: tls/people.pem";
    let house = House::start(&HouseOptions {
        edits: vec![(off.to_owned(), off.replace("# ", ""))],
        access: vec![
            "{ users: [carol], verbs: [\"*\"], clusters: [local], namespaces: [\"*\"] }".to_owned(),
        ],
        prepare: Some(|data| {
            let people = Authority::new(Timestamp::now()).unwrap();
            let files = data.join("tls");
            people
                .write(&files.join("people.pem"), &files.join("people.key"))
                .unwrap();
        }),
        ..HouseOptions::default()
    });
    let files = house.data().join("tls");
    let now = Timestamp::now();
    let make = |authority: &Authority, name: &str| {
        let issued = authority.client("carol", "carol.example", now).unwrap();
        let file = house.scratch().join(name);
        fs::write(&file, format!("{}{}", issued.certificate, issued.key)).unwrap();
        file.to_string_lossy().into_owned()
    };
    let reaches = |file: &str| {
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--cert",
            file,
        ]);
        command.arg("--cacert").arg(files.join("ca.pem"));
        command.arg(format!("{}/clusters/local/version", house.url()));
        finish(&mut command, Input::Nothing, LIMIT).text() == "200"
    };
    let before = Authority::load(&files.join("people.pem"), &files.join("people.key")).unwrap();
    let after = Authority::new(now).unwrap();
    let (old, new) = (make(&before, "old.pem"), make(&after, "new.pem"));
    assert!(reaches(&old) && !reaches(&new));
    replace(&files.join("people.pem"), after.certificate());
    assert!(eventually(LIMIT, || reaches(&new)));
    assert!(!reaches(&old));
}

#[test]
fn another_authority_takes_over_between_gateway_and_agent_without_a_restart() {
    let mut house = House::start(&HouseOptions::default());
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    let mut session = open_session(&house, &container);
    let now = Timestamp::now();
    let authority = Authority::new(now).unwrap();
    let (files, node) = (house.data().join("tls"), house.node().to_owned());
    let agent = house.data().join("agents").join(&node);

    let side = authority.agent_pair(&node, &[], now).unwrap();
    let der = CertificateDer::from_pem_slice(side.certificate.as_bytes()).unwrap();
    AgentList::add(&house.data().join("agents.yaml"), &node, &der, now).unwrap();
    let identity = format!("{}{}", side.certificate, side.key);
    replace(&agent.join("identity.pem"), &identity);
    replace(&agent.join("ca.pem"), authority.certificate());
    // The gateway does not trust it yet, and says so.
    assert!(eventually(LIMIT, || exec(&house, &container).code != Some(0)));
    let gateway = authority
        .client("dockin-gateway", tls::GATEWAY_NAME, now)
        .unwrap();
    replace(&files.join("gateway.pem"), &gateway.certificate);
    replace(&files.join("gateway.key"), &gateway.key);
    replace(&files.join("ca.pem"), authority.certificate());
    let reached = || exec(&house, &container).text() == "reached\n";
    assert!(eventually(LIMIT, reached), "{}", house.gateway().log());
    session.write(b"second\n");
    session.expect("second");
    session.close();
    assert_eq!(session.finish(LIMIT).code, Some(0));
}

/// A house that enrols agents, and finds their clusters in a directory.
fn enrolling(lifetime: &str) -> House {
    let enrolment = "enrolment: { agents: agents.yaml, key: tls/ca.key }";
    let with = format!(
        "clusters_directory: clusters\n\
         enrolment: {{ agents: agents.yaml, key: tls/ca.key, lifetime: {lifetime} }}"
    );
    House::start(&HouseOptions {
        edits: vec![(enrolment.to_owned(), with)],
        prepare: Some(|data| fs::create_dir(data.join("clusters")).unwrap()),
        ..HouseOptions::default()
    })
}

/// A token and the fingerprint, as the operator sees them.
fn invite(house: &House, name: &str) -> (String, String) {
    let mut command = Command::new(binary("dockin-opserver"));
    command.args(["agent", "invite", name, "--minutes", "5", "--data"]);
    let got = finish(command.arg(house.data()), Input::Nothing, LIMIT);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    let fingerprint = got
        .stderr
        .split_whitespace()
        .find(|word| word.starts_with("sha256:"));
    let fingerprint = fingerprint.unwrap().to_owned();
    let token = got.text().trim().to_owned();
    assert!(!got.stderr.contains(&token), "{}", got.stderr);
    (token, fingerprint)
}

/// Enrols as `name` into `data`; the token comes over standard input.
fn enrol(url: &str, name: &str, token: &str, fingerprint: &str, data: &Path) -> Finished {
    let mut command = Command::new(binary("dockin-opagent"));
    command
        .args(["enrol", "--gateway", url, "--name", name])
        .args(["--token-file", "-", "--ca-fingerprint", fingerprint])
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(data);
    finish(&mut command, Input::Bytes(token.as_bytes()), LIMIT)
}

fn refused(got: &Finished, words: &str, token: &str) {
    assert_eq!(got.code, Some(1), "{}", got.stderr);
    assert!(got.stderr.contains(words), "{words}: {}", got.stderr);
    assert!(!got.stderr.contains(token), "{}", got.stderr);
}

/// An agent that was enrolled, as its own process.
fn start_enrolled(house: &House, data: &Path) -> Server {
    let config = data.join("opagent.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let own = "unix:///var/run/docker.sock";
    assert!(text.contains(own), "{text}");
    fs::write(&config, text.replace(own, house.docker().host())).unwrap();
    Server::start(
        Command::new(binary("dockin-opagent"))
            .arg("--config")
            .arg(config)
            .env("RUST_LOG", "info"),
    )
}

/// Makes the agent a cluster of its own, called `second`; a kubeconfig for it.
fn second_cluster(house: &House, name: &str, agent: &Server) -> PathBuf {
    let text = format!(
        "dockin: {{ cluster-id: second }}\nagents: [ {{ name: {name}, address: \"{}\" }} ]\n",
        agent.address()
    );
    let folder = house.data().join("clusters");
    fs::write(folder.join(".coming"), text).unwrap();
    fs::rename(folder.join(".coming"), folder.join("second.yaml")).unwrap();
    let file = house.scratch().join("second");
    let text = fs::read_to_string(house.kubeconfig()).unwrap();
    fs::write(&file, text.replace("/clusters/local", "/clusters/second")).unwrap();
    file
}

fn exec_in(house: &House, kubeconfig: &Path, container: &Container) -> Finished {
    let kubectl = Kubectl::preferred();
    let mut command = kubectl.command(Transport::WebSocket, kubeconfig, house.scratch());
    command.args(["exec", container.name(), "--", "echo", "reached"]);
    finish(&mut command, Input::Nothing, LIMIT)
}

#[test]
fn a_machine_enrols_once_serves_and_is_removed() {
    let house = enrolling("1h");
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    let name = format!("far-{}", house.node());
    let (token, fingerprint) = invite(&house, &name);
    let url = house.url();
    let data = house.scratch().join("far");
    let other = house.scratch().join("other");

    let forged = token.replace("dk_", "dk_x");
    let got = enrol(&url, &name, &forged, &fingerprint, &other);
    refused(&got, "was used already", &forged);
    let got = enrol(&url, "another", &token, &fingerprint, &other);
    refused(&got, "was used already", &token);
    let got = enrol(&url, &name, &token, &fingerprint, &data);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    let got = enrol(&url, &name, &token, &fingerprint, &other);
    refused(&got, "was used already", &token);
    assert!(!other.join("identity.pem").exists());
    let failures = audit(&house, "login.failed");
    assert_eq!(failures.len(), 3, "{failures:?}");
    let trail = fs::read_to_string(house.data().join("audit/audit.jsonl")).unwrap();
    assert!(!trail.contains(&token), "the trail has the token in it");

    let agent = start_enrolled(&house, &data);
    let second = second_cluster(&house, &name, &agent);
    let reached = || exec_in(&house, &second, &container).text() == "reached\n";
    assert!(eventually(LIMIT, reached), "{}", agent.log());

    // Off the list, it is spoken to no more, and gets no new certificate.
    let mut command = Command::new(binary("dockin-opserver"));
    command.args(["agent", "remove", &name, "--data"]);
    let got = finish(command.arg(house.data()), Input::Nothing, LIMIT);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    let mut last = exec_in(&house, &second, &container);
    let gone = || {
        last = exec_in(&house, &second, &container);
        last.code == Some(1)
    };
    assert!(eventually(LIMIT, gone));
    assert!(
        last.stderr.contains("not in the list of agents"),
        "{}",
        last.stderr
    );
    let renewed = renew(&house, &data, &request_for(&house, &name, &[]));
    assert!(renewed.contains("not in the list of agents"), "{renewed}");
    // The house's own agent is still there.
    assert_eq!(exec(&house, &container).text(), "reached\n");
}

#[test]
fn an_invitation_that_has_expired_lets_nobody_in() {
    let house = enrolling("1h");
    let (token, fingerprint) = invite(&house, "late");
    let list = house.data().join("agents.yaml");
    let text = fs::read_to_string(&list).unwrap();
    let invitations = text.find("invitations").unwrap();
    let year = format!("{}-", Timestamp::now().strftime("%Y"));
    let aged = text[invitations..].replace(&year, "2020-");
    assert_ne!(aged, text[invitations..]);
    replace(&list, &format!("{}{aged}", &text[..invitations]));
    let data = house.scratch().join("late");
    let got = enrol(&house.url(), "late", &token, &fingerprint, &data);
    refused(&got, "has expired", &token);
}

#[test]
fn who_is_not_the_gateway_never_sees_the_token() {
    let house = enrolling("1h");
    let imposter = enrolling("1h");
    let (token, fingerprint) = invite(&house, "node9");
    let data = house.scratch().join("node9");
    let got = enrol(&imposter.url(), "node9", &token, &fingerprint, &data);
    refused(&got, "another authority", &token);
    assert_eq!(audit(&imposter, "login.failed").len(), 0);
    for (url, fingerprint) in [
        ("http://127.0.0.1:1", fingerprint.as_str()),
        (&house.url(), "sha256:12"),
    ] {
        let got = enrol(url, "node9", &token, fingerprint, &data);
        assert_eq!(got.code, Some(1), "{}", got.stderr);
    }
    let got = enrol(&house.url(), "node9", &token, &fingerprint, &data);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
}

/// A certificate request by openssl for `name`, with more in it.
fn request_for(house: &House, name: &str, more: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["req", "-new", "-newkey", "ec", "-pkeyopt"]);
    command.args(["ec_paramgen_curve:P-256", "-nodes", "-subj", "/", "-keyout"]);
    command.arg(house.scratch().join("request.key"));
    let own = format!("subjectAltName=DNS:{name}.agent.dockin.internal");
    let more = match more {
        [] => &[own.as_str()],
        more => more,
    };
    for extension in more {
        command.args(["-addext", extension]);
    }
    let got = finish(&mut command, Input::Nothing, LIMIT);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    got.text()
}

/// What curl gets for a document.
fn post(house: &House, path: &str, document: &Value, more: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "--http1.1", "--data-binary", "@-", "--cacert"]);
    command
        .arg(house.data().join("tls/ca.pem"))
        .args(more)
        .arg(format!("{}{path}", house.url()));
    let body = document.to_string();
    let got = finish(&mut command, Input::Bytes(body.as_bytes()), LIMIT);
    format!("{}{}", got.text(), got.stderr)
}

#[test]
fn a_request_for_more_than_the_agents_name_gets_no_certificate() {
    let house = enrolling("1h");
    let (token, _) = invite(&house, "node7");
    let ask = |request: &str| {
        let wish = json!({ "name": "node7", "token": token, "request": request });
        post(&house, "/dockin/v1/agents/enrol", &wish, &[])
    };
    let own = "subjectAltName=DNS:node7.agent.dockin.internal";
    for (more, words) in [
        (&[own, "basicConstraints=critical,CA:TRUE"][..], "authority"),
        (&[own, "keyUsage=keyCertSign"], "key usage"),
        (&[own, "extendedKeyUsage=codeSigning"], "extended key usage"),
        (&["subjectAltName=DNS:node8.agent.dockin.internal"], "alone"),
        (&["subjectAltName=DNS:gateway.dockin.internal"], "alone"),
        (
            &["subjectAltName=DNS:node7.agent.dockin.internal,DNS:gateway.dockin.internal"],
            "alone",
        ),
        (
            &["subjectAltName=DNS:node7.agent.dockin.internal,IP:127.0.0.1"],
            "alone",
        ),
    ] {
        let answer = ask(&request_for(&house, "node7", more));
        assert!(answer.contains("\"code\":403"), "{more:?}: {answer}");
        assert!(answer.contains(words), "{more:?}: {answer}");
    }
    let answer = ask("no request");
    assert!(answer.contains("\"code\":400"), "{answer}");
    // None of that has used the invitation up.
    let answer = ask(&request_for(&house, "node7", &[]));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let file = house.scratch().join("node7.pem");
    fs::write(&file, answer["certificate"].as_str().unwrap()).unwrap();
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-ext"]);
    command.arg("basicConstraints,subjectAltName,keyUsage,extendedKeyUsage");
    let got = finish(command.arg("-in").arg(&file), Input::Nothing, LIMIT);
    let text = got.text();
    assert!(text.contains("CA:FALSE"), "{text}");
    assert!(text.contains("DNS:node7.agent.dockin.internal\n"), "{text}");
    assert!(
        !text.contains("Sign,") && !text.contains("Certificate Sign"),
        "{text}"
    );
    let mut command = Command::new("openssl");
    command.args(["verify", "-CAfile"]);
    command.arg(house.data().join("tls/ca.pem"));
    let got = finish(command.arg(&file), Input::Nothing, LIMIT);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    // An agent's certificate makes nobody a person.
    let key = house.scratch().join("request.key");
    let shown = [
        "--cert",
        file.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
    ];
    let answer = post(&house, "/dockin/v1/tokens", &json!({}), &shown);
    assert!(answer.contains("\"code\":401"), "{answer}");
}

/// Asks for a renewal with the agent's own certificate, as an agent does.
fn renew(house: &House, data: &Path, request: &str) -> String {
    let identity = data.join("identity.pem");
    let identity = Identity::load(&identity, &identity).unwrap();
    let trusted = tls::certificates(&data.join("gateway-ca.pem")).unwrap();
    let config = tls::agent_client_config(&trusted, identity).unwrap();
    let body = json!({ "request": request }).to_string();
    let head = format!(
        "POST /dockin/v1/agents/renew HTTP/1.1\r\nhost: dockin\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    exchange(house, config, &format!("{head}{body}"))
}

fn exchange(house: &House, config: std::sync::Arc<rustls::ClientConfig>, text: &str) -> String {
    use std::io::{Read as _, Write as _};

    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let connection = rustls::ClientConnection::new(config, name).unwrap();
    let socket = std::net::TcpStream::connect(house.gateway_address()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, socket);
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // Some servers close without a goodbye.
    let _closed = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn an_agent_renews_its_certificate_while_it_serves() {
    let house = enrolling("24s");
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    let name = format!("brief-{}", house.node());
    let (token, fingerprint) = invite(&house, &name);
    let data = house.scratch().join("brief");
    let got = enrol(&house.url(), &name, &token, &fingerprint, &data);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    let identity = data.join("identity.pem");
    let until = || {
        let known = Identity::load(&identity, &identity).unwrap();
        known.validity().unwrap().1
    };
    let first = until();
    let agent = start_enrolled(&house, &data);
    let second = second_cluster(&house, &name, &agent);
    let reached = || exec_in(&house, &second, &container).text() == "reached\n";
    assert!(eventually(LIMIT, reached), "{}", agent.log());
    let arguments = ["exec", "-i", container.name(), "--", "cat"];
    let kubectl = Kubectl::preferred();
    let mut command = kubectl.command(Transport::WebSocket, &second, house.scratch());
    let mut session = Program::start(command.args(arguments), Input::Held);
    session.write(b"first\n");
    session.expect("first");
    // The first certificate is worthless.
    let outlived = || Timestamp::now() > first && until() > first;
    assert!(eventually(LIMIT, outlived), "{}", agent.log());
    assert_eq!(exec_in(&house, &second, &container).text(), "reached\n");
    session.write(b"second\n");
    session.expect("second");
    let told = audit(&house, "access.changed");
    let renewals = told.iter().filter(|one| {
        let change = one["change"].as_str().unwrap_or_default();
        change.contains("renewed its certificate")
    });
    assert!(renewals.count() >= 1, "{told:?}");
    // A certificate for another name is not to be had by renewing.
    let answer = renew(&house, &data, &request_for(&house, "node1", &[]));
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let mode = fs::metadata(&identity).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}
