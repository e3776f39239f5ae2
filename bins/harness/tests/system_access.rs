//! Who one is and what one may: logging in, tokens and certificates, the review webhook, and
//! `dockctl access`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use dockin_core::tls::authority::Authority;
use dockin_harness::{
    Finished, House, HouseOptions, Input, Kubectl, Transport, binary, eventually, finish, parsed,
};
use jiff::Timestamp;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
/// A change of a file is seen within a quarter of a second.
const SEEN: Duration = Duration::from_millis(600);
const PASSWORD: &str = "correct horse battery";

fn add_account(house: &House, user: &str, groups: &[&str], password: &str) -> Finished {
    let mut command = Command::new(binary("dockin-opserver"));
    command
        .args(["account", "add", "--user", user, "--data"])
        .arg(house.data());
    for group in groups {
        command.args(["--group", group]);
    }
    finish(
        &mut command,
        Input::Bytes(format!("{password}\n").as_bytes()),
        LIMIT,
    )
}

fn account(house: &House, verb: &str, user: &str) {
    let mut command = Command::new(binary("dockin-opserver"));
    command
        .args(["account", verb, "--user", user, "--data"])
        .arg(house.data());
    let got = finish(&mut command, Input::Nothing, LIMIT);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    thread::sleep(SEEN);
}

fn login(house: &House, user: &str, password: &str) -> (u16, Value) {
    let body = json!({ "user": user, "password": password });
    house.send("POST", "/dockin/v1/login", "", &body)
}

fn session(house: &House, user: &str) -> String {
    let (status, told) = login(house, user, PASSWORD);
    assert_eq!(status, 200, "{told}");
    told["token"].as_str().unwrap().to_owned()
}

/// Who the gateway thinks asks.
fn who(house: &House, token: &str) -> (u16, String) {
    let (status, told) = house.send("GET", "/dockin/v1/clusters", token, &Value::Null);
    (status, told["user"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn people_log_in_and_out_and_make_tokens_for_programs() {
    let house = House::start(&HouseOptions::default());
    let weak = add_account(&house, "alice", &["admins"], "short");
    assert_ne!(weak.code, Some(0));
    assert!(weak.stderr.contains("12 characters"), "{}", weak.stderr);
    let added = add_account(&house, "bob", &["admins"], PASSWORD);
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    thread::sleep(SEEN);

    let (status, told) = login(&house, "bob", PASSWORD);
    assert_eq!(status, 200, "{told}");
    assert_eq!(
        (&told["user"], &told["groups"]),
        (&json!("bob"), &json!(["admins"]))
    );
    let token = told["token"].as_str().unwrap();
    let expires: Timestamp = told["expires"].as_str().unwrap().parse().unwrap();
    let hours = (expires.as_second() - Timestamp::now().as_second()) / 3600;
    assert!((8..=10).contains(&hours), "{told}");
    assert_eq!(who(&house, token), (200, "bob".to_owned()));

    // A token for a program: bounded, listed, revoked, and no way to more of them.
    let make = |token: &str, days: u32| {
        let wish = json!({ "note": "nightly", "days": days });
        house.send("POST", "/dockin/v1/tokens", token, &wish)
    };
    assert_eq!(make(token, 91).0, 400);
    let (status, made) = make(token, 30);
    assert_eq!(status, 200, "{made}");
    let program = made["token"].as_str().unwrap();
    let id = made["id"].as_str().unwrap();
    assert_eq!(who(&house, program), (200, "bob".to_owned()));
    assert_eq!(make(program, 30).0, 403);
    let (_, listed) = house.send("GET", "/dockin/v1/tokens", program, &Value::Null);
    assert_eq!(listed["tokens"][0]["id"], id, "{listed}");
    assert!(!listed.to_string().contains(program), "{listed}");
    for _ in 0..9 {
        assert_eq!(make(token, 1).0, 200);
    }
    let (status, told) = make(token, 1);
    assert_eq!(
        (status, &told["reason"]),
        (429, &json!("TooManyRequests")),
        "{told}"
    );
    // Not another's.
    assert_eq!(
        add_account(&house, "eve", &["admins"], PASSWORD).code,
        Some(0)
    );
    thread::sleep(SEEN);
    let eve = session(&house, "eve");
    let path = format!("/dockin/v1/tokens/{id}");
    assert_eq!(house.send("DELETE", &path, &eve, &Value::Null).0, 404);
    assert_eq!(who(&house, program).0, 200);
    assert_eq!(house.send("DELETE", &path, token, &Value::Null).0, 200);
    assert_eq!(who(&house, program).0, 401);

    // Out is out, and in no other session.
    let second = session(&house, "bob");
    assert_eq!(
        house
            .send("POST", "/dockin/v1/logout", token, &Value::Null)
            .0,
        200
    );
    assert_eq!(who(&house, token).0, 401);
    assert_eq!(who(&house, &second).0, 200);
    account(&house, "end", "bob");
    assert_eq!(who(&house, &second).0, 401);
    let third = session(&house, "bob");
    let (_, made) = make(&third, 1);
    let left = made["token"].as_str().unwrap();
    assert_eq!(who(&house, left).0, 200);
    account(&house, "remove", "bob");
    assert_eq!(who(&house, &third).0, 401);
    assert_eq!(who(&house, left).0, 401);
    assert_eq!(login(&house, "bob", PASSWORD).0, 401);

    let audit = house.audit();
    let changes = audit.iter().filter(|one| one["event"] == "access.changed");
    let changes: Vec<String> = changes.map(ToString::to_string).collect();
    for words in [
        "logged in: session",
        "logged out: session",
        "personal token",
        "revoked",
    ] {
        assert!(
            changes.iter().any(|one| one.contains(words)),
            "{words}: {changes:?}"
        );
    }
    let all = fs::read_to_string(house.data().join("audit/audit.jsonl")).unwrap();
    for secret in [PASSWORD, token, program] {
        assert!(!all.contains(secret));
    }
}

#[test]
fn floods_of_logins_wait_and_bad_ones_tell_nothing() {
    let house = House::start(&HouseOptions::default());
    assert_eq!(
        add_account(&house, "bob", &["admins"], PASSWORD).code,
        Some(0)
    );
    thread::sleep(SEEN);
    let wrong = login(&house, "bob", "wrong");
    assert_eq!(wrong.0, 401);
    assert_eq!(wrong, login(&house, "nobody", "wrong"));
    let mut last = Value::Null;
    let waits = (0..10).any(|_| {
        let (status, told) = login(&house, "bob", "wrong");
        last = told;
        status == 429
    });
    assert!(waits, "{last}");
    assert!(
        last["details"]["retryAfterSeconds"].as_u64().unwrap() >= 1,
        "{last}"
    );
    // Also the right password waits; others do not.
    assert_eq!(login(&house, "bob", PASSWORD).0, 429);
    assert_eq!(who(&house, house.token()).0, 200);
    for body in [
        json!({}),
        json!({ "user": "bob" }),
        json!("x"),
        json!({ "user": "b", "password": "p", "x": 1 }),
    ] {
        let (status, told) = house.send("POST", "/dockin/v1/login", "", &body);
        assert_eq!((status, &told["kind"]), (400, &json!("Status")), "{told}");
    }
    let huge = json!({ "user": "bob", "password": "x".repeat(100_000) });
    assert_eq!(house.send("POST", "/dockin/v1/login", "", &huge).0, 400);
    assert_eq!(
        house.send("GET", "/dockin/v1/login", "", &Value::Null).0,
        401
    );
    let failed = house
        .audit()
        .into_iter()
        .filter(|one| one["event"] == "login.failed");
    assert!(failed.count() >= 4);
}

#[test]
fn tokens_that_prove_nobody_are_told_so() {
    let house = House::start(&HouseOptions::default());
    assert_eq!(
        add_account(&house, "bob", &["admins"], PASSWORD).code,
        Some(0)
    );
    thread::sleep(SEEN);
    let token = session(&house, "bob");
    let other = House::start(&HouseOptions::default());
    assert_eq!(
        add_account(&other, "bob", &["admins"], PASSWORD).code,
        Some(0)
    );
    thread::sleep(SEEN);
    let foreign = session(&other, "bob");
    let (signed, _) = token.rsplit_once('.').unwrap();
    for bad in [
        foreign.as_str(),
        signed,
        &format!("{signed}."),
        &format!("{token}A"),
        "dks_x",
        "dk_x",
        "x",
    ] {
        let (status, told) = house.send("GET", "/clusters/local/api/v1/pods", bad, &Value::Null);
        assert_eq!(
            (status, &told["reason"]),
            (401, &json!("Unauthorized")),
            "{bad}: {told}"
        );
        assert!(
            told["message"].as_str().unwrap().contains("log in") || bad.starts_with("dks_"),
            "{told}"
        );
    }
    assert_eq!(who(&house, &token).0, 200);
}

/// Asks with a client certificate of `issued`, none when there is none.
fn with_certificate(house: &House, issued: Option<(&str, &str)>) -> (u16, Value) {
    let text = fs::read(house.data().join("tls/ca.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&text).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match issued {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(house.gateway_address()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    let request = "GET /dockin/v1/clusters HTTP/1.1\r\nhost: dockin\r\nconnection: close\r\n\r\n";
    let mut answer = Vec::new();
    // A server that does not trust the certificate closes the connection.
    let _cut = stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.flush());
    let _ended = stream.read_to_end(&mut answer);
    match answer.is_empty() {
        true => (0, Value::Null),
        false => parsed(&String::from_utf8_lossy(&answer)),
    }
}

#[test]
fn client_certificates_name_people_of_the_right_authority_alone() {
    let now = Timestamp::now();
    let (people, others) = (Authority::new(now).unwrap(), Authority::new(now).unwrap());
    let authority = people.certificate().to_owned();
    // The harness makes files by a plain function.
    let keep = std::env::temp_dir().join(format!("dockin-people-{}.pem", std::process::id()));
    fs::write(&keep, authority).unwrap();
    let options = HouseOptions {
        edits: vec![(
            "# client_authority: tls/people.pem".to_owned(),
            format!("client_authority: {}", keep.display()),
        )],
        access: vec![
            "{ users: [carol], verbs: [get], clusters: [local], namespaces: [default] }".to_owned(),
        ],
        ..HouseOptions::default()
    };
    let house = House::start(&options);
    let carol = people.client("carol", "carol.test", now).unwrap();
    let (status, told) = with_certificate(&house, Some((&carol.certificate, &carol.key)));
    assert_eq!((status, &told["user"]), (200, &json!("carol")), "{told}");
    assert_eq!(told["clusters"], json!(["local"]), "{told}");
    let admin = people.client("system:admin", "admin.test", now).unwrap();
    let (status, told) = with_certificate(&house, Some((&admin.certificate, &admin.key)));
    assert_eq!(status, 401, "{told}");
    assert!(
        told["message"].as_str().unwrap().contains("system:admin"),
        "{told}"
    );
    let stranger = others.client("carol", "carol.test", now).unwrap();
    assert_eq!(
        with_certificate(&house, Some((&stranger.certificate, &stranger.key))).0,
        0
    );
    assert_eq!(with_certificate(&house, None).0, 401);
    fs::remove_file(keep).unwrap();
}

const RULES: &str = r#"
policies:
  ask: [ { allow: [createSubjectaccessreview], on: ["*"] } ]
  shell: [ { allow: [exec, "getPod"], on: ["cluster:local/namespace:shop/*"] } ]
  keep-out: [ { deny: ["*"], on: ["*/namespace:shop/pod:vault"] } ]
roles:
  asker: { policies: [ask] }
  worker: { policies: [shell, keep-out] }
users:
  alice: { roles: [worker] }
  apiserver: { roles: [asker] }
groups:
  workers: { roles: [worker] }
"#;

fn with_rules() -> House {
    let options = HouseOptions {
        edits: vec![(
            "access:\n  - ".to_owned(),
            "access_rules: { file: access.yaml }\n#".to_owned(),
        )],
        prepare: Some(|data: &Path| fs::write(data.join("access.yaml"), RULES).unwrap()),
        ..HouseOptions::default()
    };
    House::start(&options)
}

#[test]
fn api_servers_ask_by_review_and_are_told_the_rule() {
    let house = with_rules();
    let apiserver = house.add_user("apiserver", &[]);
    let review = |version: &str, user: &str, groups: &str, attributes: Value| {
        let mut spec = attributes;
        spec["user"] = user.into();
        spec[groups] = json!(["workers"]);
        json!({ "apiVersion": version, "kind": "SubjectAccessReview", "metadata": {}, "spec": spec })
    };
    let exec = |verb: &str, pod: &str| {
        json!({ "resourceAttributes": {
            "verb": verb, "resource": "pods", "subresource": "exec", "namespace": "shop", "name": pod,
        }})
    };
    let path = "/clusters/local/auth/authz";
    for (version, groups) in [
        ("authorization.k8s.io/v1", "groups"),
        ("authorization.k8s.io/v1beta1", "group"),
        ("auth.tkestack.io/v1", "group"),
    ] {
        // GET and POST are one action, or half of it would be a way around.
        for verb in ["create", "get"] {
            let asked = review(version, "nobody", groups, exec(verb, "web"));
            let (status, told) = house.send("POST", path, &apiserver, &asked);
            assert_eq!(
                (status, &told["status"]["allowed"]),
                (200, &json!(true)),
                "{told}"
            );
            assert_eq!(told["apiVersion"], version, "{told}");
            let asked = review(version, "nobody", groups, exec(verb, "vault"));
            let (status, told) = house.send("POST", path, &apiserver, &asked);
            assert_eq!(
                (status, &told["status"]["denied"]),
                (200, &json!(true)),
                "{told}"
            );
            let reason = told["status"]["reason"].as_str().unwrap();
            assert!(reason.contains("denied by line 5"), "{reason}");
            assert!(reason.contains("keep-out"), "{reason}");
        }
    }
    let list = json!({ "resourceAttributesList": [
        { "verb": "get", "resource": "pods", "namespace": "shop", "name": "web" },
        { "verb": "delete", "resource": "pods", "namespace": "shop", "name": "web" },
    ]});
    let asked = review("auth.tkestack.io/v1", "alice", "group", list);
    let path = "/clusters/local/auth/batchauthz";
    let (status, told) = house.send("POST", path, &apiserver, &asked);
    assert_eq!(status, 200, "{told}");
    let each = &told["status"]["allowedList"];
    assert_eq!(
        (&each[0]["allowed"], &each[1]["allowed"]),
        (&json!(true), &json!(false)),
        "{told}"
    );
    assert_eq!(each[1]["web"], "delete", "{told}");
    let reason = each[1]["reason"].as_str().unwrap();
    assert!(reason.contains("no rule allows it"), "{reason}");
    // Whoever may not ask is not told.
    let asked = review(
        "authorization.k8s.io/v1",
        "alice",
        "groups",
        exec("create", "web"),
    );
    let (status, told) = house.send("POST", "/auth/authz", house.token(), &asked);
    assert_eq!(
        (status, &told["reason"]),
        (403, &json!("Forbidden")),
        "{told}"
    );
    assert_eq!(house.send("POST", "/auth/authz", "", &asked).0, 401);
    // Without a cluster it is none.
    let (_, told) = house.send("POST", "/auth/authz", &apiserver, &asked);
    assert_eq!(told["status"]["denied"], true, "{told}");
    for bad in [
        json!({}),
        json!({ "apiVersion": "v1", "kind": "Pod", "spec": {} }),
        review("authorization.k8s.io/v1", "alice", "groups", json!({})),
    ] {
        let (status, told) = house.send("POST", "/auth/authz", &apiserver, &bad);
        assert_eq!(
            (status, &told["reason"]),
            (400, &json!("BadRequest")),
            "{told}"
        );
    }
    let denied = house
        .audit()
        .into_iter()
        .filter(|one| one["event"] == "access.denied");
    assert!(
        denied
            .filter(|one| one["principal"]["user"] == "apiserver")
            .count()
            >= 7
    );
}

#[test]
fn dockctl_explains_and_checks_access_rules() {
    let house = with_rules();
    let rules = house.data().join("access.yaml");
    let dockctl = |arguments: &[&str]| {
        let mut command = house.dockctl();
        finish(command.arg("access").args(arguments), Input::Nothing, LIMIT)
    };
    let file = rules.to_str().unwrap();
    let config = house.data().join("opserver.yaml");
    let config = config.to_str().unwrap();
    for (arguments, code, words) in [
        (
            &["explain", "alice", "exec", "local/shop/web", "--file", file][..],
            0,
            &["decision   allow", "createPodExec", "policy:shell"][..],
        ),
        (
            &[
                "explain",
                "alice",
                "exec",
                "local/shop/web",
                "--config",
                config,
            ],
            0,
            &["decision   allow"],
        ),
        (
            &[
                "explain",
                "alice",
                "exec",
                "local/shop/vault",
                "--file",
                file,
            ],
            77,
            &["decision   deny", "keep-out", "line 5"],
        ),
        (
            &[
                "explain",
                "alice",
                "exec",
                "local/other/web",
                "--file",
                file,
            ],
            77,
            &["decision   deny", "no rule matches"],
        ),
        (
            &[
                "explain",
                "x",
                "exec",
                "local/shop/web",
                "--file",
                file,
                "--group",
                "workers",
            ],
            0,
            &["decision   allow", "##group##workers"],
        ),
        (
            &["explain", "x", "exec", "local/shop/web", "--file", file],
            77,
            &["given nothing"],
        ),
        (
            &[
                "explain",
                "alice",
                "get",
                "local/shop/secrets/key",
                "--file",
                file,
            ],
            77,
            &["getSecret", "namespace:shop/secret:key"],
        ),
        (&["check", file], 0, &["rules", "no fault found"]),
        (&["check", "--config", config], 0, &["no fault found"]),
    ] {
        let got = dockctl(arguments);
        assert_eq!(
            got.code,
            Some(code),
            "{arguments:?}: {}{}",
            got.text(),
            got.stderr
        );
        for word in words {
            assert!(
                got.text().contains(word),
                "{word} {arguments:?}: {}",
                got.text()
            );
        }
    }
    for (text, words) in [
        (
            "users: { a: { roles: [none] } }\n",
            &["access.yaml", "`none`"][..],
        ),
        ("users: [", &["access.yaml", "line"]),
        (
            "policies: { p: [ { allow: [\"*\"], on: [\"cluster:prod*\"] } ] }\nroles: { r: { policies: [p] } }\nusers: { a: { roles: [r] } }\n",
            &["cluster:prod*"],
        ),
    ] {
        fs::write(&rules, text).unwrap();
        for arguments in [
            &["check", file][..],
            &["explain", "a", "exec", "local/shop/web", "--file", file],
        ] {
            let got = dockctl(arguments);
            assert_eq!(got.code, Some(1), "{text}: {}", got.text());
            for word in words {
                assert!(got.stderr.contains(word), "{word}: {}", got.stderr);
            }
        }
    }
    let got = dockctl(&["explain", "alice", "exec", "a/b/c/d/e", "--config", config]);
    assert_ne!(got.code, Some(0));
    // The gateway, too, keeps what it has, and says so.
    let told = || {
        house
            .audit()
            .iter()
            .any(|one| one["event"] == "policy.rejected")
    };
    assert!(eventually(LIMIT, told));
}

#[test]
fn dockctl_login_gives_kubectl_every_cluster_there_is_to_reach() {
    let trail = "audit: audit/audit.jsonl";
    let options = HouseOptions {
        access: vec![
            "{ groups: [dev], verbs: [\"*\"], clusters: [local, edge], namespaces: [\"*\"] }"
                .to_owned(),
        ],
        edits: vec![(
            trail.to_owned(),
            format!("{trail}\nclusters_directory: clusters"),
        )],
        prepare: Some(|data: &Path| {
            fs::create_dir(data.join("clusters")).unwrap();
            for name in ["edge", "secret"] {
                let agents = format!(
                    "dockin: {{ cluster-id: {name} }}\nagents: [ {{ name: n, address: \"127.0.0.1:9\" }} ]\n"
                );
                fs::write(data.join("clusters").join(name), agents).unwrap();
            }
        }),
        ..HouseOptions::default()
    };
    let house = House::start(&options);
    assert_eq!(add_account(&house, "bob", &["dev"], PASSWORD).code, Some(0));
    thread::sleep(SEEN);
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    let file = house.scratch().join("bob.kubeconfig");
    let authority = house.data().join("tls/ca.pem");
    let home = house.scratch().join("home");
    let dockctl = |arguments: &[&str], input: Input<'_>| {
        let mut command = Command::new(binary("dockctl"));
        command
            .env("DOCKIN_HOME", &home)
            .env("KUBECONFIG", &file)
            .args(arguments);
        finish(&mut command, input, LIMIT)
    };
    let (url, output) = (house.url(), file.to_str().unwrap());
    let here = [
        "--server",
        &url,
        "--certificate-authority",
        authority.to_str().unwrap(),
    ];
    let login = |password: &str| {
        let mut arguments = vec![
            "login",
            "--user",
            "bob",
            "--password-file",
            "-",
            "-o",
            output,
        ];
        arguments.extend(here);
        dockctl(&arguments, Input::Bytes(password.as_bytes()))
    };
    let wrong = login("wrong");
    assert_ne!(wrong.code, Some(0));
    assert!(
        wrong.stderr.contains("user name or password is wrong"),
        "{}",
        wrong.stderr
    );
    assert!(!file.exists());
    let got = login(PASSWORD);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    assert!(got.stderr.contains("[local edge]"), "{}", got.stderr);
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        !text.contains("dks_") && !text.contains("skip-tls") && !text.contains("secret"),
        "{text}"
    );

    let kubectl = |context: &str, arguments: &[&str]| {
        let mut command =
            Kubectl::preferred().command(Transport::WebSocket, &file, house.scratch());
        command
            .env("DOCKIN_HOME", &home)
            .args(["--context", context])
            .args(arguments);
        finish(&mut command, Input::Nothing, LIMIT)
    };
    let listed = kubectl("local", &["get", "pods"]);
    assert!(
        listed.text().contains(container.name()),
        "{}{}",
        listed.text(),
        listed.stderr
    );
    let ran = kubectl("local", &["exec", container.name(), "--", "echo", "here"]);
    assert_eq!(ran.text(), "here\n", "{}", ran.stderr);
    let own = dockctl(&["get", "pods"], Input::Nothing);
    assert!(
        own.text().contains(container.name()),
        "{}{}",
        own.text(),
        own.stderr
    );

    let mut arguments = vec!["logout"];
    arguments.extend(here);
    let out = dockctl(&arguments, Input::Nothing);
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    let refused = kubectl("local", &["get", "pods"]);
    assert_ne!(refused.code, Some(0));
    assert!(
        refused.stderr.contains("dockctl login"),
        "{}",
        refused.stderr
    );

    // With a token in place of a password.
    let token = house.scratch().join("token");
    fs::write(&token, house.token()).unwrap();
    let all = house.scratch().join("all.kubeconfig");
    let mut arguments = vec![
        "kubeconfig",
        "--all",
        "--token-file",
        token.to_str().unwrap(),
        "-o",
    ];
    arguments.push(all.to_str().unwrap());
    arguments.extend(here);
    let written = dockctl(&arguments, Input::Nothing);
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    let text = fs::read_to_string(&all).unwrap();
    for name in ["local", "edge", "secret"] {
        assert!(text.contains(&format!("/clusters/{name}")), "{text}");
    }
}
