use std::io::{self, Write};

use dockin_core::audit::{rule, verdict};
use dockin_policy::audit::{AuditEvent, AuditKind, Direction};
use jiff::Timestamp;

use crate::table::Table;

/// Audit events as a table: who did what where, what came of it.
#[derive(Debug)]
pub(crate) struct AuditTable {
    table: Table,
    begun: bool,
}

/// Prints `events` as one table.
///
/// All text is made safe for a terminal: it may be what an attacker typed.
#[allow(dead_code, reason = "for the demo, which is not built in yet")]
pub(crate) fn print_audit_table<'a>(
    events: impl IntoIterator<Item = &'a AuditEvent>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut table = AuditTable::new();
    events.into_iter().for_each(|event| table.push(event));
    table.write_to(out)
}

/// How wide a column gets; a longer command moves only its own exit code.
const WIDEST: usize = 60;

impl AuditTable {
    pub(crate) const fn new() -> Self {
        Self {
            table: Table::new().with_widest(WIDEST),
            begun: false,
        }
    }

    /// Adds an event.
    pub(crate) fn push(&mut self, event: &AuditEvent) {
        self.begin();
        self.table.push([
            time(&event.time),
            event
                .principal
                .as_ref()
                .map_or_else(none, |principal| or_none(&principal.user)),
            target(event),
            event.code.to_string(),
            verdict(event).map_or_else(none, or_none),
            rule(event).map_or_else(none, or_none),
            command(event),
            exit(event),
        ]);
    }

    /// Writes what was added since the last time; the headings before the first.
    pub(crate) fn write_to(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.begin();
        self.table.write_to(out)
    }

    fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            self.table.push([
                "TIME", "USER", "TARGET", "CODE", "VERDICT", "RULE", "COMMAND", "EXIT",
            ]);
        }
    }
}

/// To the second: that is what a person compares.
fn time(text: &str) -> String {
    text.parse::<Timestamp>()
        .and_then(|time| Timestamp::from_second(time.as_second()))
        .map_or_else(|_| text.to_owned(), |time| time.to_string())
}

fn target(event: &AuditEvent) -> String {
    let Some(target) = &event.target else {
        return none();
    };
    let parts = [
        &target.cluster,
        &target.namespace,
        &target.pod,
        &target.container,
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    or_none(&parts.join("/"))
}

/// The command where there is one, else what happened in words.
fn command(event: &AuditEvent) -> String {
    match &event.kind {
        AuditKind::SessionStart(start) if start.argv.is_empty() => start.verb.clone(),
        AuditKind::SessionStart(start) => format!("{}: {}", start.verb, join(&start.argv)),
        AuditKind::SessionEnd(end) => end
            .reason
            .as_ref()
            .map_or_else(|| "end".to_owned(), |why| format!("end: {why}")),
        AuditKind::CommandVerdict(command) | AuditKind::CommandRefused(command) => {
            match (&command.line, &command.argv) {
                (Some(line), _) => line.clone(),
                (None, Some(argv)) => join(argv),
                (None, None) => or_none(&command.reason),
            }
        }
        AuditKind::FileCopy(copy) => {
            let direction = match copy.direction {
                Direction::Upload => "upload",
                Direction::Download => "download",
            };
            format!("{direction} {} ({} bytes)", copy.path, copy.bytes)
        }
        AuditKind::PortForward(forward) | AuditKind::PortRefused(forward) => {
            format!("port-forward {}", forward.port)
        }
        AuditKind::AccessDenied(denied) => format!("{}: {}", denied.verb, denied.reason),
        AuditKind::LoginFailed(failed) => failed.reason.clone(),
        AuditKind::PolicyReloaded(reload) => match reload.rules {
            Some(rules) => format!("{} rules from {}", rules, reload.source),
            None => reload.source.clone(),
        },
        AuditKind::PolicyRejected(reload) => {
            format!(
                "{}: {}",
                reload.source,
                reload.error.as_deref().unwrap_or_default()
            )
        }
        AuditKind::AgentUnreachable(agent) => format!("{}: {}", agent.agent, agent.error),
        AuditKind::ApprovalRequested(approval) => format!("waits: {}", approval.line),
        AuditKind::ApprovalGranted(approval)
        | AuditKind::ApprovalRefused(approval)
        | AuditKind::ApprovalExpired(approval) => match &approval.approver {
            Some(approver) => format!("{} (by {approver})", approval.line),
            None => approval.line.clone(),
        },
        AuditKind::AccessChanged(change) => format!("{}: {}", change.source, change.change),
        AuditKind::RequestCarried(request) => {
            format!("{} {}", request.verb, request.path)
        }
        AuditKind::AnswerEnded(answer) => {
            format!("{} {}: ended, {}", answer.verb, answer.path, answer.reason)
        }
        AuditKind::RecordingStored(recording) => {
            format!("recording {} ({} bytes)", recording.file, recording.bytes)
        }
        AuditKind::Failure(failure) => format!("{}: {}", failure.component, failure.error),
        AuditKind::TrailOpened(opened) => match &opened.continues {
            Some(file) => format!("trail continues {file}"),
            None => "trail opened".to_owned(),
        },
        AuditKind::Checkpoint(checkpoint) => format!("signed through {}", checkpoint.through),
        AuditKind::RecordsLost(lost) => {
            format!(
                "{} records lost since {}: {}",
                lost.records, lost.since, lost.error
            )
        }
        // Of a newer writer: its own words.
        AuditKind::Other(fields) => fields
            .get("event")
            .and_then(|name| name.as_str())
            .map_or_else(none, str::to_owned),
        _ => none(),
    }
}

fn exit(event: &AuditEvent) -> String {
    match &event.kind {
        AuditKind::SessionEnd(end) => end.exit_status.map_or_else(none, |code| code.to_string()),
        _ => none(),
    }
}

/// An argument list as one would type it.
fn join(argv: &[String]) -> String {
    let quoted: Vec<_> = argv
        .iter()
        .map(|argument| {
            let plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%^".contains(c);
            if !argument.is_empty() && argument.chars().all(plain) {
                argument.clone()
            } else {
                format!("'{}'", argument.replace('\'', r"'\''"))
            }
        })
        .collect();
    quoted.join(" ")
}

fn none() -> String {
    "-".to_owned()
}

fn or_none(text: &str) -> String {
    if text.is_empty() {
        none()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use dockin_policy::audit::{
        AccessDenied, AuditEvent, AuditKind, Command, EventPrincipal, EventTarget, PortForward,
        SessionEnd, SessionStart,
    };

    use super::print_audit_table;

    fn event(kind: AuditKind) -> AuditEvent {
        AuditEvent::new("2026-11-21T05:21:06.987654Z", kind)
            .with_principal(EventPrincipal {
                user: "ann".to_owned(),
                ..EventPrincipal::default()
            })
            .with_target(EventTarget {
                cluster: "local".to_owned(),
                namespace: "default".to_owned(),
                pod: "web-1".to_owned(),
                container: "app".to_owned(),
            })
    }

    fn printed(events: &[AuditEvent]) -> String {
        let mut out = Vec::new();
        print_audit_table(events, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_session_is_told_from_start_to_end() {
        let start = SessionStart {
            verb: "exec".to_owned(),
            argv: vec!["sh".to_owned(), "-c".to_owned(), "echo 'a b'".to_owned()],
            tty: true,
        };
        let refused = Command {
            line: Some("rm -rf /srv".to_owned()),
            decision: "deny".to_owned(),
            rule: Some("no-rm".to_owned()),
            ..Command::default()
        };
        let port = PortForward {
            port: 22,
            decision: "deny".to_owned(),
            rule: Some("ports".to_owned()),
            ..PortForward::default()
        };
        let end = SessionEnd {
            exit_status: Some(1),
            ..SessionEnd::default()
        };
        let denied = AccessDenied {
            verb: "exec".to_owned(),
            reason: "nothing allows it".to_owned(),
            rule: None,
        };
        assert_eq!(
            printed(&[
                event(AuditKind::SessionStart(start)),
                event(AuditKind::CommandRefused(refused)),
                event(AuditKind::PortRefused(port)),
                event(AuditKind::SessionEnd(end)),
                AuditEvent::new("no time", AuditKind::AccessDenied(denied)),
            ]),
            concat!(
                "TIME                   USER   TARGET                    CODE      VERDICT   RULE    COMMAND                          EXIT\n",
                "2026-11-21T05:21:06Z   ann    local/default/web-1/app   SES-001   -         -       exec: sh -c 'echo '\\''a b'\\'''   -\n",
                "2026-11-21T05:21:06Z   ann    local/default/web-1/app   CMD-002   deny      no-rm   rm -rf /srv                      -\n",
                "2026-11-21T05:21:06Z   ann    local/default/web-1/app   FWD-002   deny      ports   port-forward 22                  -\n",
                "2026-11-21T05:21:06Z   ann    local/default/web-1/app   SES-002   -         -       end                              1\n",
                "no time                -      -                         ACC-001   deny      -       exec: nothing allows it          -\n",
            )
        );
    }

    #[test]
    fn what_was_typed_cannot_reach_the_readers_terminal() {
        let typed = Command {
            line: Some("echo \x1b]52;c;aGk=\x07\r\u{9b}2J\u{202e}".to_owned()),
            decision: "allow".to_owned(),
            ..Command::default()
        };
        let mut hostile = event(AuditKind::CommandVerdict(typed));
        hostile.principal = Some(EventPrincipal {
            user: "a\nb".to_owned(),
            ..EventPrincipal::default()
        });
        let text = printed(&[hostile]);
        assert_eq!(text.lines().count(), 2);
        assert!(
            !text
                .chars()
                .any(|c| c.is_control() && c != '\n' || c == '\u{202e}'),
            "{text:?}"
        );
        assert!(
            text.contains(r"echo \x1b]52;c;aGk=\x07\r\x9b2J\u{202e}"),
            "{text}"
        );
    }
}
