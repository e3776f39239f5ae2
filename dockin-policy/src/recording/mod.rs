//! A session as a film: asciicast written and read, and its form on disk.
//!
//! [`CastWriter`] turns output, input, sizes, markers and the exit status into lines of asciicast
//! v3, and [`CastReader`] reads those and v2 back, cut anywhere. [`EchoedInput`] lets through what
//! was typed and shown, so that nothing typed without echo is recorded. With the feature
//! `recording`, [`Sealer`] and [`Unsealer`] are the form on disk: compressed blocks, encrypted
//! when there is a key.
//!
//! Times are since the session began, in microseconds on disk.

mod echo;
mod reader;
#[cfg(feature = "recording")]
mod sealed;
mod writer;

use std::time::Duration;

pub use echo::EchoedInput;
pub use reader::{CastError, CastReader};
#[cfg(feature = "recording")]
pub use sealed::{Ending, RecordingKey, SealError, Sealer, Unsealer};
use serde::{Deserialize, Serialize};
pub use writer::CastWriter;

/// The first line of a cast.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CastHeader {
    /// Version that it was read from, 2 or 3; what is written is always 3.
    pub version: u8,
    /// Columns of the terminal at the beginning.
    pub columns: u16,
    /// Its rows.
    pub rows: u16,
    /// Kind of terminal, as `TERM` has it.
    pub terminal: Option<String>,
    /// When the session began, seconds since the epoch.
    pub timestamp: Option<u64>,
    /// Title, for people.
    pub title: Option<String>,
    /// Command that was run.
    pub command: Option<String>,
    /// Whose session it was, and where; players pass over it.
    pub session: Option<RecordedSession>,
}

/// Whose session was recorded, and where.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct RecordedSession {
    /// Session, as the audit trail has it.
    pub id: String,
    /// User.
    pub user: String,
    /// Network address of the client.
    pub client: String,
    /// Cluster.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// Container.
    pub container: String,
}

/// Something that happened in a recorded session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CastEvent {
    /// When, since the beginning.
    pub time: Duration,
    /// What.
    pub kind: CastKind,
}

/// What can happen in a recorded session.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CastKind {
    /// The terminal was written to.
    Output(String),
    /// Something was typed.
    Input(String),
    /// The terminal got another size.
    Resize {
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// A place worth finding again: a judged command.
    Marker(String),
    /// The session ended with this status.
    Exit(i32),
    /// A kind of event that this version does not know.
    Other {
        /// Its code.
        code: String,
        /// Its data.
        data: String,
    },
}
