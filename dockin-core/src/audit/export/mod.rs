//! The trail sent on to other systems, from the file: a receiver that is down holds up nobody and
//! misses nothing.

mod follower;
mod http;
mod syslog;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use dockin_policy::audit::{AuditEvent, AuditKind, Failure};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::follower::Follower;
pub use self::{
    http::HttpTarget,
    syslog::{SyslogAddress, SyslogTarget},
};
use super::AuditSink;
use crate::{Error, ErrorKind};

/// Where records are sent to.
#[derive(Debug)]
#[non_exhaustive]
pub enum ExportTarget {
    /// RFC 5424 messages.
    Syslog(SyslogTarget),
    /// Batches of JSON lines in a POST.
    Http(HttpTarget),
}

/// Sends the records of a trail on, in order and at least once.
///
/// It reads them from the trail's files and remembers in `TRAIL.export-NAME` how far it came, so
/// its buffer is the trail itself: nothing is held in memory but one batch, nothing is lost while
/// the receiver is down or the gateway restarts, and no session ever waits for it.
#[derive(Debug)]
pub struct Exporter {
    name: String,
    trail: PathBuf,
    target: ExportTarget,
}

/// How far an export came.
#[derive(Debug, Deserialize, Serialize)]
struct Cursor {
    next: u64,
}

/// How long the first wait after a failure is; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long to wait for the writer to say that there is more: it may have been missed.
const IDLE: Duration = Duration::from_secs(2);

impl Exporter {
    /// An export called `name` of the trail whose newest file is `trail`.
    ///
    /// # Errors
    ///
    /// `Misuse` when the name is not of letters, digits, `-` and `_`.
    pub fn new(
        name: impl Into<String>,
        trail: impl Into<PathBuf>,
        target: ExportTarget,
    ) -> Result<Self, Error> {
        let name = name.into();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(Error::new(
                ErrorKind::Misuse,
                format!("export name `{name}` is not of letters, digits, - and _"),
            ));
        }
        Ok(Self {
            name,
            trail: trail.into(),
            target,
        })
    }

    /// Sends until `stop`; `written` tells when there is more. That the receiver fails, and that
    /// it is back, is written down in `sink` once each.
    pub async fn run(
        mut self,
        mut written: watch::Receiver<()>,
        sink: &dyn AuditSink,
        stop: &CancellationToken,
    ) {
        let path = self.cursor_path();
        let mut follower = Follower::new(self.trail.clone(), read_cursor(&path));
        let mut wait = FIRST_WAIT;
        let mut failing = false;
        let mut batch = Vec::new();
        while !stop.is_cancelled() {
            if batch.is_empty() {
                let mut moved = follower;
                let read = tokio::task::spawn_blocking(move || {
                    let batch = moved.read();
                    (moved, batch)
                });
                let Ok((back, read)) = read.await else {
                    return;
                };
                follower = back;
                batch = read.unwrap_or_else(|error| {
                    tracing::warn!(export = self.name, error = error.chain(), "trail unread");
                    Vec::new()
                });
            }
            if batch.is_empty() {
                written.mark_unchanged();
                let more = tokio::time::timeout(IDLE, written.changed());
                if let Some(Ok(Err(_))) = stop.run_until_cancelled(more).await {
                    // The writer is gone: what it wrote last is read by now, or next time.
                    return;
                }
                continue;
            }
            let Some(sent) = stop.run_until_cancelled(self.target.send(&batch)).await else {
                return;
            };
            match sent {
                Ok(()) => {
                    batch.clear();
                    wait = FIRST_WAIT;
                    save_cursor(&path, follower.next());
                    if failing {
                        failing = false;
                        tracing::info!(export = self.name, "export goes on");
                    }
                }
                Err(error) => {
                    if !failing {
                        failing = true;
                        self.confess(sink, &error).await;
                    }
                    tracing::warn!(export = self.name, error = error.chain(), "export waits");
                    stop.run_until_cancelled(tokio::time::sleep(wait)).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    async fn confess(&self, sink: &dyn AuditSink, error: &Error) {
        let failure = Failure {
            component: format!("export {}", self.name),
            error: error.chain(),
        };
        let now = jiff::Timestamp::now().to_string();
        let event = AuditEvent::new(now, AuditKind::Failure(failure));
        if let Err(error) = sink.append(event).await {
            tracing::error!(error = error.chain(), "failure of an export not audited");
        }
    }

    fn cursor_path(&self) -> PathBuf {
        let mut name = self.trail.as_os_str().to_owned();
        name.push(".export-");
        name.push(&self.name);
        name.into()
    }
}

impl ExportTarget {
    async fn send(&mut self, batch: &[(u64, Vec<u8>)]) -> Result<(), Error> {
        match self {
            Self::Syslog(target) => target.send(batch).await,
            Self::Http(target) => target.send(batch).await,
        }
    }
}

/// From the first record on, without a cursor that can be read.
fn read_cursor(path: &Path) -> u64 {
    let text = fs::read(path).unwrap_or_default();
    serde_json::from_slice::<Cursor>(&text).map_or(1, |cursor| cursor.next)
}

/// An old cursor only makes records come twice.
fn save_cursor(path: &Path, next: u64) {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let text = format!("{{\"next\":{next}}}\n");
    if let Err(error) = fs::write(&new, text).and_then(|()| fs::rename(&new, path)) {
        tracing::warn!(path = %path.display(), %error, "export cursor not kept");
    }
}

#[cfg(test)]
mod tests;
