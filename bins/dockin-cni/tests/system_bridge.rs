//! Bridge networks of our own on a real kernel, in namespaces of the tests' own. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/net.rs"]
mod net;

use std::{
    io::Write,
    thread::sleep,
    time::{Duration, Instant},
};

use dockin_net::{
    bridge::{self, BridgeConfig, Names, Place, World},
    cni::{CniResult, Environment},
    io::BridgeHost,
};
use net::{Call, Net};
use serde_json::{Value, json};

const OURS: &str = env!("CARGO_BIN_EXE_dockin-cni");

fn config(address: &str, more: &Value) -> Value {
    let addresses: Vec<_> = address
        .split(',')
        .map(|it| json!({"address": it}))
        .collect();
    let mut config = json!({
        "cniVersion": "1.1.0", "name": "pods", "type": "bridge", "bridge": "br0",
        "ipam": {"type": "dockin-ipam", "mode": "static", "addresses": addresses},
    });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn call(
    host: &Net,
    pod: &Net,
    verb: &str,
    container: &str,
    config: &Value,
) -> (Option<i32>, Value) {
    let call = Call {
        verb,
        container,
        netns: &pod.path(),
        args: "",
        config,
    };
    host.cni(OURS, &call)
}

fn add(host: &Net, container: &str, config: &Value) -> (Net, Value) {
    let pod = Net::new();
    let (code, answer) = call(host, &pod, "ADD", container, config);
    assert_eq!(code, Some(0), "{config}: {answer}");
    (pod, answer)
}

fn filter(host: &Net) -> String {
    let output = host.run("nft", &["list", "ruleset"]);
    assert!(
        output.status.success(),
        "these tests need the package nftables"
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn two_pods_on_one_bridge_reach_each_other_and_the_host() {
    let host = Net::new();
    let gateway = json!({"isDefaultGateway": true});
    let (one, answer) = add(&host, "c1", &config("10.1.0.2/24,fd01::2/64", &gateway));
    let (two, _) = add(&host, "c2", &config("10.1.0.3/24,fd01::3/64", &gateway));
    for address in ["10.1.0.1", "10.1.0.3", "fd01::1", "fd01::3"] {
        assert!(one.pings(address), "{address}");
    }
    assert!(host.pings("10.1.0.3") && two.pings("fd01::2"));
    // Version 1.1.0 tells the MTU, and where each interface is.
    assert_eq!(answer["interfaces"][2]["sandbox"], one.path());
    for interface in answer["interfaces"].as_array().unwrap() {
        assert_eq!(interface["mtu"], 1500, "{interface}");
    }
    assert_eq!(answer["interfaces"][2]["mac"], "0a:58:0a:01:00:02");
    assert_eq!(answer["ips"][1]["interface"], 2);
}

#[test]
fn an_isolated_port_reaches_the_host_alone() {
    let host = Net::new();
    let isolated = json!({"isDefaultGateway": true, "portIsolation": true});
    let (one, _) = add(&host, "c1", &config("10.1.0.2/24", &isolated));
    let (_two, _) = add(&host, "c2", &config("10.1.0.3/24", &isolated));
    assert!(one.pings("10.1.0.1") && !one.pings("10.1.0.3"));
}

#[test]
fn what_leaves_the_network_is_masqueraded_until_the_end() {
    let (host, outside) = (Net::new(), Net::new());
    host.ip("link add up0 type veth peer name up1");
    host.ip(&format!("link set up1 netns {}", outside.path()));
    for (net, link, four, six) in [
        (&host, "up0", "192.0.2.1/24", "2001:db8::1/64"),
        (&outside, "up1", "192.0.2.2/24", "2001:db8::2/64"),
    ] {
        net.ip(&format!("addr add {four} dev {link}"));
        net.ip(&format!("addr add {six} dev {link} nodad"));
        net.ip(&format!("link set {link} up"));
    }
    let of = |masquerade| json!({"isDefaultGateway": true, "ipMasq": masquerade});
    let masked = config("10.1.0.2/24,fd01::2/64", &of(true));
    let (plain, _) = add(&host, "c0", &config("10.1.0.9/24,fd01::9/64", &of(false)));
    let (pod, _) = add(&host, "c1", &masked);
    // The outside has no way back to the pods' network: only who is masked gets an answer.
    for address in ["192.0.2.2", "2001:db8::2"] {
        assert!(pod.pings(address), "{address}: {}", filter(&host));
        assert!(!plain.pings(address), "{address}");
    }
    assert_eq!(filter(&host).matches("masquerade comment").count(), 2);
    assert_eq!(call(&host, &pod, "DEL", "c1", &masked).0, Some(0));
    assert!(
        !filter(&host).contains("masquerade comment"),
        "{}",
        filter(&host)
    );
}

#[test]
fn packets_from_another_hardware_address_are_dropped() {
    let host = Net::new();
    let checked = config(
        "10.1.0.2/24",
        &json!({"isDefaultGateway": true, "macspoofchk": true}),
    );
    let (pod, _) = add(&host, "c1", &checked);
    assert!(pod.pings("10.1.0.1"));
    pod.ip("link set eth0 address 02:00:00:00:00:01");
    pod.ip("route replace default via 10.1.0.1");
    assert!(!pod.pings("10.1.0.1"), "{}", filter(&host));
    assert_eq!(call(&host, &pod, "DEL", "c1", &checked).0, Some(0));
    assert!(!filter(&host).contains("drop"));
}

#[test]
fn the_same_address_in_a_new_pod_is_reachable_at_once() {
    let host = Net::new();
    let gateway = json!({"isDefaultGateway": true});
    let (neighbour, _) = add(&host, "c0", &config("10.1.0.9/24,fd01::9/64", &gateway));
    for round in 0..5 {
        // Another hardware address each time, so that everybody's memory is wrong.
        let mac = format!("02:00:00:00:00:{:02x}", round + 1);
        let mut wanted = config("10.1.0.2/24,fd01::2/64", &gateway);
        wanted["runtimeConfig"] = json!({"mac": mac});
        let name = format!("c1-{round}");
        let (pod, _) = add(&host, &name, &wanted);
        for (who, from) in [("host", &host), ("neighbour", &neighbour)] {
            for address in ["10.1.0.2", "fd01::2"] {
                assert!(
                    from.pings(address),
                    "round {round}: {address} from the {who}: {}",
                    from.ip("neigh")
                );
            }
        }
        assert_eq!(call(&host, &pod, "DEL", &name, &wanted).0, Some(0));
    }
}

/// As containers are that were started with `net.ipv6.conf.all.disable_ipv6`.
#[test]
fn an_ipv6_address_works_at_once_where_ipv6_is_off() {
    let host = Net::new();
    let wanted = config("10.1.0.2/24,fd01::2/64", &json!({"isDefaultGateway": true}));
    let pod = Net::new();
    let off = "for it in all default; do echo 1 > /proc/sys/net/ipv6/conf/$it/disable_ipv6; done";
    assert!(pod.run("busybox", &["sh", "-c", off]).status.success());
    let (code, answer) = call(&host, &pod, "ADD", "c1", &wanted);
    assert_eq!(code, Some(0), "{answer}");
    for address in ["10.1.0.2", "fd01::2"] {
        assert!(host.pings(address), "{address}: {}", pod.ip("addr"));
    }
    assert!(pod.pings("fd01::1"), "{}", pod.ip("-6 route"));
    assert_eq!(call(&host, &pod, "DEL", "c1", &wanted).0, Some(0));
}

#[test]
fn an_address_that_is_tested_meanwhile_is_reached_at_once() {
    let host = Net::new();
    let wanted = json!({"isDefaultGateway": true, "optimisticDad": true});
    let (neighbour, _) = add(&host, "c0", &config("fd01::9/64", &json!({})));
    let (pod, _) = add(&host, "c1", &config("fd01::2/64", &wanted));
    assert!(neighbour.pings("fd01::2"), "{}", neighbour.ip("neigh"));
    assert!(host.pings("fd01::2"), "{}", pod.ip("-6 addr"));
}

#[test]
fn an_address_that_somebody_has_is_refused_when_asked_for() {
    let host = Net::new();
    let (_other, _) = add(&host, "c0", &config("10.1.0.2/24,fd01::2/64", &json!({})));
    let probing = json!({"conflictProbe": 300, "runtimeConfig": {"mac": "02:00:00:00:00:01"}});
    let detecting = json!({"enabledad": true, "runtimeConfig": {"mac": "02:00:00:00:00:01"}});
    for (address, free, how) in [
        ("10.1.0.2/24", "10.1.0.3/24", &probing),
        ("fd01::2/64", "fd01::3/64", &detecting),
    ] {
        let pod = Net::new();
        let links = host.json("link").len();
        let (code, error) = call(&host, &pod, "ADD", "c1", &config(address, how));
        assert_eq!((code, &error["code"]), (Some(1), &json!(11)), "{error}");
        assert_eq!(host.json("link").len(), links, "the pair was not undone");
        let (code, answer) = call(&host, &pod, "ADD", "c1", &config(free, how));
        assert_eq!(code, Some(0), "{answer}");
        assert_eq!(
            call(&host, &pod, "DEL", "c1", &config(free, how)).0,
            Some(0)
        );
    }
}

#[test]
fn check_finds_what_was_changed_and_a_second_add_harms_nothing() {
    let host = Net::new();
    let wanted = config("10.1.0.2/24", &json!({"isDefaultGateway": true}));
    let (pod, answer) = add(&host, "c1", &wanted);
    let mut checked = wanted.clone();
    checked["prevResult"] = answer;
    let check = || call(&host, &pod, "CHECK", "c1", &checked).0;
    let (code, error) = call(&host, &pod, "ADD", "c1", &wanted);
    assert_eq!((code, &error["code"]), (Some(1), &json!(101)));
    assert_eq!(check(), Some(0));
    for (harm, mend) in [
        ("route del default", "route add default via 10.1.0.1"),
        (
            "addr del 10.1.0.2/24 dev eth0",
            "addr add 10.1.0.2/24 dev eth0",
        ),
    ] {
        pod.ip(harm);
        assert_eq!(check(), Some(1), "{harm}");
        pod.ip(mend);
        let _ = pod.run("ip", &["route", "add", "default", "via", "10.1.0.1"]);
        assert_eq!(check(), Some(0), "{mend}");
    }
    let port = host.json("link show type veth")[0]["ifname"].clone();
    host.ip(&format!("link set {} nomaster", port.as_str().unwrap()));
    assert_eq!(check(), Some(1));
}

#[test]
fn status_and_wrong_namespaces_have_their_codes() {
    let host = Net::new();
    let pod = Net::new();
    let wanted = config("10.1.0.2/24", &json!({}));
    assert_eq!(call(&host, &pod, "STATUS", "", &wanted).0, Some(0));
    host.ip("link add br0 type veth peer name br1");
    assert_eq!(call(&host, &pod, "STATUS", "", &wanted).1["code"], 50);
    host.ip("link del br0");
    for netns in ["/nowhere", "/dev/null"] {
        let call = |verb| Call {
            verb,
            container: "c1",
            netns,
            args: "",
            config: &wanted,
        };
        assert_eq!(host.cni(OURS, &call("ADD")).1["code"], 4, "{netns}");
        assert_eq!(host.cni(OURS, &call("DEL")).0, Some(0), "{netns}");
    }
}

/// DEL after any prefix of ADD leaves nothing but the bridge, which attachments share.
#[test]
fn del_after_any_prefix_of_add_leaves_nothing() {
    let wanted = config(
        "10.1.0.2/24,fd01::2/64",
        &json!({"isDefaultGateway": true, "ipMasq": true, "macspoofchk": true,
            "portIsolation": true}),
    );
    let mut length = usize::MAX;
    let mut done = 0;
    while done < length {
        let (host, pod) = (Net::new(), Net::new());
        length = host.within(|| prefix(&pod.path(), &wanted, done));
        assert!(
            length > 12,
            "{length} steps are too few for this configuration"
        );
        assert_eq!(
            call(&host, &pod, "DEL", "c1", &wanted).0,
            Some(0),
            "after {done} steps"
        );
        let links: Vec<_> = host
            .json("link")
            .into_iter()
            .map(|it| it["ifname"].clone())
            .collect();
        assert!(
            links.len() <= 2 && links.iter().all(|it| it == "lo" || it == "br0"),
            "{links:?}"
        );
        assert_eq!(pod.json("link").len(), 1);
        assert!(
            !filter(&host).contains("dockin veth"),
            "after {done} steps: {}",
            filter(&host)
        );
        done += 1;
    }
}

/// Carries out the first steps of an attachment's plan; how many there are in all.
fn prefix(netns: &str, wanted: &Value, count: usize) -> usize {
    /// Gives the plan away.
    struct Reader(Option<(BridgeConfig, Names)>);
    impl dockin_net::cni::Plugin for Reader {
        fn add(
            &mut self,
            request: &dockin_net::cni::Request<'_>,
            of: &dockin_net::Attachment,
        ) -> Result<CniResult, dockin_net::cni::CniError> {
            let names = Names::new(request.network().as_str(), of);
            self.0 = Some((BridgeConfig::read(request)?, names));
            Ok(CniResult::default())
        }
        fn del(
            &mut self,
            _: &dockin_net::cni::Request<'_>,
            _: &dockin_net::Attachment,
        ) -> Result<(), dockin_net::cni::CniError> {
            Ok(())
        }
        fn check(
            &mut self,
            _: &dockin_net::cni::Request<'_>,
            _: &dockin_net::Attachment,
        ) -> Result<(), dockin_net::cni::CniError> {
            Ok(())
        }
        fn collect(
            &mut self,
            _: &dockin_net::cni::Request<'_>,
        ) -> Result<(), dockin_net::cni::CniError> {
            Ok(())
        }
        fn status(
            &mut self,
            _: &dockin_net::cni::Request<'_>,
        ) -> Result<(), dockin_net::cni::CniError> {
            Ok(())
        }
        fn is_own_namespace(&mut self, _: &str) -> bool {
            false
        }
    }
    let environment = Environment {
        command: "ADD".into(),
        container_id: "c1".into(),
        netns: netns.into(),
        ifname: "eth0".into(),
        path: "/nowhere".into(),
        ..Environment::default()
    };
    let stdin = wanted.to_string();
    let mut reader = Reader(None);
    dockin_net::cni::run(&environment, stdin.as_bytes(), "", &mut reader);
    let (config, names) = reader.0.unwrap();
    let mut world = BridgeHost::default();
    assert!(world.enter(netns).unwrap());
    assert_eq!(world.link(Place::Host, &config.bridge).unwrap(), None);
    let given = world
        .allocate("dockin-ipam", &environment, stdin.as_bytes())
        .unwrap();
    let json = dockin_net::cni::Json::parse(&given.stdout).unwrap();
    let mut result = CniResult::decode(&json.root(), dockin_net::cni::Version::V1_1_0).unwrap();
    bridge::complete(&config, &mut result);
    let mac = bridge::Mac::of_address(result.ips[0].address.address());
    let steps = bridge::plan(&config, &names, None, &result, mac).unwrap();
    let applied = world.apply(&steps[..count]);
    assert_eq!(applied.failed, None);
    assert_eq!(applied.done.len(), count);
    steps.len()
}

#[test]
fn killed_calls_leave_nothing_behind_one_gc() {
    let host = Net::new();
    let leases = tempfile::tempdir().unwrap();
    let wanted = json!({
        "cniVersion": "1.1.0", "name": "pods", "type": "bridge", "bridge": "br0",
        "isDefaultGateway": true, "ipMasq": true,
        "ipam": {"type": "dockin-ipam", "subnet": "10.1.0.0/24", "dataDir": leases.path(),
            "collectAfterSeconds": 0},
    });
    let (_kept, _) = add(&host, "kept", &wanted);
    let mut killed = Vec::new();
    let mut cut = 0;
    for round in 0..40 {
        let pod = Net::new();
        let (name, netns) = (format!("k{round}"), pod.path());
        let call = Call {
            verb: "ADD",
            container: &name,
            netns: &netns,
            args: "",
            config: &wanted,
        };
        let mut child = host.within(|| call.command(OURS).spawn().unwrap());
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(wanted.to_string().as_bytes()).unwrap();
        drop(stdin);
        sleep(Duration::from_micros(round * 400));
        child.kill().unwrap();
        cut += usize::from(!child.wait().unwrap().success());
        // The namespace lives on: nothing is tidied up by its end.
        killed.push(pod);
    }
    assert!(cut > 0, "every call was done before it was killed");
    let mut collect = wanted.clone();
    collect["cni.dev/valid-attachments"] = json!([{"containerID": "kept", "ifname": "eth0"}]);
    let (code, error) = call(&host, &killed[0], "GC", "", &collect);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(host.json("link show type veth").len(), 1);
    assert_eq!(filter(&host).matches("masquerade comment").count(), 1);
    for pod in &killed {
        assert_eq!(pod.json("link").len(), 1);
    }
    // All addresses but the gateway's and that of the pod that stayed are free again.
    let mut pods = Vec::new();
    for round in 0..252 {
        let pod = Net::new();
        let environment = Environment {
            command: "ADD".into(),
            container_id: format!("f{round}"),
            netns: pod.path(),
            ifname: "eth0".into(),
            path: "/nowhere".into(),
            ..Environment::default()
        };
        let stdin = wanted.to_string();
        let given = BridgeHost::default().allocate("dockin-ipam", &environment, stdin.as_bytes());
        let given = given.unwrap();
        assert!(
            given.success,
            "{round}: {}",
            String::from_utf8_lossy(&given.stdout)
        );
        pods.push(pod);
    }
}

#[test]
fn a_pod_without_addresses_has_its_interface() {
    let host = Net::new();
    let wanted = config("10.1.0.2/24", &json!({"ipam": {}, "cniVersion": "1.0.0"}));
    let (pod, answer) = add(&host, "c1", &wanted);
    assert_eq!(answer["interfaces"].as_array().unwrap().len(), 3);
    let begun = Instant::now();
    while pod.json("link show eth0")[0]["operstate"] != "UP" {
        assert!(begun.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_millis(5));
    }
    assert_eq!(call(&host, &pod, "DEL", "c1", &wanted).0, Some(0));
}

#[test]
fn a_kernel_without_vlans_says_so_and_nothing_stays() {
    let host = Net::new();
    let probe = host.run(
        "ip",
        &["link", "add", "t0", "type", "bridge", "vlan_filtering", "1"],
    );
    let pod = Net::new();
    let vlan = config(
        "10.1.0.2/24",
        &json!({"vlan": 7, "preserveDefaultVlan": false}),
    );
    let (code, answer) = call(&host, &pod, "ADD", "c1", &vlan);
    if probe.status.success() {
        assert_eq!(code, Some(0), "{answer}");
        let vlans = host.run("bridge", &["-j", "vlan", "show"]);
        let vlans = String::from_utf8(vlans.stdout).unwrap();
        assert!(
            vlans.contains("\"vlan\":7") && vlans.contains("PVID"),
            "{vlans}"
        );
    } else {
        assert_eq!(code, Some(1), "{answer}");
        assert!(
            answer["msg"].as_str().unwrap().contains("kernel"),
            "{answer}"
        );
        assert_eq!(pod.json("link").len(), 1);
    }
    assert_eq!(call(&host, &pod, "DEL", "c1", &vlan).0, Some(0));
}
