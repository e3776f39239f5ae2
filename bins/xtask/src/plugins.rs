//! `cargo xtask plugins`: `dockin-cni`, `dockin-ipam` and what they start, as they are installed, small and without
//! a dynamic linker, because a runtime starts them for every pod.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// What makes a program start fast and take little memory.
pub(crate) const FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// Builds them; the directory that they are in.
pub(crate) fn build() -> Result<PathBuf, String> {
    build_targets(&[])
}

/// Builds them, and in `examples` what they are measured beside.
pub(crate) fn build_with_examples() -> Result<PathBuf, String> {
    build_targets(&["--bins", "--examples"])
}

fn build_targets(targets: &[&str]) -> Result<PathBuf, String> {
    let triple = host()?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let plugins = [
        "-p",
        "dockin-cni",
        "-p",
        "dockin-ipam",
        "--no-default-features",
    ];
    let store = ["-p", "dockin-ipam", "--bin", "dockin-ipam-store"];
    // Apart, so that the plugins do not get the features of the programs that have TLS for them.
    for (packages, targets) in [
        (&plugins[..], targets),
        (&["-p", "dockin-ask"], &[]),
        (&store, &[]),
    ] {
        let done = Command::new(&cargo)
            .args(["build", "--profile", "plugin", "--target", &triple])
            .args(packages)
            .args(targets)
            .env("RUSTFLAGS", FLAGS)
            .status()
            .map_err(|error| format!("cargo: {error}"))?;
        if !done.success() {
            return Err("the plugins cannot be built".into());
        }
    }
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let directory = Path::new(&target).join(triple).join("plugin");
    std::fs::canonicalize(&directory).map_err(|error| format!("{}: {error}", directory.display()))
}

/// The triple of this machine's toolchain.
fn host() -> Result<String, String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .map_err(|error| format!("rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| "`rustc -vV` names no host".into())
}
