//! The gateway as the one door: every request of kubectl, curl and worse carried to apiservers
//! that come and go.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_harness::{
    ApiServer, Credential, Finished, House, HouseOptions, Input, Kubectl, Program, Transport,
    eventually, finish,
};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::Value;
use tokio_rustls::TlsConnector;

/// Far more than anything here takes; what is not over by then hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// A gateway with a directory of clusters, one of them `prod` behind an apiserver.
struct Door {
    house: House,
    apiserver: ApiServer,
    kubeconfig: PathBuf,
}

impl Door {
    fn start(options: HouseOptions) -> Self {
        let door = Self::without_clusters(options);
        door.write("prod.yaml", &door.apiserver.kubeconfig(Credential::Token));
        assert!(door.comes("prod"), "{:?}", door.house.audit());
        door
    }

    fn without_clusters(mut options: HouseOptions) -> Self {
        let trail = "audit: audit/audit.jsonl";
        options.edits.push((
            trail.to_owned(),
            format!("{trail}\nclusters_directory: clusters"),
        ));
        options.prepare = Some(|data| {
            fs::create_dir(data.join("clusters")).unwrap();
            // Hidden, and so no cluster.
            fs::write(data.join("clusters/.access"), ACCESS).unwrap();
        });
        let mut house = House::start(&options);
        let apiserver = ApiServer::start(&mut house);
        let kubeconfig = pointed_at(house.kubeconfig(), "prod");
        Self {
            house,
            apiserver,
            kubeconfig,
        }
    }

    /// Puts a file into the directory of clusters, in one step.
    fn write(&self, name: &str, text: &str) {
        let folder = self.house.data().join("clusters");
        fs::write(folder.join(".coming"), text).unwrap();
        fs::rename(folder.join(".coming"), folder.join(name)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.house.data().join("clusters").join(name)).unwrap();
    }

    fn status(&self, path: &str) -> String {
        let answer = self.house.ask("GET", path, &[]);
        answer.lines().next().unwrap_or_default().to_owned()
    }

    /// Waits until a cluster can be reached.
    fn comes(&self, cluster: &str) -> bool {
        let path = format!("/clusters/{cluster}/version");
        eventually(LIMIT, || self.status(&path) == "HTTP/1.1 200 OK")
    }

    fn kubectl(&self, kubectl: &Kubectl, arguments: &[&str], input: Input<'_>) -> Finished {
        self.as_person(&self.kubeconfig, kubectl, arguments, input)
    }

    fn as_person(
        &self,
        kubeconfig: &Path,
        kubectl: &Kubectl,
        arguments: &[&str],
        input: Input<'_>,
    ) -> Finished {
        let scratch = self.house.scratch();
        let mut command = kubectl.command(Transport::WebSocket, kubeconfig, scratch);
        finish(command.args(arguments), input, LIMIT)
    }

    /// Audit events of a kind.
    fn audit(&self, event: &str) -> Vec<Value> {
        let events = self.house.audit().into_iter();
        events.filter(|found| found["event"] == event).collect()
    }

    /// What the gateway tells alice of a cluster.
    fn told_of(&self, cluster: &str) -> Value {
        let answer = self.house.ask("GET", "/dockin/v1/clusters", &[]);
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        let told: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
        let details = told["details"].as_array().unwrap().clone();
        let found = details.into_iter().find(|one| one["name"] == cluster);
        found.unwrap_or_default()
    }
}

fn pointed_at(kubeconfig: &Path, cluster: &str) -> PathBuf {
    let text = fs::read_to_string(kubeconfig).unwrap();
    let name = kubeconfig.file_name().unwrap().to_string_lossy();
    let file = kubeconfig.with_file_name(format!("{cluster}-{name}"));
    fs::write(
        &file,
        text.replace("/clusters/local", &format!("/clusters/{cluster}")),
    )
    .unwrap();
    file
}

fn config_map(name: &str, value: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"key":"{value}"}}}}"#
    )
}

#[test]
fn clusters_come_change_and_go_without_a_restart() {
    let door = Door::without_clusters(HouseOptions::default());
    let good = door.apiserver.kubeconfig(Credential::Certificate);
    assert_eq!(
        door.status("/clusters/prod/version"),
        "HTTP/1.1 404 Not Found"
    );
    door.write("a.yaml", &good);
    assert!(door.comes("prod"));
    let up = || door.told_of("prod")["state"] == "up";
    assert!(eventually(LIMIT, up), "{}", door.told_of("prod"));
    assert_eq!(door.told_of("prod")["version"], "v1.33.0-upstream");

    // A bad file is named, harms no other, and nothing secret of it is told.
    let refused = || {
        let failures = door.audit("failure").into_iter();
        let errors = failures.map(|one| one["error"].as_str().unwrap_or_default().to_owned());
        errors.collect::<Vec<_>>()
    };
    for (name, text, words) in [
        (
            "b.yaml",
            "token: the-gateways-own-token\n- x".to_owned(),
            "YAML",
        ),
        (
            "c.yaml",
            good.replace("dockin:\n  cluster-id: prod\n", ""),
            "`dockin:`",
        ),
        (
            "d.yaml",
            good.replace("cluster-id: prod", "cluster-id: d\n  whitelists: []"),
            "whitelists",
        ),
        (
            "e.yaml",
            good.replace(
                "cluster-id: prod",
                "cluster-id: e\n  whitelist: [10.0.0.1/8]",
            ),
            "10.0.0.0/8",
        ),
        ("f.yaml", good.clone(), "`prod` is there already"),
        ("g.yaml", good.replace("https://", "http://"), "https"),
        (
            "h.yaml",
            "dockin: { cluster-id: h }\nagents: [ { name: n, address: nowhere } ]\n".to_owned(),
            "HOST:PORT",
        ),
    ] {
        door.write(name, &text);
        let named = || {
            refused()
                .iter()
                .any(|error| error.contains(name) && error.contains(words))
        };
        assert!(eventually(LIMIT, named), "{name}: {:?}", refused());
    }
    assert!(!refused().concat().contains("the-gateways-own-token"));
    assert_eq!(door.status("/clusters/prod/version"), "HTTP/1.1 200 OK");

    // What is wrong now leaves in force what it said before; what is right counts.
    door.write("a.yaml", "{");
    assert!(eventually(LIMIT, || refused()
        .iter()
        .any(|error| error.contains("stays in force"))));
    assert_eq!(door.status("/clusters/prod/version"), "HTTP/1.1 200 OK");
    let elsewhere =
        "cluster-id: prod\n  rule: payments\n  whitelist: [192.0.2.0/24, \"2001:db8::1\"]";
    door.write("a.yaml", &good.replace("cluster-id: prod", elsewhere));
    let closed = || door.status("/clusters/prod/version") == "HTTP/1.1 403 Forbidden";
    assert!(eventually(LIMIT, closed));
    let answer = door.house.ask("GET", "/clusters/prod/api/v1/pods", &[]);
    assert!(answer.contains("`whitelist`"), "{answer}");
    assert_eq!(door.told_of("prod"), Value::Null);
    let here = "cluster-id: prod\n  rule: payments\n  whitelist: [127.0.0.0/8]";
    door.write("a.yaml", &good.replace("cluster-id: prod", here));
    assert!(door.comes("prod"));
    assert_eq!(door.told_of("prod")["rule"], "payments");

    // The second of one name takes the place of the first when that goes; then nobody does.
    door.remove("a.yaml");
    assert!(door.comes("prod"));
    door.remove("f.yaml");
    let gone = || door.status("/clusters/prod/version") == "HTTP/1.1 404 Not Found";
    assert!(eventually(LIMIT, gone));
    let changes = door.audit("access.changed");
    for words in ["`prod` can be reached", "`prod` is gone"] {
        let told = changes
            .iter()
            .any(|one| one["change"].as_str().unwrap().contains(words));
        assert!(told, "{words}: {changes:?}");
    }
    // Agents make a cluster, too.
    let node = door.house.node();
    let configuration = fs::read_to_string(door.house.data().join("opserver.yaml")).unwrap();
    let address = configuration.split("address: \"").nth(1).unwrap();
    let address = address.split('"').next().unwrap();
    let agents = format!(
        "dockin: {{ cluster-id: edge }}\nagents: [ {{ name: {node}, address: \"{address}\" }} ]\n"
    );
    door.write("edge.yaml", &agents);
    assert!(door.comes("edge"));
    assert_eq!(door.status("/clusters/edge/api/v1/pods"), "HTTP/1.1 200 OK");
}

#[test]
fn kubectl_applies_gets_watches_and_deletes() {
    let door = Door::start(HouseOptions::default());
    for kubectl in Kubectl::all() {
        let name = format!("settings-{}", kubectl.minor());
        let scratch = door.house.scratch();
        let mut watch = kubectl.command(Transport::WebSocket, &door.kubeconfig, scratch);
        watch.args(["get", "configmaps", "--watch", "-o", "name"]);
        let watch = Program::start(&mut watch, Input::Nothing);
        let apply = |value: &str, flags: &[&str]| {
            let file = scratch.join(format!("{name}.json"));
            fs::write(&file, config_map(&name, value)).unwrap();
            let mut arguments = vec!["apply", "--validate=false", "-f", file.to_str().unwrap()];
            arguments.extend(flags);
            let got = door.kubectl(&kubectl, &arguments, Input::Nothing);
            assert_eq!(got.code, Some(0), "{}", got.stderr);
            got.text()
        };
        assert!(apply("one", &[]).contains("created"));
        assert!(apply("two", &[]).contains("configured"));
        let applied = apply("three", &["--server-side", "--force-conflicts"]);
        assert!(applied.contains("serverside-applied"), "{applied}");
        let path = "jsonpath={.data.key}";
        let arguments = ["get", "configmap", &name, "-o", path];
        let got = door.kubectl(&kubectl, &arguments, Input::Nothing);
        assert_eq!(got.text(), "three", "{}", got.stderr);
        // The watch may have begun after the first change, never after the last.
        let line = format!("configmap/{name}");
        assert!(
            eventually(LIMIT, || {
                apply("again", &["--server-side", "--force-conflicts"]);
                watch.stdout().contains(&line)
            }),
            "{} {}",
            watch.stdout(),
            watch.stderr()
        );
        let arguments = ["delete", "configmap", &name, "--wait=false"];
        let got = door.kubectl(&kubectl, &arguments, Input::Nothing);
        assert_eq!(got.code, Some(0), "{}", got.stderr);
        let got = door.kubectl(&kubectl, &["get", "configmap", &name], Input::Nothing);
        assert!(got.stderr.contains("NotFound"), "{}", got.stderr);
    }
    for seen in door.apiserver.seen() {
        assert_eq!(seen.credential, Some(Credential::Token), "{seen:?}");
        assert_eq!(
            (seen.user.as_deref(), seen.groups.as_slice()),
            (Some("alice"), &["admins".to_owned()][..])
        );
        assert!(seen.http2, "{seen:?}");
    }
    // What changes something is written down before it goes on, what reads is not.
    let carried = door.audit("request.carried");
    for verb in ["create", "patch", "delete"] {
        let one = carried.iter().find(|one| one["verb"] == verb).unwrap();
        assert_eq!(one["resource"], "configmaps", "{one}");
        assert_eq!(one["principal"]["user"], "alice", "{one}");
        assert_eq!(one["target"]["cluster"], "prod", "{one}");
    }
    assert!(
        carried
            .iter()
            .all(|one| one["verb"] != "get" && one["verb"] != "watch")
    );
}

#[test]
fn sessions_go_their_way_beside_it() {
    let door = Door::start(HouseOptions::default());
    let container = door.house.docker().container(&[], &["sleep", "2147483647"]);
    let kubectl = Kubectl::preferred();
    for transport in [Transport::WebSocket, Transport::Spdy] {
        let scratch = door.house.scratch();
        let run = |arguments: &[&str], input: Input<'_>| {
            let mut command = kubectl.command(transport, &door.kubeconfig, scratch);
            finish(command.args(arguments), input, LIMIT)
        };
        let got = run(
            &["exec", "-i", container.name(), "--", "cat"],
            Input::Bytes(b"bytes"),
        );
        assert_eq!(
            (got.code, got.text().as_str()),
            (Some(0), "bytes"),
            "{}",
            got.stderr
        );
        let file = scratch.join("there");
        fs::write(&file, b"copied").unwrap();
        let remote = format!("{}:/tmp/there", container.name());
        let got = run(&["cp", file.to_str().unwrap(), &remote], Input::Nothing);
        assert_eq!(got.code, Some(0), "{}", got.stderr);
    }
    let started = door.audit("session.start");
    assert!(
        started.iter().all(|one| one["target"]["cluster"] == "prod"),
        "{started:?}"
    );
    assert!(started.len() >= 4, "{started:?}");
    let seen = door.apiserver.seen();
    let mut sessions = seen.iter().filter(|seen| seen.upgrade.is_some());
    assert!(sessions.all(|seen| !seen.http2 && seen.upgrade.as_deref() == Some("SPDY/3.1")));
}

#[test]
fn a_slow_reader_holds_the_apiserver_back_and_an_upload_is_not_collected() {
    let door = Door::start(HouseOptions::default());
    let mut reader = door.house.tls();
    let token = door.house.token();
    let head = |method: &str, path: &str, more: &str| {
        format!(
            "{method} /clusters/prod{path} HTTP/1.1\r\nhost: dockin\r\n\
             authorization: Bearer {token}\r\n{more}\r\n"
        )
    };
    reader
        .write_all(head("GET", "/metrics/endless", "").as_bytes())
        .unwrap();
    let mut first = [0; 4096];
    assert!(reader.read(&mut first).unwrap() > 0);
    // Buffers on the way fill, and then nothing moves.
    let mut before = 0;
    let stands = || {
        let now = door.apiserver.moved();
        let stands = now == before;
        before = now;
        std::thread::sleep(Duration::from_millis(500));
        stands
    };
    assert!(eventually(LIMIT, stands));
    assert!(before < 64 * 1024 * 1024, "{before} bytes for nobody");
    // And what is read goes on.
    let mut read = 0;
    let mut buffer = vec![0; 64 * 1024];
    while read < 2 * before {
        read += reader.read(&mut buffer).unwrap() as u64;
    }
    drop(reader);
    // The apiserver hears that the reader is gone.
    let mut last = 0;
    let over = || {
        let now = door.apiserver.moved();
        let over = now == last;
        last = now;
        over
    };
    assert!(eventually(LIMIT, over));

    let taken = door.apiserver.moved();
    let mut writer = door.house.tls();
    let chunked = head("POST", "/metrics/sink", "transfer-encoding: chunked\r\n");
    writer.write_all(chunked.as_bytes()).unwrap();
    let chunk = [&b"10000\r\n"[..], &[b'y'; 0x10000], b"\r\n"].concat();
    writer.write_all(&chunk).unwrap();
    writer.flush().unwrap();
    // It is there before the request has ended.
    assert!(eventually(LIMIT, || door.apiserver.moved() >= taken + 0x10000));
    writer.write_all(b"0\r\n\r\n").unwrap();
    writer.flush().unwrap();
    let mut answer = [0; 4096];
    let count = writer.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// KubeCube W1, W2 and W8, on the wire.
#[test]
fn headers_that_say_who_one_is_never_reach_the_apiserver() {
    let door = Door::start(HouseOptions::default());
    door.apiserver.forget();
    let path = "/clusters/prod/api/v1/namespaces/default/configmaps";
    for headers in [
        &["Connection: Impersonate-User, close"][..],
        &[
            "connection: close, impersonate-user",
            "Connection: Impersonate-Group",
        ],
        &["X-Remote-User: root", "X-Remote-Group: system:masters"],
        &[
            "X-Forwarded-For: 10.0.0.1",
            "X-Real-IP: 10.0.0.1",
            "Forwarded: for=10.0.0.1",
        ],
        &[
            "Cookie: Authorization=Bearer+x",
            "Proxy-Authorization: Basic eA==",
        ],
        &["TE: trailers", "Trailer: Impersonate-User", "Keep-Alive: 5"],
    ] {
        let answer = door.house.ask("GET", path, headers);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{headers:?}: {answer}");
    }
    let seen = door.apiserver.seen();
    assert_eq!(seen.len(), 6);
    for one in seen {
        assert_eq!(one.user.as_deref(), Some("alice"), "{one:?}");
        assert_eq!(one.groups, ["admins"], "{one:?}");
        let mut names: Vec<&str> = one
            .headers
            .iter()
            .map(|line| line.split(':').next().unwrap())
            .collect();
        names.retain(|name| !["host", "impersonate-user", "impersonate-group"].contains(name));
        assert_eq!(names, ["x-forwarded-for"], "{one:?}");
        assert!(
            one.headers
                .contains(&"x-forwarded-for: 127.0.0.1".to_owned()),
            "{one:?}"
        );
    }
    door.apiserver.forget();
    // W1: whoever names somebody is refused when no role allows it.
    for header in [
        "Impersonate-User: root",
        "IMPERSONATE-GROUP: system:masters",
        "Impersonate-Extra-x: y",
    ] {
        let answer = door.house.ask("GET", path, &[header]);
        assert!(answer.starts_with("HTTP/1.1 40"), "{header}: {answer}");
    }
    // W8: nothing that looks like an open path opens one.
    for path in [
        "/clusters/prod/healthz",
        "/clusters/prod/api/v1/namespaces/a/services/s/proxy/healthz",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: dockin\r\nconnection: close\r\n\r\n");
        let answer = door.house.exchange(request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
        assert!(answer.contains("\"reason\":\"Unauthorized\""), "{answer}");
    }
    assert_eq!(door.apiserver.seen(), []);
    // What somebody's program answers does nothing to the gateway's own address.
    let path = "/clusters/prod/api/v1/namespaces/default/services/web:80/proxy/page";
    let answer = door.house.ask("GET", path, &[]).to_lowercase();
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    assert!(!answer.contains("set-cookie"), "{answer}");
    assert!(
        answer.contains("content-security-policy: sandbox"),
        "{answer}"
    );
}

/// CVE-2018-1002105 (T29) and smuggling behind a refused upgrade (T31).
#[test]
fn t29_t31_an_upgrade_that_is_no_session_reaches_nobody_and_ends_the_connection() {
    let door = Door::start(HouseOptions::default());
    let token = door.house.token();
    door.apiserver.forget();
    for path in [
        "/api/v1/namespaces/default/services/web/proxy/",
        "/api/v1/namespaces/default/configmaps",
        "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/a/console",
        "/api/v1/namespaces/default/pods/none/exec?command=id&stdout=true",
    ] {
        let smuggled = format!(
            "GET /clusters/prod/api/v1/secrets HTTP/1.1\r\nhost: dockin\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        let request = format!(
            "GET /clusters/prod{path} HTTP/1.1\r\nhost: dockin\r\nauthorization: Bearer {token}\r\n\
             connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             sec-websocket-protocol: v5.channel.k8s.io\r\n\r\n{smuggled}"
        );
        let answer = door.house.exchange(request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{path}: {answer}");
    }
    let seen = door.apiserver.seen();
    assert!(
        seen.iter()
            .all(|one| one.upgrade.is_none() && !one.path.contains("secrets")),
        "{seen:?}"
    );
}

#[test]
fn people_act_as_others_only_where_their_roles_allow_it() {
    let rules = "access_rules: { file: clusters/.access }\n#";
    let options = HouseOptions {
        edits: vec![("access:\n  - ".to_owned(), rules.to_owned())],
        ..HouseOptions::default()
    };
    let door = Door::start(options);
    let kubectl = Kubectl::preferred();
    door.apiserver.forget();
    let asked = |arguments: &[&str]| door.kubectl(&kubectl, arguments, Input::Nothing);
    let got = asked(&["get", "configmaps", "--as", "robot", "--as-group", "robots"]);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    let seen = door.apiserver.seen();
    let list = seen
        .iter()
        .find(|seen| seen.path.contains("configmaps"))
        .unwrap();
    assert_eq!(
        (list.user.as_deref(), list.groups.as_slice()),
        (Some("robot"), &["robots".to_owned()][..])
    );
    let carried = door.audit("request.carried");
    let carried = carried
        .iter()
        .find(|one| one["resource"] == "configmaps")
        .unwrap();
    assert_eq!(carried["principal"]["user"], "robot", "{carried}");
    assert_eq!(carried["principal"]["impersonator"], "alice", "{carried}");
    door.apiserver.forget();
    for arguments in [
        // Nobody lets her be these.
        &["get", "configmaps", "--as", "root"][..],
        &[
            "get",
            "configmaps",
            "--as",
            "robot",
            "--as-group",
            "system:masters",
        ],
        &["get", "configmaps", "--as", "robot", "--as-uid", "1"],
        // As robot she may do what robot may, not what she may.
        &["get", "pods", "--as", "robot", "--as-group", "robots"],
    ] {
        let got = asked(arguments);
        assert_eq!(got.code, Some(1), "{arguments:?}: {}", got.text());
        assert!(
            got.stderr.contains("orbidden"),
            "{arguments:?}: {}",
            got.stderr
        );
    }
    let seen = door.apiserver.seen();
    assert!(
        seen.iter()
            .all(|one| one.user.as_deref() == Some("robot") && !one.path.contains("pods")),
        "{seen:?}"
    );
    // A denial names its rule.
    let denied = asked(&["delete", "configmap", "any"]);
    assert!(
        denied.stderr.contains("denied by line"),
        "{}",
        denied.stderr
    );
    assert!(denied.stderr.contains("no-deleting"), "{}", denied.stderr);
}

const ACCESS: &str = r#"
policies:
  use: [ { allow: ["get*", "list*", "watch*", "create*", "delete*", get, list], on: ["cluster:prod/*"] } ]
  no-deleting: [ { deny: [deleteConfigmap], on: ["*"] } ]
  be-robot: [ { allow: ["impersonate*"], on: ["cluster:prod/user:robot", "cluster:prod/group:robots"] } ]
  read-settings: [ { allow: ["get*", "list*"], on: ["cluster:prod/namespace:default/configmap:*"] } ]
roles:
  user: { policies: [use, no-deleting, be-robot] }
  robot: { policies: [read-settings] }
users:
  alice: { roles: [user] }
  robot: { roles: [robot] }
"#;

#[test]
fn who_asks_too_much_is_told_when_to_come_again() {
    let trail = "audit: audit/audit.jsonl";
    let limited =
        format!("{trail}\nlimits: {{ requests_per_second: 1, burst: 20, open_requests: 2 }}");
    let options = HouseOptions {
        edits: vec![(trail.to_owned(), limited)],
        ..HouseOptions::default()
    };
    let door = Door::without_clusters(options);
    door.write("prod.yaml", &door.apiserver.kubeconfig(Credential::Token));
    // Alice has twenty requests; another one waits for the cluster.
    let bob = door.house.add_user("bob", &["admins"]);
    let ask_as = |token: &str, path: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: dockin\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        door.house.exchange(request.as_bytes())
    };
    let come = || {
        std::thread::sleep(Duration::from_secs(1));
        ask_as(&bob, "/clusters/prod/version").starts_with("HTTP/1.1 200 ")
    };
    assert!(eventually(LIMIT, come));
    let endless = |_| {
        let mut stream = door.house.tls();
        let token = door.house.token();
        let request = format!(
            "GET /clusters/prod/metrics/endless HTTP/1.1\r\nhost: dockin\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut first = [0; 16];
        assert!(stream.read(&mut first).unwrap() > 0);
        stream
    };
    let open: Vec<_> = (0..2).map(endless).collect();
    let answer = door.house.ask("GET", "/clusters/prod/version", &[]);
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(
        answer.contains("requests open in cluster `prod`"),
        "{answer}"
    );
    // Another cluster, and another person, have places.
    assert_eq!(
        door.status("/clusters/local/api/v1/pods"),
        "HTTP/1.1 200 OK"
    );
    assert!(ask_as(&bob, "/clusters/prod/version").starts_with("HTTP/1.1 200 "));
    drop(open);
    let free = || {
        std::thread::sleep(Duration::from_millis(1100));
        door.status("/clusters/prod/version") == "HTTP/1.1 200 OK"
    };
    assert!(eventually(LIMIT, free));
    let mut answer = String::new();
    let refused = || {
        answer = door.house.ask("GET", "/clusters/local/version", &[]);
        answer.starts_with("HTTP/1.1 429 ")
    };
    let refused = std::iter::repeat_with(refused)
        .take(60)
        .any(|refused| refused);
    assert!(refused, "{answer}");
    assert!(
        answer.to_lowercase().contains("\r\nretry-after: "),
        "{answer}"
    );
    assert!(
        answer.contains("\"reason\":\"TooManyRequests\""),
        "{answer}"
    );
    assert!(answer.contains("\"retryAfterSeconds\":"), "{answer}");
}

#[test]
fn a_cluster_that_hangs_harms_no_other_and_is_told_at_once() {
    let door = Door::start(HouseOptions::default());
    // It accepts, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let text = door.apiserver.kubeconfig(Credential::Token);
    let server = text.lines().find(|line| line.contains("server: ")).unwrap();
    let hanging = text
        .replace(server, &format!("    server: https://{address}"))
        .replace("cluster-id: prod", "cluster-id: slow");
    door.write("slow.yaml", &hanging);
    let down = || door.told_of("slow")["state"] == "down";
    assert!(eventually(LIMIT, down), "{}", door.told_of("slow"));
    // Asked now, it fails at once and says when to come again.
    let quick = || {
        let begun = Instant::now();
        let answer = door.house.ask("GET", "/clusters/slow/api/v1/pods", &[]);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        answer.contains("did not answer lately") && begun.elapsed() < Duration::from_secs(5)
    };
    assert!(eventually(LIMIT, quick));
    assert_eq!(door.told_of("prod")["state"], "up");
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| door.status("/clusters/slow/api/v1/pods")))
            .collect();
        for _ in 0..20 {
            let path = "/clusters/prod/api/v1/namespaces/default/configmaps";
            assert_eq!(door.status(path), "HTTP/1.1 200 OK");
        }
        for one in waiting {
            assert_eq!(one.join().unwrap(), "HTTP/1.1 503 Service Unavailable");
        }
    });
}

#[test]
fn whether_a_cluster_exists_is_told_only_to_who_may_reach_it() {
    let door = Door::start(HouseOptions::default());
    let stranger = door.house.add_user("stranger", &["nobody"]);
    door.apiserver.forget();
    let told = |cluster: &str, path: &str| {
        let request = format!(
            "GET /clusters/{cluster}{path} HTTP/1.1\r\nhost: dockin\r\n\
             authorization: Bearer {stranger}\r\nconnection: close\r\n\r\n"
        );
        let answer = door.house.exchange(request.as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 403 "),
            "{cluster}{path}: {answer}"
        );
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        body.replace(cluster, "CLUSTER")
    };
    for path in [
        "/version",
        "/api/v1/pods",
        "/api/v1/namespaces/default/pods/web",
        "/api/v1/namespaces/default/pods/web/exec?command=id&stdout=true",
        "/api/v1/namespaces/default/pods/web/log",
        "/apis/apps/v1/deployments",
        "/anything",
    ] {
        let known = told("prod", path);
        assert_eq!(known, told("elsewhere", path), "{path}");
        assert_eq!(known, told("local", path), "{path}");
        assert!(known.contains("may not reach cluster"), "{known}");
    }
    assert_eq!(door.apiserver.seen(), []);
    let denied = door.audit("access.denied");
    assert_eq!(denied.len(), 21, "{denied:?}");
}

#[test]
fn clients_that_offer_http2_get_it() {
    let door = Door::start(HouseOptions::default());
    let negotiated = |offered: &[&[u8]]| {
        let mut config = (*client_tls(&door)).clone();
        config.alpn_protocols = offered.iter().map(|one| one.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = std::net::TcpStream::connect(door.house.gateway_address()).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).unwrap();
        }
        connection.alpn_protocol().map(<[u8]>::to_vec)
    };
    assert_eq!(negotiated(&[b"h2", b"http/1.1"]), Some(b"h2".to_vec()));
    assert_eq!(negotiated(&[b"http/1.1"]), Some(b"http/1.1".to_vec()));
    assert_eq!(negotiated(&[]), None);
    let answer = over_http2(&door, "/clusters/prod/version");
    assert!(answer.contains("v1.33.0-upstream"), "{answer}");
}

/// Asks as alice over HTTP/2.
fn over_http2(door: &Door, path: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut config = (*client_tls(door)).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let request = Request::builder()
        .uri(format!("https://localhost{path}"))
        .header("authorization", format!("Bearer {}", door.house.token()))
        .body(Empty::<Bytes>::new())
        .unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(door.house.gateway_address())
            .await
            .unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await
            .unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8_lossy(&body).into_owned()
    })
}

fn client_tls(door: &Door) -> Arc<rustls::ClientConfig> {
    let text = fs::read(door.house.data().join("tls/ca.pem")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&text).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
