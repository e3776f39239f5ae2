//! The README's table of `ipam`'s keys: each key is read, and each key that is read is there.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

#[path = "../../dockin-cni/tests/support/keys.rs"]
mod keys;
#[path = "support/program.rs"]
mod program;

use program::Program;
use serde_json::{Value, json};

const README: &str = include_str!("../../dockin-cni/README.md");

/// Is the key missed where its value is of the wrong kind?
fn is_read(key: &str, mut ipam: Value) -> bool {
    let program = Program::new();
    [json!(7), json!({"a": []})].into_iter().any(|value| {
        ipam["dataDir"] = program.directory().to_str().unwrap().into();
        ipam[key] = value;
        let child = program.start("ADD", "c1", &json!({ "ipam": ipam.clone() }));
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        !output.status.success() && text.contains(&format!("ipam.{key}"))
    })
}

#[test]
fn every_key_of_the_table_is_read_and_every_key_that_is_read_is_told() {
    let told = keys::of_table(README, "| `coolDownSeconds` |");
    assert!(told.len() >= 18, "{told:?}");
    for key in &told {
        let pool = json!({"type": "dockin-ipam", "subnet": "10.0.0.0/24"});
        assert!(
            is_read(key, pool) || is_read(key, json!({"type": "dockin-ipam"})),
            "{key}"
        );
    }
    let of_store = keys::of_table(README, "| `sessionSeconds` |");
    for (source, told) in [
        (
            include_str!("../../../dockin-net/src/ipam/pool_config.rs"),
            &told,
        ),
        (
            include_str!("../../../dockin-net/src/ipam/static_mode.rs"),
            &told,
        ),
        (
            include_str!("../../../dockin-net/src/ipam/store_config.rs"),
            &of_store,
        ),
    ] {
        for key in keys::read_by(source) {
            let words = [
                format!("`{key}`"),
                format!("`{key}."),
                format!(".{key}`"),
                format!(".{key}."),
                format!("\"{key}\""),
            ];
            let known = told.contains(&key) || words.iter().any(|it| README.contains(it));
            assert!(known, "`{key}` is read and in no table");
        }
    }
}
