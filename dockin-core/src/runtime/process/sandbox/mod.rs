//! The hidden sub-commands that make a sandbox and run things in it.
//!
//! Namespaces are a matter of single-threaded processes, so they are entered by helper processes
//! that run the binary's own program again:
//!
//! ```text
//! agent ── sandbox-init     becomes nobody if it was root, makes the namespaces
//!             └─ sandbox-pid1    process 1: mounts, gives up all capabilities, main process, reaps
//! agent ── sandbox-exec     enters the namespaces
//!             └─ sandbox-shim    adopts orphans, so that a session's processes stay below it
//!                  └─ sandbox-run     new terminal session, then becomes the command
//! ```

mod enter;
mod init;
mod mounts;
mod user;

use std::ffi::OsString;

pub(super) use mounts::{prompt, sample_files};
pub(super) use user::sandbox_user;

/// Runs the hidden sub-command that `arguments` (with the program's name) ask for; `None` when
/// they ask for none and the program is to go on.
///
/// Must be called first thing in `main`, while the process has one thread: the kernel lets no
/// other enter a user namespace. The result is the exit code.
pub fn sandbox_main(arguments: impl IntoIterator<Item = OsString>) -> Option<u8> {
    let mut arguments = arguments.into_iter().skip(1);
    let command = arguments.next()?;
    let role: fn(&[OsString]) -> Result<u8, String> = match command.to_str()? {
        INIT => init::init,
        PID1 => init::pid1,
        PLAIN => init::plain,
        EXEC => enter::exec,
        SHIM => enter::shim,
        RUN => enter::run,
        _ => return None,
    };
    let arguments: Vec<OsString> = arguments.collect();
    Some(role(&arguments).unwrap_or_else(|message| {
        eprintln!("dockin: {message}");
        SETUP_FAILED
    }))
}

/// Makes the namespaces: `<root> <pod> <command>…`.
pub(super) const INIT: &str = "sandbox-init";
/// Process 1 of a sandbox: `<root> <pod> <command>…`.
const PID1: &str = "sandbox-pid1";
/// The main process without a sandbox: `<root> <pod> <command>…`.
pub(super) const PLAIN: &str = "sandbox-plain";
/// Enters: `<agent pid> <descriptor> <pid 1 or 0> <directory> <tty or pipe> <command>…`.
pub(super) const EXEC: &str = "sandbox-exec";
/// Adopts orphans: `<descriptor> <isolated or plain> <directory> <tty or pipe> <command>…`.
const SHIM: &str = "sandbox-shim";
/// Becomes the command: `<directory> <tty or pipe> <command>…`.
const RUN: &str = "sandbox-run";

/// Exit code of a helper that could not do its part.
const SETUP_FAILED: u8 = 125;
/// First word of the line, with the machine's pid of process 1, after which all output is the
/// main process's.
pub(super) const READY_LINE: &str = "dockin-sandbox-ready";

/// Puts a name to a failed step.
fn step<T, E: std::fmt::Display>(
    result: Result<T, E>,
    what: impl std::fmt::Display,
) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// The text of argument `index`.
fn text(arguments: &[OsString], index: usize) -> Result<&str, String> {
    arguments
        .get(index)
        .and_then(|argument| argument.to_str())
        .ok_or_else(|| format!("argument {index} is missing"))
}
