//! Which kubectl the tests drive: the one on PATH, and every other version beside it.

use std::{path::PathBuf, process::Command};

use crate::packages;

/// A kubectl and its version.
pub(crate) struct Kubectl {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
}

/// The kubectl on PATH first, then `kubectl.1.NN` beside its real file, newest first.
pub(crate) fn all() -> Result<Vec<Kubectl>, String> {
    let path = packages::find("kubectl").ok_or("no kubectl on PATH")?;
    let mut found = vec![describe(path.clone())?];
    let real = path
        .canonicalize()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let beside = real
        .parent()
        .into_iter()
        .flat_map(std::fs::read_dir)
        .flatten()
        .flatten();
    let mut others: Vec<PathBuf> = beside
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.starts_with("kubectl.1."))
        })
        .collect();
    others.sort();
    others.reverse();
    for other in others {
        found.push(describe(other)?);
    }
    Ok(found)
}

fn describe(path: PathBuf) -> Result<Kubectl, String> {
    let output = Command::new(&path)
        .args(["version", "--client"])
        .output()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `Client Version: v1.32.4` since 1.28, `GitVersion:"v1.20.2"` before.
    let start = text
        .find("v1.")
        .ok_or_else(|| format!("{}: no version in `{text}`", path.display()))?;
    let version: String = text
        .chars()
        .skip(text.get(..start).map_or(0, |before| before.chars().count()))
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '.' || *c == '-')
        .collect();
    Ok(Kubectl { path, version })
}
