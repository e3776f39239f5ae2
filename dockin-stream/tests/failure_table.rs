//! The table of known failures in `README.md` and the tests it names.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may read the sources, and a failed unwrap is a failed test"
)]

use std::path::{Path, PathBuf};

const TABLE: &str = include_str!("README.md");

fn rows() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|line| line.starts_with("| T"))
}

fn file(path: &str) -> PathBuf {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    match path.split_once('/') {
        Some(("src", _)) => crate_root.join(path),
        Some(("bins", _)) => crate_root.join("..").join(path),
        _ => crate_root.join("tests").join(path),
    }
}

#[test]
fn every_known_failure_has_its_row() {
    let rows: Vec<_> = rows()
        .map(|line| line.split('|').nth(1).unwrap().trim())
        .collect();
    let expected: Vec<_> = (1..=50).map(|row| format!("T{row}")).collect();
    assert_eq!(rows, expected);
}

#[test]
fn every_test_that_the_table_names_exists() {
    let mut named = 0;
    for row in rows() {
        // Every other piece between back-ticks is code.
        for pointer in row.split('`').skip(1).step_by(2) {
            let Some((path, test)) = pointer.split_once("::") else {
                continue;
            };
            let source = std::fs::read_to_string(file(path)).unwrap();
            assert!(source.contains(&format!("fn {test}(")), "{pointer}");
            named += 1;
        }
    }
    assert!(named > 60, "only {named} tests are named");
}
