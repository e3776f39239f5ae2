//! What the gateway writes down, and in which words. Every text is masked here.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use dockin_policy::{
    Decision, JudgedLine, Settlement, Verdict,
    access::Attributes,
    audit::{
        AccessChanged, AccessDenied, AnswerEnded, Approval, AuditEvent, AuditKind, Command,
        CopiedFile, Copy, Direction, EventPrincipal, EventTarget, Failure, LoginFailed,
        PolicyReload, PortForward, RecordingStored, RequestCarried, SessionEnd, SessionStart,
        redact_argv, redact_text,
    },
};
use dockin_stream::{ExitStatus, Outcome, Transferred};

use super::{Call, ClusterChange, login_failures::LoginFailures};
use crate::{
    Error, Target,
    access::{Permit, SessionId, Verb},
    access_policy::AccessChange,
    approval::ApprovalRequest,
    audit::{AuditSink, Filter},
    kubernetes::ExecOptions,
    policy::Reload,
    service::PortsEnd,
    session::{ArchivedFile, Carried, CopyDirection, FileCopy, Manifest},
    tls::TlsChange,
};

/// Makes events and appends them; a call returns when its event is durable.
pub(super) struct Auditor {
    sink: Arc<dyn AuditSink>,
    failures: LoginFailures,
}

impl Auditor {
    pub(super) fn new(sink: Arc<dyn AuditSink>) -> Self {
        Self {
            sink,
            failures: LoginFailures::default(),
        }
    }

    /// A failed login; of a flood only some are written down, and how many were not.
    pub(super) async fn login_failed(
        &self,
        client: SocketAddr,
        error: &Error,
    ) -> Result<(), Error> {
        let Some(unwritten) = self.failures.count(client.ip(), Instant::now()) else {
            return Ok(());
        };
        let reason = match (error.message(), unwritten) {
            (message, 0) => message.to_owned(),
            (message, count) => format!("{message}; {count} more before were not written down"),
        };
        let kind = AuditKind::LoginFailed(LoginFailed { reason });
        self.sink
            .append(event(kind).with_client(client.to_string()))
            .await
    }

    pub(super) async fn access_denied(
        &self,
        call: &Call,
        verb: Verb,
        target: &Target,
        error: &Error,
    ) -> Result<(), Error> {
        let kind = AuditKind::AccessDenied(AccessDenied {
            verb: verb.to_string(),
            reason: error.message().to_owned(),
            rule: error.rule().map(str::to_owned),
        });
        let event = event(kind)
            .with_principal(principal(call))
            .with_client(call.client.to_string())
            .with_target(target_of(target));
        self.sink.append(event).await
    }

    /// That a request to an API server was refused here.
    pub(super) async fn request_denied(
        &self,
        call: &Call,
        wanted: &Attributes,
        error: &Error,
    ) -> Result<(), Error> {
        let verb = match resource(wanted) {
            resource if resource.is_empty() => format!("{} {}", wanted.verb, wanted.path),
            resource => format!("{} {resource}", wanted.verb),
        };
        let kind = AuditKind::AccessDenied(AccessDenied {
            verb: redact_text(&verb),
            reason: redact_text(error.message()),
            rule: error.rule().map(str::to_owned),
        });
        self.about_request(call, wanted, kind).await
    }

    /// That a request goes on to an API server.
    #[cfg_attr(
        not(feature = "kube"),
        expect(dead_code, reason = "agents are carried no requests")
    )]
    pub(super) async fn request_carried(
        &self,
        call: &Call,
        wanted: &Attributes,
    ) -> Result<(), Error> {
        let kind = AuditKind::RequestCarried(RequestCarried {
            verb: wanted.verb.clone(),
            group: wanted.group.clone(),
            resource: resource(wanted),
            name: redact_text(&wanted.name),
            path: redact_text(&wanted.path),
        });
        self.about_request(call, wanted, kind).await
    }

    /// That an answer was ended before its end.
    pub(super) async fn answer_ended(
        &self,
        call: &Call,
        wanted: &Attributes,
        reason: String,
    ) -> Result<(), Error> {
        let kind = AuditKind::AnswerEnded(AnswerEnded {
            verb: wanted.verb.clone(),
            group: wanted.group.clone(),
            resource: resource(wanted),
            name: redact_text(&wanted.name),
            path: redact_text(&wanted.path),
            reason,
        });
        self.about_request(call, wanted, kind).await
    }

    async fn about_request(
        &self,
        call: &Call,
        wanted: &Attributes,
        kind: AuditKind,
    ) -> Result<(), Error> {
        let pod = if wanted.resource == "pods" {
            wanted.name.clone()
        } else {
            String::new()
        };
        let target = EventTarget {
            cluster: wanted.cluster.clone().unwrap_or_default(),
            namespace: wanted.namespace.clone(),
            pod,
            container: String::new(),
        };
        let event = event(kind)
            .with_principal(principal(call))
            .with_client(call.client.to_string())
            .with_target(target);
        self.sink.append(event).await
    }

    /// That somebody has got, or ended, what proves who he is.
    pub(super) async fn identity_changed(&self, call: &Call, change: String) -> Result<(), Error> {
        let source = "identity".to_owned();
        let event = event(AuditKind::AccessChanged(AccessChanged { source, change }))
            .with_principal(principal(call))
            .with_client(call.client.to_string());
        self.sink.append(event).await
    }

    /// That clusters have come, changed or gone, or that a file of one is wrong.
    pub(super) async fn cluster_changed(&self, change: &ClusterChange) -> Result<(), Error> {
        let changed = |change: String| {
            let source = "clusters".to_owned();
            AuditKind::AccessChanged(AccessChanged { source, change })
        };
        let kind = match change {
            ClusterChange::Opened(name) => changed(format!("cluster `{name}` can be reached")),
            ClusterChange::Closed(name) => changed(format!("cluster `{name}` is gone")),
            ClusterChange::Refused(error) => AuditKind::Failure(Failure {
                component: "clusters".to_owned(),
                error: redact_text(error),
            }),
        };
        self.sink.append(event(kind)).await
    }

    pub(super) async fn session_started(
        &self,
        call: &Call,
        permit: &Permit,
        options: &ExecOptions,
    ) -> Result<(), Error> {
        let start = SessionStart {
            verb: permit.verb().to_string(),
            argv: redact_argv(&options.argv),
            tty: options.streams.tty,
        };
        self.append(call, permit, AuditKind::SessionStart(start))
            .await
    }

    /// The session's end, and when it was a copy, what was copied.
    pub(super) async fn session_ended(
        &self,
        call: &Call,
        permit: &Permit,
        carried: &Carried,
        copy: Option<(&FileCopy, &Manifest)>,
    ) -> Result<(), Error> {
        let transferred = carried.transferred;
        if let Some((copy, manifest)) = copy {
            let copied = copied(copy, manifest, transferred);
            self.append(call, permit, AuditKind::FileCopy(copied))
                .await?;
        }
        let (exit_status, reason) = match &carried.outcome {
            Outcome::Ended(status) => spoken(status),
            Outcome::Stopped(status) => (None, spoken(status).1),
            Outcome::ClientGone => (None, Some("the client went away".to_owned())),
            Outcome::ContainerLost => (
                None,
                Some("the connection to the container was lost".to_owned()),
            ),
            _ => (None, Some("for an unknown reason".to_owned())),
        };
        let end = SessionEnd {
            exit_status,
            reason,
            bytes_in: transferred.stdin,
            bytes_out: transferred.output,
        };
        self.append(call, permit, AuditKind::SessionEnd(end)).await
    }

    pub(super) async fn session_failed(
        &self,
        call: &Call,
        permit: &Permit,
        error: &Error,
    ) -> Result<(), Error> {
        let end = SessionEnd {
            reason: Some(error.chain()),
            ..SessionEnd::default()
        };
        self.append(call, permit, AuditKind::SessionEnd(end)).await
    }

    /// That a session's recording is complete, or what became of it.
    pub(super) async fn recording_ended(
        &self,
        call: &Call,
        permit: &Permit,
        outcome: Result<RecordingStored, Error>,
    ) -> Result<(), Error> {
        let kind = match outcome {
            Ok(stored) => AuditKind::RecordingStored(stored),
            Err(error) => AuditKind::Failure(Failure {
                component: "recording".to_owned(),
                error: error.chain(),
            }),
        };
        self.append(call, permit, kind).await
    }

    pub(super) async fn command_judged(
        &self,
        call: &Call,
        permit: &Permit,
        argv: &[String],
        verdict: &Verdict,
        approver: Option<String>,
    ) -> Result<(), Error> {
        let command = Command {
            argv: Some(redact_argv(argv)),
            approver,
            ..judged(verdict)
        };
        self.append(call, permit, verdict_kind(verdict, command))
            .await
    }

    pub(super) async fn line_judged(
        &self,
        call: &Call,
        permit: &Permit,
        line: &JudgedLine,
    ) -> Result<(), Error> {
        let command = Command {
            // The interceptor masks; a second time does no harm.
            line: Some(redact_text(&line.line)),
            confidence: Some(line.confidence.as_str().to_owned()),
            source: Some(line.source.as_str().to_owned()),
            approver: line.approver.clone(),
            ..judged(&line.verdict)
        };
        self.append(call, permit, verdict_kind(&line.verdict, command))
            .await
    }

    pub(super) async fn approval_requested(
        &self,
        call: &Call,
        permit: &Permit,
        request: &ApprovalRequest,
    ) -> Result<(), Error> {
        let approval = Approval {
            request: request.number.to_string(),
            line: request.line.clone(),
            rule: request.rule.clone(),
            reason: Some(request.reason.clone()),
            ..Approval::default()
        };
        self.append(call, permit, AuditKind::ApprovalRequested(approval))
            .await
    }

    pub(super) async fn approval_settled(
        &self,
        call: &Call,
        permit: &Permit,
        (number, line, rule): (u64, String, Option<String>),
        settlement: &Settlement,
    ) -> Result<(), Error> {
        let approval = Approval {
            request: number.to_string(),
            line: redact_text(&line),
            rule,
            ..Approval::default()
        };
        let kind = match settlement {
            Settlement::Approved { by } => AuditKind::ApprovalGranted(Approval {
                approver: Some(by.clone()),
                ..approval
            }),
            Settlement::Refused { by, why } => AuditKind::ApprovalRefused(Approval {
                approver: Some(by.clone()),
                reason: (!why.is_empty()).then(|| redact_text(why)),
                ..approval
            }),
            Settlement::Expired => AuditKind::ApprovalExpired(approval),
            Settlement::Cancelled => AuditKind::ApprovalRefused(Approval {
                reason: Some("taken back".to_owned()),
                ..approval
            }),
        };
        self.append(call, permit, kind).await
    }

    pub(super) async fn forward_started(&self, call: &Call, permit: &Permit) -> Result<(), Error> {
        let start = SessionStart {
            verb: permit.verb().to_string(),
            ..SessionStart::default()
        };
        self.append(call, permit, AuditKind::SessionStart(start))
            .await
    }

    pub(super) async fn port_judged(
        &self,
        call: &Call,
        permit: &Permit,
        port: u16,
        verdict: &Verdict,
        approver: Option<String>,
    ) -> Result<(), Error> {
        let passes = passes(verdict, approver.as_deref());
        let forward = PortForward {
            port,
            decision: verdict.decision.as_str().to_owned(),
            rule: verdict.rule.clone(),
            reason: redact_text(&verdict.to_string()),
            approver,
            ..PortForward::default()
        };
        let kind = if passes {
            AuditKind::PortForward(forward)
        } else {
            AuditKind::PortRefused(forward)
        };
        self.append(call, permit, kind).await
    }

    pub(super) async fn forward_ended(
        &self,
        call: &Call,
        permit: &Permit,
        end: &PortsEnd,
    ) -> Result<(), Error> {
        let end = SessionEnd {
            reason: end.error.clone(),
            ..SessionEnd::default()
        };
        self.append(call, permit, AuditKind::SessionEnd(end)).await
    }

    pub(super) async fn rules_changed(&self, source: &str, change: &Reload) -> Result<(), Error> {
        let source = source.to_owned();
        let kind = match change {
            Reload::Accepted(rules) => AuditKind::PolicyReloaded(PolicyReload {
                source,
                rules: u64::try_from(rules.len()).ok(),
                error: None,
            }),
            Reload::Rejected(error) => AuditKind::PolicyRejected(PolicyReload {
                source,
                rules: None,
                error: Some(error.clone()),
            }),
        };
        self.sink.append(event(kind)).await
    }

    /// That other certificates from `source` are in force, or were refused.
    pub(super) async fn tls_changed(&self, source: &str, change: &TlsChange) -> Result<(), Error> {
        let source = source.to_owned();
        let reload = |error| PolicyReload {
            source,
            rules: None,
            error,
        };
        let kind = match change {
            TlsChange::Accepted => AuditKind::PolicyReloaded(reload(None)),
            TlsChange::Rejected(error) => AuditKind::PolicyRejected(reload(Some(error.clone()))),
        };
        self.sink.append(event(kind)).await
    }

    /// That an agent has got a certificate.
    #[cfg(feature = "authority")]
    pub(super) async fn agent_certified(
        &self,
        client: SocketAddr,
        change: String,
    ) -> Result<(), Error> {
        let source = "agents".to_owned();
        let kind = AuditKind::AccessChanged(AccessChanged { source, change });
        self.sink
            .append(event(kind).with_client(client.to_string()))
            .await
    }

    pub(super) async fn search(&self, filter: &Filter, limit: usize) -> Result<Vec<Bytes>, Error> {
        self.sink.search(filter, limit).await
    }

    pub(super) async fn access_changed(
        &self,
        source: &str,
        change: &AccessChange,
    ) -> Result<(), Error> {
        let source = source.to_owned();
        let kind = match change {
            AccessChange::Accepted(rules) => AuditKind::PolicyReloaded(PolicyReload {
                source,
                rules: u64::try_from(*rules).ok(),
                error: None,
            }),
            AccessChange::Rejected(error) => AuditKind::PolicyRejected(PolicyReload {
                source,
                rules: None,
                error: Some(error.clone()),
            }),
        };
        self.sink.append(event(kind)).await
    }

    async fn append(&self, call: &Call, permit: &Permit, kind: AuditKind) -> Result<(), Error> {
        let event = event(kind)
            .with_session(session(permit.session()))
            .with_principal(principal(call))
            .with_client(call.client.to_string())
            .with_target(target_of(permit.target()));
        self.sink.append(event).await
    }
}

fn event(kind: AuditKind) -> AuditEvent {
    AuditEvent::new(jiff::Timestamp::now().to_string(), kind)
}

fn session(id: SessionId) -> String {
    id.to_string()
}

fn principal(call: &Call) -> EventPrincipal {
    EventPrincipal {
        user: call.principal.user.clone(),
        groups: call.principal.groups.clone(),
        impersonator: call.principal.impersonator.clone(),
    }
}

/// Resource and sub-resource, as roles of Kubernetes write them.
fn resource(wanted: &Attributes) -> String {
    match wanted.subresource.as_str() {
        "" => wanted.resource.clone(),
        subresource => format!("{}/{subresource}", wanted.resource),
    }
}

fn target_of(target: &Target) -> EventTarget {
    EventTarget {
        cluster: target.cluster.clone(),
        namespace: target.namespace.clone(),
        pod: target.pod.clone(),
        container: target.container.clone().unwrap_or_default(),
    }
}

/// What every judged command says, argv or line aside.
fn judged(verdict: &Verdict) -> Command {
    let programs = verdict.programs.as_ref();
    Command {
        decision: verdict.decision.as_str().to_owned(),
        rule: verdict.rule.clone(),
        reason: redact_text(&verdict.to_string()),
        programs: programs.map(|all| all.iter().map(|argv| redact_argv(argv)).collect()),
        ..Command::default()
    }
}

fn verdict_kind(verdict: &Verdict, command: Command) -> AuditKind {
    if passes(verdict, command.approver.as_deref()) {
        AuditKind::CommandVerdict(command)
    } else {
        AuditKind::CommandRefused(command)
    }
}

/// Whether what was judged goes on: it may, or somebody approved it.
pub(super) fn passes(verdict: &Verdict, approver: Option<&str>) -> bool {
    match verdict.decision {
        Decision::Allow | Decision::Alert => true,
        Decision::Ask => approver.is_some(),
        Decision::Deny => false,
    }
}

fn copied(copy: &FileCopy, manifest: &Manifest, transferred: Transferred) -> Copy {
    let (direction, bytes) = match copy.direction {
        CopyDirection::Upload => (Direction::Upload, transferred.stdin),
        CopyDirection::Download => (Direction::Download, transferred.output),
    };
    let (files, more_files) = manifest.files();
    let listed = |file: &ArchivedFile| CopiedFile {
        path: redact_text(&file.path),
        bytes: file.bytes,
    };
    Copy {
        direction,
        path: redact_text(&copy.path),
        bytes,
        files: files.iter().map(listed).collect(),
        more_files,
    }
}

fn spoken(status: &ExitStatus) -> (Option<i32>, Option<String>) {
    match status {
        ExitStatus::Exited(code) => (Some(i32::from(*code)), None),
        ExitStatus::Failed(failure) => (None, Some(redact_text(&failure.message))),
    }
}
