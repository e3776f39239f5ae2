//! One thing that happened, as one JSON line.

use serde::{Deserialize, Serialize};

use super::Code;

/// One audit event.
///
/// Every field is made by the server; nothing a client says about itself is
/// taken, except where the field's name says so. Texts and argument lists must
/// come in [redacted](super::redact_text). Serialised as one flat JSON object;
/// unknown fields are ignored when read, so that an older reader can search a
/// newer log.
///
/// ```
/// use dockin_policy::audit::{AuditEvent, AuditKind, Code, LoginFailed};
///
/// let event = AuditEvent::new(
///     "2026-11-21T05:21:06Z",
///     AuditKind::LoginFailed(LoginFailed { reason: "unknown token".into() }),
/// );
/// assert_eq!(event.code, Code::LOGIN_FAILED);
/// let line = serde_json::to_string(&event)?;
/// assert!(line.contains(r#""event":"login.failed""#));
/// assert_eq!(serde_json::from_str::<AuditEvent>(&line)?, event);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AuditEvent {
    /// Place in the log, given by the sink that appends the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When it happened, RFC 3339, by the server's clock.
    pub time: String,
    /// Stable code; follows from `kind`.
    pub code: Code,
    /// Session it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<EventPrincipal>,
    /// Network address of the client, as the server's socket saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What it was done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<EventTarget>,
    /// What happened.
    #[serde(flatten)]
    pub kind: AuditKind,
}

impl AuditEvent {
    /// Makes an event with the code of `kind` and an empty head; `time` is RFC 3339.
    #[must_use]
    pub fn new(time: impl Into<String>, kind: AuditKind) -> Self {
        Self {
            seq: None,
            time: time.into(),
            code: kind.code(),
            session: None,
            principal: None,
            client: None,
            target: None,
            kind,
        }
    }

    /// Names the session.
    #[must_use]
    pub fn with_session(mut self, session: impl Into<String>) -> Self {
        self.session = Some(session.into());
        self
    }

    /// Names who did it.
    #[must_use]
    pub fn with_principal(mut self, principal: EventPrincipal) -> Self {
        self.principal = Some(principal);
        self
    }

    /// Names the client's address.
    #[must_use]
    pub fn with_client(mut self, client: impl Into<String>) -> Self {
        self.client = Some(client.into());
        self
    }

    /// Names what it was done to.
    #[must_use]
    pub fn with_target(mut self, target: EventTarget) -> Self {
        self.target = Some(target);
        self
    }
}

/// Who did something.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct EventPrincipal {
    /// User name.
    pub user: String,
    /// Groups of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// What something was done to; empty fields are left out.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct EventTarget {
    /// Cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// Container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
}

/// What happened, with its details.
#[non_exhaustive]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "event")]
pub enum AuditKind {
    /// A session was opened.
    #[serde(rename = "session.start")]
    SessionStart(SessionStart),
    /// A session ended.
    #[serde(rename = "session.end")]
    SessionEnd(SessionEnd),
    /// A command was judged and went on.
    #[serde(rename = "command.verdict")]
    CommandVerdict(Command),
    /// A command was judged and refused.
    #[serde(rename = "command.refused")]
    CommandRefused(Command),
    /// Files were copied.
    #[serde(rename = "file.copy")]
    FileCopy(Copy),
    /// A port was forwarded.
    #[serde(rename = "port.forward")]
    PortForward(PortForward),
    /// Access was denied.
    #[serde(rename = "access.denied")]
    AccessDenied(AccessDenied),
    /// Nobody could be identified.
    #[serde(rename = "login.failed")]
    LoginFailed(LoginFailed),
    /// A new rule set is in force.
    #[serde(rename = "policy.reloaded")]
    PolicyReloaded(PolicyReload),
    /// A new rule set was not taken.
    #[serde(rename = "policy.rejected")]
    PolicyRejected(PolicyReload),
    /// A node agent did not answer.
    #[serde(rename = "agent.unreachable")]
    AgentUnreachable(AgentUnreachable),
    /// A kind that a newer writer made.
    #[serde(untagged)]
    Other(serde_json::Map<String, serde_json::Value>),
}

impl AuditKind {
    /// The stable code of this kind; a foreign kind's is [`Code::UNKNOWN`].
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::SessionStart(_) => Code::SESSION_START,
            Self::SessionEnd(_) => Code::SESSION_END,
            Self::CommandVerdict(_) => Code::COMMAND_VERDICT,
            Self::CommandRefused(_) => Code::COMMAND_REFUSED,
            Self::FileCopy(_) => Code::FILE_COPY,
            Self::PortForward(_) => Code::PORT_FORWARD,
            Self::AccessDenied(_) => Code::ACCESS_DENIED,
            Self::LoginFailed(_) => Code::LOGIN_FAILED,
            Self::PolicyReloaded(_) => Code::POLICY_RELOADED,
            Self::PolicyRejected(_) => Code::POLICY_REJECTED,
            Self::AgentUnreachable(_) => Code::AGENT_UNREACHABLE,
            Self::Other(_) => Code::UNKNOWN,
        }
    }
}

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
    /// Where the line was read from: `script`, `keys`, `screen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
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
}

/// Details of a forwarded port.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct PortForward {
    /// Port of the container.
    pub port: u16,
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

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use super::*;

    #[test]
    fn a_refused_command_is_one_flat_json_line_and_reads_back() {
        let event = AuditEvent::new(
            "2026-11-21T05:21:06Z",
            AuditKind::CommandRefused(Command {
                line: Some("rm -rf /srv".into()),
                decision: "deny".into(),
                rule: Some("no-rm".into()),
                reason: "`rm` is denied".into(),
                programs: Some(vec![vec!["rm".into(), "-rf".into(), "/srv".into()]]),
                ..Command::default()
            }),
        )
        .with_session("s1")
        .with_principal(EventPrincipal {
            user: "ann".into(),
            groups: vec!["dev".into()],
        })
        .with_client("192.0.2.1:4000")
        .with_target(EventTarget {
            pod: "p".into(),
            ..EventTarget::default()
        });
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(
            line,
            r#"{"time":"2026-11-21T05:21:06Z","code":"CMD-002","session":"s1","principal":{"user":"ann","groups":["dev"]},"client":"192.0.2.1:4000","target":{"pod":"p"},"event":"command.refused","line":"rm -rf /srv","decision":"deny","rule":"no-rm","reason":"`rm` is denied","programs":[["rm","-rf","/srv"]]}"#
        );
        assert_eq!(serde_json::from_str::<AuditEvent>(&line).unwrap(), event);
    }

    #[test]
    fn fields_and_kinds_of_a_newer_writer_are_tolerated() {
        let known = r#"{"time":"t","code":"SES-002","event":"session.end","exit_status":3,"weather":"rain"}"#;
        let event: AuditEvent = serde_json::from_str(known).unwrap();
        assert!(matches!(event.kind, AuditKind::SessionEnd(ref end) if end.exit_status == Some(3)));
        let foreign = r#"{"time":"t","code":"NEW-001","event":"moon.rises","phase":4}"#;
        let event: AuditEvent = serde_json::from_str(foreign).unwrap();
        assert_eq!(event.code.as_str(), "NEW-001");
        assert!(matches!(event.kind, AuditKind::Other(_)));
    }

    #[test]
    fn every_kind_reads_back_as_itself() {
        for kind in [
            AuditKind::SessionStart(SessionStart::default()),
            AuditKind::SessionEnd(SessionEnd::default()),
            AuditKind::CommandVerdict(Command::default()),
            AuditKind::CommandRefused(Command::default()),
            AuditKind::FileCopy(Copy::default()),
            AuditKind::PortForward(PortForward::default()),
            AuditKind::AccessDenied(AccessDenied::default()),
            AuditKind::LoginFailed(LoginFailed::default()),
            AuditKind::PolicyReloaded(PolicyReload::default()),
            AuditKind::PolicyRejected(PolicyReload::default()),
            AuditKind::AgentUnreachable(AgentUnreachable::default()),
        ] {
            let event = AuditEvent::new("t", kind);
            let line = serde_json::to_string(&event).unwrap();
            assert_eq!(
                serde_json::from_str::<AuditEvent>(&line).unwrap(),
                event,
                "{line}"
            );
        }
    }
}
