use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use dockin_stream::StreamSet;
use rustix::{
    fs::{MemfdFlags, memfd_create},
    process::Pid as ProcessId,
};
use serde::Deserialize;
use serde_json::Value;
use tokio::{process::Command, time::timeout};

use super::{bundle::Bundle, console::Console};
use crate::{reaper::GroupName, runtime::piped::OwnEnds};

/// A command that runs.
pub(super) struct Started {
    pub(super) pid: ProcessId,
    pub(super) ends: OwnEnds,
}

/// Why a command does not run. In every case nothing was started.
#[derive(Debug, PartialEq)]
pub(super) enum Failure {
    /// The command is none: not found (127), or not to be run (126).
    Command { message: String, code: u8 },
    /// The container does not take any.
    Container,
    /// The runtime did not end in time.
    Hangs,
    /// Anything else.
    Other(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// How long the runtime may take.
const START_LIMIT: Duration = Duration::from_secs(30);
/// For what the runtime itself may start.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Has the container's runtime start `process`, in `group` where there is one.
pub(super) async fn start(
    bundle: &Bundle,
    session: &str,
    process: &Value,
    group: Option<&GroupName>,
    streams: StreamSet,
) -> Result<Started, Failure> {
    let scratch = Scratch::new(session)?;
    let (pid, log) = (scratch.file("pid"), scratch.file("log"));
    let description = Description::new(process)?;
    let mut command = Command::new(&bundle.program);
    command
        .arg("--root")
        .arg(&bundle.root)
        .arg("--log")
        .arg(&log)
        .args(["--log-format", "json", "exec", "--detach", "--process"])
        .arg(description.path())
        .arg("--pid-file")
        .arg(&pid)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    if let Some(group) = group {
        command.arg("--cgroup").arg(group.to_string());
    }
    let mut console = None;
    let mut own = None;
    if streams.tty {
        let socket = scratch.file("console");
        console = Some(Console::listen(&socket)?);
        command.arg("--console-socket").arg(socket);
    } else {
        // The runtime gives them to the command's user.
        let (ours, theirs) = OwnEnds::pipes(streams, |_| Ok(()))?;
        theirs.stdin.map(|end| command.stdin(end));
        theirs.stdout.map(|end| command.stdout(end));
        theirs.stderr.map(|end| command.stderr(end));
        own = Some(ours);
    }
    let mut runtime = command.arg(bundle.id()).spawn()?;
    // The command's ends of the pipes live in the child only from here on.
    drop(command);
    let status = timeout(START_LIMIT, runtime.wait()).await;
    let status = status.map_err(|_| Failure::Hangs)??;
    if !status.success() {
        return Err(Failure::read(&log));
    }
    let pid = fs::read_to_string(&pid)?;
    let pid = pid.trim().parse().ok().and_then(ProcessId::from_raw);
    let pid = pid.ok_or_else(|| Failure::Other("the runtime told no process id".to_owned()))?;
    let ends = match (own, console) {
        (Some(own), _) => own,
        (None, Some(console)) => OwnEnds::terminal(streams, &console.take()?)?,
        (None, None) => return Err(Failure::Other("neither pipes nor a terminal".to_owned())),
    };
    Ok(Started { pid, ends })
}

/// A line of the runtime's log.
#[derive(Deserialize)]
struct LogLine {
    level: String,
    msg: String,
}

impl Failure {
    /// What the runtime wrote last as an error.
    fn read(log: &Path) -> Self {
        let log = fs::read_to_string(log).unwrap_or_default();
        let lines = log
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str(line).ok());
        let errors =
            lines.filter(|line: &LogLine| matches!(line.level.as_str(), "error" | "fatal"));
        let last = errors.map(|line| line.msg).next();
        Self::classify(last.unwrap_or_else(|| "the runtime failed without a word".to_owned()))
    }

    fn classify(message: String) -> Self {
        let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
        // runc's words for what the container itself cannot run, after `exec: "PROGRAM": `.
        let of_the_command = message.contains("exec: \"") || says(&["exec /", "chdir to cwd"]);
        if of_the_command && says(&["executable file not found", "no such file or directory"]) {
            return Self::Command { message, code: 127 };
        }
        if of_the_command && says(&["permission denied", "exec format error", "is a directory"]) {
            return Self::Command { message, code: 126 };
        }
        if says(&[
            "paused container",
            "container not running",
            "stopped container",
            "does not exist",
        ]) {
            return Self::Container;
        }
        Self::Other(message)
    }
}

/// What the runtime is told of the process. In memory: an environment may hold secrets.
struct Description(OwnedFd);

impl Description {
    fn new(process: &Value) -> io::Result<Self> {
        let descriptor = memfd_create("process", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(descriptor);
        file.write_all(process.to_string().as_bytes())?;
        Ok(Self(file.into()))
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// A folder only we can read, for as long as the start takes.
struct Scratch(PathBuf);

impl Scratch {
    fn new(session: &str) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("dockin-exec-{session}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::debug!(%error, directory = %self.0.display(), "not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn the_runtimes_words_are_understood() {
        let code = |message: &str| match Failure::classify(message.to_owned()) {
            Failure::Command { code, .. } => Some(code),
            _ => None,
        };
        let not_found = "exec failed: unable to start container process: exec: \"nope\": \
                         executable file not found in $PATH";
        assert_eq!(code(not_found), Some(127));
        let not_runnable = "exec failed: unable to start container process: exec: \"/etc/passwd\": \
                            permission denied";
        assert_eq!(code(not_runnable), Some(126));
        let paused = "cannot exec in a paused container (use --ignore-paused to override)";
        assert_eq!(Failure::classify(paused.to_owned()), Failure::Container);
        let other = "flag provided but not defined: -cgroup";
        assert_eq!(
            Failure::classify(other.to_owned()),
            Failure::Other(other.to_owned())
        );
    }
}
