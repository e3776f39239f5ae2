//! One thing that happened, as one JSON line.

use serde::{Deserialize, Serialize};

use super::{
    Code,
    detail::{
        AccessChanged, AccessDenied, AgentUnreachable, AnswerEnded, Approval, Checkpoint, Command,
        Copy, Failure, LoginFailed, PolicyReload, PortForward, RecordingStored, RecordsLost,
        RequestCarried, SessionEnd, SessionStart, TrailOpened,
    },
};

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
    /// Who asked, when he was allowed to act as this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impersonator: Option<String>,
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
    /// A port was judged and not forwarded.
    #[serde(rename = "port.refused")]
    PortRefused(PortForward),
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
    /// A refused or held command waits for a second person.
    #[serde(rename = "approval.requested")]
    ApprovalRequested(Approval),
    /// A second person let it go on.
    #[serde(rename = "approval.granted")]
    ApprovalGranted(Approval),
    /// A second person refused it.
    #[serde(rename = "approval.refused")]
    ApprovalRefused(Approval),
    /// Nobody answered in time; it did not go on.
    #[serde(rename = "approval.expired")]
    ApprovalExpired(Approval),
    /// Other people, tokens or grants count now.
    #[serde(rename = "access.changed")]
    AccessChanged(AccessChanged),
    /// A request that is more than reading was carried to an API server.
    #[serde(rename = "request.carried")]
    RequestCarried(RequestCarried),
    /// An answer was ended before its end.
    #[serde(rename = "answer.ended")]
    AnswerEnded(AnswerEnded),
    /// A session's recording is complete.
    #[serde(rename = "recording.stored")]
    RecordingStored(RecordingStored),
    /// Something of the server itself failed.
    #[serde(rename = "failure")]
    Failure(Failure),
    /// The trail was opened, or goes on in a new file.
    #[serde(rename = "audit.opened")]
    TrailOpened(TrailOpened),
    /// All records before this one are signed.
    #[serde(rename = "audit.checkpoint")]
    Checkpoint(Checkpoint),
    /// Records could not be written, and their sessions went on.
    #[serde(rename = "audit.lost")]
    RecordsLost(RecordsLost),
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
            Self::PortRefused(_) => Code::PORT_REFUSED,
            Self::AccessDenied(_) => Code::ACCESS_DENIED,
            Self::LoginFailed(_) => Code::LOGIN_FAILED,
            Self::PolicyReloaded(_) => Code::POLICY_RELOADED,
            Self::PolicyRejected(_) => Code::POLICY_REJECTED,
            Self::AgentUnreachable(_) => Code::AGENT_UNREACHABLE,
            Self::ApprovalRequested(_) => Code::APPROVAL_REQUESTED,
            Self::ApprovalGranted(_) => Code::APPROVAL_GRANTED,
            Self::ApprovalRefused(_) => Code::APPROVAL_REFUSED,
            Self::ApprovalExpired(_) => Code::APPROVAL_EXPIRED,
            Self::AccessChanged(_) => Code::ACCESS_CHANGED,
            Self::RequestCarried(_) => Code::REQUEST_CARRIED,
            Self::AnswerEnded(_) => Code::ANSWER_ENDED,
            Self::RecordingStored(_) => Code::RECORDING_STORED,
            Self::Failure(_) => Code::FAILURE,
            Self::TrailOpened(_) => Code::TRAIL_OPENED,
            Self::Checkpoint(_) => Code::CHECKPOINT,
            Self::RecordsLost(_) => Code::RECORDS_LOST,
            Self::Other(_) => Code::UNKNOWN,
        }
    }
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
            ..EventPrincipal::default()
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
            AuditKind::PortRefused(PortForward::default()),
            AuditKind::AccessDenied(AccessDenied::default()),
            AuditKind::LoginFailed(LoginFailed::default()),
            AuditKind::PolicyReloaded(PolicyReload::default()),
            AuditKind::PolicyRejected(PolicyReload::default()),
            AuditKind::AgentUnreachable(AgentUnreachable::default()),
            AuditKind::ApprovalRequested(Approval::default()),
            AuditKind::ApprovalGranted(Approval::default()),
            AuditKind::ApprovalRefused(Approval::default()),
            AuditKind::ApprovalExpired(Approval::default()),
            AuditKind::AccessChanged(AccessChanged::default()),
            AuditKind::RequestCarried(RequestCarried::default()),
            AuditKind::AnswerEnded(AnswerEnded::default()),
            AuditKind::RecordingStored(RecordingStored::default()),
            AuditKind::Failure(Failure::default()),
            AuditKind::TrailOpened(TrailOpened::default()),
            AuditKind::Checkpoint(Checkpoint::default()),
            AuditKind::RecordsLost(RecordsLost::default()),
        ] {
            let event = AuditEvent::new("t", kind);
            let line = serde_json::to_string(&event).unwrap();
            assert_eq!(
                serde_json::from_str::<AuditEvent>(&line).unwrap(),
                event,
                "{line}"
            );
            assert_ne!(event.code, Code::UNKNOWN, "{line}");
        }
    }
}
