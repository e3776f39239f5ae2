//! Real runtimes with our network plugins: containerd's CRI with two networks of a resource
//! manager, `ctr run --cni`, and each of our plugins with the reference's other half. Everything
//! is in namespaces of the tests' own. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "a failed unwrap is a failed test"
)]

#[path = "support/pod_node.rs"]
mod pod_node;

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
};

use dockin_harness::{Cri, binary, run};
use pod_node::PodNode;
use serde_json::{Value, json};

/// A gateway on the node's loopback, whose resource manager has two networks for every pod.
struct Gateway {
    child: Child,
    address: String,
    config: String,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Gateway {
    fn start(node: &PodNode) -> Self {
        let data = node.path("gateway");
        let mut init = Command::new(binary("dockin-opserver"));
        let made = run(init.args(["init", "--listen", "127.0.0.1:0", "--data", &data]));
        assert!(made.status.success(), "{made:?}");
        fs::write(
            format!("{data}/plugin-token"),
            "0123456789abcdef0123456789abcdef",
        )
        .unwrap();
        let config = format!("{data}/opserver.yaml");
        let manager = "resource_manager:\n  token: plugin-token\n  data: addresses\n  networks:\n    \
            - { name: web, interface: eth0, subnet: 10.70.0.0/24, master: true }\n    \
            - { name: data, interface: net1, subnet: 10.71.0.0/24 }\n";
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text + manager).unwrap();
        let (child, address) = serve(node, &config);
        Self {
            child,
            address,
            config,
        }
    }

    /// `kill -9`.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        let _status = self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    fn restart(&mut self, node: &PodNode) {
        let text = fs::read_to_string(&self.config).unwrap();
        let text = text.replace("127.0.0.1:0", &self.address);
        fs::write(&self.config, text).unwrap();
        let (child, address) = serve(node, &self.config);
        self.child = child;
        assert_eq!(address, self.address);
    }
}

fn serve(node: &PodNode, config: &str) -> (Child, String) {
    let program = binary("dockin-opserver").display().to_string();
    let mut child = node
        .command(&program)
        .args(["serve", "--config", config])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = lines.by_ref().map(Result::unwrap);
    let said = said.find_map(|line| Some(line.strip_prefix("listening on https://")?.to_owned()));
    let address = said.unwrap_or_else(|| panic!("the gateway ended: {:?}", child.wait()));
    // Somebody must read what it goes on to say.
    thread::spawn(move || lines.for_each(drop));
    (child, address)
}

/// Installs the plugins and their configuration as the plugins' README tells a new operator to.
fn install(node: &PodNode, gateway: &Gateway) {
    let folder = node.path("install");
    fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| format!("{folder}/{name}");
    // One bridge is made by ourselves, the other by the reference's plugin with our addresses.
    for (name, bridge, driver) in [("web", "br-web", "netlink"), ("data", "br-data", "exec")] {
        let network = json!({"cniVersion": "1.0.0", "name": name, "type": "bridge",
            "bridge": bridge, "isGateway": true, "driver": driver});
        fs::write(file(&format!("{name}.conf")), network.to_string()).unwrap();
    }
    let conf = json!({
        "cniVersion": "1.0.0", "name": "dockin", "type": "dockin-cni",
        "backend": format!("https://{}/rmController/getPodMultiNetwork", gateway.address),
        "backendAuthority": "/etc/cni/dockin/ca.pem",
        "backendToken": "/etc/cni/dockin/plugin-token",
        "stateDir": node.path("state-cni"),
    });
    fs::write(file("10-dockin.conf"), conf.to_string()).unwrap();
    for (from, to) in [("tls/ca.pem", "ca.pem"), ("plugin-token", "plugin-token")] {
        fs::copy(node.path(&format!("gateway/{from}")), file(to)).unwrap();
    }
    let program = binary("dockin-cni").display().to_string();
    let mut command = node.command(&program);
    command.arg("install");
    for (word, name) in [
        ("--network", "web.conf"),
        ("--network", "data.conf"),
        ("--secret", "ca.pem"),
        ("--secret", "plugin-token"),
        ("--conf", "10-dockin.conf"),
    ] {
        command.arg(word).arg(file(name));
    }
    let installed = run(&mut command);
    assert!(installed.status.success(), "{installed:?}");
}

/// What the plugins remember below the node's folder of these names: files that are neither locks
/// nor leases.
fn records(node: &PodNode, name: &str) -> Vec<String> {
    let listed = node.run("find", &[&node.path(name), "-type", "f"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let kept = listed.lines().filter(|line| !line.ends_with("/lock"));
    kept.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_containerd_have_two_networks_of_the_gateways_resource_manager_and_leave_nothing() {
    let node = PodNode::start();
    let mut gateway = Gateway::start(&node);
    install(&node, &gateway);
    let cri = Cri::at(node.socket()).await;
    let mut pods = Vec::new();
    for name in ["one-0", "two-0"] {
        let pod = cri.pod("shop", name).await;
        pods.push(pod.unwrap_or_else(|error| panic!("{error}\n{}", node.log())));
    }
    let [one, two] = pods.as_slice() else {
        panic!("two pods")
    };
    assert_eq!([one.ip(), two.ip()], ["10.70.0.2", "10.70.0.3"]);
    for (pod, others) in [
        (one, ["10.70.0.3", "10.71.0.3"]),
        (two, ["10.70.0.2", "10.71.0.2"]),
    ] {
        for address in others.into_iter().chain(["10.70.0.1", "10.71.0.1"]) {
            assert!(node.pings(pod.id(), address), "{address} from {}", pod.ip());
        }
    }
    assert_eq!(node.address(one.id(), "net1"), "10.71.0.2");
    assert_eq!(node.links().len(), 4, "{:?}", node.links());
    // The gateway is gone: a known pod is started again with its addresses, another one is not.
    gateway.kill();
    pods.remove(0).remove().await;
    let again = cri.pod("shop", "one-0").await.unwrap();
    assert_eq!(again.ip(), "10.70.0.2");
    assert!(node.pings(again.id(), "10.71.0.3"));
    let links = node.links();
    let refused = cri.pod("shop", "three-0").await.err().unwrap();
    assert!(refused.to_string().contains("backend"), "{refused}");
    assert_eq!(node.links(), links);
    // And when it is back, that one has addresses of its own.
    gateway.restart(&node);
    let three = cri.pod("shop", "three-0").await.unwrap();
    assert_eq!(three.ip(), "10.70.0.4");
    assert_eq!(node.address(three.id(), "net1"), "10.71.0.4");
    for pod in [again, three, pods.remove(0)] {
        pod.remove().await;
    }
    assert_eq!(node.links(), Vec::<String>::new());
    let kept = records(&node, "state-cni");
    assert!(
        !kept.iter().any(|file| file.contains("attachments/")),
        "{kept:?}"
    );
}

/// Two containers of `ctr run --cni` reach each other under their addresses, and nothing is left
/// of them among the leases and the links.
fn reach_each_other(node: &PodNode, plugin: &Value, addresses: [&str; 2]) {
    node.configure(plugin);
    let one = node.run_container("one");
    let two = node.run_container("two");
    assert_eq!(node.address("one", "eth0"), addresses[0]);
    assert_eq!(node.address("two", "eth0"), addresses[1]);
    assert!(
        node.pings("one", addresses[1]) && node.pings("two", addresses[0]),
        "{plugin}"
    );
    node.end("one", one);
    node.end("two", two);
    assert_eq!(node.links(), Vec::<String>::new(), "{plugin}");
    let leases = node.path("leases");
    let words = ["pool", "--data-dir", &leases, "show", "pods"];
    for held in [
        node.run("/opt/cni/bin/dockin-ipam", &words),
        node.run("ls", &[&format!("{leases}/pods")]),
    ] {
        let text = String::from_utf8(held.stdout).unwrap();
        assert!(
            held.status.success() && !addresses.iter().any(|it| text.contains(it)),
            "{text}"
        );
    }
}

#[test]
fn containers_of_ctr_are_attached_by_any_half_of_ours_and_the_references() {
    let node = PodNode::start();
    let leases = node.path("leases");
    let ours = |subnet: &str| json!({"type": "dockin-ipam", "subnet": subnet, "dataDir": leases});
    let theirs = |subnet: &str| json!({"type": "host-local", "subnet": subnet, "dataDir": leases});
    for (kind, ipam, addresses) in [
        (
            "dockin-bridge",
            ours("10.72.0.0/24"),
            ["10.72.0.2", "10.72.0.3"],
        ),
        ("bridge", ours("10.73.0.0/24"), ["10.73.0.2", "10.73.0.3"]),
        (
            "dockin-bridge",
            theirs("10.74.0.0/24"),
            ["10.74.0.2", "10.74.0.3"],
        ),
    ] {
        let third = addresses[0].split('.').nth(1).unwrap();
        let plugin = json!({"type": kind, "bridge": format!("br{third}"), "isGateway": true,
            "ipMasq": false, "ipam": ipam});
        reach_each_other(&node, &plugin, addresses);
    }
}
