//! The conformance cases through the function, without a process and without files.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "cases/compare.rs"]
mod compare;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use compare::{Got, run_all, text};
use dockin_net::{
    AsLedger, Change, Format, LeaseStore, Ledger, Page, Place, StoreError, Timestamp,
    cni::Environment,
    host_local::{self, FileStep},
    ipam,
};
use serde_json::Value;

type Files = Rc<RefCell<BTreeMap<String, String>>>;

/// A directory of `host-local` in memory.
struct Memory {
    files: Files,
}

impl ipam::World for Memory {
    fn is_own_namespace(&mut self, path: &str) -> bool {
        path == "/proc/self/ns/net"
    }

    fn now(&mut self) -> Timestamp {
        Timestamp(1_000_000)
    }

    fn boot_id(&mut self) -> Option<String> {
        None
    }

    fn open(&mut self, place: &Place) -> Result<Box<dyn LeaseStore>, StoreError> {
        assert_eq!(place.format, Format::HostLocal);
        let files = self.files.borrow();
        let ledger = host_local::read(files.iter().map(|(a, b)| (a.as_str(), b.as_str())));
        Ok(Box::new(MemoryStore {
            files: Rc::clone(&self.files),
            ledger,
        }))
    }

    fn read_text(&mut self, path: &str) -> Result<String, StoreError> {
        Err(StoreError::Io {
            path: path.into(),
            message: "there are no files".into(),
        })
    }
}

struct MemoryStore {
    files: Files,
    ledger: Ledger,
}

impl AsLedger for MemoryStore {
    fn as_ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl LeaseStore for MemoryStore {
    fn page(&self, _from: u32) -> Result<Page, StoreError> {
        let leases = self.ledger.leases().cloned().collect();
        Ok(Page { leases, next: None })
    }

    fn to_ledger(&self) -> Result<Ledger, StoreError> {
        Ok(self.ledger.clone())
    }

    fn commit(&mut self, changes: Vec<Change>) -> Result<(), StoreError> {
        let before = self.ledger.clone();
        for change in &changes {
            self.ledger.apply(change);
        }
        let mut files = self.files.borrow_mut();
        for step in host_local::steps(&before, &self.ledger, &changes) {
            match step {
                FileStep::Write { name, content } => files.insert(name, content),
                FileStep::Remove { name } => files.remove(&name),
                _ => unreachable!("a step that this directory does not know"),
            };
        }
        Ok(())
    }
}

fn run(case: &Value) -> Got {
    let files: Files = Rc::default();
    for (name, content) in case["setup_files"].as_object().into_iter().flatten() {
        let content = content.as_str().unwrap().to_owned();
        files.borrow_mut().insert(name.clone(), content);
    }
    let environment = Environment::read(|name| case["env"][name].as_str().map(str::to_owned));
    let mut world = Memory {
        files: Rc::clone(&files),
    };
    let outcome = ipam::run(&environment, text(case, "stdin").as_bytes(), &mut world);
    let files = files.borrow().clone();
    Got {
        exit: outcome.exit_code.into(),
        stdout: outcome.stdout,
        files,
    }
}

#[test]
fn every_static_case_passes_through_the_function() {
    run_all("static", 332, run);
}

#[test]
fn every_host_local_case_passes_through_the_function() {
    run_all("host-local", 44, run);
}

/// A case of our own: what the reference's cases have around `stdin`.
fn host_local(files: &[(&str, &str)], args: &str, ipam: Value) -> Got {
    let mut ipam = ipam;
    ipam["type"] = "host-local".into();
    let config = serde_json::json!({"cniVersion": "1.0.0", "name": "dockin-pool", "ipam": ipam});
    let files: serde_json::Map<_, _> = files
        .iter()
        .map(|(name, content)| ((*name).to_owned(), Value::from(*content)))
        .collect();
    run(&serde_json::json!({
        "env": {
            "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/c1",
            "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin", "CNI_ARGS": args,
        },
        "stdin": config.to_string(),
        "setup_files": files,
    }))
}

#[test]
fn addresses_of_another_network_in_the_same_directory_stay() {
    let subnet = serde_json::json!({"subnet": "10.1.2.0/24"});
    let got = host_local(&[("fd00::4", "c1\r\neth0")], "", subnet);
    assert_eq!(got.exit, 0, "{}", got.stdout);
    let names: Vec<_> = got.files.keys().collect();
    assert_eq!(names, ["10.1.2.2", "fd00::4", "last_reserved_ip.0"]);
}

#[test]
fn a_gateway_may_be_outside_the_subnet_and_two_addresses_in_the_arguments_may_not_be_asked_for() {
    let subnet = serde_json::json!({"subnet": "10.1.2.0/24", "gateway": "10.9.9.9"});
    let got = host_local(&[], "", subnet.clone());
    assert!(got.stdout.contains("10.1.2.1/24"), "{}", got.stdout);
    let got = host_local(&[], "IP=10.1.2.7,10.1.2.8", subnet);
    assert_eq!((got.exit, got.files.len()), (1, 0));
}
