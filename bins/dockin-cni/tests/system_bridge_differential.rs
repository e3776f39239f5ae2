//! The same configurations to the reference's `bridge` and to ours: the same results, and the same
//! links, addresses and routes on both sides.
//!
//! Needs root and the package `containernetworking-plugins`, whose programs Debian puts where
//! `CNI_REFERENCE_DIR` says otherwise. `DIFFERENTIAL_SEED` makes other configurations.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/net.rs"]
mod net;

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use net::{Call, Net, plugins};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, RngSeed, TestRunner},
};
use serde_json::{Value, json};

const OURS: &str = env!("CARGO_BIN_EXE_dockin-cni");

/// What one plugin did with one configuration: result, state after `ADD` and after `DEL`.
fn outcome(program: &str, prepare: &str, args: &str, config: &Value) -> Value {
    let (host, pod) = (Net::new(), Net::new());
    for words in prepare.split(';').filter(|it| !it.is_empty()) {
        host.ip(words.trim());
    }
    let netns = pod.path();
    let call = |verb, config| Call {
        verb,
        container: "c1",
        netns: &netns,
        args,
        config,
    };
    let (code, answer) = host.cni(program, &call("ADD", config));
    if code != Some(0) {
        // The reference leaves what it made so far.
        return json!({"code": code, "failed": true});
    }
    let mut checked = config.clone();
    checked["prevResult"] = answer.clone();
    let check = host.cni(program, &call("CHECK", &checked)).0;
    // CHECK came with 0.4.0. The reference finds a route without gateway to be wrong that it made itself.
    assert!(
        program != OURS
            || check == Some(0)
            || ["0.2.0", "0.3.1"]
                .iter()
                .any(|it| config["cniVersion"] == *it),
        "CHECK after ADD: {config}"
    );
    settle(&[&host, &pod]);
    let during = json!({"host": host.state(), "pod": pod.state()});
    let gone = host.cni(program, &call("DEL", config)).0;
    let again = host.cni(program, &call("DEL", config)).0;
    json!({
        "code": code, "result": normal(answer), "during": during,
        "del": [gone, again], "after": {"host": names(&host), "pod": pod.state()},
    })
}

/// The names of the links: whether an empty bridge has noticed that it is empty is chance.
fn names(net: &Net) -> Vec<Value> {
    net.json("link")
        .into_iter()
        .map(|it| it["ifname"].clone())
        .collect()
}

/// Waits until the kernel has tested its own addresses.
fn settle(nets: &[&Net]) {
    let begun = Instant::now();
    for net in nets {
        while net.ip("-6 addr").contains("tentative") && begun.elapsed() < Duration::from_secs(5) {
            sleep(Duration::from_millis(50));
        }
    }
}

/// A result without what differs by chance; `mtu` is of newer versions than the reference's.
fn normal(mut result: Value) -> Value {
    for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
        let name = interface["name"].as_str().unwrap().to_owned();
        if name.starts_with("veth") {
            interface["name"] = "veth".into();
        }
        let object = interface.as_object_mut().unwrap();
        assert!(
            object.remove("mac").is_some(),
            "{name} has no hardware address"
        );
        if let Some(sandbox) = object.get_mut("sandbox") {
            *sandbox = "pod".into();
        }
    }
    // An empty `dns` is as good as none.
    if result["dns"] == json!({}) {
        result.as_object_mut().unwrap().remove("dns");
    }
    result
}

fn agree(prepare: &str, args: &str, config: &Value) {
    let theirs = outcome(&format!("{}/bridge", plugins()), prepare, args, config);
    let ours = outcome(OURS, prepare, args, config);
    let (theirs, ours) = (lines(&theirs), lines(&ours));
    let only = |one: &[String], other: &[String]| {
        one.iter()
            .filter(|it| !other.contains(it))
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert!(
        theirs == ours,
        "{prepare} {args} {config}\nonly the reference:\n{}\nonly ours:\n{}",
        only(&theirs, &ours),
        only(&ours, &theirs),
    );
}

/// A value as one line for each element of its lists.
fn lines(value: &Value) -> Vec<String> {
    fn walk(path: &str, value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(members) if path.matches('/').count() < 3 => {
                for (key, value) in members {
                    walk(&format!("{path}/{key}"), value, into);
                }
            }
            Value::Array(list) => {
                for (index, value) in list.iter().enumerate() {
                    into.push(format!("{path}[{index}] {value}"));
                }
            }
            other => into.push(format!("{path} {other}")),
        }
    }
    let mut all = Vec::new();
    walk("", value, &mut all);
    all
}

fn config(more: &Value, addresses: &[&str]) -> Value {
    let addresses: Vec<_> = addresses.iter().map(|it| json!({"address": it})).collect();
    let mut config = json!({
        "cniVersion": "1.0.0", "name": "pods", "type": "bridge", "bridge": "br0",
        "ipam": {"type": "static", "addresses": addresses},
    });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

#[test]
fn a_table_of_configurations_has_the_same_effects() {
    let four = &["10.1.0.2/24"][..];
    let both = &["10.1.0.2/24", "fd01::2/64"][..];
    for (prepare, args, more, addresses) in [
        ("", "", json!({}), four),
        ("", "", json!({"isGateway": true}), four),
        ("", "", json!({"isDefaultGateway": true}), four),
        ("", "", json!({"isDefaultGateway": true}), both),
        ("", "", json!({"isDefaultGateway": true}), &["fd01::2/64"]),
        (
            "",
            "",
            json!({"isDefaultGateway": true, "mtu": 1400, "hairpinMode": true}),
            four,
        ),
        (
            "",
            "",
            json!({"promiscMode": true, "isGateway": true}),
            four,
        ),
        (
            "",
            "",
            json!({"hairpinMode": true, "promiscMode": true}),
            four,
        ),
        (
            "",
            "",
            json!({"cniVersion": "0.2.0", "isDefaultGateway": true}),
            both,
        ),
        (
            "",
            "",
            json!({"cniVersion": "0.4.0", "isDefaultGateway": true}),
            both,
        ),
        ("", "", json!({"dns": {"nameservers": ["9.9.9.9"]}}), four),
        ("", "MAC=c2:11:22:33:44:55", json!({}), four),
        ("", "MAC=c2:11", json!({}), four),
        (
            "",
            "",
            json!({"runtimeConfig": {"mac": "c2:11:22:33:44:66"}}),
            four,
        ),
        ("", "", json!({"ipam": {}}), four),
        ("", "", json!({"vlan": 5000}), four),
        ("", "", json!({"isGateway": "yes"}), four),
        (
            "",
            "",
            json!({"ipam": {"type": "static", "addresses": [
            {"address": "10.1.0.2/24", "gateway": "10.1.0.254"}],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "172.16.0.0/12", "gw": "10.1.0.9"}]}}),
            four,
        ),
        ("link add br0 type veth peer name br1", "", json!({}), four),
        (
            "link add br0 type bridge",
            "",
            json!({"isGateway": true}),
            four,
        ),
        (
            "link add br0 type bridge;link set br0 up;addr add 10.9.0.1/16 dev br0",
            "",
            json!({"isGateway": true}),
            four,
        ),
        (
            "link add br0 type bridge;link set br0 up;addr add 10.9.0.1/16 dev br0",
            "",
            json!({"isGateway": true, "forceAddress": true}),
            four,
        ),
        (
            "link add br0 type bridge;link set br0 up;addr add 10.1.0.1/24 dev br0",
            "",
            json!({"isGateway": true}),
            four,
        ),
    ] {
        agree(prepare, args, &config(&more, addresses));
    }
}

#[test]
fn the_reference_of_addresses_works_under_our_bridge() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let ipam = |directory: String| {
        json!({"isDefaultGateway": true, "ipam": {"type": "host-local", "dataDir": directory,
            "subnet": "10.1.0.0/24", "routes": [{"dst": "192.0.2.0/24"}]}})
    };
    let theirs = config(&ipam(at("a")), &[]);
    let theirs = outcome(&format!("{}/bridge", plugins()), "", "", &theirs);
    let ours = outcome(OURS, "", "", &config(&ipam(at("b")), &[]));
    assert_eq!(lines(&theirs), lines(&ours));
    assert_eq!(ours["result"]["ips"][0]["address"], "10.1.0.2/24");
    let held = std::fs::read_dir(directory.path().join("b/pods")).unwrap();
    let held = held.filter(|it| {
        it.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains("10.1")
    });
    assert_eq!(held.count(), 0, "the address was not released");
}

#[test]
fn random_configurations_have_the_same_effects() {
    let seed = std::env::var("DIFFERENTIAL_SEED")
        .ok()
        .and_then(|it| it.parse().ok());
    let mut runner = TestRunner::new(Config {
        cases: 25,
        rng_seed: RngSeed::Fixed(seed.unwrap_or(7)),
        failure_persistence: None,
        ..Config::default()
    });
    let flag = || proptest::option::weighted(0.4, any::<bool>());
    let address = select(vec![
        vec!["10.1.0.2/24"],
        vec!["10.1.0.2/16"],
        vec!["10.1.0.2/31"],
        vec!["10.1.0.2/32"],
        vec!["fd01::2/64"],
        vec!["10.1.0.2/24", "fd01::2/64"],
        vec!["10.1.0.2/24", "10.2.0.2/24"],
    ]);
    let route = select(vec![
        json!([]),
        json!([{"dst": "0.0.0.0/0"}]),
        json!([{"dst": "192.0.2.0/24", "gw": "10.1.0.1"}]),
        json!([{"dst": "::/0"}]),
        json!([{"dst": "192.0.2.0/24"}, {"dst": "198.51.100.0/24"}]),
    ]);
    let gateway = proptest::option::of(select(vec!["10.1.0.1", "10.1.0.9", "fd01::9"]));
    let version = select(vec!["0.3.1", "0.4.0", "1.0.0"]);
    let mtu = proptest::option::of(select(vec![1280, 1500, 9000]));
    let all = (
        flag(),
        flag(),
        flag(),
        flag(),
        mtu,
        address,
        route,
        gateway,
        version,
    );
    let done = runner.run(
        &all,
        |(is, default, hairpin, promisc, mtu, address, route, gateway, version)| {
            let mut config = config(&json!({"cniVersion": version}), &address);
            for (key, value) in [
                ("isGateway", is),
                ("isDefaultGateway", default),
                ("hairpinMode", hairpin),
                ("promiscMode", promisc),
            ] {
                if let Some(value) = value {
                    config[key] = value.into();
                }
            }
            if let Some(mtu) = mtu {
                config["mtu"] = mtu.into();
            }
            if let Some(gateway) = gateway {
                config["ipam"]["addresses"][0]["gateway"] = gateway.into();
            }
            // A default route without gateway beside `isDefaultGateway` is one route twice: the
            // reference fails on it, ours has it once.
            let once = default != Some(true) || !route.to_string().contains("/0\"");
            config["ipam"]["routes"] = if once { route } else { json!([]) };
            agree("", "", &config);
            Ok(())
        },
    );
    done.unwrap();
}
