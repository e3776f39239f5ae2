//! Networks made by chains of plugins, ours and Debian's, for one pod: all of them or none, and
//! gone when nothing is left to say what they were. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/net.rs"]
mod net;

use std::{fs, path::Path};

use net::{Call, Net};
use serde_json::{Value, json};

const OURS: &str = env!("CARGO_BIN_EXE_dockin-cni");

/// Two networks; `last` is the last plugin of the second one.
fn config(directory: &Path, last: &Value) -> Value {
    let files = directory.join("net.d");
    fs::create_dir_all(&files).unwrap();
    // Debian's `portmap` misses rules of IPv6 at CHECK, which this version does not have yet.
    let front = json!({"cniVersion": "0.3.1", "name": "front", "plugins": [
        {"type": "bridge", "bridge": "br0", "isGateway": true},
        {"type": "portmap", "capabilities": {"portMappings": true}, "snat": false},
    ]});
    let back = json!({"cniVersion": "0.4.0", "name": "back", "plugins": [
        {"type": "bridge", "bridge": "br1"}, last,
    ]});
    for (name, file) in [("10.conflist", front), ("20.conflist", back)] {
        fs::write(files.join(name), file.to_string()).unwrap();
    }
    json!({
        "cniVersion": "1.0.0", "name": "pods", "type": "dockin-cni",
        "confDir": files, "stateDir": directory.join("state"),
        "networks": [
            {"type": "back", "podIp": "10.2.0.2/24", "gateway": "10.2.0.1", "ifName": "net1"},
            {"type": "front", "podIp": "10.1.0.2", "subnetMask": "ffffff00",
                "gateway": "10.1.0.1", "master": true},
        ],
        "runtimeConfig": {"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        ]},
    })
}

fn call(host: &Net, pod: &Net, verb: &str, config: &Value) -> (Option<i32>, Value) {
    let of = Call {
        verb,
        container: "c1",
        netns: &pod.path(),
        args: "K8S_POD_NAME=web-0;K8S_POD_NAMESPACE=shop",
        config,
    };
    host.cni(OURS, &of)
}

/// Ports of bridges, interfaces of the pod, rules for the mapped port.
fn left(host: &Net, pod: &Net) -> (usize, usize, usize) {
    let rules = host.run("iptables", &["-t", "nat", "-S"]);
    assert!(rules.status.success(), "{rules:?}");
    let rules = String::from_utf8(rules.stdout).unwrap();
    (
        host.json("link show type veth").len(),
        pod.json("link").len() - 1,
        rules.matches("8080").count(),
    )
}

const NOTHING: (usize, usize, usize) = (0, 0, 0);

#[test]
fn a_pod_has_two_networks_its_port_and_one_default_route_until_all_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let (host, pod) = (Net::new(), Net::new());
    let tuning = json!({"type": "tuning", "sysctl": {"net.ipv4.conf.all.arp_filter": "1"}});
    let config = config(directory.path(), &tuning);
    let (code, result) = call(&host, &pod, "ADD", &config);
    assert_eq!(code, Some(0), "{result}");
    let of = |index: usize| {
        let ip = &result["ips"][index];
        let on = usize::try_from(ip["interface"].as_u64().unwrap()).unwrap();
        (
            ip["address"].clone(),
            result["interfaces"][on]["name"].clone(),
        )
    };
    assert_eq!(of(0), (json!("10.1.0.2/24"), json!("eth0")));
    assert_eq!(of(1), (json!("10.2.0.2/24"), json!("net1")));
    assert_eq!(
        result["routes"],
        json!([{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}])
    );
    let routes = pod.ip("route show default");
    assert!(routes.starts_with("default via 10.1.0.1 dev eth0") && routes.lines().count() == 1);
    let (ports, interfaces, rules) = left(&host, &pod);
    assert!((ports, interfaces) == (2, 2) && rules > 0, "{rules}");
    assert_eq!(call(&host, &pod, "CHECK", &config), (Some(0), Value::Null));
    pod.ip("addr del 10.2.0.2/24 dev net1");
    let (code, error) = call(&host, &pod, "CHECK", &config);
    assert_eq!((code, &error["code"]), (Some(1), &json!(101)));
    assert!(
        error["msg"].as_str().unwrap().contains("back/bridge"),
        "{error}"
    );
    // The networks' files are gone, and what the runtime says is nonsense.
    fs::remove_dir_all(directory.path().join("net.d")).unwrap();
    let mut ending = config;
    ending["networks"] = json!("?");
    for _ in 0..2 {
        assert_eq!(call(&host, &pod, "DEL", &ending), (Some(0), Value::Null));
        assert_eq!(left(&host, &pod), NOTHING);
    }
}

#[test]
fn the_last_plugin_of_the_last_network_fails_and_nothing_of_the_others_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (host, pod) = (Net::new(), Net::new());
    let failing = json!({"type": "tuning", "sysctl": {"net.ipv4.there_is_none": "1"}});
    let mut config = config(directory.path(), &failing);
    config["networks"].as_array_mut().unwrap().reverse();
    let (code, error) = call(&host, &pod, "ADD", &config);
    assert_eq!(code, Some(1), "{error}");
    assert!(
        error["msg"].as_str().unwrap().contains("ADD back/tuning"),
        "{error}"
    );
    assert_eq!(left(&host, &pod), NOTHING);
    let kept = fs::read_dir(directory.path().join("state/pods/attachments"));
    assert_eq!(kept.unwrap().count(), 0);
}
