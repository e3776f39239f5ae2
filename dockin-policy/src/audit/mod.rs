//! What is written down: typed events, stable codes, masked secrets.

mod code;
mod event;
mod redact;

pub use code::Code;
pub use event::{
    AccessDenied, AgentUnreachable, AuditEvent, AuditKind, Command, Copy, Direction,
    EventPrincipal, EventTarget, LoginFailed, PolicyReload, PortForward, SessionEnd, SessionStart,
};
pub use redact::{redact_argv, redact_text};
