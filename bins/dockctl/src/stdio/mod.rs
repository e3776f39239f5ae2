//! Standard input, output and error as byte chunks, with threads for what may block.
//!
//! To await a descriptor it has to be non-blocking, and that flag belongs to the open file: our
//! parent shell and everything else on the same terminal would get it too. A pipe or a terminal
//! is therefore opened once more by its name in `/proc`, which gives an open file of our own; what
//! cannot be opened so (a socket, a plain file at its place, somebody else's pipe) has a thread
//! with blocking calls behind it.

mod input;
mod output;

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{FileType, Mode, OFlags, fstat, open},
    io::Errno,
    termios::isatty,
};

pub(crate) use self::{
    input::Input,
    output::{Outlet, Output},
};

/// One read from standard input, bytes: what a pipe holds.
const CHUNK: usize = 64 * 1024;
/// Chunks on their way between a thread and the session.
const DEPTH: usize = 8;

/// The same pipe or terminal, non-blocking for us alone; `None` where that cannot be had.
fn reopen(fd: BorrowedFd<'_>, access: OFlags) -> Option<OwnedFd> {
    let pipe = FileType::from_raw_mode(fstat(fd).ok()?.st_mode) == FileType::Fifo;
    if !pipe && !isatty(fd) {
        return None;
    }
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    open(
        format!("/proc/self/fd/{}", fd.as_raw_fd()),
        flags,
        Mode::empty(),
    )
    .ok()
}

/// Waits for a descriptor that someone else has made non-blocking.
fn wait(fd: BorrowedFd<'_>, flags: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
