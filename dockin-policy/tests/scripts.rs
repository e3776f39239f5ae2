//! The scripts of this machine, read by our parser and by `bash -n`.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use dockin_policy::{Dialect, read_script};

/// Scripts that are read at most.
const MOST: usize = 1500;

fn scripts() -> Vec<(PathBuf, Vec<u8>)> {
    let mut folders: Vec<PathBuf> = [
        "/bin",
        "/etc",
        "/sbin",
        "/usr/bin",
        "/usr/sbin",
        "/usr/lib",
        "/usr/share",
        "/var/lib/dpkg/info",
    ]
    .iter()
    .map(PathBuf::from)
    .collect();
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut texts = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        let Ok(real) = fs::canonicalize(&folder) else {
            continue;
        };
        if !seen.insert(real.clone()) {
            continue;
        }
        let Ok(entries) = fs::read_dir(&real) else {
            continue;
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Some(text) = script(&path)
                && texts.insert(text.clone())
            {
                found.push((path, text));
            }
        }
    }
    found.truncate(MOST);
    found
}

fn script(path: &Path) -> Option<Vec<u8>> {
    let size = fs::metadata(path).ok()?.len();
    if !(10..=512 * 1024).contains(&size) {
        return None;
    }
    let text = fs::read(path).ok()?;
    let first = text.split(|byte| *byte == b'\n').next()?;
    let names = [&b"/sh"[..], b"/bash", b"/dash", b" bash", b" sh"];
    let is_shell = first.starts_with(b"#!")
        && names
            .iter()
            .any(|name| first.windows(name.len()).any(|it| it == *name));
    (is_shell && std::str::from_utf8(&text).is_ok()).then_some(text)
}

fn bash_takes(path: &Path) -> bool {
    Command::new("bash")
        .arg("-n")
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

#[test]
fn scripts_that_bash_takes_are_read_and_others_are_not() {
    let scripts = scripts();
    assert!(
        scripts.len() > 50,
        "{} scripts on this machine",
        scripts.len()
    );
    let (mut valid, mut refused, mut invalid, mut taken) =
        (0_usize, Vec::new(), 0_usize, Vec::new());
    for (path, text) in &scripts {
        let ours = read_script(text, Dialect::Bash);
        match (bash_takes(path), ours) {
            (true, Ok(_)) => valid += 1,
            (true, Err(offset)) => {
                valid += 1;
                let line = text[..offset].iter().filter(|byte| **byte == b'\n').count() + 1;
                refused.push(format!("{}:{line}", path.display()));
            }
            (false, Ok(_)) => {
                invalid += 1;
                taken.push(path.display().to_string());
            }
            (false, Err(_)) => invalid += 1,
        }
    }
    println!(
        "{} scripts: of {valid} that bash takes {} are not read: {refused:#?}\nof {invalid} that it does not take {} are: {taken:#?}",
        scripts.len(),
        refused.len(),
        taken.len()
    );
    let wrong = refused.len() + taken.len();
    println!(
        "agreement {:.2} %",
        100.0 * (scripts.len() - wrong) as f64 / scripts.len() as f64
    );
    assert!(
        wrong * 1000 <= scripts.len() * 3,
        "{wrong} of {}",
        scripts.len()
    );
}
