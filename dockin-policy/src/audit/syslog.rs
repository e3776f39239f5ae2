//! A record as a syslog message.

use std::fmt::Write as _;

use super::{AuditEvent, AuditKind};

/// `event`, whose JSON line is `line`, as an RFC 5424 message without framing.
///
/// The facility is 13 (log audit); the message id is the event's code; the structured data has
/// number, session, user and pod; the text is the line itself, so that a receiver can verify the
/// chain. Names that RFC 5424 does not allow lose the characters that it does not.
///
/// Spec: RFC 5424 §6.
#[must_use]
pub fn syslog_message(event: &AuditEvent, line: &str, host: &str, process: u32) -> String {
    let severity = match &event.kind {
        AuditKind::Failure(_) | AuditKind::RecordsLost(_) => 3,
        AuditKind::CommandRefused(_)
        | AuditKind::PortRefused(_)
        | AuditKind::AccessDenied(_)
        | AuditKind::LoginFailed(_)
        | AuditKind::PolicyRejected(_)
        | AuditKind::AgentUnreachable(_)
        | AuditKind::ApprovalRefused(_) => 4,
        AuditKind::Checkpoint(_) => 7,
        _ => 6,
    };
    let line = line.trim_end_matches('\n');
    let mut message = String::with_capacity(line.len() + 256);
    // Writing to a string cannot fail.
    let _ = write!(
        message,
        "<{}>1 {} {} dockin {process} {} [audit@32473",
        FACILITY * 8 + severity,
        timestamp(&event.time),
        name(host, 255),
        name(event.code.as_str(), 32),
    );
    let seq = event.seq.map(|seq| seq.to_string());
    let target = event.target.as_ref();
    for (key, value) in [
        ("seq", seq.as_deref()),
        ("session", event.session.as_deref()),
        (
            "user",
            event
                .principal
                .as_ref()
                .map(|principal| principal.user.as_str()),
        ),
        ("cluster", target.map(|target| target.cluster.as_str())),
        ("namespace", target.map(|target| target.namespace.as_str())),
        ("pod", target.map(|target| target.pod.as_str())),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let _ = write!(message, " {key}=\"");
            for character in value.chars() {
                if matches!(character, '"' | '\\' | ']') {
                    message.push('\\');
                }
                message.push(character);
            }
            message.push('"');
        }
    }
    message.push_str("] ");
    message.push_str(line);
    message
}

/// `message` with its length before it, as a stream carries it.
///
/// Spec: RFC 6587 §3.4.1, octet counting.
#[must_use]
pub fn octet_counted(message: &str) -> Vec<u8> {
    format!("{} {message}", message.len()).into_bytes()
}

/// Log audit.
const FACILITY: u32 = 13;

/// At most six digits of a second: RFC 5424 allows no more.
fn timestamp(time: &str) -> String {
    let Some((head, rest)) = time.split_once('.') else {
        return if time.is_empty() {
            "-".to_owned()
        } else {
            name(time, 64)
        };
    };
    let digits = rest.find(|character: char| !character.is_ascii_digit());
    let (fraction, zone) = rest.split_at(digits.unwrap_or(rest.len()));
    let fraction = fraction.get(..6.min(fraction.len())).unwrap_or_default();
    name(&format!("{head}.{fraction}{zone}"), 64)
}

/// Printable ASCII without blanks, or `-`.
fn name(text: &str, limit: usize) -> String {
    let name: String = text
        .chars()
        .filter(char::is_ascii_graphic)
        .take(limit)
        .collect();
    if name.is_empty() {
        "-".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Command, EventPrincipal, EventTarget};

    #[test]
    fn a_refusal_is_a_warning_with_its_data_escaped() {
        let mut event = AuditEvent::new(
            "2026-01-02T03:04:05.123456789Z",
            AuditKind::CommandRefused(Command::default()),
        )
        .with_session("s1")
        .with_principal(EventPrincipal {
            user: "a\"]\\".into(),
            ..EventPrincipal::default()
        })
        .with_target(EventTarget {
            pod: "p".into(),
            ..EventTarget::default()
        });
        event.seq = Some(7);
        let message = syslog_message(&event, "{\"seq\":7}\n", "host name", 42);
        assert_eq!(
            message,
            "<108>1 2026-01-02T03:04:05.123456Z hostname dockin 42 CMD-002 [audit@32473 seq=\"7\" \
             session=\"s1\" user=\"a\\\"\\]\\\\\" pod=\"p\"] {\"seq\":7}"
        );
        assert_eq!(octet_counted("abc"), b"3 abc");
        assert_eq!(octet_counted("ä"), "2 ä".as_bytes());
    }

    #[test]
    fn a_refused_port_is_a_warning_and_a_forwarded_one_is_not() {
        let port = crate::audit::PortForward::default;
        for (kind, expected) in [
            (
                AuditKind::PortRefused(port()),
                "<108>1 t - dockin 42 FWD-002 [audit@32473] x",
            ),
            (
                AuditKind::PortForward(port()),
                "<110>1 t - dockin 42 FWD-001 [audit@32473] x",
            ),
        ] {
            let message = syslog_message(&AuditEvent::new("t", kind), "x", "", 42);
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn what_has_no_name_is_a_dash() {
        let event = AuditEvent::new("", AuditKind::Failure(crate::audit::Failure::default()));
        let message = syslog_message(&event, "x", "", 1);
        assert_eq!(message, "<107>1 - - dockin 1 FLR-001 [audit@32473] x");
    }
}
