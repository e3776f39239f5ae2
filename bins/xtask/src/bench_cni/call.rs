use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The programs that are measured.
pub(crate) struct Programs {
    /// Our plugins, built for release.
    pub(crate) ours: PathBuf,
    /// Debian's plugins.
    pub(crate) debian: PathBuf,
}

impl Programs {
    /// Builds ours, and looks for Debian's.
    pub(crate) fn build() -> Result<Self, String> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let done = Command::new(cargo)
            .args([
                "build",
                "--release",
                "-p",
                "dockin-cni",
                "-p",
                "dockin-ipam",
            ])
            .status()
            .map_err(|error| format!("cargo: {error}"))?;
        if !done.success() {
            return Err("the plugins cannot be built".into());
        }
        let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
        let debian = PathBuf::from("/usr/lib/cni");
        if !debian.join("host-local").is_file() {
            return Err(
                "Debian's plugins are missing: apt-get install containernetworking-plugins".into(),
            );
        }
        Ok(Self {
            ours: Path::new(&target).join("release"),
            debian,
        })
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
        let mut command = Command::new(self.program);
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
