//! What pools promise: the same address again, none twice, none lost.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/memory.rs"]
mod memory;

use dockin_net::{LeaseStore, cni::Outcome};
use memory::Memory;
use serde_json::{Value, json};

fn config(ipam: Value) -> Value {
    let mut ipam = ipam;
    ipam["type"] = "dockin-ipam".into();
    json!({"cniVersion": "1.1.0", "name": "pods", "type": "bridge", "ipam": ipam})
}

fn dual() -> Value {
    json!({
        "ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {"nameservers": ["10.0.0.53"]},
    })
}

fn with(mut ipam: Value, key: &str, value: impl Into<Value>) -> Value {
    ipam[key] = value.into();
    config(ipam)
}

fn pod(name: &str) -> String {
    format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}")
}

fn answer(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_default()
}

/// The addresses of a successful `ADD`.
fn addresses(outcome: &Outcome) -> Vec<String> {
    assert_eq!(outcome.exit_code, 0, "{}", outcome.stdout);
    let answer = answer(outcome);
    let ips = answer["ips"].as_array().unwrap().iter();
    ips.map(|ip| ip["address"].as_str().unwrap().to_owned())
        .collect()
}

fn code(outcome: &Outcome) -> Value {
    assert_eq!(outcome.exit_code, 1, "{}", outcome.stdout);
    answer(outcome)["code"].clone()
}

#[test]
fn a_dual_stack_pod_gets_one_address_of_each_family_with_routes_and_dns() {
    let outcome = Memory::new().call("ADD", "c1", "", &config(dual()));
    assert_eq!(
        answer(&outcome),
        json!({
            "cniVersion": "1.1.0",
            "ips": [
                {"address": "10.0.0.2/24", "gateway": "10.0.0.1"},
                {"address": "fd00::2/64", "gateway": "fd00::1"},
            ],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dns": {"nameservers": ["10.0.0.53"]},
        })
    );
}

#[test]
fn a_pod_gets_the_same_addresses_again() {
    let mut machine = Memory::new();
    let config = with(dual(), "sticky", "pod");
    let first = addresses(&machine.call("ADD", "c1", &pod("web-0"), &config));
    machine.call("ADD", "c2", &pod("web-1"), &config);
    assert_eq!(machine.call("DEL", "c1", "", &config).exit_code, 0);
    assert_ne!(
        addresses(&machine.call("ADD", "c3", &pod("web-2"), &config)),
        first
    );
    assert_eq!(
        addresses(&machine.call("ADD", "c4", &pod("web-0"), &config)),
        first
    );
}

/// kubelet makes the new sandbox before it tears the old one down.
#[test]
fn the_late_del_of_an_old_sandbox_takes_nothing_from_the_new_one() {
    let mut machine = Memory::new();
    let config = with(dual(), "sticky", "pod");
    let first = addresses(&machine.call("ADD", "old", &pod("web-0"), &config));
    assert_eq!(
        addresses(&machine.call("ADD", "new", &pod("web-0"), &config)),
        first
    );
    assert_eq!(
        machine.call("DEL", "old", &pod("web-0"), &config).exit_code,
        0
    );
    assert_eq!(machine.call("CHECK", "new", "", &config).exit_code, 0);
    assert_ne!(
        addresses(&machine.call("ADD", "c3", &pod("web-1"), &config)),
        first
    );
}

#[test]
fn a_kept_address_is_given_to_others_after_its_time() {
    let mut machine = Memory::new();
    let one = json!({"subnet": "10.0.0.0/30", "sticky": "pod"});
    let config = with(one, "stickySeconds", 60);
    let first = addresses(&machine.call("ADD", "c1", &pod("web-0"), &config));
    machine.call("DEL", "c1", "", &config);
    assert_eq!(code(&machine.call("ADD", "c2", &pod("web-1"), &config)), 11);
    machine.now += 60;
    assert_eq!(
        addresses(&machine.call("ADD", "c2", &pod("web-1"), &config)),
        first
    );
}

#[test]
fn pods_without_an_ordinal_keep_nothing_in_a_pool_for_workloads() {
    let mut machine = Memory::new();
    let config = with(json!({"subnet": "10.0.0.0/24"}), "sticky", "workload");
    let member = addresses(&machine.call("ADD", "c1", &pod("web-0"), &config));
    machine.call("ADD", "c2", &pod("web-7d9f-x2x4q"), &config);
    machine.call("DEL", "c1", "", &config);
    machine.call("DEL", "c2", "", &config);
    assert_eq!(
        addresses(&machine.call("ADD", "c3", &pod("web-0"), &config)),
        member
    );
    let kept = machine.store("pods").to_ledger().unwrap().uses().count();
    assert_eq!(kept, 1);
}

#[test]
fn a_released_address_cools_down() {
    let mut machine = Memory::new();
    let config = with(json!({"subnet": "10.0.0.0/30"}), "coolDownSeconds", 30);
    addresses(&machine.call("ADD", "c1", "", &config));
    machine.call("DEL", "c1", "", &config);
    assert_eq!(code(&machine.call("ADD", "c2", "", &config)), 11);
    assert_eq!(code(&machine.call("STATUS", "", "", &config)), 50);
    machine.now += 30;
    assert_eq!(machine.call("STATUS", "", "", &config).exit_code, 0);
    addresses(&machine.call("ADD", "c2", "", &config));
}

#[test]
fn excluded_and_reserved_addresses_are_not_given() {
    let mut machine = Memory::new();
    let config = config(json!({
        "subnet": "10.0.0.0/28",
        "sticky": "pod",
        "exclude": ["10.0.0.2-10.0.0.4", "10.0.0.8/29"],
        "reservations": [{"address": "10.0.0.5", "for": "default/db-0"}, {"address": "10.0.0.6"}],
    }));
    assert_eq!(
        addresses(&machine.call("ADD", "c1", &pod("web-0"), &config)),
        ["10.0.0.7/28"]
    );
    assert_eq!(
        addresses(&machine.call("ADD", "c2", &pod("db-0"), &config)),
        ["10.0.0.5/28"]
    );
    assert_eq!(code(&machine.call("ADD", "c3", &pod("web-1"), &config)), 11);
    let asked = format!("{};IP=10.0.0.6", pod("web-1"));
    assert_eq!(code(&machine.call("ADD", "c3", &asked, &config)), 7);
}

#[test]
fn of_the_addresses_that_are_asked_for_those_of_the_capability_count_first() {
    let mut machine = Memory::new();
    let mut config = config(dual());
    let asked = "IP=10.0.0.11,fd00::11";
    let given = |machine: &mut Memory, of: &str, config: &Value| {
        addresses(&machine.call("ADD", of, asked, config))
    };
    assert_eq!(
        given(&mut machine, "c1", &config),
        ["10.0.0.11/24", "fd00::11/64"]
    );
    config["args"] = json!({"cni": {"ips": ["10.0.0.12"]}});
    assert_eq!(
        given(&mut machine, "c2", &config),
        ["10.0.0.12/24", "fd00::12/64"]
    );
    config["runtimeConfig"] = json!({"ips": ["fd00::33/64"]});
    assert_eq!(
        given(&mut machine, "c3", &config),
        ["10.0.0.13/24", "fd00::33/64"]
    );
    config["runtimeConfig"] = json!({"ips": []});
    config["args"] = json!({"cni": {"ips": ["10.0.0.300"]}});
    let refused = machine.call("ADD", "c4", asked, &config);
    assert_eq!(code(&refused), 7);
    assert!(
        refused.stdout.contains("args.cni.ips[0]"),
        "{}",
        refused.stdout
    );
}

#[test]
fn the_gateway_of_any_range_is_given_to_nobody() {
    let mut machine = Memory::new();
    let ranges = |last: &str, gateway: &str| {
        json!([[
            {"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.2", "rangeEnd": last},
            {"subnet": "10.0.1.0/24", "rangeEnd": "10.0.1.1", "gateway": gateway},
        ]])
    };
    // That of the second range is in the first, and then in the other pool.
    for (config, asked) in [
        (
            config(json!({ "ranges": ranges("10.0.0.4", "10.0.0.3") })),
            "10.0.0.3",
        ),
        (
            config(json!({"pools": [
                {"name": "a", "subnet": "10.2.0.0/30", "gateway": "10.9.0.1"},
                {"name": "b", "subnet": "10.3.0.0/30", "gateway": "10.2.0.2"},
            ]})),
            "10.2.0.2",
        ),
    ] {
        let refused = machine.call("ADD", "c0", &format!("IP={asked}"), &config);
        assert_eq!(code(&refused), 7);
        let mut given = Vec::new();
        for number in 0.. {
            let outcome = machine.call("ADD", &format!("{asked}-{number}"), "", &config);
            if outcome.exit_code != 0 {
                break;
            }
            given.extend(addresses(&outcome));
        }
        assert!(given.len() >= 2, "{given:?}");
        assert!(!given.iter().any(|it| it.starts_with(asked)), "{given:?}");
    }
}

#[test]
fn the_second_pool_gives_when_the_first_is_empty_and_is_asked_first_for_its_own() {
    let mut machine = Memory::new();
    let config = config(json!({"pools": [
        {"name": "small", "subnet": "10.0.0.0/30", "sticky": "pod"},
        {"name": "large", "subnet": "10.1.0.0/24", "sticky": "pod"},
    ]}));
    addresses(&machine.call("ADD", "c1", &pod("a-0"), &config));
    let second = addresses(&machine.call("ADD", "c2", &pod("a-1"), &config));
    assert_eq!(second, ["10.1.0.2/24"]);
    machine.call("DEL", "c1", "", &config);
    machine.call("DEL", "c2", "", &config);
    assert_eq!(
        addresses(&machine.call("ADD", "c3", &pod("a-1"), &config)),
        second
    );
}

#[test]
fn adding_twice_is_an_error_and_deleting_twice_is_not() {
    let mut machine = Memory::new();
    let config = config(dual());
    addresses(&machine.call("ADD", "c1", "", &config));
    assert_eq!(code(&machine.call("ADD", "c1", "", &config)), 101);
    assert_eq!(machine.call("DEL", "c1", "", &config).exit_code, 0);
    assert_eq!(machine.call("DEL", "c1", "", &config).exit_code, 0);
    assert_eq!(code(&machine.call("CHECK", "c1", "", &config)), 101);
}

#[test]
fn a_lease_goes_when_its_ranges_cannot_be_read_any_more() {
    let mut machine = Memory::new();
    addresses(&machine.call("ADD", "c1", "", &config(dual())));
    let broken = config(json!({"subnet": "10.0.0.0/33"}));
    assert_eq!(code(&machine.call("ADD", "c2", "", &broken)), 999);
    assert_eq!(machine.call("DEL", "c1", "", &broken).exit_code, 0);
    assert_eq!(
        machine.store("pods").to_ledger().unwrap().leases().count(),
        0
    );
}

#[test]
fn check_misses_an_address_that_the_result_does_not_have() {
    let mut machine = Memory::new();
    let mut config = config(dual());
    let added = machine.call("ADD", "c1", "", &config);
    config["prevResult"] = answer(&added);
    assert_eq!(machine.call("CHECK", "c1", "", &config).exit_code, 0);
    config["prevResult"]["ips"].as_array_mut().unwrap().pop();
    assert_eq!(code(&machine.call("CHECK", "c1", "", &config)), 101);
}

#[test]
fn a_collection_ends_the_leases_that_are_not_listed() {
    let mut machine = Memory::new();
    let mut config = config(dual());
    for container in ["c1", "c2", "c3"] {
        addresses(&machine.call("ADD", container, "", &config));
    }
    assert_eq!(code(&machine.call("GC", "", "", &config)), 7);
    config["cni.dev/valid-attachments"] = json!([{"containerID": "c2", "ifname": "eth0"}]);
    assert_eq!(machine.call("GC", "", "", &config).exit_code, 0);
    assert_eq!(
        machine.store("pods").to_ledger().unwrap().leases().count(),
        1
    );
    // A runtime that lost its list does not take addresses from pods it just started.
    config["cni.dev/valid-attachments"] = json!([]);
    assert_eq!(machine.call("GC", "", "", &config).exit_code, 0);
    assert_eq!(
        machine.store("pods").to_ledger().unwrap().leases().count(),
        1
    );
    machine.now += 60;
    assert_eq!(machine.call("GC", "", "", &config).exit_code, 0);
    assert_eq!(
        machine.store("pods").to_ledger().unwrap().leases().count(),
        0
    );
}

#[test]
fn leases_end_with_the_machine_and_kept_addresses_do_not() {
    let mut machine = Memory::new();
    let sticky = with(dual(), "sticky", "pod");
    let first = addresses(&machine.call("ADD", "c1", &pod("web-0"), &sticky));
    addresses(&machine.call("ADD", "c2", "", &sticky));
    machine.boot = Some("boot-2".into());
    addresses(&machine.call("ADD", "c3", "", &sticky));
    assert_eq!(
        machine.store("pods").to_ledger().unwrap().leases().count(),
        1
    );
    assert_eq!(
        addresses(&machine.call("ADD", "c4", &pod("web-0"), &sticky)),
        first
    );
}

#[test]
fn a_clock_that_was_set_back_gives_nothing_twice_and_takes_nothing_from_an_owner() {
    let mut machine = Memory::new();
    let pool = json!({"subnet": "10.0.0.0/29", "sticky": "pod"});
    let pool = with(pool, "stickySeconds", 60);
    let kept = addresses(&machine.call("ADD", "c1", &pod("web-0"), &pool));
    machine.call("DEL", "c1", &pod("web-0"), &pool);
    let mut held = vec![kept.clone()];
    held.push(addresses(&machine.call("ADD", "c2", "", &pool)));
    machine.now -= 900_000;
    for container in ["c3", "c4", "c5"] {
        held.push(addresses(&machine.call("ADD", container, "", &pool)));
    }
    assert_eq!(code(&machine.call("ADD", "c6", "", &pool)), 11);
    held.sort();
    held.dedup();
    assert_eq!(held.len(), 5);
    assert_eq!(
        addresses(&machine.call("ADD", "c7", &pod("web-0"), &pool)),
        kept
    );
    for container in ["c2", "c3", "c4", "c5"] {
        assert_eq!(machine.call("DEL", container, "", &pool).exit_code, 0);
    }
    addresses(&machine.call("ADD", "c8", "", &pool));
}

#[test]
fn bad_configurations_name_the_field() {
    for (ipam, code, field) in [
        (json!({"mode": "both"}), 7, "ipam.mode"),
        (json!({"mode": "pool"}), 7, "ipam"),
        (json!({"subnet": "10.0.0.0/32"}), 7, "ipam"),
        (
            json!({"subnet": "10.0.0.0/24", "sticky": "yes"}),
            7,
            "ipam.sticky",
        ),
        (
            json!({"subnet": "10.0.0.0/24", "exclude": ["x"]}),
            7,
            "ipam.exclude[0]",
        ),
        (
            json!({"subnet": "10.0.0.0/24", "stickySeconds": -1}),
            7,
            "ipam.stickySeconds",
        ),
        (
            json!({"pools": [{"subnet": "10.0.0.0/24"}]}),
            7,
            "ipam.pools[0].name",
        ),
        (
            json!({"subnet": "10.0.0.0/24", "pools": [{"name": "a", "subnet": "10.0.0.0/25"}]}),
            7,
            "ipam.pools",
        ),
        (
            json!({"subnet": "10.0.0.0/24", "reservations": [{"address": "10.0.0.9", "for": "x"}]}),
            7,
            "ipam.reservations[0].for",
        ),
    ] {
        let outcome = Memory::new().call("ADD", "c1", "", &config(ipam.clone()));
        assert_eq!(self::code(&outcome), code, "{ipam}: {}", outcome.stdout);
        assert!(
            outcome.stdout.contains(&format!("`{field}`")),
            "{ipam}: {}",
            outcome.stdout
        );
    }
}
