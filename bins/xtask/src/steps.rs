//! The checks, in order: cheap ones first.

use std::{
    io::BufRead,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    containerd::Containerd,
    coverage as covering,
    docker::Docker,
    fuzz as fuzzing, kubectl,
    node_packages::{self, ASCIINEMA_PLAYER, OIDC_PROVIDER},
    packages,
    scratch::Scratch,
};

/// Servers that run while the tests do.
struct Servers {
    environment: Vec<(&'static str, String)>,
    // Fields drop in order: the daemons before their files.
    _containerd: Containerd,
    _docker: Docker,
    _scratch: Scratch,
}

/// Runs everything. With `keep_going` a failed step does not stop the ones behind it.
pub(crate) fn test(keep_going: bool) -> Result<(), String> {
    let root = workspace()?;
    packages::ensure()?;
    let mut run = Run {
        root: &root,
        keep_going,
        environment: Vec::new(),
        failed: Vec::new(),
    };

    run.cargo("format", &["fmt", "--all", "--check"])?;
    run.cargo(
        "lint",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    run.cargo("doc", &["doc", "--workspace", "--no-deps", "--quiet"])?;
    for leaf in LEAVES {
        // Alone, because inside the workspace a binary's features leak into it.
        run.cargo(
            &format!("{leaf} alone"),
            &["check", "--quiet", "--package", leaf],
        )?;
        run.leaf_has_no_runtime(leaf)?;
    }
    for feature in CORE_FEATURES {
        run.cargo(
            &format!("dockin-core with {feature} alone"),
            &[
                "clippy",
                "--quiet",
                "--package",
                "dockin-core",
                "--features",
                feature,
                "--",
                "-D",
                "warnings",
            ],
        )?;
    }
    run.cargo("build", &["build", "--workspace", "--bins"])?;

    let servers = start()?;
    run.environment.clone_from(&servers.environment);
    run.cargo("tests", &["test", "--workspace", "--no-fail-fast"])?;
    run.cargo(
        "stream adapters",
        &["test", "--package", "dockin-stream", "--all-features"],
    )?;
    run.cargo(
        "fuzz corpora",
        &["test", "--quiet", "--manifest-path", "fuzz/Cargo.toml"],
    )?;
    drop(servers);
    run.fuzz(TEST_FUZZ_SECONDS)?;

    if run.failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", run.failed.join(", ")))
    }
}

/// Runs libFuzzer on each target of a wire format for `seconds`, on the others for a quarter of
/// that. What fails is printed, and then gone: it belongs
/// into a corpus.
pub(crate) fn fuzz(seconds: u32) -> Result<(), String> {
    packages::ensure()?;
    let scratch = Scratch::new()?;
    fuzzing::run(&workspace()?, scratch.path(), seconds)
}

/// Measures which lines of `dockin-stream` its tests run.
pub(crate) fn coverage() -> Result<(), String> {
    covering::run(&workspace()?)
}

/// Runs the benches against private servers, with release builds of every binary.
pub(crate) fn bench(arguments: &[&str]) -> Result<(), String> {
    let root = workspace()?;
    packages::ensure()?;
    if packages::find("nginx").is_none() {
        // Stands beside the gateway in one of them.
        packages::install(&["nginx"])?;
    }
    let mut run = Run {
        root: &root,
        keep_going: false,
        environment: Vec::new(),
        failed: Vec::new(),
    };
    run.cargo("build", &["build", "--release", "--workspace", "--bins"])?;
    let servers = start()?;
    run.environment.clone_from(&servers.environment);
    let mut words = vec!["bench", "--package", "dockin-benches"];
    words.extend(arguments);
    run.cargo("bench", &words)
}

/// Starts the servers for somebody who runs tests by hand.
pub(crate) fn servers() -> Result<(), String> {
    packages::ensure()?;
    let servers = start()?;
    for (name, value) in &servers.environment {
        println!("export {name}='{value}'");
    }
    println!("# press Enter to stop");
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| error.to_string())?;
    drop(servers);
    Ok(())
}

/// How long each wire format is fuzzed.
pub(crate) const FUZZ_SECONDS: u32 = 20;
/// The same among the tests: all of them are to take less than 40 minutes on two processors.
const TEST_FUZZ_SECONDS: u32 = 6;
const LEAVES: [&str; 3] = ["dockin-stream", "dockin-policy", "dockin-net"];
/// What an embedding program may choose one of.
const CORE_FEATURES: [&str; 10] = [
    "docker",
    "process",
    "kube",
    "agent",
    "gateway",
    "dockin-ops",
    "authority",
    "oidc",
    "ldap",
    "redis",
];

fn start() -> Result<Servers, String> {
    let versions = kubectl::all()?;
    for kubectl in &versions {
        let speaks = if minor(&kubectl.version) >= 29 {
            "WebSocket and SPDY"
        } else {
            "SPDY alone"
        };
        eprintln!(
            "xtask: kubectl {} ({speaks}) at {}",
            kubectl.version,
            kubectl.path.display()
        );
    }
    let paths: Vec<String> = versions
        .iter()
        .map(|kubectl| kubectl.path.display().to_string())
        .collect();
    let oidc_provider = node_packages::install(&workspace()?, &OIDC_PROVIDER)?;
    let asciinema_player = node_packages::install(&workspace()?, &ASCIINEMA_PLAYER)?;
    let scratch = Scratch::new()?;
    let docker = Docker::start(scratch.path())?;
    let containerd = Containerd::start(scratch.path(), &docker)?;
    let environment = vec![
        (
            "DOCKIN_TEST_ASCIINEMA_PLAYER",
            asciinema_player.display().to_string(),
        ),
        ("DOCKIN_TEST_CONTAINERD", containerd.socket()),
        ("DOCKIN_TEST_DOCKER_HOST", docker.host()),
        ("DOCKIN_TEST_KUBECTL", paths.join(":")),
        (
            "DOCKIN_TEST_OIDC_PROVIDER",
            oidc_provider.display().to_string(),
        ),
    ];
    Ok(Servers {
        environment,
        _containerd: containerd,
        _docker: docker,
        _scratch: scratch,
    })
}

fn minor(version: &str) -> u32 {
    version
        .split('.')
        .nth(1)
        .and_then(|part| part.parse().ok())
        .unwrap_or(0)
}

struct Run<'a> {
    root: &'a Path,
    keep_going: bool,
    environment: Vec<(&'static str, String)>,
    failed: Vec<String>,
}

impl Run<'_> {
    fn cargo(&mut self, what: &str, arguments: &[&str]) -> Result<(), String> {
        eprintln!("xtask: {what}: cargo {}", arguments.join(" "));
        let begun = Instant::now();
        // What a shell starts in the background ignores ^C, and so would the shells of the tests.
        let status = Command::new("env")
            .args(["--default-signal=INT,QUIT", env!("CARGO")])
            .args(arguments)
            .current_dir(self.root)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("RUSTDOCFLAGS", "-D warnings")
            // Everything is built once here, and what would help a second time fills the disk.
            .env("CARGO_INCREMENTAL", "0")
            .status()
            .map_err(|error| format!("cargo: {error}"))?;
        let took = Duration::from_secs(begun.elapsed().as_secs());
        eprintln!("xtask: {what}: {status} after {took:?}");
        self.judge(what, status.success())
    }

    /// A leaf crate without features must not pull a runtime in.
    fn leaf_has_no_runtime(&mut self, leaf: &str) -> Result<(), String> {
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--package",
                leaf,
                "--edges",
                "normal",
                "--prefix",
                "none",
            ])
            .current_dir(self.root)
            .output()
            .map_err(|error| format!("cargo tree: {error}"))?;
        let tree = String::from_utf8_lossy(&output.stdout);
        let runtime = tree.lines().find(|line| {
            ["tokio ", "hyper ", "futures "]
                .iter()
                .any(|name| line.starts_with(name))
        });
        if let Some(line) = runtime {
            eprintln!("xtask: {leaf} depends on {line}");
        }
        let proper = output.status.success() && !tree.is_empty() && runtime.is_none();
        self.judge(&format!("{leaf} without a runtime"), proper)
    }

    /// libFuzzer on every target. What it finds fails the step, and belongs into a corpus.
    fn fuzz(&mut self, seconds: u32) -> Result<(), String> {
        eprintln!("xtask: fuzz: {seconds} s for each wire format");
        let begun = Instant::now();
        let scratch = Scratch::new()?;
        let result = fuzzing::run(self.root, scratch.path(), seconds);
        let took = Duration::from_secs(begun.elapsed().as_secs());
        match &result {
            Ok(()) => eprintln!("xtask: fuzz: nothing found after {took:?}"),
            Err(error) => eprintln!("xtask: fuzz: {error} after {took:?}"),
        }
        self.judge("fuzz", result.is_ok())
    }

    fn judge(&mut self, what: &str, good: bool) -> Result<(), String> {
        if good {
            return Ok(());
        }
        if self.keep_going {
            self.failed.push(what.to_owned());
            return Ok(());
        }
        Err(format!("{what} failed"))
    }
}

fn workspace() -> Result<std::path::PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .ok_or_else(|| "xtask is not inside a workspace".to_owned())
}
