//! Runs libFuzzer on every target for a while, on the stable toolchain: the compiler passes that
//! `cargo fuzz` asks for are open to everybody, only the sanitizers are not.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::toolchain::Toolchain;

/// Targets of the wire formats, and seconds for each.
const TARGETS: [&str; 10] = [
    "channel",
    "docker_stream",
    "entry_session",
    "log_stream",
    "port_forward",
    "port_forward_channel",
    "relay",
    "spdy_connection",
    "spdy_frame",
    "websocket_frame",
];

/// Coverage of every edge and comparison.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1";

/// Fuzzes each target for `seconds`. What makes one fail is printed and left in `found`.
pub(crate) fn run(root: &Path, found: &Path, seconds: u32) -> Result<(), String> {
    let target = root.join("target/fuzz");
    let triple = Toolchain::of_rustc()?.host;
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--bins"])
        .args(["--features", "libfuzzer", "--target", &triple])
        .arg("--manifest-path")
        .arg(root.join("fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        // A triple keeps the flags from build scripts.
        .env("RUSTFLAGS", FLAGS)
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err("the fuzz targets do not build".to_owned());
    }
    std::fs::create_dir_all(found).map_err(|error| error.to_string())?;
    let mut failed = Vec::new();
    for name in TARGETS {
        let begun = Instant::now();
        // New inputs go to the first folder, the kept ones are only read.
        let fresh = found.join(name);
        std::fs::create_dir_all(&fresh).map_err(|error| error.to_string())?;
        let output = Command::new(target.join(&triple).join("release").join(name))
            .arg(&fresh)
            .arg(root.join("fuzz/corpus").join(name))
            .arg(format!("-max_total_time={seconds}"))
            .args(["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048"])
            .arg(format!(
                "-artifact_prefix={}/failed-{name}-",
                found.display()
            ))
            .output()
            .map_err(|error| format!("{name}: {error}"))?;
        let log = String::from_utf8_lossy(&output.stderr);
        let runs = log.lines().rev().find(|line| line.starts_with("Done "));
        let took = Duration::from_secs(begun.elapsed().as_secs());
        match runs {
            Some(runs) if output.status.success() => eprintln!("xtask: fuzz {name}: {runs}"),
            _ => {
                let tail: Vec<&str> = log.lines().rev().take(40).collect();
                for line in tail.into_iter().rev() {
                    eprintln!("{line}");
                }
                eprintln!("xtask: fuzz {name}: {} after {took:?}", output.status);
                print_inputs(found, name);
                failed.push(name);
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("fuzzing failed: {}", failed.join(", ")))
    }
}

/// Prints each input that failed, as hex, so that it can be kept in the corpus.
fn print_inputs(found: &Path, name: &str) {
    let prefix = format!("failed-{name}-");
    for entry in std::fs::read_dir(found).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("xtask: fuzz {name} fails on: {hex}");
        }
    }
}
