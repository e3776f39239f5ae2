//! What happened, appended durably: the [`AuditSink`] port and its adapters.

mod file;

use async_trait::async_trait;
use bytes::Bytes;
use dockin_policy::audit::AuditEvent;
pub use file::{EventReader, FileSink, read_events};

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

    /// The newest `limit` events as JSON lines, oldest first.
    ///
    /// # Errors
    ///
    /// `Unavailable` from a sink that cannot be read back.
    async fn recent(&self, limit: usize) -> Result<Vec<Bytes>, Error> {
        let _ = limit;
        Err(Error::new(
            ErrorKind::Unavailable,
            "this audit sink cannot be read back",
        ))
    }
}
