//! Bridge networks on a kernel in memory: what a plan does its inverses undo, whatever fails.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};

use dockin_net::{
    Cidr, StoreError,
    bridge::{
        self, Applied, Assigned, KernelError, KernelRoute, Link, Mac, Owner, Place, Step, World,
    },
    cni::{Environment, Outcome},
    meta::Ran,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What an attachment may leave: nothing of this.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct State {
    links: BTreeMap<(Place, String), Link>,
    /// The other ends of pairs.
    ends: BTreeMap<String, String>,
    groups: BTreeMap<String, u32>,
    rules: BTreeSet<(Owner, String)>,
    routes: Vec<(String, KernelRoute)>,
    leases: BTreeSet<String>,
}

/// The kernel, and an address plugin that gives what it is told to.
#[derive(Clone, Default)]
struct Memory {
    state: State,
    addresses: Vec<&'static str>,
    /// The step that fails, counted from 0.
    failing: Option<usize>,
    steps: usize,
}

impl Memory {
    fn call(&mut self, verb: &str, config: &Value) -> Outcome {
        let environment = Environment {
            command: verb.into(),
            container_id: "c1".into(),
            netns: "/pod".into(),
            ifname: "eth0".into(),
            path: "/bin".into(),
            ..Environment::default()
        };
        bridge::run(&environment, config.to_string().as_bytes(), self)
    }

    fn put(&mut self, place: Place, name: &str, kind: &str) -> &mut Link {
        let index = u32::try_from(self.state.links.len()).unwrap() + 1;
        let link = Link {
            index,
            name: name.into(),
            kind: kind.into(),
            mtu: 1500,
            operational: true,
            ..Link::default()
        };
        self.state.links.entry((place, name.into())).or_insert(link)
    }

    fn remove(&mut self, place: Place, name: &str) {
        let end = match place {
            Place::Host => self.state.ends.remove(name),
            Place::Pod => {
                let host = self.state.ends.iter().find(|(_, pod)| *pod == name);
                host.map(|(host, _)| host.clone())
            }
        };
        let other = if place == Place::Host {
            Place::Pod
        } else {
            Place::Host
        };
        if let Some(end) = end {
            self.state.links.remove(&(other, end.clone()));
            self.state.ends.remove(&end);
        }
        self.state.links.remove(&(place, name.into()));
        self.state.groups.remove(name);
        let State { links, routes, .. } = &mut self.state;
        routes.retain(|(on, _)| links.contains_key(&(Place::Pod, on.clone())));
    }

    fn step(&mut self, step: &Step) -> Result<(), KernelError> {
        let known = |memory: &Self, place, name: &str| {
            let there = memory.state.links.contains_key(&(place, name.to_owned()));
            there
                .then_some(())
                .ok_or_else(|| KernelError::Other(format!("no `{name}`")))
        };
        let assigned = |address: &Cidr| Assigned {
            address: *address,
            tentative: false,
            duplicate: false,
        };
        match step {
            Step::MakeBridge { name, mac, .. } => {
                self.put(Place::Host, name, "bridge").mac = mac.unwrap_or_default();
            }
            Step::AddBridgeAddress { name, address } => {
                known(self, Place::Host, name)?;
                let link = self.put(Place::Host, name, "bridge");
                link.addresses.push(assigned(address));
            }
            Step::MakePair {
                host,
                pod,
                bridge,
                mac,
                group,
                ..
            } => {
                known(self, Place::Host, bridge)?;
                if known(self, Place::Pod, pod).is_ok() || known(self, Place::Host, host).is_ok() {
                    return Err(KernelError::Exists);
                }
                self.put(Place::Host, host, "veth");
                self.put(Place::Pod, pod, "veth").mac = *mac;
                self.state.ends.insert(host.clone(), pod.clone());
                self.state.groups.insert(host.clone(), *group);
            }
            Step::RemoveLink { place, name } => self.remove(*place, name),
            Step::SetPort { host, .. } | Step::AwaitPort { host } => {
                known(self, Place::Host, host)?;
            }
            Step::CheckSource { owner, .. } | Step::Masquerade { owner, .. } => {
                self.state.rules.insert((owner.clone(), step.describe()));
            }
            Step::RemoveRules(owner) => self.state.rules.retain(|(of, _)| of != owner),
            Step::AddAddress { name, address, .. } => {
                known(self, Place::Pod, name)?;
                let link = self.put(Place::Pod, name, "veth");
                link.addresses.push(assigned(address));
            }
            Step::AddRoute { name, route } => {
                known(self, Place::Pod, name)?;
                let route = KernelRoute {
                    destination: route.destination,
                    gateway: route.gateway,
                    table: 254,
                };
                self.state.routes.push((name.clone(), route));
            }
            _ => {}
        }
        Ok(())
    }
}

impl World for Memory {
    fn is_own_namespace(&mut self, _: &str) -> bool {
        false
    }

    fn allocate(
        &mut self,
        plugin: &str,
        environment: &Environment,
        _: &[u8],
    ) -> Result<Ran, StoreError> {
        assert_eq!(plugin, "list");
        let mut stdout = String::new();
        match environment.command.as_str() {
            "ADD" => {
                let ips = self.addresses.iter().map(|it| json!({"address": it}));
                let ips: Vec<_> = ips.collect();
                stdout = json!({"cniVersion": "1.1.0", "ips": ips}).to_string();
                self.state.leases.insert(environment.container_id.clone());
            }
            "DEL" => {
                self.state.leases.remove(&environment.container_id);
            }
            _ => {}
        }
        Ok(Ran {
            stdout: stdout.into_bytes(),
            success: true,
        })
    }

    fn enter(&mut self, netns: &str) -> Result<bool, KernelError> {
        Ok(netns == "/pod")
    }

    fn apply(&mut self, steps: &[Step]) -> Applied {
        let mut applied = Applied::default();
        for step in steps {
            let count = self.steps;
            self.steps += 1;
            let done = match self.failing {
                Some(failing) if failing == count => Err(KernelError::Denied),
                _ => self.step(step),
            };
            match done {
                Ok(()) => applied.done.push(step.clone()),
                Err(error) => {
                    applied.failed = Some((step.clone(), error));
                    break;
                }
            }
        }
        applied
    }

    fn link(&mut self, place: Place, name: &str) -> Result<Option<Link>, KernelError> {
        Ok(self.state.links.get(&(place, name.to_owned())).cloned())
    }

    fn seen(&mut self, _: Place, _: &str) -> Option<Link> {
        None
    }

    fn addresses(&mut self, place: Place, link: &Link) -> Result<Vec<Assigned>, KernelError> {
        let link = self.link(place, &link.name)?;
        Ok(link.map(|it| it.addresses).unwrap_or_default())
    }

    fn routes(&mut self) -> Result<Vec<KernelRoute>, KernelError> {
        Ok(self.state.routes.iter().map(|(_, route)| *route).collect())
    }

    fn group(&mut self, group: u32) -> Result<Vec<String>, KernelError> {
        let all = self.state.groups.iter().filter(|(_, it)| **it == group);
        Ok(all.map(|(name, _)| name.clone()).collect())
    }

    fn owners(&mut self) -> Result<Vec<Owner>, KernelError> {
        Ok(self
            .state
            .rules
            .iter()
            .map(|(owner, _)| owner.clone())
            .collect())
    }
}

fn base() -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "pods", "type": "bridge", "bridge": "br0",
        "ipam": {"type": "list"},
    })
}

fn configuration() -> impl Strategy<Value = (Value, Vec<&'static str>)> {
    let keys = [
        "isGateway",
        "isDefaultGateway",
        "ipMasq",
        "hairpinMode",
        "portIsolation",
        "macspoofchk",
        "enabledad",
        "optimisticDad",
    ];
    let flags = proptest::collection::vec(any::<bool>(), keys.len());
    let addresses = proptest::sample::select(vec![
        vec!["10.1.0.2/24"],
        vec!["fd01::2/64"],
        vec!["10.1.0.2/24", "fd01::2/64"],
    ]);
    (flags, addresses, 0..2_u32).prop_map(move |(flags, addresses, probes)| {
        let mut config = base();
        for (key, flag) in keys.iter().zip(flags) {
            config[key] = flag.into();
        }
        config["conflictProbe"] = (probes * 20).into();
        (config, addresses)
    })
}

proptest! {
    /// Whatever step fails, the state is as before; when none does, DEL makes it so, and a second
    /// DEL changes nothing. The bridge is there before: it is shared and would stay.
    #[test]
    fn a_plan_and_its_inverse_are_the_identity((config, addresses) in configuration(), failing in 0..40_usize) {
        let mut memory = Memory { addresses, ..Memory::default() };
        // The first attachment makes the bridge, which stays.
        prop_assert_eq!(memory.call("ADD", &config).exit_code, 0);
        prop_assert_eq!(memory.call("DEL", &config).exit_code, 0);
        let before = memory.state.clone();
        prop_assert_eq!(before.links.len(), 1);
        memory.steps = 0;
        memory.failing = Some(failing);
        let outcome = memory.call("ADD", &config);
        memory.failing = None;
        if outcome.exit_code == 1 {
            prop_assert_eq!(&memory.state, &before, "{}", outcome.stdout);
        } else {
            prop_assert!(memory.steps <= failing);
            prop_assert_ne!(&memory.state, &before);
            let mut checked = config.clone();
            checked["prevResult"] = serde_json::from_str(&outcome.stdout).unwrap();
            prop_assert_eq!(checked["prevResult"]["ips"][0]["interface"].clone(), json!(2));
        }
        for _ in 0..2 {
            prop_assert_eq!(memory.call("DEL", &config).exit_code, 0);
            prop_assert_eq!(&memory.state, &before);
        }
    }

    /// No configuration panics, and each is answered by one object.
    #[test]
    fn any_value_of_any_key_is_answered(key in proptest::sample::select(vec![
        "bridge", "isGateway", "mtu", "vlan", "vlanTrunk", "conflictProbe", "ipam", "runtimeConfig",
        "args", "dns", "macspoofchk", "prevResult",
    ]), value in proptest::sample::select(vec![
        json!(null), json!(-1), json!(70000), json!("x"), json!("a/b"), json!(""), json!([]),
        json!([null]), json!([{"id": 0}]), json!([{"minID": 5, "maxID": 2}]), json!({"mac": 5}),
        json!({"mac": "zz"}), json!({"cni": {"mac": "01:00:00:00:00:00"}}), json!({"type": "a/b"}),
        json!(true), json!(1.5),
    ]), verb in proptest::sample::select(vec!["ADD", "DEL", "CHECK", "GC", "STATUS"])) {
        let mut config = base();
        config[key] = value;
        let mut memory = Memory { addresses: vec!["10.1.0.2/24"], ..Memory::default() };
        let outcome = memory.call(verb, &config);
        if outcome.exit_code == 1 {
            let error: Value = serde_json::from_str(&outcome.stdout).unwrap();
            prop_assert!(error["code"].as_u64().unwrap() > 0 && error["msg"].is_string());
        }
    }
}

#[test]
fn the_hardware_address_is_that_of_the_best_source() {
    let with = |config: &Value| {
        let mut memory = Memory {
            addresses: vec!["10.1.0.2/24"],
            ..Memory::default()
        };
        assert_eq!(memory.call("ADD", config).exit_code, 0);
        memory.state.links[&(Place::Pod, "eth0".into())].mac
    };
    let mut config = base();
    assert_eq!(with(&config), Mac::of_address("10.1.0.2".parse().unwrap()));
    config["args"] = json!({"cni": {"mac": "02:00:00:00:00:01"}});
    assert_eq!(with(&config), Mac([2, 0, 0, 0, 0, 1]));
    config["runtimeConfig"] = json!({"mac": "02:00:00:00:00:02"});
    assert_eq!(with(&config), Mac([2, 0, 0, 0, 0, 2]));
}

#[test]
fn gc_removes_what_belongs_to_nobody_and_leaves_other_networks_alone() {
    let mut memory = Memory {
        addresses: vec!["10.1.0.2/24"],
        ..Memory::default()
    };
    let mut config = base();
    config["ipMasq"] = true.into();
    assert_eq!(memory.call("ADD", &config).exit_code, 0);
    let during = memory.state.clone();
    let mut other = config.clone();
    other["name"] = "others".into();
    other["cni.dev/valid-attachments"] = json!([]);
    assert_eq!(memory.call("GC", &other).exit_code, 0);
    assert_eq!(memory.state, during);
    config["cni.dev/valid-attachments"] = json!([{"containerID": "c1", "ifname": "eth0"}]);
    assert_eq!(memory.call("GC", &config).exit_code, 0);
    assert_eq!(memory.state, during);
    config["cni.dev/valid-attachments"] = json!([]);
    assert_eq!(memory.call("GC", &config).exit_code, 0);
    assert_eq!((memory.state.links.len(), memory.state.rules.len()), (1, 0));
}
