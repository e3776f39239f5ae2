//! What is written down: typed events, stable codes, masked secrets, and the chain that tells
//! when a record was changed, dropped, moved or cut off.

mod chain;
mod code;
mod detail;
mod event;
mod redact;
mod signature;
mod syslog;
mod verify;

pub use chain::{Chain, ChainHash, RecordHead};
pub use code::Code;
pub use detail::{
    AccessChanged, AccessDenied, AgentUnreachable, AnswerEnded, Approval, Checkpoint, Command,
    CopiedFile, Copy, Direction, Failure, LoginFailed, PolicyReload, PortForward, RecordingStored,
    RecordsLost, RequestCarried, SessionEnd, SessionStart, TrailOpened,
};
pub use event::{AuditEvent, AuditKind, EventPrincipal, EventTarget};
pub(crate) use redact::{masked_text, redact_words};
pub use redact::{redact_argv, redact_text};
pub use signature::{PublicKey, SignedHead, SigningKey};
pub use syslog::{octet_counted, syslog_message};
pub use verify::{Finding, Problem, TrailReport, TrailVerifier};
