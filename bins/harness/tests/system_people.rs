//! People of a directory and service accounts of a cluster through the gateway, floods of logins,
//! and what is told to whom is refused.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

#[allow(dead_code, reason = "only its port with TLS is used")]
#[path = "../../../dockin-core/tests/ldap_server/mod.rs"]
mod ldap_server;
#[path = "support/identity.rs"]
mod support;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use dockin_harness::{
    ApiServer, Credential, Finished, House, HouseOptions, Input, binary, eventually, finish,
};
use ldap_server::{SERVICE_PASSWORD, Slapd};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use support::{LIMIT, decode, encode, exec, house, is_refused, who};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};
use tokio_rustls::TlsConnector;

fn login(house: &House, user: &str, password: &str, kubeconfig: &Path) -> Finished {
    let mut command = house.dockctl();
    command
        .args([
            "login",
            "--user",
            user,
            "--password-file",
            "-",
            "--server",
            &house.url(),
        ])
        .arg("--certificate-authority")
        .arg(house.data().join("tls/ca.pem"))
        .arg("-o")
        .arg(kubeconfig);
    finish(
        &mut command,
        Input::Bytes(format!("{password}\n").as_bytes()),
        LIMIT,
    )
}

#[test]
fn people_of_the_directory_log_in_with_dockctl_and_work_with_kubectl() {
    let slapd = Slapd::start(1);
    let identity = format!(
        "  ldap_recheck: 1s\n  ldap:\n    host: localhost:{}\n    rootCA: {}\n    \
         bindDN: cn=reader,dc=dockin,dc=test\n    bindPWFile: {}\n    usernamePrefix: 'ldap:'\n    \
         groupsPrefix: 'ldap:'\n    userSearch: {{ baseDN: 'ou=people,dc=dockin,dc=test', \
         filter: '(objectClass=person)', username: uid }}\n    groupSearch:\n      \
         baseDN: ou=groups,dc=dockin,dc=test\n      userMatchers: [ {{ userAttr: DN, groupAttr: \
         member }}, {{ userAttr: uid, groupAttr: memberUid }} ]\n      nameAttr: cn\n",
        slapd.tls,
        slapd.file("ca.pem").display(),
        slapd.file("password").display(),
    );
    let access = "{ groups: ['ldap:ops'], verbs: ['*'], clusters: [local], namespaces: [default] }";
    let mut house = house(&identity, &[access]);
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    let kubeconfig = house.scratch().join("ldap-kubeconfig");
    let wrong = login(&house, "alice", "not-th1s", &kubeconfig);
    let unknown = login(&house, "nobody", "not-th1s", &kubeconfig);
    assert_ne!(wrong.code, Some(0));
    assert_eq!(wrong.stderr, unknown.stderr);
    assert!(
        wrong.stderr.contains("user name or password is wrong"),
        "{}",
        wrong.stderr
    );

    let right = login(&house, "alice", "alicepw", &kubeconfig);
    assert_eq!(right.code, Some(0), "{}", right.stderr);
    assert!(
        right.stderr.contains("logged in as ldap:alice"),
        "{}",
        right.stderr
    );
    let ran = exec(&container, house.scratch(), &kubeconfig);
    assert_eq!(
        (ran.code, ran.text().as_str()),
        (Some(0), "it works\n"),
        "{}",
        ran.stderr
    );
    let audit = house.audit();
    let start = audit
        .iter()
        .find(|one| one["event"] == "session.start")
        .unwrap();
    assert_eq!(start["principal"]["user"], "ldap:alice", "{start}");
    assert_eq!(
        start["principal"]["groups"],
        json!(["ldap:Domain Users", "ldap:ops"])
    );
    // Somebody of no group of the access rules is known, and may nothing.
    let carol = login(&house, "carol", "carolpw", &house.scratch().join("carol"));
    assert!(
        carol.stderr.contains("logged in as ldap:carol"),
        "{}",
        carol.stderr
    );

    let ask = |password: &str| {
        let body = json!({ "user": "alice", "password": password });
        house.send("POST", "/dockin/v1/login", "", &body)
    };
    let (first, second) = (ask("alicepw").1, ask("alicepw").1);
    let (first, second) = (
        first["token"].as_str().unwrap(),
        second["token"].as_str().unwrap(),
    );
    // A revoked one is nobody's; personal tokens are for people with an account.
    assert_eq!(
        house
            .send("POST", "/dockin/v1/logout", first, &Value::Null)
            .0,
        200
    );
    is_refused(&house, first, "was ended");
    let wish = json!({ "note": "nightly", "days": 1 });
    assert_eq!(
        house.send("POST", "/dockin/v1/tokens", second, &wish).0,
        403
    );
    assert_eq!(who(&house, second), Ok("ldap:alice".to_owned()));
    // Without the directory nobody logs in, and no session goes on for longer than a second.
    let second = second.to_owned();
    drop(slapd);
    let away = || who(&house, &second).is_err_and(|told| told.starts_with("503: the directory"));
    assert!(eventually(LIMIT, away));
    assert_eq!(ask("alicepw").0, 503);
    assert_eq!(who(&house, house.token()), Ok("alice".to_owned()));
    for secret in ["alicepw", "not-th1s", SERVICE_PASSWORD, &second] {
        let written = fs::read_to_string(house.data().join("audit/audit.jsonl")).unwrap();
        assert!(!written.contains(secret) && !house.gateway().log().contains(secret));
    }
}

#[test]
fn service_accounts_come_in_when_their_own_cluster_knows_them() {
    let robot = "prod:system:serviceaccount:ci:robot";
    let mut house = House::start(&HouseOptions {
        access: vec![format!(
            "{{ users: ['{robot}'], verbs: ['*'], clusters: [local], namespaces: [default] }}"
        )],
        ..HouseOptions::default()
    });
    let apiserver = ApiServer::start(&mut house);
    let kubeconfig = apiserver.kubeconfig(Credential::Token);
    fs::write(house.data().join("prod.kubeconfig"), kubeconfig).unwrap();
    let file = house.data().join("opserver.yaml");
    let mut text = fs::read_to_string(&file).unwrap();
    text.push_str(
        "  - name: prod\n    kubeconfig: prod.kubeconfig\n\
         identity: { service_accounts: [ { cluster: prod, audiences: [dockin] } ] }\n",
    );
    fs::write(&file, text).unwrap();
    house.restart_gateway();
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    let reviews = || {
        let seen = apiserver.seen().into_iter();
        let of = seen.filter(|one| one.path.ends_with("/tokenreviews"));
        of.map(|one| one.user.unwrap_or_default())
            .collect::<Vec<_>>()
    };

    let token = apiserver.service_account_token("ci:robot", &["dockin"], 600);
    assert_eq!(who(&house, &token), Ok(robot.to_owned()));
    let kubeconfig = house.scratch().join("robot-kubeconfig");
    house.write_kubeconfig(&token, "robot", &kubeconfig);
    let ran = exec(&container, house.scratch(), &kubeconfig);
    assert_eq!(
        (ran.code, ran.text().as_str()),
        (Some(0), "it works\n"),
        "{}",
        ran.stderr
    );
    // Asked once for all of that, and never as the gateway itself.
    assert_eq!(reviews(), ["dockin:token-reviewer"]);

    // Tokens for the cluster itself or for others are not shown to anybody.
    for audience in ["https://kubernetes.default.svc", "other"] {
        let other = apiserver.service_account_token("ci:robot", &[audience], 600);
        is_refused(&house, &other, "not known");
    }
    let ended = apiserver.service_account_token("ci:robot", &["dockin"], -60);
    is_refused(&house, &ended, "expired");
    assert_eq!(reviews().len(), 1);
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let mut admin = decode(payload);
    admin["sub"] = json!("system:serviceaccount:kube-system:admin");
    let forged = format!("{header}.{}.{signature}", encode(&admin));
    is_refused(&house, &forged, "not one that its cluster knows");
    apiserver.delete_service_account("ci:gone");
    let gone = apiserver.service_account_token("ci:gone", &["dockin"], 600);
    is_refused(&house, &gone, "not one that its cluster knows");
    // Two more reviews; who asks again soon is refused without one.
    is_refused(&house, &gone, "not one that its cluster knows");
    assert_eq!(reviews().len(), 3);

    // While the cluster is away nobody gets in whom it has not named lately.
    let new = apiserver.service_account_token("ci:other", &["dockin"], 600);
    drop(apiserver);
    assert_eq!(who(&house, &token), Ok(robot.to_owned()));
    let told = who(&house, &new).unwrap_err();
    assert!(
        told.starts_with("503: the kube-apiserver of cluster `prod`"),
        "{told}"
    );
    assert_eq!(who(&house, house.token()), Ok("alice".to_owned()));
}

#[test]
fn every_refusal_is_written_down_with_its_rule_and_says_how_to_ask_why() {
    const RULES: &str = r#"
policies:
  shell: [ { allow: [exec, "get*"], on: ["cluster:local/namespace:default/*"] } ]
  keep-out: [ { deny: ["*"], on: ["*/namespace:default/pod:vault"] } ]
roles:
  worker: { policies: [shell, keep-out] }
users:
  alice: { roles: [worker] }
"#;
    let by_rules = HouseOptions {
        edits: vec![(
            "access:\n  - ".to_owned(),
            "access_rules: { file: access.yaml }\n#".to_owned(),
        )],
        prepare: Some(|data: &Path| fs::write(data.join("access.yaml"), RULES).unwrap()),
        ..HouseOptions::default()
    };
    let by_list = HouseOptions {
        edits: vec![("groups: [admins]".to_owned(), "users: [alice]".to_owned())],
        ..HouseOptions::default()
    };
    let denied = "line 4 (deny `*` on `*/namespace:default/pod:vault`)";
    for (options, user, groups, pod, rule) in [
        (&by_rules, "alice", &["admins"][..], "vault", denied),
        (&by_rules, "alice", &["admins"], "web", "no rule matches"),
        (
            &by_rules,
            "bob",
            &["dev", "Domain-Users"],
            "web",
            "no rule matches",
        ),
        (&by_list, "bob", &[], "web", "no entry under `access`"),
    ] {
        let house = House::start(options);
        let token = match user {
            "alice" => house.token().to_owned(),
            user => house.add_user(user, groups),
        };
        // Bob cannot even reach the cluster; alice lacks what she asks for.
        let path = match (user, pod) {
            ("alice", "web") => "/clusters/local/api/v1/namespaces/other/pods/web".to_owned(),
            _ => format!("/clusters/local/api/v1/namespaces/default/pods/{pod}"),
        };
        let (status, told) = house.send("GET", &path, &token, &Value::Null);
        assert_eq!(status, 403, "{told}");
        let message = told["message"].as_str().unwrap();
        let audit = house.audit();
        let event = audit
            .iter()
            .find(|one| one["event"] == "access.denied")
            .unwrap();
        assert!(
            event["rule"].as_str().unwrap().contains(rule),
            "{rule}: {event}"
        );
        // What it says to ask gives the same answer.
        let (_, question) = message.split_once("with `dockctl ").unwrap();
        let question = question.split_once('`').unwrap().0;
        let config = house.data().join("opserver.yaml").display().to_string();
        let mut ask = Command::new("sh");
        let line = format!("exec \"$0\" {}", question.replace("opserver.yaml", &config));
        ask.args(["-c", &line]).arg(binary("dockctl"));
        let answer = finish(&mut ask, Input::Nothing, LIMIT);
        assert_eq!(
            answer.code,
            Some(77),
            "{question}: {}{}",
            answer.text(),
            answer.stderr
        );
        assert!(
            answer.text().contains(rule),
            "{question}: {}",
            answer.text()
        );
    }
}

/// Kilobytes that a process has used at most.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().trim_end_matches("kB").trim();
    number.parse().unwrap()
}

/// Status of a login from one of our own addresses.
async fn attempt(gateway: SocketAddr, from: Ipv4Addr, tls: TlsConnector, user: String) -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let socket = socket.connect(gateway).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = tls.connect(name, socket).await.unwrap();
    let body = json!({ "user": user, "password": "a guess that is wrong" }).to_string();
    let request = format!(
        "POST /dockin/v1/login HTTP/1.1\r\nhost: dockin\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server may close without a TLS goodbye.
    let _cut = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_flood_of_logins_of_many_names_from_many_addresses_is_bounded() {
    const MANY: u32 = 600;
    let mut house = House::start(&HouseOptions::default());
    let mut add = Command::new(binary("dockin-opserver"));
    add.args(["account", "add", "--user", "bob", "--data"])
        .arg(house.data());
    let password = "correct horse battery";
    let added = finish(&mut add, Input::Bytes(password.as_bytes()), LIMIT);
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    thread::sleep(Duration::from_millis(600));
    let gateway: SocketAddr = house.gateway_address().parse().unwrap();
    let tls = TlsConnector::from(house.tls_config());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let told: Vec<u16> = runtime.block_on(async {
        let attempts: Vec<_> = (0..MANY)
            .map(|number| {
                let from = Ipv4Addr::from_bits(0x7f40_0000 + number);
                let user = format!("user{number}");
                tokio::spawn(attempt(gateway, from, tls.clone(), user))
            })
            .collect();
        let mut told = Vec::new();
        for attempt in attempts {
            told.push(attempt.await.unwrap());
        }
        told
    });
    assert!(
        told.iter().all(|status| matches!(status, 401 | 429)),
        "{told:?}"
    );
    // Each password takes 19 MiB while it is looked at; all at once it would be 11 GiB.
    let peak = peak(house.gateway().pid());
    assert!(peak < 250_000, "{peak} kB");
    // Nobody else has noticed, and when it is over people log in.
    assert_eq!(who(&house, house.token()), Ok("alice".to_owned()));
    let body = json!({ "user": "bob", "password": password });
    let (status, told) = house.send("POST", "/dockin/v1/login", "", &body);
    assert_eq!(status, 200, "{told}");
}
