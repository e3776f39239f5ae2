use std::time::{SystemTime, UNIX_EPOCH};

use dockin_stream::{
    Event, ProtocolError,
    docker::Shape,
    io::{DockerLog, DockerLogError},
};
use futures::StreamExt;
use http_body_util::BodyExt;

use super::{catalog::Found, daemon::Daemon};
use crate::{
    Error, ErrorKind,
    runtime::{LogOptions, LogStream},
};

/// Opens the log of a container: both outputs, in the order in which they were written.
pub(super) async fn logs(
    daemon: &Daemon,
    found: &Found,
    options: LogOptions,
) -> Result<LogStream, Error> {
    let mut path = format!(
        "/containers/{}/logs?stdout=1&stderr=1&follow={}&timestamps={}",
        found.id,
        u8::from(options.follow),
        u8::from(options.timestamps),
    );
    if let Some(lines) = options.tail {
        path.push_str(&format!("&tail={lines}"));
    }
    if let Some(seconds) = options.since_seconds {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        path.push_str(&format!("&since={}", now.saturating_sub(seconds)));
    }
    let response = daemon
        .stream(&path)
        .await
        .map_err(|error| found.explain(error))?;
    let body = response.into_body().into_data_stream();
    let log = DockerLog::new(body, Shape::with_tty(found.tty));
    Ok(Box::pin(log.filter_map(|event| async {
        match event {
            Ok(Event::Stdout(bytes) | Event::Stderr(bytes)) => Some(Ok(bytes)),
            Ok(_) => None,
            Err(error) => Some(Err(broken(error))),
        }
    })))
}

fn broken(error: DockerLogError<hyper::Error>) -> Error {
    match error {
        DockerLogError::Body(error) => Error::new(
            ErrorKind::Unavailable,
            "lost the connection to docker inside the log",
        )
        .with_source(error),
        DockerLogError::Protocol(ProtocolError::Truncated) => Error::new(
            ErrorKind::Unavailable,
            "docker ended the log inside a frame",
        ),
        DockerLogError::Daemon(text) => Error::new(
            ErrorKind::Unavailable,
            format!("docker ended the log: {text}"),
        ),
        error => {
            Error::new(ErrorKind::Misbehaved, "docker broke its own format").with_source(error)
        }
    }
}
