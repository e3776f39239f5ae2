//! Starts commands with the container's own low-level runtime, so that no byte passes the daemon.
//!
//! ```text
//! through the daemon:  agent ── dockerd ── shim ── command
//! direct:              agent ── command                     (runc starts it, and is gone)
//! ```
//!
//! The command gets our pipes or terminal, is in the session's control group before its first
//! instruction, and becomes our child: this process must be a
//! [child subreaper](super::adopt_orphans). Its user, capabilities, filters and limits are those
//! that the daemon wrote down for the container, as with `docker exec`.
//!
//! Whatever is not known to work goes through the daemon: an unprivileged agent, other runtimes
//! than runc, remapped users, daemons that keep their files elsewhere.

mod bundle;
mod children;
mod console;
mod start;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use dockin_stream::{Event, ExitStatus, StreamSet};
use futures::{Sink, Stream};
use rustix::process::{Pid as ProcessId, getpid};

use self::{bundle::Bundle, start::Failure};
use super::catalog::Found;
use crate::{
    Error, ErrorKind,
    access::Permit,
    reaper::{Reaper, SessionGuard},
    runtime::{
        BoxSession,
        piped::{Ending, OwnEnds, PipedSession},
    },
};

/// Whether this process can do it at all.
pub(super) fn is_possible() -> bool {
    let adopts = rustix::process::child_subreaper().is_ok_and(|set| set.is_some());
    adopts && rustix::process::geteuid().is_root() && children::start().is_ok()
}

/// Makes this process the parent of what its children leave behind.
pub(super) fn adopt_orphans() -> std::io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(getpid()))?)
}

/// Starts `argv`; `None` when the daemon has to.
///
/// # Errors
///
/// `Conflict` when the container is paused or has just stopped, `Malformed` for a command that
/// cannot be one, `Unavailable` when the runtime hangs.
pub(super) async fn exec(
    reaper: &Arc<Reaper>,
    found: &Found,
    permit: &Permit,
    argv: &[String],
    streams: StreamSet,
) -> Result<Option<BoxSession>, Error> {
    if argv.is_empty() || argv.iter().any(|argument| argument.contains('\0')) {
        let message = "a command needs at least one word and no NUL characters";
        return Err(Error::new(ErrorKind::Malformed, message));
    }
    let Some(bundle) = Bundle::find(found) else {
        return Ok(None);
    };
    let session = permit.session();
    let guard = reaper.begin(session);
    let group = guard.enclose_beside(bundle.main_process());
    let streams = streams.normalized();
    let process = bundle.process(argv, reaper.environment(session), streams.tty);
    // A task of its own: a caller who goes away in the middle must not leave a command behind
    // that nobody knows of.
    let starting = tokio::spawn(async move {
        let name = session.to_string();
        let mut started = start::start(&bundle, &name, &process, group.as_ref(), streams).await;
        if let (Err(Failure::Other(_)), Some(_)) = (&started, &group) {
            // Before 1.1 runc knows no groups; the command is moved into its own later.
            started = start::start(&bundle, &name, &process, None, streams).await;
        }
        match started {
            Ok(started) => Ok(adopt(started.pid, started.ends, guard)),
            Err(failure) => Err((failure, guard)),
        }
    });
    match starting.await {
        Ok(Ok(session)) => Ok(Some(Box::pin(session))),
        Ok(Err((Failure::Command { message, code }, _))) => {
            Ok(Some(Box::pin(NeverRan::new(&message, code, streams))))
        }
        Ok(Err((Failure::Container, _))) => Err(found.not_running()),
        Ok(Err((Failure::Hangs, _))) => {
            let message = format!("the runtime of container `{}` hangs", found.name);
            Err(Error::new(ErrorKind::Unavailable, message))
        }
        Ok(Err((Failure::Other(why), guard))) => {
            tracing::warn!(
                container = found.id,
                why,
                "not started directly, the daemon is asked"
            );
            // What the daemon starts has the same mark: this end must not reach it.
            guard.end().await;
            Ok(None)
        }
        Err(panicked) => {
            let message = "the command could not be started";
            Err(Error::new(ErrorKind::Misuse, message).with_source(panicked))
        }
    }
}

/// The session of a command that runs as a child of ours.
fn adopt(pid: ProcessId, ends: OwnEnds, guard: SessionGuard) -> PipedSession {
    if let Ok(pid) = u32::try_from(pid.as_raw_nonzero().get()) {
        guard.add_root(pid);
    }
    let ended = children::wait(pid);
    let ending: Ending = Box::pin(async {
        let lost = |_| ExitStatus::internal_error("the end of the command is not known");
        ended.await.unwrap_or_else(lost)
    });
    PipedSession::new(ends, ending, guard)
}

/// A session that says why there is no command, as container engines do.
struct NeverRan(VecDeque<Event>);

impl NeverRan {
    fn new(message: &str, code: u8, streams: StreamSet) -> Self {
        let mut says = VecDeque::new();
        if streams.stderr {
            says.push_back(Event::Stderr(format!("{message}\n").into()));
        } else if streams.stdout {
            says.push_back(Event::Stdout(format!("{message}\r\n").into()));
        }
        says.push_back(Event::Exit(ExitStatus::Exited(code)));
        Self(says)
    }
}

impl Stream for NeverRan {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// What is sent goes nowhere.
impl Sink<Event> for NeverRan {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, _: Event) -> Result<(), Error> {
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }
}
