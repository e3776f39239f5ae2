//! The conformance cases through the function, without a process.

#[path = "cases/compare.rs"]
mod compare;

use std::collections::BTreeMap;

use compare::{Got, run_all, text};
use dockin_net::{cni::Environment, ipam};
use serde_json::Value;

struct Memory;

impl ipam::World for Memory {
    fn is_own_namespace(&mut self, path: &str) -> bool {
        path == "/proc/self/ns/net"
    }
}

fn run(case: &Value) -> Got {
    let environment = Environment::read(|name| case["env"][name].as_str().map(str::to_owned));
    let outcome = ipam::run(&environment, text(case, "stdin").as_bytes(), &mut Memory);
    Got {
        exit: outcome.exit_code.into(),
        stdout: outcome.stdout,
        files: BTreeMap::new(),
    }
}

#[test]
fn every_static_case_passes_through_the_function() {
    run_all("static", 332, run);
}
