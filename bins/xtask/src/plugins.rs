//! `cargo xtask plugins`: `dockin-cni`, `dockin-ipam` and what they start, as they are installed, small and without
//! a dynamic linker, because a runtime starts them for every pod.
//!
//! The plugins themselves are linked with musl, whose start asks the processor for nothing: where
//! such questions leave a virtual machine, the start of the other C library takes longer than all
//! that a plugin does. What has TLS stays with the other one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::toolchain::Toolchain;

/// What makes a program start fast and take little memory.
pub(crate) const FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// Programs that are built for this machine's own C library.
const OTHERS: [&str; 2] = ["dockin-ask", "dockin-ipam-store"];

/// Builds them; the directory that they are in.
pub(crate) fn build() -> Result<PathBuf, String> {
    build_targets(&[])
}

/// Builds them, and in `examples` what they are measured beside.
pub(crate) fn build_with_examples() -> Result<PathBuf, String> {
    build_targets(&["--bins", "--examples"])
}

fn build_targets(targets: &[&str]) -> Result<PathBuf, String> {
    let toolchain = Toolchain::of_rustc()?;
    let small = small_target(&toolchain);
    let plugins = [
        "-p",
        "dockin-cni",
        "-p",
        "dockin-ipam",
        "--no-default-features",
    ];
    let store = ["-p", "dockin-ipam", "--bin", "dockin-ipam-store"];
    // Apart, so that the plugins do not get the features of the programs that have TLS for them.
    cargo_build(&small, &[&plugins, targets].concat())?;
    cargo_build(&toolchain.host, &["-p", "dockin-ask"])?;
    cargo_build(&toolchain.host, &store)?;
    let directory = directory(&small)?;
    if small != toolchain.host {
        let others = self::directory(&toolchain.host)?;
        for name in OTHERS {
            fs::copy(others.join(name), directory.join(name))
                .map_err(|error| format!("{name}: {error}"))?;
        }
    }
    Ok(directory)
}

fn cargo_build(triple: &str, words: &[&str]) -> Result<(), String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let done = Command::new(&cargo)
        .args(["build", "--profile", "plugin", "--target", triple])
        .args(words)
        .env("RUSTFLAGS", FLAGS)
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    match done.success() {
        true => Ok(()),
        false => Err("the plugins cannot be built".into()),
    }
}

fn directory(triple: &str) -> Result<PathBuf, String> {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let directory = Path::new(&target).join(triple).join("plugin");
    fs::canonicalize(&directory).map_err(|error| format!("{}: {error}", directory.display()))
}

/// The target with musl, which is installed where `rustup` can; else that of this machine, whose
/// programs do the same and start later.
pub(crate) fn small_target(toolchain: &Toolchain) -> String {
    let small = toolchain.host.replacen("-gnu", "-musl", 1);
    let library = toolchain
        .sysroot
        .join("lib/rustlib")
        .join(&small)
        .join("lib");
    let there = || library.is_dir();
    if !there() {
        // What it says goes to standard error.
        let _ = Command::new("rustup")
            .args(["target", "add", &small])
            .stdout(std::io::stderr())
            .status();
    }
    if there() {
        return small;
    }
    eprintln!(
        "xtask: no `{small}` in this toolchain: the plugins are linked for `{}` and start later",
        toolchain.host
    );
    toolchain.host.clone()
}
