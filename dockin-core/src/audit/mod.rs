//! What happened, appended durably: the [`AuditSink`] port and its adapters.

mod best_effort;
#[cfg(feature = "gateway")]
mod export;
mod file;
mod filter;
mod journal;
mod key;
mod reader;
mod segment;

use std::path::Path;

use async_trait::async_trait;
pub use best_effort::BestEffort;
use bytes::Bytes;
use dockin_policy::audit::AuditEvent;
#[cfg(feature = "gateway")]
pub use export::{ExportTarget, Exporter, HttpTarget, SyslogAddress, SyslogTarget};
pub use file::{FileOptions, FileSink};
pub use filter::{Filter, rule, verdict};
pub use journal::{head_path, read_head};
#[cfg(feature = "gateway")]
pub(crate) use key::make_secret;
pub(crate) use key::read_secret;
pub use key::{public_path, signing_key};
pub use reader::{EventReader, read_events};
pub use segment::trail_files;

use crate::{Error, ErrorKind};

/// Writes audit events down.
#[async_trait]
pub trait AuditSink: Send + Sync {
    /// Appends `event`; when this returns, the event survives a crash of the machine.
    ///
    /// # Errors
    ///
    /// `Unavailable` when it cannot be made durable. The caller then lets nothing happen that
    /// the event would have told of.
    async fn append(&self, event: AuditEvent) -> Result<(), Error>;

    /// The newest `limit` events that `filter` takes, as JSON lines, oldest first.
    ///
    /// # Errors
    ///
    /// `Unavailable` from a sink that cannot be read back.
    async fn search(&self, filter: &Filter, limit: usize) -> Result<Vec<Bytes>, Error> {
        let _ = (filter, limit);
        Err(Error::new(
            ErrorKind::Unavailable,
            "this audit sink cannot be read back",
        ))
    }
}

fn problem(kind: ErrorKind, path: &Path, what: &str) -> Error {
    Error::new(kind, format!("audit file `{}` {what}", path.display()))
}
