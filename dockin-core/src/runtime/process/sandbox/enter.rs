use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::Path,
    process::Command,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::{
        prctl::set_child_subreaper,
        wait::{WaitStatus, wait},
    },
    unistd::{chdir, close, dup2_stderr, dup2_stdin, dup2_stdout},
};
use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{ioctl_tiocsctty, setsid},
};

use super::{RUN, SHIM, step, text, user};

/// Order matters: the user namespace gives the right to enter the others.
const NAMESPACES: [(&str, CloneFlags); 5] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
];

/// Enters the sandbox of a process 1 (none for 0) and stays as the session's root process.
///
/// How the command ends is told on a pipe of the agent's, as `open` and then `exit <code>` or
/// `failed <why>`: the helpers outlive the command when it leaves processes behind.
pub(super) fn exec(arguments: &[OsString]) -> Result<u8, String> {
    let pipe = format!("/proc/{}/fd/{}", text(arguments, 0)?, text(arguments, 1)?);
    let status = step(
        OpenOptions::new().write(true).open(pipe),
        "cannot open the status pipe",
    )?;
    step(writeln!(&status, "open"), "cannot tell the status")?;
    user::outlive_signals()?;
    match enter(arguments, &status) {
        Ok(mut shim) => {
            drop(status);
            release_streams()?;
            step(shim.wait(), "cannot wait")?;
            Ok(0)
        }
        Err(message) => {
            step(
                writeln!(&status, "failed {message}"),
                "cannot tell the status",
            )?;
            Err(message)
        }
    }
}

fn enter(arguments: &[OsString], status: &File) -> Result<std::process::Child, String> {
    let pid1 = text(arguments, 2)?;
    // The program's path means nothing inside, an open file does.
    let program = step(File::open("/proc/self/exe"), "cannot open the program")?;
    let isolated = pid1 != "0";
    let mut namespaces = Vec::new();
    if isolated {
        for (name, kind) in NAMESPACES {
            let file = step(
                File::open(format!("/proc/{pid1}/ns/{name}")),
                format_args!("the sandbox's {name} namespace is not there"),
            )?;
            namespaces.push((name, file, kind));
        }
    }
    user::leave_root()?;
    for (name, file, kind) in &namespaces {
        step(
            setns(file, *kind),
            format_args!("cannot enter the {name} namespace"),
        )?;
    }
    step(
        fcntl_setfd(status, FdFlags::empty()),
        "cannot pass on the status pipe",
    )?;
    step(
        Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            .arg0("dockin-session")
            .arg(SHIM)
            .arg(status.as_raw_fd().to_string())
            .arg(if isolated { "isolated" } else { "plain" })
            .args(arguments.get(3..).unwrap_or_default())
            .spawn(),
        "cannot start the session's first process",
    )
}

/// Starts the command, adopts what it orphans and ends when all of it has ended.
pub(super) fn shim(arguments: &[OsString]) -> Result<u8, String> {
    let descriptor = text(arguments, 0)?;
    let status = step(
        OpenOptions::new()
            .write(true)
            .open(format!("/proc/self/fd/{descriptor}")),
        "cannot open the status pipe",
    )?;
    let descriptor: i32 = step(descriptor.parse(), "descriptor")?;
    // The command must not inherit it.
    step(close(descriptor), "cannot close the status pipe")?;
    user::outlive_signals()?;
    step(set_child_subreaper(true), "cannot adopt orphans")?;
    if text(arguments, 1)? == "isolated" {
        user::drop_capabilities()?;
    }
    let child = step(
        Command::new("/proc/self/exe")
            .arg(RUN)
            .args(arguments.get(2..).unwrap_or_default())
            .spawn(),
        "cannot start the command",
    )?;
    let command = i32::try_from(child.id())
        .map(nix::unistd::Pid::from_raw)
        .ok();
    release_streams()?;
    let mut status = Some(status);
    let mut told = |code: i32| {
        if let Some(status) = status.take() {
            // Without a reader there is no agent, and nobody to tell.
            let _ = writeln!(&status, "exit {}", code & 0xff);
        }
    };
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if Some(pid) == command => told(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if Some(pid) == command => {
                told(128 + signal as i32);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return Ok(0),
        }
    }
}

/// Becomes the command. 127 when there is none of that name, 126 when it cannot be run.
pub(super) fn run(arguments: &[OsString]) -> Result<u8, String> {
    user::receive_signals()?;
    let directory = Path::new(text(arguments, 0)?);
    if text(arguments, 1)? == "tty" {
        step(setsid(), "cannot start a terminal session")?;
        step(ioctl_tiocsctty(io::stdin()), "cannot take the terminal")?;
    }
    // A command may have removed it.
    if chdir(directory).is_err() {
        step(chdir("/"), "cannot enter the root")?;
    }
    let [program, rest @ ..] = arguments.get(2..).unwrap_or_default() else {
        return Err("no command".to_owned());
    };
    let error = Command::new(program).args(rest).exec();
    eprintln!(
        "dockin: cannot run `{}`: {error}",
        program.to_string_lossy().escape_default()
    );
    Ok(if error.kind() == io::ErrorKind::NotFound {
        127
    } else {
        126
    })
}

/// Lets go of the session's streams, whose end is the sign that its processes have closed them.
fn release_streams() -> Result<(), String> {
    let null = step(
        OpenOptions::new().read(true).write(true).open("/dev/null"),
        "/dev/null",
    )?;
    step(dup2_stdin(&null), "standard input")?;
    step(dup2_stdout(&null), "standard output")?;
    step(dup2_stderr(&null), "standard error")
}
