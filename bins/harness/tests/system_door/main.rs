//! The gateway as the one door: every request of kubectl, curl and worse carried to apiservers
//! that come and go.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

mod flow;
mod headers;
mod limits;
mod long_answers;
mod many;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use dockin_harness::{
    ApiServer, Credential, Finished, House, HouseOptions, Input, Kubectl, Program, Transport,
    eventually, finish,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;

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
