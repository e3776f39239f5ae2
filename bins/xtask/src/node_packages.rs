//! What tests run on Node.js: npm packages with their dependencies, pinned by the hashes of a
//! `package-lock.json` beside the tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Something to install.
pub(crate) struct NodePackage {
    what: &'static str,
    /// The folder with its `package.json`.
    source: &'static str,
    /// Where it goes, below `target`.
    folder: &'static str,
}

/// The OpenID Connect provider that the tests of identity log in at.
pub(crate) const OIDC_PROVIDER: NodePackage = NodePackage {
    what: "the OpenID Connect provider",
    source: "dockin-core/tests/oidc_provider",
    folder: "oidc-provider",
};

/// The player that recordings are played in.
pub(crate) const ASCIINEMA_PLAYER: NodePackage = NodePackage {
    what: "asciinema's player",
    source: "bins/harness/tests/asciinema_player",
    folder: "asciinema-player",
};

/// Installs it below `target`, unless the same is there already, and returns the folder.
pub(crate) fn install(root: &Path, package: &NodePackage) -> Result<PathBuf, String> {
    let source = root.join(package.source);
    let folder = root.join("target").join(package.folder);
    let lock = read(&source.join("package-lock.json"))?;
    // Written last, so it is there only when all is.
    let installed = folder.join("installed.json");
    if fs::read(&installed).is_ok_and(|have| have == lock) {
        return Ok(folder);
    }
    node_is_new_enough()?;
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    write(
        &folder.join("package.json"),
        &read(&source.join("package.json"))?,
    )?;
    write(&folder.join("package-lock.json"), &lock)?;
    eprintln!("xtask: installing {} from the npm registry", package.what);
    // No script of a package runs: none of these needs one.
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&folder);
    let status = npm.status().map_err(|error| format!("npm: {error}"))?;
    if !status.success() {
        return Err(format!(
            "npm ci in {} ended with {status}; it needs the npm registry",
            folder.display()
        ));
    }
    write(&installed, &lock)?;
    Ok(folder)
}

/// What the provider's cryptography needs; Debian 13 has it.
const OLDEST_NODE: u32 = 20;

fn node_is_new_enough() -> Result<(), String> {
    let output = Command::new("node")
        .arg("--version")
        .output()
        .map_err(|error| format!("node: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim();
    let major = version.trim_start_matches('v').split('.').next();
    if major
        .and_then(|major| major.parse().ok())
        .is_some_and(|major: u32| major >= OLDEST_NODE)
    {
        return Ok(());
    }
    Err(format!(
        "node is `{version}`; the tests need Node.js {OLDEST_NODE} or newer"
    ))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}
