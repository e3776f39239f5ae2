use std::{sync::Arc, time::Duration};

use bollard::exec::CreateExecOptions;
use dockin_stream::{
    ExitStatus, StreamSet,
    docker::{InputEnd, hijack::ExecStart},
};
use tokio::{sync::watch, time::sleep};

use super::{attendant::ExecAttendant, catalog::Found, daemon::Daemon, session::HijackedSession};
use crate::{Error, ErrorKind, access::Permit, reaper::Reaper, runtime::BoxSession};

/// A key sequence nobody types. An empty one does not switch detaching off: it means ^P ^Q, and
/// holds every ^P of the user back until his next key.
pub(super) const NO_DETACH_KEYS: &str = "ctrl-@,ctrl-^,ctrl-@,ctrl-_,ctrl-@,ctrl-^,ctrl-@,ctrl-_";

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An exec that is made and not started.
pub(super) struct Created {
    id: String,
    container: String,
}

/// Makes an exec. Its processes carry the session's mark in their environment, where the reaper
/// finds them.
pub(super) async fn create(
    daemon: &Daemon,
    reaper: &Reaper,
    found: &Found,
    permit: &Permit,
    argv: &[String],
    streams: StreamSet,
) -> Result<Created, Error> {
    if argv.is_empty() {
        return Err(Error::new(ErrorKind::Malformed, "no command to run"));
    }
    let marks = reaper.environment(permit.session()).into_iter();
    let marks = marks.map(|(name, value)| format!("{name}={value}"));
    let options = CreateExecOptions {
        attach_stdin: Some(streams.stdin),
        attach_stdout: Some(streams.stdout),
        attach_stderr: Some(streams.stderr),
        tty: Some(streams.tty),
        detach_keys: Some(NO_DETACH_KEYS.to_owned()),
        env: Some(marks.collect()),
        cmd: Some(argv.to_vec()),
        ..CreateExecOptions::default()
    };
    let made = daemon
        .ask(daemon.client()?.create_exec(&found.id, options))
        .await;
    let id = made.map_err(|error| found.explain(error))?.id;
    Ok(Created {
        id,
        container: found.id.clone(),
    })
}

/// Starts it. From here on the session's processes end with the returned stream.
pub(super) async fn start(
    daemon: &Arc<Daemon>,
    reaper: &Arc<Reaper>,
    created: Created,
    permit: &Permit,
    streams: StreamSet,
) -> Result<BoxSession, Error> {
    let Created { id, container } = created;
    let (sizes, sizes_seen) = watch::channel(None);
    // It attends before the start: whatever happens from here on, somebody holds the guard.
    let guard = reaper.begin(permit.session());
    let attendant = ExecAttendant {
        daemon: Arc::clone(daemon),
        reaper: Arc::clone(reaper),
        session: permit.session(),
        container,
        exec: id.clone(),
        sizes: sizes_seen,
    };
    let attendant = tokio::spawn(attendant.attend(guard));
    let start = ExecStart {
        detach: false,
        tty: streams.tty,
    };
    let path = format!("/exec/{id}/start");
    let hijacked = daemon.hijack(&path, Some(start.to_json()), streams.tty);
    let hijacked = match hijacked.await {
        Ok(hijacked) => hijacked,
        // Nothing was started: nobody need wait for its process.
        Err(error) if error.kind() != ErrorKind::Unavailable => {
            attendant.abort();
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let end = if streams.tty {
        InputEnd::EndOfTransmission
    } else {
        InputEnd::Shutdown
    };
    let ending = Box::pin(exit_status(Arc::clone(daemon), id));
    let session = HijackedSession::new(hijacked, streams, end, ending, sizes);
    Ok(Box::pin(session))
}

/// How the exec ended, once its output is over.
///
/// A process that has closed its outputs and goes on running is waited for, as long as the daemon
/// answers; who does not want to wait drops the session. A daemon that has gone is an error.
///
/// A grandchild that keeps the outputs open does not hold the end back: the daemon itself closes
/// the stream 2 s after the exec's own process has ended (Moby `daemon/monitor.go`).
async fn exit_status(daemon: Arc<Daemon>, exec: String) -> Result<ExitStatus, Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        let state = daemon.ask(daemon.client()?.inspect_exec(&exec)).await?;
        if let (false, Some(code)) = (state.running.unwrap_or_default(), state.exit_code) {
            return Ok(status(code));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The daemon's exit code as a status; what is no exit code of a process is a failure.
pub(super) fn status(code: i64) -> ExitStatus {
    match u8::try_from(code) {
        Ok(code) => ExitStatus::Exited(code),
        Err(_) => ExitStatus::internal_error(format!("docker gave exit code {code}")),
    }
}
