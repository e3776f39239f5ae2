//! Laws of pool mode, over random histories and over every point where the power may go.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/memory.rs"]
mod memory;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use dockin_net::{LeaseStore, Timestamp};
use memory::Memory;
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Del(u8),
    Wait(u8),
    Reboot,
    Collect(Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0_u8..12).prop_map(Step::Add),
        4 => (0_u8..12).prop_map(Step::Del),
        1 => (0_u8..30).prop_map(Step::Wait),
        1 => Just(Step::Reboot),
        1 => proptest::collection::vec(0_u8..12, 0..6).prop_map(Step::Collect),
    ];
    proptest::collection::vec(step, 1..60)
}

fn config(sticky: &str, cool_down: u8) -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "pods", "type": "bridge",
        "ipam": {
            "type": "dockin-ipam",
            "ranges": [
                [{"subnet": "10.0.0.0/29"}, {"subnet": "10.0.1.0/29", "rangeEnd": "10.0.1.4"}],
                [{"subnet": "fd00::/123"}],
            ],
            "exclude": ["10.0.0.3"],
            "sticky": sticky,
            "stickySeconds": 20,
            "coolDownSeconds": cool_down,
            "collectAfterSeconds": 0,
        },
    })
}

fn pod(number: u8) -> String {
    // Two containers a pod: restarts happen.
    let pod = number / 2;
    format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web-{pod}")
}

/// Addresses that live containers have, which is what runtimes remember.
type Live = BTreeMap<u8, Vec<String>>;

fn apply(machine: &mut Memory, live: &mut Live, step: &Step, config: &Value, sticky: bool) {
    match step {
        Step::Add(number) => {
            let outcome = machine.call("ADD", &format!("c{number}"), &pod(*number), config);
            if outcome.exit_code == 0 {
                let answer: Value = serde_json::from_str(&outcome.stdout).unwrap();
                let ips = answer["ips"].as_array().unwrap().iter();
                let ips: Vec<_> = ips
                    .map(|ip| ip["address"].as_str().unwrap().into())
                    .collect();
                assert_eq!(ips.len(), 2, "both families or none");
                if sticky {
                    // The pod's other container is gone when the pod comes back.
                    live.remove(&(number ^ 1));
                }
                live.insert(*number, ips);
            }
        }
        Step::Del(number) => {
            let outcome = machine.call("DEL", &format!("c{number}"), "", config);
            assert_eq!(outcome.exit_code, 0);
            live.remove(number);
        }
        Step::Wait(seconds) => machine.now += u64::from(*seconds),
        Step::Reboot => {
            machine.boot = Some(format!("boot-{}", machine.now));
            machine.now += 1;
            live.clear();
        }
        Step::Collect(valid) => {
            let mut config = config.clone();
            let list = valid
                .iter()
                .map(|number| json!({"containerID": format!("c{number}"), "ifname": "eth0"}));
            config["cni.dev/valid-attachments"] = list.collect();
            assert_eq!(machine.call("GC", "", "", &config).exit_code, 0);
            live.retain(|number, _| valid.contains(number));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No address is held twice, and the ledger is what the runtimes remember, after any history.
    #[test]
    fn no_address_twice(history in steps(), cool_down in 0_u8..20,
        sticky in prop_oneof![Just("never"), Just("pod"), Just("workload")]) {
        let config = config(sticky, cool_down);
        let mut machine = Memory::new();
        let mut live = Live::new();
        let mut started = machine.boot.clone();
        for step in &history {
            apply(&mut machine, &mut live, step, &config, sticky != "never");
            let held: Vec<_> = live.values().flatten().collect();
            let unique: BTreeSet<_> = held.iter().collect();
            prop_assert_eq!(unique.len(), held.len());
            prop_assert!(!held.iter().any(|it| it.starts_with("10.0.0.3/") || it.starts_with("10.0.0.1/")));
            let store = machine.store("pods");
            prop_assert!(store.faults().unwrap().is_empty(), "{:?}", store.faults());
            // Until the first call after it, a new start of the machine is not known.
            if matches!(step, Step::Add(_) | Step::Collect(_)) {
                started.clone_from(&machine.boot);
            }
            if started == machine.boot {
                prop_assert_eq!(store.to_ledger().unwrap().leases().count(), live.len());
            }
        }
    }

    /// What is released can be had again: when all are gone and time has passed, the pool gives
    /// as many addresses as a new one.
    #[test]
    fn release_then_allocate_finds_it_again(history in steps(), cool_down in 0_u8..20) {
        let config = config("pod", cool_down);
        let mut machine = Memory::new();
        let mut live = Live::new();
        for step in &history {
            apply(&mut machine, &mut live, step, &config, true);
        }
        for number in 0..12 {
            apply(&mut machine, &mut live, &Step::Del(number), &config, true);
        }
        machine.now += 100;
        let mut given = 0;
        let mut fresh = 0;
        let mut new = Memory::new();
        for number in 0..20 {
            let name = format!("x{number}");
            given += u32::from(machine.call("ADD", &name, "", &config).exit_code == 0);
            fresh += u32::from(new.call("ADD", &name, "", &config).exit_code == 0);
        }
        prop_assert_eq!(given, fresh);
        prop_assert_eq!(fresh, 4 + 3);
    }
}

/// The power goes at every byte and step of an `ADD`; after the `DEL` that every runtime sends
/// then, nothing is left.
#[test]
fn del_after_any_prefix_of_add_leaves_nothing() {
    let config = config("never", 0);
    let mut prefix = 0;
    loop {
        let mut machine = Memory::new();
        let other = machine.call("ADD", "other", "", &config);
        assert_eq!(other.exit_code, 0);
        machine.power = Some(Rc::new(RefCell::new(prefix)));
        let added = machine.call("ADD", "c1", "", &config);
        machine.power = None;
        assert_eq!(machine.call("DEL", "c1", "", &config).exit_code, 0);
        let store = machine.store("pods");
        let ledger = store.to_ledger().unwrap();
        assert_eq!(ledger.leases().count(), 1, "after {prefix} steps");
        let in_use = ledger
            .uses()
            .filter(|(_, it)| !it.is_over(Timestamp(machine.now)));
        assert_eq!(in_use.count(), 2, "after {prefix} steps");
        assert!(store.faults().unwrap().is_empty());
        if added.exit_code == 0 {
            assert!(prefix > 50, "the power went nowhere");
            break;
        }
        prefix += 1;
    }
}
