//! Which events are wanted.

use dockin_policy::audit::{AuditEvent, AuditKind};
use jiff::Timestamp;

#[cfg(feature = "service")]
use crate::{Error, kubernetes::query::Query};

/// What an event must be to be found; all that is given must fit, and no field fits every event.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// By this user.
    pub user: Option<String>,
    /// In this cluster.
    pub cluster: Option<String>,
    /// In this namespace.
    pub namespace: Option<String>,
    /// In this pod.
    pub pod: Option<String>,
    /// In this container.
    pub container: Option<String>,
    /// A command that would run this program: by its name, or by its whole path.
    pub program: Option<String>,
    /// `allow`, `alert`, `ask` or `deny`.
    pub verdict: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// With this event code.
    pub code: Option<String>,
    /// Of this session.
    pub session: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Reads it from the query of a URL, with the names of the fields.
    ///
    /// # Errors
    ///
    /// `Malformed` when the query or a time in it cannot be read.
    #[cfg(feature = "service")]
    pub fn parse(query: &str) -> Result<Self, Error> {
        let query = Query::parse(query)?;
        let text = |name| Ok::<_, Error>(query.value(name)?.map(str::to_owned));
        let time = |name: &str| {
            let time = query.value(name)?.map(str::parse).transpose();
            time.map_err(|_| {
                Error::new(
                    crate::ErrorKind::Malformed,
                    format!("`{name}` is no time, write it as 2026-01-31T12:00:00Z"),
                )
            })
        };
        Ok(Self {
            user: text("user")?,
            cluster: text("cluster")?,
            namespace: text("namespace")?,
            pod: text("pod")?,
            container: text("container")?,
            program: text("program")?,
            verdict: text("verdict")?,
            rule: text("rule")?,
            code: text("code")?,
            session: text("session")?,
            since: time("since")?,
            until: time("until")?,
        })
    }

    /// Whether it takes every event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it takes `event`. A time that cannot be read fits: a search loses no event.
    #[must_use]
    pub fn fits(&self, event: &AuditEvent) -> bool {
        let is = |wanted: &Option<String>, have: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| have == Some(wanted))
        };
        let target = event.target.as_ref();
        let time = || event.time.parse::<Timestamp>().ok();
        is(
            &self.user,
            event
                .principal
                .as_ref()
                .map(|principal| principal.user.as_str()),
        ) && is(&self.cluster, target.map(|target| target.cluster.as_str()))
            && is(
                &self.namespace,
                target.map(|target| target.namespace.as_str()),
            )
            && is(&self.pod, target.map(|target| target.pod.as_str()))
            && is(
                &self.container,
                target.map(|target| target.container.as_str()),
            )
            && is(&self.verdict, verdict(event))
            && is(&self.rule, rule(event))
            && is(&self.code, Some(event.code.as_str()))
            && is(&self.session, event.session.as_deref())
            && self
                .program
                .as_deref()
                .is_none_or(|program| runs(event, program))
            && self
                .since
                .is_none_or(|since| time().is_none_or(|time| time >= since))
            && self
                .until
                .is_none_or(|until| time().is_none_or(|time| time < until))
    }
}

/// What was decided, where something was.
#[must_use]
pub fn verdict(event: &AuditEvent) -> Option<&str> {
    match &event.kind {
        AuditKind::CommandVerdict(command) | AuditKind::CommandRefused(command) => {
            Some(&command.decision)
        }
        AuditKind::PortForward(forward) | AuditKind::PortRefused(forward) => {
            Some(forward.decision.as_str()).filter(|decision| !decision.is_empty())
        }
        AuditKind::AccessDenied(_) | AuditKind::LoginFailed(_) => Some("deny"),
        AuditKind::ApprovalRequested(_) => Some("ask"),
        AuditKind::ApprovalGranted(_) => Some("allow"),
        AuditKind::ApprovalRefused(_) | AuditKind::ApprovalExpired(_) => Some("deny"),
        _ => None,
    }
}

/// The rule that decided, where one did.
#[must_use]
pub fn rule(event: &AuditEvent) -> Option<&str> {
    match &event.kind {
        AuditKind::CommandVerdict(command) | AuditKind::CommandRefused(command) => {
            command.rule.as_deref()
        }
        AuditKind::PortForward(forward) | AuditKind::PortRefused(forward) => {
            forward.rule.as_deref()
        }
        AuditKind::AccessDenied(denied) => denied.rule.as_deref(),
        AuditKind::ApprovalRequested(approval)
        | AuditKind::ApprovalGranted(approval)
        | AuditKind::ApprovalRefused(approval)
        | AuditKind::ApprovalExpired(approval) => approval.rule.as_deref(),
        _ => None,
    }
}

fn runs(event: &AuditEvent, program: &str) -> bool {
    let is = |argv: &Vec<String>| {
        argv.first().is_some_and(|found| {
            found == program || found.rsplit('/').next().is_some_and(|name| name == program)
        })
    };
    match &event.kind {
        AuditKind::CommandVerdict(command) | AuditKind::CommandRefused(command) => {
            command.argv.iter().any(is) || command.programs.iter().flatten().any(is)
        }
        AuditKind::SessionStart(start) => is(&start.argv),
        _ => false,
    }
}

#[cfg(all(test, feature = "service"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use dockin_policy::audit::{Command, EventPrincipal, EventTarget, PortForward};

    use super::*;

    fn event() -> AuditEvent {
        let command = Command {
            decision: "deny".into(),
            rule: Some("no-rm".into()),
            programs: Some(vec![
                vec!["true".into()],
                vec!["/bin/rm".into(), "x".into()],
            ]),
            ..Command::default()
        };
        AuditEvent::new(
            "2026-01-02T03:04:05.25Z",
            AuditKind::CommandRefused(command),
        )
        .with_session("s1")
        .with_principal(EventPrincipal {
            user: "ann".into(),
            ..EventPrincipal::default()
        })
        .with_target(EventTarget {
            cluster: "c".into(),
            namespace: "n".into(),
            pod: "p".into(),
            container: "k".into(),
        })
    }

    #[test]
    fn ports_are_found_by_verdict_and_rule() {
        let forward = |decision: &str| PortForward {
            port: 22,
            decision: decision.to_owned(),
            rule: (decision == "deny").then(|| "no-ssh".to_owned()),
            ..PortForward::default()
        };
        let refused = AuditEvent::new("t", AuditKind::PortRefused(forward("deny")));
        let forwarded = AuditEvent::new("t", AuditKind::PortForward(forward("allow")));
        // As older gateways wrote it.
        let before = AuditEvent::new("t", AuditKind::PortForward(forward("")));
        for (query, fits) in [
            ("verdict=deny", [true, false, false]),
            ("verdict=allow", [false, true, false]),
            ("rule=no-ssh", [true, false, false]),
            ("code=FWD-002", [true, false, false]),
            ("code=FWD-001", [false, true, true]),
        ] {
            let filter = Filter::parse(query).unwrap();
            let found = [&refused, &forwarded, &before].map(|event| filter.fits(event));
            assert_eq!(found, fits, "{query}");
        }
        assert_eq!(verdict(&before), None);
    }

    #[test]
    fn every_field_must_fit() {
        for (query, fits) in [
            ("", true),
            (
                "user=ann&cluster=c&namespace=n&pod=p&container=k&verdict=deny&session=s1",
                true,
            ),
            ("code=CMD-002&rule=no-rm", true),
            ("program=rm", true),
            ("program=/bin/rm", true),
            ("program=/usr/bin/rm", false),
            ("program=x", false),
            ("user=bob", false),
            ("cluster=d", false),
            ("container=x", false),
            ("verdict=allow", false),
            (
                "since=2026-01-02T03:04:05.25Z&until=2026-01-02T03:04:06Z",
                true,
            ),
            ("since=2026-01-02T03:04:05.3Z", false),
            ("until=2026-01-02T03:04:05.25Z", false),
            ("since=2026-01-02T04:04:05%2B01:00", true),
        ] {
            assert_eq!(
                Filter::parse(query).unwrap().fits(&event()),
                fits,
                "{query}"
            );
        }
        let error = Filter::parse("since=yesterday").unwrap_err();
        assert!(error.message().contains("`since`"), "{error}");
    }
}
