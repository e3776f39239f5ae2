//! Stable numbers for what can happen.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// A stable code of an audit event, three letters and three digits.
///
/// The space is open: a reader keeps codes that a newer writer made. A code
/// never changes its meaning and is never used again.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Code(Cow<'static, str>);

impl Code {
    /// A session was opened.
    pub const SESSION_START: Self = Self::new("SES-001");
    /// A session ended.
    pub const SESSION_END: Self = Self::new("SES-002");
    /// A command was judged and went on.
    pub const COMMAND_VERDICT: Self = Self::new("CMD-001");
    /// A command was judged and refused.
    pub const COMMAND_REFUSED: Self = Self::new("CMD-002");
    /// Files were copied into or out of a container.
    pub const FILE_COPY: Self = Self::new("CPY-001");
    /// A port of a container was forwarded.
    pub const PORT_FORWARD: Self = Self::new("FWD-001");
    /// A port of a container was not forwarded: the rules forbid it, or nobody approved.
    pub const PORT_REFUSED: Self = Self::new("FWD-002");
    /// A known principal asked for what it may not do.
    pub const ACCESS_DENIED: Self = Self::new("ACC-001");
    /// Nobody could be identified.
    pub const LOGIN_FAILED: Self = Self::new("ACC-002");
    /// A new rule set is in force.
    pub const POLICY_RELOADED: Self = Self::new("POL-001");
    /// A new rule set was not taken; the old one stays in force.
    pub const POLICY_REJECTED: Self = Self::new("POL-002");
    /// A node agent did not answer.
    pub const AGENT_UNREACHABLE: Self = Self::new("AGT-001");

    /// A command waits for a second person.
    pub const APPROVAL_REQUESTED: Self = Self::new("APR-001");
    /// A second person let a command go on.
    pub const APPROVAL_GRANTED: Self = Self::new("APR-002");
    /// A second person refused a command.
    pub const APPROVAL_REFUSED: Self = Self::new("APR-003");
    /// Nobody answered in time.
    pub const APPROVAL_EXPIRED: Self = Self::new("APR-004");
    /// Other people, tokens or grants count now.
    pub const ACCESS_CHANGED: Self = Self::new("ACC-003");
    /// A request that is more than reading was carried to an API server.
    pub const REQUEST_CARRIED: Self = Self::new("REQ-001");
    /// An answer was ended before its end: what it stood on was taken away.
    pub const ANSWER_ENDED: Self = Self::new("REQ-002");
    /// A session's recording is complete.
    pub const RECORDING_STORED: Self = Self::new("REC-001");
    /// Something of the server itself failed.
    pub const FAILURE: Self = Self::new("FLR-001");
    /// The audit trail was opened, or goes on in a new file.
    pub const TRAIL_OPENED: Self = Self::new("AUD-001");
    /// All records before are signed.
    pub const CHECKPOINT: Self = Self::new("AUD-002");
    /// Records could not be written, and their sessions went on.
    pub const RECORDS_LOST: Self = Self::new("AUD-003");

    /// A kind of event that this version does not know.
    pub const UNKNOWN: Self = Self::new("UNK-000");

    const fn new(code: &'static str) -> Self {
        Self(Cow::Borrowed(code))
    }

    /// The code as text, such as `CMD-002`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
