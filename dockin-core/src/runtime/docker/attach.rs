use std::sync::Arc;

use bollard::{errors::Error as DockerError, query_parameters::WaitContainerOptions};
use dockin_stream::{
    ExitStatus, StreamSet,
    docker::{InputEnd, hijack::attach_query},
};
use futures::StreamExt;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{
    attendant::attend_container, catalog::Found, daemon::Daemon, exec::status,
    session::HijackedSession,
};
use crate::{Error, ErrorKind, runtime::BoxSession};

/// As [`NO_DETACH_KEYS`](super::exec::NO_DETACH_KEYS), for a query.
const NO_DETACH_KEYS: &str =
    "ctrl-%40%2Cctrl-%5E%2Cctrl-%40%2Cctrl-_%2Cctrl-%40%2Cctrl-%5E%2Cctrl-%40%2Cctrl-_";

/// Joins the main process. Nothing is started, so nothing is ended when the stream is dropped:
/// that only detaches.
pub(super) async fn attach(
    daemon: &Arc<Daemon>,
    found: &Found,
    wanted: StreamSet,
) -> Result<BoxSession, Error> {
    // The daemon would join a stopped container too, and wait for its next start.
    let inspected = daemon
        .ask(daemon.client()?.inspect_container(&found.id, None))
        .await;
    let state = inspected
        .map_err(|error| found.explain(error))?
        .state
        .unwrap_or_default();
    if state.running != Some(true) {
        return Err(found.not_running());
    }
    // The container decides: there is no input where it has none.
    let streams = StreamSet {
        stdin: wanted.stdin && found.stdin,
        tty: found.tty,
        stderr: wanted.stderr && !found.tty,
        ..wanted
    };
    // Asked before the streams are joined: a restarted container's code is not known afterwards.
    let waiting = tokio::spawn(wait(Arc::clone(daemon), found.id.clone()));
    let waiting = AbortOnDropHandle::new(waiting);
    let path = format!(
        "/containers/{}/attach?{}&detachKeys={NO_DETACH_KEYS}",
        found.id,
        attach_query(streams),
    );
    let hijacked = daemon
        .hijack(&path, None, found.tty)
        .await
        .map_err(|error| found.explain(error))?;
    let (sizes, sizes_seen) = watch::channel(None);
    tokio::spawn(attend_container(
        Arc::clone(daemon),
        found.id.clone(),
        sizes_seen,
    ));
    let end = if found.stdin_once && !found.tty {
        InputEnd::Shutdown
    } else {
        InputEnd::Hold
    };
    let lost = daemon.unavailable("lost the container");
    let ending = Box::pin(async move {
        match waiting.await {
            Ok(status) => status,
            Err(stopped) => Err(lost.with_source(stopped)),
        }
    });
    let session = HijackedSession::new(hijacked, streams, end, ending, sizes);
    Ok(Box::pin(session))
}

/// Waits without a deadline for the container to end.
async fn wait(daemon: Arc<Daemon>, container: String) -> Result<ExitStatus, Error> {
    let options = WaitContainerOptions {
        condition: "not-running".to_owned(),
    };
    let mut answers = std::pin::pin!(daemon.client()?.wait_container(&container, Some(options)));
    match answers.next().await {
        Some(Ok(ended)) => Ok(status(ended.status_code)),
        // The client makes an error of every code but 0.
        Some(Err(DockerError::DockerContainerWaitError { code, error })) if error.is_empty() => {
            Ok(status(code))
        }
        Some(Err(error)) => Err(daemon.failure(error)),
        None => Err(Error::new(
            ErrorKind::Unavailable,
            "docker does not say how it ended",
        )),
    }
}
