//! Runs libFuzzer on every target for a while, on the stable toolchain: the compiler passes that
//! `cargo fuzz` asks for are open to everybody, only the sanitizers are not.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::toolchain::Toolchain;

/// Targets of the wire formats, which have the whole time; the other ones a quarter of it.
const WIRE: [&str; 15] = [
    "channel",
    "docker_stream",
    "entry_session",
    "http_head",
    "inflate_vs_zlib_rs",
    "log_stream",
    "port_forward",
    "port_forward_channel",
    "relay",
    "spdy_connection",
    "spdy_frame",
    "status_json",
    "translator",
    "websocket_frame",
    "ws_mask",
];

/// How many run at a time.
const AT_ONCE: usize = 2;

/// Coverage of every edge and comparison.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1";

/// Fuzzes each target of a wire format for `seconds`, the others for a quarter of that. What makes
/// one fail is printed and left in `found`.
pub(crate) fn run(root: &Path, found: &Path, seconds: u32) -> Result<(), String> {
    let folder = root.join("target/fuzz");
    let triple = Toolchain::of_rustc()?.host;
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--bins"])
        .args(["--features", "libfuzzer", "--target", &triple])
        .arg("--manifest-path")
        .arg(root.join("fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder)
        // A triple keeps the flags from build scripts.
        .env("RUSTFLAGS", FLAGS)
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err("the fuzz targets do not build".to_owned());
    }
    std::fs::create_dir_all(found).map_err(|error| error.to_string())?;
    let round = Round {
        programs: folder.join(triple).join("release"),
        corpus: root.join("fuzz/corpus"),
        found,
    };
    let waiting = Mutex::new(targets(root, seconds)?);
    let failed = Mutex::new(Vec::new());
    let next = || lock(&waiting).pop_front();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((name, seconds)) = next() {
                    if let Err(log) = round.fuzz(&name, seconds) {
                        eprintln!("{log}");
                        lock(&failed).push(name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("fuzzing failed: {}", failed.join(", ")))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every target and its seconds, the long ones first.
fn targets(root: &Path, seconds: u32) -> Result<VecDeque<(String, u32)>, String> {
    let folder = root.join("fuzz/fuzz_targets");
    let mut others = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(|error| error.to_string())? {
        let file = entry.map_err(|error| error.to_string())?.file_name();
        if let Some(name) = file.to_string_lossy().strip_suffix(".rs") {
            others.push(name.to_owned());
        }
    }
    others.sort();
    let mut targets = VecDeque::new();
    for name in WIRE {
        let place = others.iter().position(|other| other == name);
        let place = place.ok_or_else(|| format!("{} has no `{name}`", folder.display()))?;
        targets.push_back((others.remove(place), seconds));
    }
    let quarter = seconds.div_ceil(4);
    targets.extend(others.into_iter().map(|name| (name, quarter)));
    Ok(targets)
}

/// Where one round finds things and leaves them.
struct Round<'a> {
    programs: PathBuf,
    corpus: PathBuf,
    found: &'a Path,
}

impl Round<'_> {
    /// The end of its log when it fails.
    fn fuzz(&self, name: &str, seconds: u32) -> Result<(), String> {
        let begun = Instant::now();
        // New inputs go to the first folder, the kept ones are only read.
        let fresh = self.found.join(name);
        std::fs::create_dir_all(&fresh).map_err(|error| error.to_string())?;
        let output = Command::new(self.programs.join(name))
            .arg(&fresh)
            .arg(self.corpus.join(name))
            .arg(format!("-max_total_time={seconds}"))
            .args(["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048"])
            .arg(format!(
                "-artifact_prefix={}/failed-{name}-",
                self.found.display()
            ))
            .output()
            .map_err(|error| format!("{name}: {error}"))?;
        let log = String::from_utf8_lossy(&output.stderr);
        let runs = log.lines().rev().find(|line| line.starts_with("Done "));
        if let (Some(runs), true) = (runs, output.status.success()) {
            eprintln!("xtask: fuzz {name}: {runs}");
            return Ok(());
        }
        let took = Duration::from_secs(begun.elapsed().as_secs());
        let mut tail: Vec<&str> = log.lines().rev().take(40).collect();
        tail.reverse();
        Err(format!(
            "{}\nxtask: fuzz {name}: {} after {took:?}{}",
            tail.join("\n"),
            output.status,
            inputs(self.found, name)
        ))
    }
}

/// Each input that failed, as hex, so that it can be kept in the corpus.
fn inputs(found: &Path, name: &str) -> String {
    let prefix = format!("failed-{name}-");
    let mut lines = String::new();
    for entry in std::fs::read_dir(found).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            lines += &format!("\nxtask: fuzz {name} fails on: {hex}");
        }
    }
    lines
}
