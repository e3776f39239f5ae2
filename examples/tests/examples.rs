//! Runs every example, so that none can rot.

#[path = "../translate_frames.rs"]
#[expect(dead_code, reason = "its `main` is for the terminal")]
mod translate_frames;

use std::{collections::BTreeSet, error::Error, fs, path::Path};

#[test]
fn one_session_is_translated_there_and_back() -> Result<(), Box<dyn Error>> {
    let mut printed = Vec::new();
    translate_frames::translate(&mut printed)?;
    assert_eq!(String::from_utf8(printed)?, TRANSLATED);
    Ok(())
}

#[test]
fn every_example_is_run_here_declared_and_in_the_index() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name));
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(".rs").filter(|name| *name != "lib") {
            files.insert(name.to_owned());
        }
    }
    let (manifest, index, here) = (
        read("Cargo.toml")?,
        read("README.md")?,
        read("tests/examples.rs")? + &read("tests/sessions.rs")?,
    );
    for name in &files {
        assert!(
            manifest.contains(&format!("path = \"{name}.rs\"")),
            "{name} in Cargo.toml"
        );
        assert!(
            index.contains(&format!("({name}.rs)")),
            "{name} in README.md"
        );
        assert!(
            here.contains(&format!("mod {name};")) && here.contains(&format!("{name}::")),
            "{name} in tests/"
        );
    }
    assert_eq!(manifest.matches("[[example]]").count(), files.len());
    Ok(())
}

/// What passes in a session: every frame, in its order.
const TRANSLATED: &str = include_str!("translate_frames.txt");
