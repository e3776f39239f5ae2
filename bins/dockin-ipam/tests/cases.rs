//! The conformance cases through the built program.

#[path = "../../../dockin-net/tests/cases/compare.rs"]
mod compare;

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use compare::{Got, run_all, text};
use serde_json::Value;

fn run(case: &Value) -> Got {
    let variables = case["env"].as_object().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_dockin-ipam"))
        .env_clear()
        .envs(
            variables
                .iter()
                .map(|(key, value)| (key, value.as_str().unwrap())),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may answer before it has read everything.
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(text(case, "stdin").as_bytes());
    let output = child.wait_with_output().unwrap();
    Got {
        exit: output.status.code().unwrap().into(),
        stdout: String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned(),
        files: BTreeMap::new(),
    }
}

#[test]
fn every_static_case_passes_through_the_program() {
    run_all("static", 332, run);
}
