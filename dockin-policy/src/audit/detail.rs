//! The details of each kind of event.

use serde::{Deserialize, Serialize};

/// Details of a session's start.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct SessionStart {
    /// `exec`, `attach`, or another verb.
    pub verb: String,
    /// Argument list, redacted.
    pub argv: Vec<String>,
    /// True when the session has a terminal.
    pub tty: bool,
}

/// Details of a session's end.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct SessionEnd {
    /// Exit status, when the container told one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// Why it ended, when not by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes the user sent.
    pub bytes_in: u64,
    /// Bytes the container sent.
    pub bytes_out: u64,
}

/// Details of a judged command.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Command {
    /// The line, redacted; `[hidden input]` when it was typed without echo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// Argument list of an exec, redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<String>>,
    /// `allow`, `alert`, `ask` or `deny`.
    pub decision: String,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why, in one line.
    pub reason: String,
    /// Programs it would run, redacted; absent when that cannot be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programs: Option<Vec<Vec<String>>>,
    /// How certain the line is: `sure`, `likely`, `opaque`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<String>,
    /// Where the line was read from: `script`, `keys`, `screen`, `buffer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Who let a command go on that asks for a second person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
}

/// Which way files went; there are only two.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Into the container.
    #[default]
    Upload,
    /// Out of the container.
    Download,
}

/// Details of a file copy.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Copy {
    /// Which way.
    pub direction: Direction,
    /// Path inside the container.
    pub path: String,
    /// Bytes copied.
    pub bytes: u64,
    /// The files, as the archive names them; none when it could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<CopiedFile>,
    /// How many more files there were than are listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_files: u64,
}

/// One file of a copy.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct CopiedFile {
    /// Its path in the archive, redacted.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// Details of a port that was to be forwarded.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct PortForward {
    /// Port of the container.
    pub port: u16,
    /// `allow`, `alert`, `ask` or `deny`; empty in records of a time when no rule spoke of ports.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub decision: String,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why, in one line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who let a port be forwarded that asks for a second person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// Bytes the user sent.
    pub bytes_in: u64,
    /// Bytes the container sent.
    pub bytes_out: u64,
}

/// Details of a denied access.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct AccessDenied {
    /// What was asked for.
    pub verb: String,
    /// Why not.
    pub reason: String,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// Details of a request that was carried to an API server.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct RequestCarried {
    /// `create`, `patch` and so on.
    pub verb: String,
    /// API group, empty for the core group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Resource and sub-resource, such as `pods/proxy`; empty for what is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Name of the object, empty for many or a new one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Path, without its query.
    pub path: String,
}

/// Details of an answer that was ended before its end.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct AnswerEnded {
    /// `watch`, `get` and so on: what was asked.
    pub verb: String,
    /// API group, empty for the core group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Resource and sub-resource, such as `pods/log`; empty for what is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Name of the object, empty for many.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Path, without its query.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// Details of a failed login; never holds what was presented.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct LoginFailed {
    /// Why.
    pub reason: String,
}

/// Details of a change of rules.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct PolicyReload {
    /// Where the rules came from.
    pub source: String,
    /// Number of rules, when they were taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<u64>,
    /// What was wrong, when they were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Details of an agent that did not answer.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct AgentUnreachable {
    /// Address or name of the agent.
    pub agent: String,
    /// What went wrong.
    pub error: String,
}

/// Details of an approval: asked for, granted, refused or expired.
///
/// The event's principal is who wants the command to run.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Approval {
    /// Number of the request, the same in question and answer.
    pub request: String,
    /// The line or argument list that waits, redacted.
    pub line: String,
    /// The rule that asks for a second person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Who answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// What he said to it, redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Details of a change of who may do what; never holds a token.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct AccessChanged {
    /// Where the people or grants came from.
    pub source: String,
    /// What changed, in one line.
    pub change: String,
}

/// Details of a complete recording.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct RecordingStored {
    /// File name in the recordings' folder.
    pub file: String,
    /// Its size, bytes.
    pub bytes: u64,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
    /// Bytes of output that could not be recorded; only ever more than 0 in best effort.
    #[serde(skip_serializing_if = "is_zero")]
    pub lost: u64,
}

/// Details of a failure of the server itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Failure {
    /// What failed: `recording`, `export`, and so on.
    pub component: String,
    /// What went wrong.
    pub error: String,
}

/// Details of the trail's opening, which is also the head of each of its files.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct TrailOpened {
    /// Version of the chain: 1.
    pub version: u32,
    /// Public key of the checkpoints that follow, lower-case hex.
    pub key: String,
    /// Hash of the record before, lower-case hex.
    pub previous: String,
    /// Name of the file that holds the record before, when it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
    /// Records of an earlier version above, without a chain of their own.
    #[serde(skip_serializing_if = "is_zero")]
    pub unchained: u64,
    /// SHA-256 of those records' lines, lower-case hex: from here on they are sealed, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unchained_sha256: Option<String>,
    /// Bytes of a record that a crash cut off and that nobody was told was written.
    #[serde(skip_serializing_if = "is_zero")]
    pub torn_bytes: u64,
    /// The signed head beside the trail spoke of records up to this one, which were not there any
    /// more.
    #[serde(skip_serializing_if = "is_zero")]
    pub missing_through: u64,
}

/// Details of a signature over all records before.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Checkpoint {
    /// Number of the last record that it covers.
    pub through: u64,
    /// Hash of that record, lower-case hex.
    pub head: String,
    /// Public key, lower-case hex.
    pub key: String,
    /// Ed25519 signature, lower-case hex.
    pub signature: String,
    /// The file ends here on purpose: it was closed, or goes on in another.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub closing: bool,
}

/// Details of records that could not be written in best effort.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct RecordsLost {
    /// How many.
    pub records: u64,
    /// When the first of them happened, RFC 3339.
    pub since: String,
    /// Why the first of them could not be written.
    pub error: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
