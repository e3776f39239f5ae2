use std::{
    io::{self, PipeReader, PipeWriter},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    process::Stdio,
};

use dockin_stream::{ExitStatus, StreamSet};
use rustix::fs::{Gid, Uid, fchown};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::Receiver,
    process::{Child, Command},
};

use super::sandbox::{EXEC, sandbox_user};
use crate::{
    Error, ErrorKind,
    reaper::SessionGuard,
    runtime::piped::{OwnEnds, PipedSession},
};

/// What to run and where.
pub(super) struct Launch<'a> {
    pub(super) helper: &'a Path,
    /// Process 1 of the sandbox; 0 without one.
    pub(super) pid1: u32,
    pub(super) directory: &'a Path,
    pub(super) environment: Vec<(String, String)>,
    pub(super) argv: &'a [String],
    pub(super) streams: StreamSet,
}

/// Starts a command in the sandbox.
pub(super) fn launch(launch: Launch<'_>, guard: SessionGuard) -> Result<PipedSession, Error> {
    start(launch, guard).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the command cannot be started").with_source(error)
    })
}

fn start(launch: Launch<'_>, guard: SessionGuard) -> io::Result<PipedSession> {
    let streams = launch.streams.normalized();
    let (status, status_writer) = pipe()?;
    let mut command = Command::new(launch.helper);
    command
        .arg(EXEC)
        .arg(std::process::id().to_string())
        .arg(status_writer.as_raw_fd().to_string())
        .arg(launch.pid1.to_string())
        .arg(launch.directory)
        .arg(if streams.tty { "tty" } else { "pipe" })
        .args(launch.argv)
        .env_clear()
        .envs(launch.environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let own_ends = if streams.tty {
        let (pty, pts) = pty_process::open().map_err(io::Error::other)?;
        own(pts.as_fd())?;
        command
            .stdin(clone(&pts)?)
            .stdout(clone(&pts)?)
            .stderr(clone(&pts)?);
        OwnEnds::terminal(streams, &OwnedFd::from(pty))?
    } else {
        let (own_ends, theirs) = OwnEnds::pipes(streams, |end| own(end))?;
        theirs.stdin.map(|end| command.stdin(end));
        theirs.stdout.map(|end| command.stdout(end));
        theirs.stderr.map(|end| command.stderr(end));
        own_ends
    };
    let root = command.spawn()?;
    // The command's ends of the pipes live in the child only from here on.
    drop(command);
    if let Some(pid) = root.id() {
        guard.add_root(pid);
    }
    let ending = Box::pin(ending(receiver(status)?, status_writer, root));
    Ok(PipedSession::new(own_ends, ending, guard))
}

/// Reads `open`, then `exit <code>` or `failed <why>` from the helper.
///
/// The helper opens `writer` by its number in `/proc`: it stays until the helper has, or is gone,
/// and as long as it stays the pipe has no end. Dropped before the helper's end, tokio reaps it.
async fn ending(mut status: Receiver, writer: PipeWriter, mut helper: Child) -> ExitStatus {
    let mut writer = Some(writer);
    let mut received = Vec::new();
    loop {
        let read = tokio::select! {
            read = status.read_buf(&mut received) => read,
            _ = helper.wait(), if writer.is_some() => {
                writer = None;
                continue;
            }
        };
        let text = String::from_utf8_lossy(&received);
        let text = match text.strip_prefix("open\n") {
            Some(rest) => {
                writer = None;
                rest
            }
            None => text.as_ref(),
        };
        if matches!(read, Ok(read) if read > 0) && !text.ends_with('\n') {
            continue;
        }
        return match text.trim_end().split_once(' ') {
            Some(("exit", code)) => code.parse().map_or_else(
                |_| ExitStatus::internal_error("exit code of the command is not known"),
                ExitStatus::Exited,
            ),
            Some(("failed", why)) => ExitStatus::internal_error(why),
            _ => ExitStatus::internal_error("the command was ended together with its sandbox"),
        };
    }
}

/// A pipe that the sandbox's user may also open by its name in `/proc`, as `/dev/stderr` does.
pub(super) fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    own(reader.as_fd())?;
    Ok((reader, writer))
}

pub(super) fn receiver(reader: PipeReader) -> io::Result<Receiver> {
    Receiver::from_owned_fd(reader.into())
}

fn own(descriptor: impl AsFd) -> io::Result<()> {
    match sandbox_user() {
        Some(user) => Ok(fchown(
            descriptor,
            Some(Uid::from_raw(user)),
            Some(Gid::from_raw(user)),
        )?),
        None => Ok(()),
    }
}

fn clone(descriptor: &impl AsFd) -> io::Result<OwnedFd> {
    descriptor.as_fd().try_clone_to_owned()
}
