use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{plugins, scratch::Scratch, toolchain::Toolchain};

/// The programs that are measured.
pub(crate) struct Programs {
    /// Ours, as they are installed.
    pub(crate) ours: PathBuf,
    /// Debian's.
    pub(crate) debian: PathBuf,
    /// A program that reads its input and prints a line, linked statically with this machine's C
    /// library: what starting one costs.
    pub(crate) floor: PathBuf,
    /// The same, linked as our plugins are.
    pub(crate) small_floor: PathBuf,
    /// The small one, after making as much durable as a lease takes, in a file that is there
    /// already.
    pub(crate) durable_floor: PathBuf,
    _scratch: Scratch,
}

/// The floor.
const FLOOR: &str = r#"
use std::io::{Read, Write};
fn main() {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).expect("input");
    std::io::stdout().write_all(b"{\"cniVersion\":\"1.0.0\"}\n").expect("output");
}
"#;

/// The floor, and a lease's worth of bytes that survive a loss of power.
const DURABLE_FLOOR: &str = r#"
use std::{fs::OpenOptions, io::{Read, Write}, os::unix::fs::FileExt};
fn main() {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).expect("input");
    let path = std::env::var_os("CNI_ARGS").expect("a file");
    let file = OpenOptions::new().write(true).open(path).expect("a file");
    file.write_all_at(&[7; 448], 4096).expect("written");
    file.sync_data().expect("durable");
    std::io::stdout().write_all(b"{\"cniVersion\":\"1.0.0\"}\n").expect("output");
}
"#;

impl Programs {
    /// Builds ours and the floor, and looks for Debian's.
    pub(crate) fn build() -> Result<Self, String> {
        let ours = plugins::build()?;
        let debian = PathBuf::from("/usr/lib/cni");
        if !debian.join("host-local").is_file() {
            return Err(
                "Debian's plugins are missing: apt-get install containernetworking-plugins".into(),
            );
        }
        let scratch = Scratch::new()?;
        let host = Toolchain::of_rustc()?;
        let small = plugins::small_target(&host);
        let build = |target: &str, name, text| build(scratch.path(), target, name, text);
        let floor = build(&host.host, "floor", FLOOR)?;
        let small_floor = build(&small, "small-floor", FLOOR)?;
        let durable_floor = build(&small, "durable-floor", DURABLE_FLOOR)?;
        Ok(Self {
            ours,
            debian,
            floor,
            small_floor,
            durable_floor,
            _scratch: scratch,
        })
    }
}

/// One source as a static program of a target.
fn build(directory: &Path, target: &str, name: &str, text: &str) -> Result<PathBuf, String> {
    let source = directory.join(format!("{name}.rs"));
    let program = directory.join(name);
    std::fs::write(&source, text).map_err(|error| format!("{name}: {error}"))?;
    let built = Command::new("rustc")
        .args(["-O", "--edition=2024"])
        .args(["-C", "panic=abort", "-C", "strip=symbols"])
        .args(plugins::FLAGS.split(' '))
        .args(["--target", target])
        .arg("-o")
        .args([&program, &source])
        .status()
        .map_err(|error| format!("rustc: {error}"))?;
    match built.success() {
        true => Ok(program),
        false => Err(format!("the program `{name}` cannot be built")),
    }
}

/// One call of a plugin, as a runtime makes it.
pub(crate) struct Call<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// `CNI_COMMAND`.
    pub(crate) verb: &'a str,
    /// `CNI_CONTAINERID`.
    pub(crate) container: &'a str,
    /// `CNI_NETNS`.
    pub(crate) netns: &'a str,
    /// `CNI_ARGS`.
    pub(crate) args: &'a str,
    /// The configuration.
    pub(crate) stdin: &'a str,
}

impl Call<'_> {
    /// The process, not yet started.
    pub(crate) fn command(&self) -> Command {
        self.with_environment(Command::new(self.program))
    }

    fn with_environment(&self, mut command: Command) -> Command {
        command
            .env_clear()
            .envs([
                ("CNI_COMMAND", self.verb),
                ("CNI_CONTAINERID", self.container),
                ("CNI_NETNS", self.netns),
                ("CNI_IFNAME", "eth0"),
                ("CNI_ARGS", self.args),
                ("CNI_PATH", "/usr/lib/cni"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// From the start of the process to its end, pipes included; and what it printed.
///
/// # Errors
///
/// It cannot be started, or it fails.
pub(crate) fn call(call: &Call<'_>) -> Result<(Duration, String), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", call.program.display());
    let mut command = call.command();
    let begun = Instant::now();
    let mut child = command.spawn().map_err(wrong)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(call.stdin.as_bytes()).map_err(wrong)?;
    }
    let mut stdout = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut stdout).map_err(wrong)?;
    }
    let status = child.wait().map_err(wrong)?;
    let taken = begun.elapsed();
    if status.success() {
        return Ok((taken, stdout));
    }
    let program = call.program.display();
    Err(format!(
        "{program} {} {}: {stdout}",
        call.verb, call.container
    ))
}

/// KiB that a call takes at most, with those of the processes that it waits for: what GNU time
/// says.
///
/// # Errors
///
/// It cannot be started, or it fails.
pub(crate) fn peak_memory(call: &Call<'_>) -> Result<f64, String> {
    let wrong = |error: std::io::Error| format!("/usr/bin/time: {error}");
    let mut command = Command::new("/usr/bin/time");
    command.args(["-f", "%M"]).arg(call.program);
    let mut child = call.with_environment(command).spawn().map_err(wrong)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(call.stdin.as_bytes()).map_err(wrong)?;
    }
    let output = child.wait_with_output().map_err(wrong)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        return Err(format!("{} {}: {stdout}{said}", call.verb, call.container));
    }
    let last = said
        .lines()
        .last()
        .and_then(|line| line.trim().parse().ok());
    last.ok_or_else(|| format!("/usr/bin/time said `{said}`"))
}
