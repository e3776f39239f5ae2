//! The README's tables of keys: each key is read, and each key that is read is there.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/keys.rs"]
mod keys;

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

/// What the program says about a configuration for which it does nothing.
fn told(config: &Value) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dockin-cni"))
        .env("CNI_COMMAND", "ADD")
        .env("CNI_CONTAINERID", "c1")
        .env("CNI_NETNS", "/run/netns/none")
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/nowhere")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(config.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn is_read(kind: &str, key: &str) -> bool {
    let state = tempfile::tempdir().unwrap();
    [json!(7), json!({"a": []})].into_iter().any(|value| {
        let mut config = json!({"cniVersion": "1.1.0", "name": "pods", "type": kind,
            "stateDir": state.path()});
        config[key] = value;
        told(&config).contains(&format!("`{key}`"))
    })
}

#[test]
fn every_key_of_the_tables_is_read_and_every_key_that_is_read_is_told() {
    let readme = include_str!("../README.md");
    let ours = keys::of_table(readme, "| `backend` |");
    assert!(ours.len() >= 12, "{ours:?}");
    for key in &ours {
        assert!(is_read("dockin-cni", key), "{key}");
    }
    let listed = readme.split("have these keys:").nth(1).unwrap();
    let listed = keys::quoted(listed.split(". The").next().unwrap());
    let more = readme.split("Beside the reference's keys:").nth(1).unwrap();
    let of_trunk = |key: &str| ["id", "minID", "maxID"].contains(&key);
    for key in listed.iter().filter(|it| !of_trunk(it)) {
        assert!(is_read("dockin-bridge", key), "{key}");
    }
    for key in ["conflictProbe", "optimisticDad"] {
        assert!(is_read("dockin-bridge", key) && more.contains(key), "{key}");
    }
    for (source, told) in [
        (
            include_str!("../../../dockin-net/src/meta/config.rs"),
            &ours,
        ),
        (
            include_str!("../../../dockin-net/src/bridge/config.rs"),
            &listed,
        ),
    ] {
        for key in keys::read_by(source) {
            let words = [format!("`{key}`"), format!("\"{key}\"")];
            let known = told.contains(&key) || words.iter().any(|it| readme.contains(it));
            assert!(known, "`{key}` is read and in no table");
        }
    }
}
