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
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use dockin_harness::Cri;
use dockin_net::{
    Cidr, Format, InterfaceName, NetworkName, Place, Policy, Pool, Range, RangeSet,
    RangeSpec, Sticky, StoreError, Timestamp,
    io::Host,
    ipam,
    resource_manager::{self, LeaseRegister, Network, Register},
};
use pod_node::PodNode;
use serde_json::{Value, json};

/// The leases of the resource manager, in a folder.
struct Leases(String);

impl resource_manager::World for Leases {
    fn now(&mut self) -> Timestamp {
        ipam::World::now(&mut Host)
    }

    fn open(&mut self, network: &str) -> Result<Box<dyn Register>, StoreError> {
        let leases = ipam::World::open(
            &mut Host,
            &Place {
                directory: self.0.clone(),
                network: NetworkName::parse(network).unwrap(),
                format: Format::Table,
            },
        )?;
        Ok(Box::new(LeaseRegister::new(leases)))
    }
}

fn network(name: &str, interface: &str, master: bool, subnet: &str) -> Network {
    let spec = RangeSpec {
        subnet: Some(Cidr::parse(subnet).unwrap()),
        ..RangeSpec::default()
    };
    let set = RangeSet::new(vec![Range::new(&spec).unwrap()]).unwrap();
    let policy = Policy {
        sticky: Sticky::Pod,
        ..Policy::default()
    };
    Network {
        name: name.into(),
        interface: InterfaceName::parse(interface).unwrap(),
        master,
        pool: Pool::new(name, vec![set]).unwrap().with_policy(policy),
    }
}

/// Answers the plugins' questions with the library's service until the test ends; its address.
fn manage(listener: TcpListener, leases: String) -> String {
    let networks = [
        network("web", "eth0", true, "10.70.0.0/24"),
        network("data", "net1", false, "10.71.0.0/24"),
    ];
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            reply(stream.unwrap(), &networks, &mut Leases(leases.clone()));
        }
    });
    format!("http://{address}/rmController/getPodMultiNetwork")
}

fn reply(mut stream: TcpStream, networks: &[Network], leases: &mut Leases) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
    let text = String::from_utf8(request).unwrap();
    let mut words = text.split(' ');
    let method = words.next().unwrap();
    let call = words.next().unwrap().trim_start_matches("/rmController/");
    let answer = resource_manager::answer(networks, method, call, leases);
    let (status, length) = (answer.status, answer.body.len());
    let head = format!("HTTP/1.1 {status} \r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + &answer.body).as_bytes()).unwrap();
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
async fn pods_of_containerd_have_two_networks_of_the_resource_manager_and_leave_nothing() {
    let node = PodNode::start();
    let backend = manage(node.listen(), node.path("manager"));
    for (name, bridge) in [("web", "br-web"), ("data", "br-data")] {
        let file = json!({"cniVersion": "1.0.0", "name": name, "type": "bridge",
            "bridge": bridge, "isGateway": true});
        let directory = node.path("networks");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(format!("{directory}/{name}.conf"), file.to_string()).unwrap();
    }
    node.configure(&json!({"type": "dockin-cni", "backend": backend,
        "confDir": node.path("networks"), "stateDir": node.path("state-cni")}));
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
    // The same pod, started again, has its addresses again.
    pods.remove(0).remove().await;
    let again = cri.pod("shop", "one-0").await.unwrap();
    assert_eq!(again.ip(), "10.70.0.2");
    assert!(node.pings(again.id(), "10.71.0.3"));
    again.remove().await;
    pods.remove(0).remove().await;
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
