//! Several networks for one pod: one result, all or none, undone from the record.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/node.rs"]
mod node;

use dockin_net::cni::Outcome;
use node::Node;
use serde_json::{Value, json};

fn networks() -> [Value; 2] {
    [
        json!({"cniVersion": "1.0.0", "name": "front", "type": "bridge", "ipam": {"type": "x"},
            "capabilities": {"ips": true, "bandwidth": true}, "dns": {"nameservers": ["10.0.0.53"]}}),
        json!({"cniVersion": "0.2.0", "name": "back", "type": "macvlan",
            "capabilities": {"ips": true, "bandwidth": true}}),
    ]
}

fn data() -> Value {
    json!([
        {"type": "back", "podIp": "10.1.0.2", "subnetMask": "255.255.0.0", "gateway": "10.1.0.1",
            "ifName": "eth1", "master": false},
        {"type": "front", "podIp": "10.0.0.2", "subnetMask": "24", "gateway": "10.0.0.1",
            "ifName": "eth0", "master": true},
    ])
}

fn config() -> Value {
    json!({"cniVersion": "1.1.0", "name": "dockin", "type": "dockin-cni", "networks": data()})
}

fn asking() -> Value {
    json!({"cniVersion": "1.1.0", "name": "dockin", "type": "dockin-cni", "backend": "http://rm/x"})
}

fn answer(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_default()
}

fn code(outcome: &Outcome) -> Value {
    assert_eq!(outcome.exit_code, 1, "{}", outcome.stdout);
    answer(outcome)["code"].clone()
}

#[test]
fn two_networks_make_one_result_with_the_master_first() {
    let mut node = Node::new(&networks());
    let outcome = node.call("ADD", &config());
    assert_eq!(
        answer(&outcome),
        json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": "veth"},
                {"name": "eth0", "sandbox": "/run/netns/c1"},
                {"name": "eth1", "sandbox": "/run/netns/c1"},
            ],
            "ips": [
                {"address": "10.0.0.2/24", "interface": 1},
                {"address": "10.1.0.2/16", "interface": 2},
            ],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}],
            "dns": {"nameservers": ["10.0.0.53"]},
        })
    );
    assert_eq!(node.calls, ["ADD eth1 macvlan", "ADD eth0 bridge"]);
}

#[test]
fn the_result_is_valid_in_every_version_of_the_caller() {
    for version in [
        "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
    ] {
        let mut config = config();
        config["cniVersion"] = version.into();
        let answer = answer(&Node::new(&networks()).call("ADD", &config));
        assert_eq!(answer["cniVersion"], version);
        let text = answer.to_string();
        assert!(text.contains("10.0.0.2/24"), "{text}");
        assert_eq!(text.contains("10.1.0.2/16"), version > "0.2.0", "{text}");
    }
}

#[test]
fn a_plugin_gets_the_values_it_declares_and_the_address_only_once() {
    let mut node = Node::new(&networks());
    let mut config = config();
    config["runtimeConfig"] = json!({
        "ips": ["10.0.0.9/24"], "bandwidth": {"ingressRate": 1}, "portMappings": [],
    });
    assert_eq!(node.call("ADD", &config).exit_code, 0);
    assert_eq!(
        node.stdins[0]["runtimeConfig"],
        json!({"bandwidth": {"ingressRate": 1}})
    );
    assert_eq!(
        node.stdins[1]["runtimeConfig"],
        json!({"bandwidth": {"ingressRate": 1}, "ips": ["10.0.0.9/24"]})
    );
    assert_eq!(node.stdins[1]["ipam"]["type"], "dockin-ipam");
}

#[test]
fn a_chain_hands_each_plugin_the_result_of_the_one_before() {
    let chain = json!({"cniVersion": "1.0.0", "name": "front",
        "plugins": [{"type": "bridge"}, {"type": "portmap"}]});
    let mut node = Node::new(&[chain, networks()[1].clone()]);
    assert_eq!(node.call("ADD", &config()).exit_code, 0);
    assert_eq!(
        node.stdins[2]["prevResult"]["ips"][0]["address"],
        "10.0.0.2/24"
    );
    assert_eq!(node.call("DEL", &config()).exit_code, 0);
    assert_eq!(
        node.calls[3..],
        ["DEL eth0 portmap", "DEL eth0 bridge", "DEL eth1 macvlan"]
    );
    assert!(node.stdins[4]["prevResult"].is_object());
    assert!(node.stdins[5].get("prevResult").is_none(), "0.2.0 has none");
}

#[test]
fn del_works_when_the_files_and_the_resource_manager_are_gone() {
    let mut node = Node::new(&networks());
    node.answer = Some(json!({"code": 0, "data": data()}));
    assert_eq!(node.call("ADD", &asking()).exit_code, 0);
    assert_eq!(
        node.asked,
        ["http://rm/x?podName=web-0&namespace=ns&containerId=c1"]
    );
    node.files.clear();
    node.answer = None;
    assert_eq!(node.call("CHECK", &asking()).exit_code, 0);
    assert_eq!(node.call("DEL", &asking()).exit_code, 0);
    assert!(node.made.is_empty());
    assert_eq!(node.call("DEL", &asking()).exit_code, 0);
    assert_eq!(code(&node.call("CHECK", &asking())), 101);
}

#[test]
fn del_works_from_the_record_when_the_configuration_became_invalid() {
    let mut node = Node::new(&networks());
    assert_eq!(node.call("ADD", &config()).exit_code, 0);
    let mut broken = config();
    broken["logLevel"] = "loud".into();
    broken["confDir"] = 7.into();
    broken["runtimeConfig"] = json!([]);
    assert_eq!(code(&node.call("ADD", &broken)), 7);
    assert_eq!(node.call("DEL", &broken).exit_code, 0);
    assert!(node.made.is_empty() && node.records.is_empty());
}

#[test]
fn a_known_pod_starts_while_the_resource_manager_is_down_and_an_unknown_one_is_told_to_wait() {
    let mut node = Node::new(&networks());
    assert_eq!(code(&node.call("ADD", &asking())), 11);
    node.answer = Some(json!({"code": 0, "data": data()}));
    let first = node.call("ADD", &asking());
    node.call("DEL", &asking());
    node.answer = None;
    assert_eq!(node.call("ADD", &asking()).stdout, first.stdout);
}

#[test]
fn an_answer_ages_from_the_end_of_its_pod_and_is_good_no_more_after_its_time() {
    let mut asking = asking();
    asking["answerAgeSeconds"] = 100.into();
    let mut node = Node::new(&networks());
    node.now = 1000;
    node.answer = Some(json!({"code": 0, "data": data()}));
    assert_eq!(node.call("ADD", &asking).exit_code, 0);
    node.answer = None;
    // It ran for long, and ended now.
    node.now = 5000;
    node.call("DEL", &asking);
    node.now = 5099;
    assert_eq!(node.call("ADD", &asking).exit_code, 0);
    // The machine was away: when the pod ended nobody knows.
    node.vanished = true;
    node.now = 9000;
    node.call("DEL", &asking);
    let refused = node.call("ADD", &asking);
    assert_eq!(code(&refused), 11);
    let message = answer(&refused)["msg"].to_string();
    assert!(
        message.contains("the last answer is 4000 seconds old, and `answerAgeSeconds` is 100"),
        "{message}"
    );
    // The clock was set back.
    node.now = 10;
    assert_eq!(code(&node.call("ADD", &asking)), 11);
    // A newer answer takes the place of the old one.
    node.answer = Some(json!({"code": 0, "data": data()}));
    assert_eq!(node.call("ADD", &asking).exit_code, 0);
    node.call("DEL", &asking);
    node.answer = None;
    node.now = 109;
    assert_eq!(node.call("ADD", &asking).exit_code, 0);
    asking["answerAgeSeconds"] = (-1).into();
    assert_eq!(code(&node.call("ADD", &asking)), 7);
}

#[test]
fn a_collection_forgets_old_answers_but_not_those_of_attached_pods() {
    let mut asking = asking();
    let is_known = |node: &Node| node.records.contains_key("dockin/answers/ns@web-0");
    let mut node = Node::new(&networks());
    node.answer = Some(json!({"code": 0, "data": data()}));
    assert_eq!(node.call("ADD", &asking).exit_code, 0);
    node.now = 86_400;
    asking["cni.dev/valid-attachments"] = json!([{"containerID": "c1", "ifname": "eth0"}]);
    assert_eq!(node.call("GC", &asking).exit_code, 0);
    assert!(is_known(&node));
    assert_eq!(node.call("DEL", &asking).exit_code, 0);
    node.now += 86_399;
    assert_eq!(node.call("GC", &asking).exit_code, 0);
    assert!(is_known(&node));
    node.now += 1;
    assert_eq!(node.call("GC", &asking).exit_code, 0);
    assert!(!is_known(&node));
}

#[test]
fn a_failing_network_undoes_those_before_it() {
    let mut node = Node::new(&networks());
    node.broken = Some("ADD eth0".into());
    let outcome = node.call("ADD", &config());
    assert_eq!(code(&outcome), 11);
    assert!(
        outcome.stdout.contains("front/bridge: not now"),
        "{}",
        outcome.stdout
    );
    assert_eq!(
        node.calls,
        [
            "ADD eth1 macvlan",
            "ADD eth0 bridge",
            "DEL eth0 bridge",
            "DEL eth1 macvlan"
        ]
    );
    assert!(node.made.is_empty() && node.records.is_empty());
}

/// Three networks, of which the second fails.
fn three() -> (Node, Value) {
    let mut files = networks().to_vec();
    files.push(json!({"cniVersion": "1.0.0", "name": "third", "type": "ptp"}));
    let mut config = config();
    let mut networks = data();
    let third = json!({"type": "third", "podIp": "10.2.0.2/24", "ifName": "eth2"});
    networks.as_array_mut().unwrap().push(third);
    config["networks"] = networks;
    (Node::new(&files), config)
}

#[test]
fn a_network_that_was_not_begun_is_not_undone() {
    let (mut node, config) = three();
    node.broken = Some("ADD eth0".into());
    assert_eq!(code(&node.call("ADD", &config)), 11);
    assert_eq!(
        node.calls[2..],
        ["DEL eth0 bridge", "DEL eth1 macvlan"],
        "whose eth2 is it?"
    );
    // What could not be undone then is what DEL knows of.
    node.calls.clear();
    node.broken = Some("DEL eth1".into());
    node.own_bridge = true;
    assert_eq!(code(&node.call("ADD", &config)), 101);
    node.broken = None;
    assert_eq!(node.call("DEL", &config).exit_code, 0);
    assert_eq!(
        node.calls,
        [
            "ADD eth1 macvlan",
            "ADD eth0 own",
            "DEL eth1 macvlan",
            "DEL eth1 macvlan"
        ],
        "an interface that was there before stays"
    );
    assert!(node.made.is_empty() && node.records.is_empty());
}

#[test]
fn a_collection_leaves_what_another_network_of_the_runtime_has_attached() {
    let mut files = networks();
    files[0]["cniVersion"] = "1.1.0".into();
    files[0]["type"] = "ptp".into();
    let mut node = Node::new(&files);
    let front = json!([data()[1]]);
    let of = |name: &str| {
        let mut config = config();
        config["name"] = name.into();
        config["networks"] = front.clone();
        config
    };
    assert_eq!(node.call("ADD", &of("before")).exit_code, 0);
    assert_eq!(node.call("ADD", &of("after")).exit_code, 0);
    let record = node.records.remove("before/attachments/c1@eth0").unwrap();
    let other = record.replace(r#""containerId":"c1""#, r#""containerId":"c2""#);
    node.records
        .insert("before/attachments/c2@eth0".into(), other);
    let mut collecting = of("after");
    collecting["cni.dev/valid-attachments"] = json!([
        {"containerID": "c1", "ifname": "eth0"}, {"containerID": "c3", "ifname": "eth0"},
    ]);
    assert_eq!(node.call("GC", &collecting).exit_code, 0);
    let told = node.stdins.last().unwrap()["cni.dev/valid-attachments"].to_string();
    for container in ["c1", "c2", "c3"] {
        assert!(told.contains(container), "{told}");
    }
}

/// The number of a process that ended is given to another one, perhaps in another pod.
#[test]
fn plugins_are_sent_into_no_namespace_that_may_be_another_pods_by_now() {
    let mut node = Node::new(&networks());
    for (verb, netns, then) in [
        ("DEL", "/proc/7/ns/net", Some("")),
        ("GC", "/proc/7/ns/net", None),
        ("GC", "/run/netns/c1", None),
    ] {
        node.netns = Some(netns);
        assert_eq!(node.call("ADD", &config()).exit_code, 0);
        assert!(node.namespaces.iter().all(|it| it == netns));
        node.namespaces.clear();
        node.netns = then;
        let mut ending = config();
        ending["cni.dev/valid-attachments"] = json!([]);
        assert_eq!(node.call(verb, &ending).exit_code, 0);
        let sent = if netns.starts_with("/proc/") {
            ""
        } else {
            netns
        };
        assert_eq!(node.namespaces, [sent, sent], "{verb} {netns}");
        assert!(node.made.is_empty());
        node.namespaces.clear();
    }
}

#[test]
fn what_cannot_be_undone_now_is_undone_by_the_next_del() {
    let mut node = Node::new(&networks());
    assert_eq!(node.call("ADD", &config()).exit_code, 0);
    node.broken = Some("DEL eth1".into());
    assert_eq!(code(&node.call("DEL", &config())), 11);
    node.broken = None;
    assert_eq!(node.call("DEL", &config()).exit_code, 0);
    assert!(node.made.is_empty() && node.records.is_empty());
}

/// The node stops at any step of an `ADD`; after the `DEL` that every runtime sends, nothing is
/// left, and the pod can be added again.
#[test]
fn del_after_any_prefix_of_add_leaves_nothing() {
    for prefix in 0.. {
        let mut node = Node::new(&networks());
        node.power = Some(prefix);
        let added = node.call("ADD", &config());
        node.power = None;
        assert_eq!(node.call("DEL", &config()).exit_code, 0);
        assert!(
            node.made.is_empty() && node.records.is_empty(),
            "after {prefix} steps"
        );
        assert_eq!(node.call("ADD", &config()).exit_code, 0);
        if added.exit_code == 0 {
            assert_eq!(prefix, 5, "a lock, two records and two plugins");
            return;
        }
    }
}

#[test]
fn a_collection_undoes_what_is_not_listed() {
    let mut node = Node::new(&networks());
    assert_eq!(node.call("ADD", &config()).exit_code, 0);
    let mut collecting = config();
    assert_eq!(code(&node.call("GC", &collecting)), 7);
    collecting["cni.dev/valid-attachments"] = json!([{"containerID": "c1", "ifname": "eth0"}]);
    assert_eq!(node.call("GC", &collecting).exit_code, 0);
    assert_eq!(node.made.len(), 2);
    collecting["cni.dev/valid-attachments"] = json!([]);
    assert_eq!(node.call("GC", &collecting).exit_code, 0);
    assert!(node.made.is_empty() && node.records.is_empty());
}

#[test]
fn what_is_wrong_is_told_before_anything_is_touched() {
    let with = |key: &str, value: Value| {
        let mut config = config();
        config[key] = value;
        config
    };
    let without_networks = || {
        let mut config = config();
        config.as_object_mut().unwrap().remove("networks");
        config
    };
    let mut unknown = data();
    unknown[0]["type"] = "nowhere".into();
    let mut mask = data();
    mask[1]["subnetMask"] = "".into();
    let (mut implied, mut elsewhere) = (data(), data());
    implied[0]["ifName"] = Value::Null;
    elsewhere[1]["gateway"] = "10.9.0.1".into();
    for (config, text) in [
        (with("networks", json!([])), "0 networks are `master`"),
        (with("networks", unknown), "no network `nowhere`"),
        (with("networks", mask), "networks[1].subnetMask"),
        (
            with("networks", implied),
            "two networks want the interface `eth0`",
        ),
        (with("networks", elsewhere), "`gateway` 10.9.0.1"),
        (with("logLevel", "loud".into()), "`logLevel`"),
        (without_networks(), "neither `backend` nor `networks`"),
    ] {
        let mut node = Node::new(&networks());
        let outcome = node.call("ADD", &config);
        assert_eq!(code(&outcome), 7, "{}", outcome.stdout);
        assert!(outcome.stdout.contains(text), "{}", outcome.stdout);
        assert!(node.calls.is_empty() && node.records.is_empty());
    }
    let absent = json!({"name": "front", "type": "absent"});
    let mut node = Node::new(&[absent, networks()[1].clone()]);
    assert_eq!(code(&node.call("ADD", &config())), 7);
    assert!(node.calls.is_empty());
    assert_eq!(code(&node.call("STATUS", &config())), 50);
    let itself = json!({"name": "front", "type": "dockin-cni"});
    let mut node = Node::new(&[itself, networks()[1].clone()]);
    assert_eq!(code(&node.call("ADD", &config())), 7);
    assert!(node.calls.is_empty());
}
