//! What the cases do not show and running the reference beside ours did.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/memory.rs"]
mod memory;

use dockin_net::{LeaseStore, cni::Environment};
use memory::Memory;
use serde_json::{Value, json};

fn static_ipam(ipam: &Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": "net", "ipam": ipam})
}

fn code(stdout: &str) -> Value {
    serde_json::from_str::<Value>(stdout).unwrap()["code"].clone()
}

#[test]
fn a_configuration_that_is_null_has_no_name() {
    let outcome = Memory::new().call("ADD", "c1", "", &Value::Null);
    assert_eq!(code(&outcome.stdout), 7);
}

/// The predecessor's resource manager configuration prints the address taken apart as well.
#[test]
fn the_second_address_key_of_the_predecessor_is_passed_over() {
    for apart in [json!(null), json!({"IP": "", "Mask": null})] {
        let address = json!({"address": "10.0.0.2/24", "Address": apart, "Version": ""});
        let config = static_ipam(&json!({"addresses": [address]}));
        let mut machine = Memory::new();
        let outcome = machine.call("ADD", "c1", "", &config);
        assert_eq!(outcome.exit_code, 0, "{}", outcome.stdout);
        assert!(outcome.stdout.contains("10.0.0.2/24"), "{}", outcome.stdout);
        let leases = machine.store("net").to_ledger().unwrap().leases().count();
        assert_eq!(leases, 0, "named addresses are not remembered");
    }
}

#[test]
fn the_configuration_is_judged_before_the_names_in_the_environment() {
    for (stdin, wanted) in [("{", 6), ("{}", 7), (r#"{"name":"net"}"#, 4)] {
        let environment = Environment {
            command: "ADD".into(),
            container_id: "-bad".into(),
            netns: "/run/netns/c1".into(),
            ifname: "eth0".into(),
            path: "/opt/cni/bin".into(),
            ..Environment::default()
        };
        let outcome = dockin_net::ipam::run(&environment, stdin.as_bytes(), &mut Memory::new());
        assert_eq!(code(&outcome.stdout), wanted, "{stdin}");
    }
}

#[test]
fn without_a_command_people_are_told_what_this_is() {
    let environment = Environment::default();
    let outcome = dockin_net::ipam::run(&environment, b"", &mut Memory::new());
    assert_eq!((outcome.exit_code, outcome.stdout.as_str()), (0, ""));
    assert!(outcome.stderr.contains("1.1.0"), "{}", outcome.stderr);
}
