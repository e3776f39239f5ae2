//! The resource manager's calls, and that what it answers is what the plugin reads.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/memory.rs"]
mod memory;

use dockin_net::{
    Cidr, InterfaceName, LeaseStore, Pool, Range, RangeSet, RangeSpec, StoreError, Timestamp,
    resource_manager::{LeaseRegister, Network, Register, Response, World, answer, read_answer},
};
use memory::Memory;
use serde_json::{Value, json};

fn network(name: &str, interface: &str, subnet: &str, master: bool) -> Network {
    let range = Range::new(&RangeSpec {
        subnet: Some(Cidr::parse(subnet).unwrap()),
        ..RangeSpec::default()
    });
    let set = RangeSet::new(vec![range.unwrap()]).unwrap();
    Network {
        name: name.into(),
        interface: InterfaceName::parse(interface).unwrap(),
        master,
        pool: Pool::new("", vec![set]).unwrap(),
    }
}

fn networks() -> [Network; 2] {
    [
        network("webank", "eth0", "10.0.0.0/29", true),
        network("storage", "eth1", "fd00::/64", false),
    ]
}

#[derive(Default)]
struct Machine(Memory);

impl World for Machine {
    fn now(&mut self) -> Timestamp {
        Timestamp(self.0.now)
    }

    fn open(&mut self, network: &str) -> Result<Box<dyn Register>, StoreError> {
        let leases = Box::new(self.0.store(network));
        Ok(Box::new(LeaseRegister::new(leases)))
    }
}

impl Machine {
    fn get(&mut self, call: &str) -> Response {
        answer(&networks(), "GET", call, self)
    }

    fn data(&mut self, call: &str) -> Value {
        let response = self.get(call);
        let envelope: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(
            (response.status, &envelope["code"]),
            (200, &json!(0)),
            "{envelope}"
        );
        envelope["data"].clone()
    }

    fn refusal(&mut self, method: &str, call: &str) -> (u16, String) {
        let response = answer(&networks(), method, call, self);
        let envelope: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(envelope["code"], -1, "{envelope}");
        (
            response.status,
            envelope["message"].as_str().unwrap().into(),
        )
    }
}

#[test]
fn a_pod_gets_its_networks_and_the_same_addresses_at_every_question() {
    let mut machine = Machine::default();
    let call = "getPodMultiNetwork?podName=web-0&namespace=shop&containerId=c1";
    let first = machine.data(call);
    assert_eq!(
        first,
        json!([
            {"type": "webank", "podIp": "10.0.0.2", "subnetMask": "255.255.255.248",
             "gateway": "10.0.0.1", "ifName": "eth0", "master": true,
             "podName": "web-0", "namespace": "shop"},
            {"type": "storage", "podIp": "fd00::2", "subnetMask": "64",
             "gateway": "fd00::1", "ifName": "eth1", "master": false,
             "podName": "web-0", "namespace": "shop"},
        ])
    );
    assert_eq!(machine.data(&call.replace("c1", "c2")), first);
    let other = machine.data("getPodMultiNetwork?podName=web-0&namespace=test");
    assert_eq!(other[0]["podIp"], "10.0.0.3");
    // And the plugin reads it.
    let attached = read_answer(machine.get(call).body.as_bytes()).unwrap();
    assert_eq!(attached[0].address.to_string(), "10.0.0.2/29");
    assert_eq!(attached[1].address.to_string(), "fd00::2/64");
}

#[test]
fn a_pod_is_found_by_name_and_address_until_it_is_released() {
    let mut machine = Machine::default();
    machine.data("getPodMultiNetwork?podName=web-0");
    let by_name = machine.data("getPodInfoByPodName?podName=web-0&namespace=default");
    assert_eq!(
        (
            &by_name["podName"],
            &by_name["namespace"],
            &by_name["podIp"]
        ),
        (&json!("web-0"), &json!("default"), &json!("10.0.0.2"))
    );
    assert_eq!(machine.data("getPodInfoByPodIp?podIp=10.0.0.2"), by_name);
    assert_eq!(
        machine.data("getPodNetworkInfo?podName=web%2D0"),
        json!({"podIp": "10.0.0.2", "subnetMask": "255.255.255.248", "gateway": "10.0.0.1"})
    );
    let released = answer(
        &networks(),
        "POST",
        "releasePod?podName=web-0",
        &mut machine,
    );
    assert_eq!(released.status, 200);
    let (status, message) = machine.refusal("GET", "getPodInfoByPodIp?podIp=10.0.0.2");
    assert_eq!(
        (status, message.contains("10.0.0.2")),
        (200, true),
        "{message}"
    );
    assert!(
        machine
            .0
            .store("storage")
            .to_ledger()
            .unwrap()
            .leases()
            .next()
            .is_none()
    );
}

#[test]
fn a_full_network_may_have_room_later_and_nothing_is_given_twice() {
    let mut machine = Machine::default();
    let mut given = Vec::new();
    for pod in 0..5 {
        given.push(
            machine.data(&format!("getPodMultiNetwork?podName=web-{pod}"))[0]["podIp"].clone(),
        );
    }
    given.sort_by_key(Value::to_string);
    given.dedup();
    assert_eq!(given.len(), 5);
    let (status, message) = machine.refusal("GET", "getPodMultiNetwork?podName=web-5");
    assert_eq!(status, 503);
    assert!(message.contains("no address is free"), "{message}");
}

#[test]
fn what_is_wrong_is_told() {
    for (method, call, status, words) in [
        ("GET", "getPodMultiNetwork", 200, "`podName` is missing"),
        ("GET", "getPodMultiNetwork?podName=a%2Fb", 200, "no name"),
        (
            "GET",
            "getPodMultiNetwork?podName=a&podName=b",
            200,
            "twice",
        ),
        ("GET", "getPodMultiNetwork?podName=%zz", 200, "escape"),
        ("GET", "getPodInfoByPodIp?podIp=10.0.0", 200, "podIp"),
        (
            "GET",
            "getPodNetworkInfo?podName=nobody",
            200,
            "has no address",
        ),
        (
            "GET",
            "getPodInfoByHostIp?hostIp=10.0.0.1",
            200,
            "pods and addresses alone",
        ),
        ("GET", "addAppInstance", 404, "no call"),
        ("GET", "releasePod?podName=web-0", 405, "GET"),
        ("DELETE", "getPodMultiNetwork?podName=web-0", 405, "DELETE"),
    ] {
        let (got, message) = Machine::default().refusal(method, call);
        assert_eq!(got, status, "{call}");
        assert!(message.contains(words), "{words} in: {message}");
    }
}
