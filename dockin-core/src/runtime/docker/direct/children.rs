use std::{future::pending, io, sync::OnceLock, thread};

use dockin_stream::ExitStatus;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use crate::runtime::{docker::exec, piped::watch};

/// The thread on which every child is waited for.
///
/// Not the caller's: a container ends only once all its processes have been waited for, and that
/// must not depend on how busy, or how long-lived, the runtime of a session is.
static THREAD: OnceLock<Handle> = OnceLock::new();

/// Starts the thread, once.
///
/// # Errors
///
/// There can be none.
pub(super) fn start() -> io::Result<()> {
    if THREAD.get().is_some() {
        return Ok(());
    }
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let handle = runtime.handle().clone();
    // Of two who are here at once the second has an idle thread, which harms nobody.
    thread::Builder::new()
        .name("dockin-children".to_owned())
        .spawn(move || runtime.block_on(pending::<()>()))?;
    let _second = THREAD.set(handle);
    Ok(())
}

/// Waits for `child`, a process that is ours, whether or not the answer is wanted in the end.
pub(super) fn wait(child: Pid) -> oneshot::Receiver<ExitStatus> {
    let (told, ended) = oneshot::channel();
    if let Some(thread) = THREAD.get() {
        thread.spawn(async move {
            let status = status(child).await.unwrap_or_else(|error| {
                ExitStatus::internal_error(format!("the end of the command is not known: {error}"))
            });
            // Nobody may be listening any more.
            let _dropped = told.send(status);
        });
    }
    ended
}

async fn status(child: Pid) -> io::Result<ExitStatus> {
    watch(pidfd_open(child, PidfdFlags::empty())?)?
        .readable()
        .await?
        .retain_ready();
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let status = waitid(WaitId::Pid(child), options)?.ok_or(io::ErrorKind::WouldBlock)?;
    // As every shell and container engine says it.
    let signalled = status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or(signalled).unwrap_or(-1);
    Ok(exec::status(code.into()))
}
