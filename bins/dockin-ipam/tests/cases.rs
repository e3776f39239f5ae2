//! The conformance cases through the built program.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "../../../dockin-net/tests/cases/compare.rs"]
mod compare;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use compare::{Got, run_all, text};
use serde_json::Value;

/// The network of every case that has files.
const POOL: &str = "dockin-pool";

fn run(case: &Value) -> Got {
    let directory = tempfile::tempdir().unwrap();
    let pool = directory.path().join(POOL);
    for (name, content) in case["setup_files"].as_object().into_iter().flatten() {
        fs::create_dir_all(&pool).unwrap();
        fs::write(pool.join(name), content.as_str().unwrap()).unwrap();
    }
    let root = directory.path().to_str().unwrap();
    let stdin = text(case, "stdin").replace("{{DATADIR}}", root);
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
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Got {
        exit: output.status.code().unwrap().into(),
        stdout: String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned(),
        files: files(&pool),
    }
}

fn files(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let entries = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "lock");
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn every_static_case_passes_through_the_program() {
    run_all("static", 332, run);
}

#[test]
fn every_host_local_case_passes_through_the_program() {
    run_all("host-local", 44, run);
}
