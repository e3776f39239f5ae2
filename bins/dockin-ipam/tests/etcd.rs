//! Several nodes, each with a directory of its own, and one real etcd.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/etcd.rs"]
mod etcd;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use etcd::Etcd;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Seconds; the shortest that the configuration takes.
const SESSION: u64 = 10;

/// A node.
struct Node {
    directory: TempDir,
    config: Value,
}

impl Node {
    fn new(etcd: &Etcd, name: &str, subnet: &str) -> Self {
        Self::with(name, subnet, json!({"endpoints": [etcd.endpoint()]}))
    }

    fn with(name: &str, subnet: &str, store: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = json!({
            "cniVersion": "1.1.0", "name": "pods", "type": "bridge",
            "ipam": {
                "type": "dockin-ipam", "subnet": subnet, "sticky": "workload",
                "dataDir": directory.path(), "collectAfterSeconds": 0,
                "store": {"type": "etcd", "node": name, "sessionSeconds": SESSION},
            },
        });
        for (key, value) in store.as_object().unwrap() {
            config["ipam"]["store"][key] = value.clone();
        }
        fs::write(directory.path().join("pods.conf"), config.to_string()).unwrap();
        Self { directory, config }
    }

    /// Starts one call for the pod `default/POD`.
    fn start(&self, verb: &str, container: &str, pod: &str) -> Child {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dockin-ipam"))
            .env_clear()
            .envs([
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", container),
                ("CNI_NETNS", "/run/netns/none"),
                ("CNI_IFNAME", "eth0"),
                ("CNI_PATH", "/opt/cni/bin"),
            ])
            .env(
                "CNI_ARGS",
                format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}"),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut config = self.config.clone();
        if verb == "GC" {
            config["cni.dev/valid-attachments"] = json!([]);
        }
        let stdin = child.stdin.take();
        let config = config.to_string();
        stdin.unwrap().write_all(config.as_bytes()).unwrap();
        child
    }

    fn call(&self, verb: &str, container: &str, pod: &str) -> Output {
        let child = self.start(verb, container, pod);
        child.wait_with_output().unwrap()
    }

    /// The address of an `ADD`, or its error's code and message.
    fn add(&self, container: &str, pod: &str) -> Result<String, (u64, String)> {
        address(&self.call("ADD", container, pod))
    }

    fn del(&self, container: &str, pod: &str) {
        let output = self.call("DEL", container, pod);
        assert!(output.status.success(), "{output:?}");
    }

    /// `dockin-ipam pool --conf`.
    fn pool(&self, words: &[&str]) -> Result<String, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_dockin-ipam"))
            .args(["pool", "--conf"])
            .arg(self.directory.path().join("pods.conf"))
            .args(words)
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout).unwrap());
        }
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

fn address(output: &Output) -> Result<String, (u64, String)> {
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    match answer["code"].as_u64() {
        Some(code) => Err((code, answer["msg"].as_str().unwrap().to_owned())),
        None => Ok(answer["ips"][0]["address"].as_str().unwrap().to_owned()),
    }
}

fn code(result: &Result<String, (u64, String)>) -> Option<u64> {
    result.as_ref().err().map(|(code, _)| *code)
}

#[test]
fn many_calls_on_several_nodes_at_once_get_each_address_once() {
    let etcd = Etcd::start();
    let nodes: Vec<_> = (0..4)
        .map(|number| Node::new(&etcd, &format!("n{number}"), "10.0.0.0/23"))
        .collect();
    let mut children = Vec::new();
    for number in 0..15 {
        for (place, node) in nodes.iter().enumerate() {
            // Every third one keeps its address.
            let pod = match number % 3 {
                0 => format!("db-{}", number * 4 + place),
                _ => "web-xyz".to_owned(),
            };
            let container = format!("c{place}x{number}");
            children.push(node.start("ADD", &container, &pod));
        }
    }
    let mut holders = BTreeMap::new();
    for (number, child) in children.into_iter().enumerate() {
        let given = address(&child.wait_with_output().unwrap()).unwrap();
        assert_eq!(holders.insert(given, number), None);
    }
    assert_eq!(holders.len(), 60);
    let verified = nodes[0].pool(&["verify"]).unwrap();
    assert!(verified.contains("20 sticky keys, 4 nodes"), "{verified}");
    let shown = nodes[1].pool(&["show"]).unwrap();
    assert!(shown.contains("share of node n3"), "{shown}");
    assert!(
        shown.contains("kept for default/db-0/eth0, at node n0"),
        "{shown}"
    );
}

#[test]
fn a_share_is_given_from_while_etcd_is_gone_and_all_is_there_when_it_is_back() {
    let mut etcd = Etcd::start();
    let (one, other) = (
        Node::new(&etcd, "one", "10.0.0.0/24"),
        Node::new(&etcd, "other", "10.0.0.0/24"),
    );
    let first = one.add("c1", "web-a").unwrap();
    etcd.kill();
    let second = one.add("c2", "web-b").unwrap();
    assert_ne!(first, second);
    let refused = other.add("c3", "web-c").unwrap_err();
    assert_eq!(refused.0, 11, "{refused:?}");
    assert!(refused.1.contains("etcd at"), "{refused:?}");
    etcd.restart();
    // It is asked again a moment after it gave no answer.
    sleep(Duration::from_millis(2_100));
    let third = other.add("c3", "web-c").unwrap();
    assert!(third != first && third != second);
    one.pool(&["verify"]).unwrap();
}

/// An operator tidies up: what etcd forgets of its past is nothing that nodes need.
#[test]
fn a_store_that_is_compacted_in_the_middle_goes_on() {
    let etcd = Etcd::start();
    let (one, other) = (
        Node::new(&etcd, "one", "10.0.0.0/24"),
        Node::new(&etcd, "other", "10.0.0.0/24"),
    );
    let compact = || {
        let told = etcd.post("kv/range", &json!({"key": "YQ=="})).unwrap();
        let revision = told.split("\"revision\":\"").nth(1).unwrap();
        let revision = revision.split('"').next().unwrap();
        let compaction = json!({"revision": revision, "physical": true});
        etcd.post("kv/compaction", &compaction).unwrap();
        etcd.post("maintenance/defragment", &json!({})).unwrap();
    };
    let given = one.add("c1", "db-0").unwrap();
    let first = one.add("c2", "web-a").unwrap();
    one.del("c1", "db-0");
    compact();
    assert_eq!(other.add("c3", "db-0").unwrap(), given);
    other.del("c3", "db-0");
    one.del("c2", "web-a");
    for number in 0..70 {
        one.add(&format!("w{number}"), "web-b").unwrap();
    }
    compact();
    assert_eq!(one.add("c4", "db-0").unwrap(), given);
    assert_ne!(other.add("c5", "web-c").unwrap(), first);
    other.pool(&["verify"]).unwrap();
}

#[test]
fn known_pods_get_their_address_and_others_an_answer_while_etcd_stands_still() {
    let etcd = Etcd::start();
    let (one, other) = (
        Node::new(&etcd, "one", "10.0.0.0/24"),
        Node::new(&etcd, "other", "10.0.0.0/24"),
    );
    let known = one.add("c1", "db-0").unwrap();
    etcd.signal("-STOP");
    // Each of these comes to an end although no answer comes.
    one.del("c1", "db-0");
    assert_eq!(one.add("c2", "db-0").unwrap(), known);
    assert_eq!(code(&one.add("c3", "db-1")), Some(11));
    assert_eq!(code(&other.add("c4", "web-a")), Some(11));
    etcd.signal("-CONT");
    sleep(Duration::from_millis(2_100));
    assert_ne!(one.add("c3", "db-1").unwrap(), known);
    other.add("c4", "web-a").unwrap();
    one.pool(&["verify"]).unwrap();
}

#[test]
fn a_sticky_address_moves_when_its_node_has_said_that_the_pod_is_gone() {
    let etcd = Etcd::start();
    let (one, other) = (
        Node::new(&etcd, "one", "10.0.0.0/24"),
        Node::new(&etcd, "other", "10.0.0.0/24"),
    );
    let given = one.add("c1", "db-0").unwrap();
    let refused = other.add("c2", "db-0").unwrap_err();
    assert_eq!(refused.0, 11);
    assert!(refused.1.contains("at node `one`"), "{refused:?}");
    one.del("c1", "db-0");
    assert_eq!(other.add("c2", "db-0").unwrap(), given);
    // The node that had it before gives it to nobody.
    for number in 0..61 {
        let next = one.add(&format!("w{number}"), "web-x").unwrap();
        assert_ne!(next, given);
    }
    // And back.
    other.del("c2", "db-0");
    assert_eq!(one.add("c3", "db-0").unwrap(), given);
    one.pool(&["verify"]).unwrap();
}

#[test]
fn a_node_whose_session_is_over_gives_nothing_and_its_share_goes_when_the_operator_says_so() {
    let etcd = Etcd::start();
    let (one, other) = (
        Node::new(&etcd, "one", "10.0.0.0/26"),
        Node::new(&etcd, "other", "10.0.0.0/26"),
    );
    let first = one.add("c1", "db-0").unwrap();
    let alive = one.pool(&["drop", "one"]).unwrap_err();
    assert!(alive.contains("has a session"), "{alive}");
    // The other node finds nothing: everything is the first one's.
    assert_eq!(code(&other.add("c2", "web-a")), Some(11));
    etcd.signal("-STOP");
    sleep(Duration::from_secs(SESSION));
    let fenced = one.add("c3", "web-b").unwrap_err();
    assert_eq!(fenced.0, 11, "{fenced:?}");
    // Known, too: it may be at another node by now.
    one.del("c1", "db-0");
    assert_eq!(code(&one.add("c4", "db-0")), Some(11));
    etcd.signal("-CONT");
    // etcd finds by its own clock that the session is over.
    let mut told = other.pool(&["drop", "one"]);
    for _ in 0..100 {
        if told.is_ok() {
            break;
        }
        sleep(Duration::from_millis(200));
        told = other.pool(&["drop", "one"]);
    }
    assert!(told.unwrap().contains("addresses of node one are free"));
    assert_eq!(other.add("c5", "db-0").unwrap(), first);
    let next = other.add("c2", "web-a").unwrap();
    sleep(Duration::from_millis(2_100));
    // Back with a new session it has nothing left of before.
    let back = one.add("c6", "web-b").unwrap();
    assert!(back != first && back != next, "{back}");
    assert_eq!(code(&one.add("c7", "db-0")), Some(11));
    one.pool(&["verify"]).unwrap();
}

#[test]
fn nodes_give_back_what_they_do_not_use_when_another_one_finds_nothing() {
    let etcd = Etcd::start();
    let (one, other) = (
        Node::new(&etcd, "one", "10.0.0.0/28"),
        Node::new(&etcd, "other", "10.0.0.0/28"),
    );
    one.add("c1", "web-a").unwrap();
    assert_eq!(code(&other.add("c2", "web-b")), Some(11));
    one.pool(&["keep"]).unwrap();
    let mut given = vec![other.add("c2", "web-b").unwrap()];
    // To the last address, whoever has it.
    for number in 0..40 {
        let container = format!("d{number}");
        match other.add(&container, "web-c") {
            Ok(address) => given.push(address),
            Err((11, _)) => {
                one.call("GC", "", "");
                one.pool(&["keep"]).unwrap();
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    given.sort();
    given.dedup();
    // Network, gateway and broadcast are nobody's.
    assert_eq!(given.len(), 13, "{given:?}");
    one.pool(&["verify"]).unwrap();
}

#[test]
fn what_is_set_aside_in_the_store_is_one_pods_on_every_node() {
    let etcd = Etcd::start();
    let node = Node::new(&etcd, "one", "10.0.0.0/26");
    node.pool(&["reserve", "10.0.0.2"]).unwrap();
    node.pool(&["reserve", "10.0.0.9", "default/db-7"]).unwrap();
    assert!(node.pool(&["reserve", "10.0.0.9"]).is_err());
    assert_eq!(node.add("c1", "web-a").unwrap(), "10.0.0.3/26");
    assert_eq!(node.add("c2", "db-7").unwrap(), "10.0.0.9/26");
    let shared = node.pool(&["reserve", "10.0.0.4"]).unwrap_err();
    assert!(shared.contains("share of node `one`"), "{shared}");
    let running = node.pool(&["release", "10.0.0.9"]).unwrap_err();
    assert!(running.contains("--force"), "{running}");
    node.del("c2", "db-7");
    node.pool(&["release", "10.0.0.9"]).unwrap();
    node.pool(&["release", "10.0.0.2"]).unwrap();
    assert!(node.pool(&["release", "10.0.0.2"]).is_err());
    node.pool(&["verify"]).unwrap();
    let listed = node.pool(&["list"]).unwrap();
    assert!(
        listed.starts_with("pods: 1 nodes with a session, 1 blocks,"),
        "{listed}"
    );
}

/// Certificates of a new authority in `directory`: a server's and a client's, as PEM files.
fn make_certificates(directory: &std::path::Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    fs::write(directory.join("authority.pem"), authority.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        // etcd's gateway is a client of etcd, with the server's certificate.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        // And it refuses clients that have a common name.
        params.distinguished_name = DistinguishedName::new();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[test]
fn etcd_is_asked_over_tls_with_a_certificate_and_a_password() {
    let directory = tempfile::tempdir().unwrap();
    make_certificates(directory.path());
    fs::write(directory.path().join("password"), "correct horse\n").unwrap();
    fs::write(directory.path().join("wrong"), "battery staple\n").unwrap();
    let etcd = Etcd::begin(directory);
    for (path, body) in [
        (
            "auth/user/add",
            json!({"name": "root", "password": "staple battery"}),
        ),
        (
            "auth/user/add",
            json!({"name": "dockin", "password": "correct horse"}),
        ),
        ("auth/role/add", json!({"name": "addresses"})),
        // `/dockin/` to before `/dockin0`.
        (
            "auth/role/grant",
            json!({"name": "addresses", "perm": {
                "permType": "READWRITE", "key": "L2RvY2tpbi8=", "range_end": "L2RvY2tpbjA=",
            }}),
        ),
        ("auth/user/grant", json!({"user": "root", "role": "root"})),
        (
            "auth/user/grant",
            json!({"user": "dockin", "role": "addresses"}),
        ),
        ("auth/enable", json!({})),
    ] {
        assert!(etcd.post(path, &body).is_some(), "{path} {body}");
    }
    let file = |name: &str| etcd.directory().join(name);
    let store = json!({
        // Nobody listens at the first one.
        "endpoints": ["https://localhost:1", etcd.secure_endpoint()],
        "authority": file("authority.pem"),
        "certificate": file("client.pem"), "key": file("client.key"),
        "user": "dockin", "passwordFile": file("password"),
    });
    let node = Node::with("one", "10.0.0.0/24", store.clone());
    node.add("c1", "db-0").unwrap();
    node.pool(&["keep"]).unwrap();
    assert!(
        node.pool(&["list"])
            .unwrap()
            .contains("1 nodes with a session")
    );
    for (key, value) in [
        ("passwordFile", json!(file("wrong"))),
        ("prefix", json!("/others")),
        ("authority", json!(file("client.pem"))),
    ] {
        let mut store = store.clone();
        store[key] = value;
        let other = Node::with("two", "10.0.0.0/24", store);
        let refused = other.add("c1", "web-a").unwrap_err();
        assert_eq!(refused.0, 11, "{key}: {refused:?}");
        assert!(!refused.1.contains("staple"), "{refused:?}");
    }
}

/// Calls that are killed anywhere leave an address given or not; a collection and a talk with the
/// store leave nothing behind.
#[test]
fn killed_calls_give_nothing_twice_and_lose_nothing_of_the_store() {
    let etcd = Etcd::start();
    let nodes = [
        Node::new(&etcd, "one", "10.0.0.0/25"),
        Node::new(&etcd, "other", "10.0.0.0/25"),
    ];
    let mut answered: BTreeMap<String, (usize, String, String)> = BTreeMap::new();
    let mut killed = 0;
    for round in 0..160_u64 {
        let place = usize::from(round % 2 == 1);
        let (container, pod) = (format!("c{round}"), format!("db-{round}"));
        let mut child = nodes[place].start("ADD", &container, &pod);
        if round % 4 > 0 {
            sleep(Duration::from_micros(round * 397 % 30_000));
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        if output.stdout.is_empty() {
            killed += 1;
        } else if let Ok(given) = address(&output) {
            let before = answered.insert(given, (place, container.clone(), pod.clone()));
            assert_eq!(before, None, "given twice");
        }
        if round % 3 == 0 {
            nodes[place].del(&container, &pod);
            answered.retain(|_, (_, holder, _)| *holder != container);
        }
    }
    assert!(killed > 0 && !answered.is_empty(), "{killed} killed");
    for (place, container, pod) in answered.values() {
        nodes[*place].del(container, pod);
    }
    for node in &nodes {
        assert!(node.call("GC", "", "").status.success());
        node.pool(&["keep"]).unwrap();
        node.pool(&["verify"]).unwrap();
    }
    let shown = nodes[0].pool(&["show"]).unwrap();
    assert!(!shown.contains(", at node"), "{shown}");
}

#[test]
fn leases_from_before_the_pools_were_shared_are_not_mixed_with_others() {
    let etcd = Etcd::start();
    let mut node = Node::new(&etcd, "one", "10.0.0.0/24");
    let shared = node.config.clone();
    let ipam = node.config["ipam"].as_object_mut();
    ipam.unwrap().remove("store");
    node.add("c1", "web-a").unwrap();
    node.config = shared;
    let refused = node.add("c2", "web-b").unwrap_err();
    assert_eq!(refused.0, 7, "{refused:?}");
    assert!(refused.1.contains("from before"), "{refused:?}");
    node.del("c1", "web-a");
    node.add("c2", "web-b").unwrap();
}

#[test]
fn a_second_machine_of_the_same_name_gets_nothing() {
    let etcd = Etcd::start();
    let node = Node::new(&etcd, "one", "10.0.0.0/24");
    node.add("c1", "web-a").unwrap();
    let twin = Node::new(&etcd, "one", "10.0.0.0/24");
    let refused = twin.add("c1", "web-a").unwrap_err();
    assert_eq!(refused.0, 7, "{refused:?}");
    assert!(refused.1.contains("ipam.store.node"), "{refused:?}");
}

#[test]
fn a_configuration_without_a_store_that_can_be_is_refused_with_its_field() {
    for (store, field) in [
        (json!({"endpoints": []}), "ipam.store.endpoints"),
        (json!({"endpoints": ["etcd:2379"]}), "ipam.store.endpoints"),
        (json!({"endpoints": ["http://a/b"]}), "ipam.store.endpoints"),
        (
            json!({"endpoints": ["http://a"], "user": "u", "passwordFile": "/p"}),
            "ipam.store.endpoints",
        ),
        (
            json!({"endpoints": ["https://a"], "user": "u"}),
            "ipam.store",
        ),
        (
            json!({"endpoints": ["http://a"], "sessionSeconds": 1}),
            "ipam.store.sessionSeconds",
        ),
        (
            json!({"endpoints": ["http://a"], "blockSize": 65}),
            "ipam.store.blockSize",
        ),
        (
            json!({"endpoints": ["http://a"], "node": "a/b"}),
            "ipam.store.node",
        ),
        (
            json!({"endpoints": ["http://a"], "type": "consul"}),
            "ipam.store.type",
        ),
    ] {
        let node = Node::with("one", "10.0.0.0/24", store);
        let refused = node.add("c1", "web-a").unwrap_err();
        assert_eq!(refused.0, 7, "{refused:?}");
        assert!(refused.1.contains(field), "{field}: {refused:?}");
    }
}
