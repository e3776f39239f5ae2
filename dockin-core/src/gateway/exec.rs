use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dockin_policy::{
    BufferQuery, Decision, Interceptor, RuleSet, Subject, Verdict,
    audit::redact_argv,
    copy_limit, judge_argv,
    recording::{CastHeader, RecordedSession},
};
use dockin_stream::{ExitStatus, Relay};
use http::{Request, Response};
use hyper::body::Incoming;

use super::{
    Call, Cluster, Found, Gateway, STOPPING,
    approval::{Desk, conclude},
    file_sizes::{LONGEST_WAIT, sizes_for_start},
};
use crate::{
    Error, ErrorKind,
    access::{Permit, Verb},
    hex::hex,
    kubernetes::ExecOptions,
    policy::Rules,
    recording::Recorder,
    service::{Body, remote_command},
    session::{
        Client, FileCopy, IdleGate, InterceptorGate, Manifest, RecordedGate, record_copied,
        week_time,
    },
};

/// How long a WebSocket client is left alone after the 101.
///
/// kubectl up to 1.33 drops what arrives before it has made its streams
/// (kubernetes/kubernetes#131203); it needs microseconds, on a busy machine a few milliseconds.
const SETTLE: Duration = Duration::from_millis(20);

impl Gateway {
    /// Opens a session: exec, or attach to the main process.
    ///
    /// Everything that can be refused is refused before the 101, as a `Status`. An error after
    /// it would reach kubectl in a shape it cannot explain.
    pub(super) async fn exec(
        self: &Arc<Self>,
        call: Call,
        cluster: &Cluster,
        verb: Verb,
        namespace: &str,
        pod: &str,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let upgrade = remote_command(&request)?;
        let query = request.uri().query().unwrap_or_default();
        let options = match verb {
            Verb::Exec => ExecOptions::parse_exec(query)?,
            _ => ExecOptions::parse_attach(query)?,
        };
        let (permit, found) = self
            .permit(
                &call,
                cluster,
                verb,
                (namespace, pod),
                options.container.as_deref(),
            )
            .await?;
        let client = Client::Upgrade {
            on_upgrade: hyper::upgrade::on(&mut request),
            protocol: upgrade.protocol(),
        };
        self.start(call, (permit, found), &self.rules, options, client)
            .await?;
        Ok(upgrade.into_response())
    }

    /// Judges what the permit is for by `rules`, writes it down and starts it for `client`. On
    /// return the container's side is open, or nothing is.
    pub(super) async fn start(
        self: &Arc<Self>,
        call: Call,
        (permit, found): (Permit, Found),
        rules: &Arc<Rules>,
        options: ExecOptions,
        client: Client,
    ) -> Result<(), Error> {
        let call = Arc::new(call);
        let verb = permit.verb();
        let current = rules.current();
        let mut subject = subject(&permit, &found);
        if verb == Verb::Exec {
            let (argv, runtime) = (&options.argv, &*found.runtime);
            subject.file_sizes = sizes_for_start(&current, &subject, argv, &permit, runtime).await;
            let verdict = judge_argv(&current, &subject, &options.argv);
            self.admit(&call, &permit, &options.argv, &verdict).await?;
        }
        let limit = copy_limit(&current, &subject, &options.argv);
        subject.file_sizes.clear();
        let (desk, inbox) = Desk::new(Arc::clone(&found.runtime));
        let (gate, run) = self.gate((rules, current), subject, &options, verb)?;
        let gate = gate.with_answers(inbox).with_copy_limit(limit);
        let gateway = Arc::clone(self);
        // A task of its own: a client that goes away drops his request, and what is written down
        // as started must be written down as ended all the same.
        let opening = self.sessions.spawn(async move {
            gateway
                .open(call, permit, found, options, (gate, run, desk), client)
                .await
        });
        opening.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Misuse, "the session could not be opened").with_source(error))
        })
    }

    /// Starts what the permit is for, and leaves the session to a task.
    async fn open(
        self: Arc<Self>,
        call: Arc<Call>,
        permit: Permit,
        found: Found,
        options: ExecOptions,
        (gate, argv, desk): (InterceptorGate, Vec<String>, Desk),
        client: Client,
    ) -> Result<(), Error> {
        self.auditor
            .session_started(&call, &permit, &options)
            .await?;
        let recorder = match self.record(&call, &permit, &options).await {
            Ok(recorder) => recorder,
            Err(error) => {
                self.auditor.session_failed(&call, &permit, &error).await?;
                return Err(error);
            }
        };
        let opened = if permit.verb() == Verb::Exec {
            found.runtime.exec(&permit, &argv, options.streams).await
        } else {
            found.runtime.attach(&permit, options.streams).await
        };
        let container = match opened {
            Ok(container) => container,
            Err(error) => {
                self.auditor.session_failed(&call, &permit, &error).await?;
                if let Some(recorder) = recorder {
                    let stored = recorder.finish(None).await;
                    self.auditor.recording_ended(&call, &permit, stored).await?;
                }
                return Err(error);
            }
        };
        let copy = FileCopy::detect(&options.argv);
        let manifest = Arc::new(Mutex::new(Manifest::default()));
        let gate = match &copy {
            Some(copy) => gate.with_copy(copy.direction, Arc::clone(&manifest)),
            None => gate,
        };
        let gate = match &copy {
            Some(copy) => RecordedGate::of_copy(gate, recorder.clone(), copy),
            None => RecordedGate::new(gate, recorder.clone(), options.streams.tty),
        };
        let gate = IdleGate::new(gate, self.idle_timeout, Instant::now());
        let overdue = gate.overdue();
        let runtime = Some(Arc::clone(&found.runtime));
        let live = self.live.begin(&call, &permit, runtime);
        let gateway = Arc::clone(&self);
        self.sessions.spawn(async move {
            if client.needs_settling() {
                tokio::time::sleep(SETTLE).await;
            }
            let write_down = |note| {
                let (gateway, call, permit, desk) = (&gateway, &call, &permit, &desk);
                async move {
                    gateway.note(call, permit, desk, note).await.map_err(|error| {
                        ExitStatus::internal_error(format!(
                            "session ended: it cannot be written down ({})",
                            error.chain()
                        ))
                    })
                }
            };
            let stop = async {
                tokio::select! {
                    () = gateway.cut.cancelled() => STOPPING.to_owned(),
                    why = live.ended() => why,
                    why = overdue => why,
                }
            };
            let relay = Relay::new(gate);
            let carried = client.carry(options.streams, container, relay, write_down, stop);
            let carried = carried.await;
            if let Err(error) = gateway.close_desk(&call, &permit, &desk).await {
                tracing::error!(session = %permit.session(), error = error.chain(), "question not audited");
            }
            let manifest =
                std::mem::take(&mut *manifest.lock().unwrap_or_else(PoisonError::into_inner));
            let copy = copy.as_ref().map(|copy| (copy, &manifest));
            if let Some(recorder) = recorder {
                if let Some((copy, manifest)) = copy {
                    record_copied(&recorder, copy, manifest);
                }
                let stored = recorder.finish(carried.exit_code()).await;
                let told = gateway.auditor.recording_ended(&call, &permit, stored).await;
                if let Err(error) = told {
                    tracing::error!(session = %permit.session(), error = error.chain(), "recording not audited");
                }
            }
            let ended = gateway.auditor.session_ended(&call, &permit, &carried, copy);
            if let Err(error) = ended.await {
                tracing::error!(session = %permit.session(), error = error.chain(), "end not audited");
            }
        });
        Ok(())
    }

    /// The session's recorder, when sessions are recorded. Of a copy the names of the files are,
    /// and not what is in them.
    async fn record(
        &self,
        call: &Call,
        permit: &Permit,
        options: &ExecOptions,
    ) -> Result<Option<Recorder>, Error> {
        let Some(store) = &self.recordings else {
            return Ok(None);
        };
        let target = permit.target();
        let session = RecordedSession {
            id: permit.session().to_string(),
            user: permit.principal().user.clone(),
            client: call.client.to_string(),
            cluster: target.cluster.clone(),
            namespace: target.namespace.clone(),
            pod: target.pod.clone(),
            container: target.container.clone().unwrap_or_default(),
        };
        let header = CastHeader {
            version: 3,
            columns: 80,
            rows: 24,
            terminal: Some("xterm-256color".to_owned()),
            timestamp: u64::try_from(jiff::Timestamp::now().as_second()).ok(),
            title: Some(format!(
                "{} in {}/{}/{}",
                session.user, session.cluster, session.namespace, session.pod
            )),
            command: (permit.verb() == Verb::Exec).then(|| redact_argv(&options.argv).join(" ")),
            session: Some(session),
        };
        match store.begin(&permit.session().to_string(), header).await {
            Ok(recorder) => Ok(Some(recorder)),
            Err(error) if store.is_strict() => Err(error),
            Err(error) => {
                tracing::error!(error = error.chain(), "session goes on unrecorded");
                self.auditor
                    .recording_ended(call, permit, Err(error))
                    .await?;
                Ok(None)
            }
        }
    }

    /// Lets an exec's command pass, or refuses it; either way it is written down first.
    async fn admit(
        self: &Arc<Self>,
        call: &Arc<Call>,
        permit: &Permit,
        argv: &[String],
        verdict: &Verdict,
    ) -> Result<(), Error> {
        let settlement = match verdict.decision {
            Decision::Ask => {
                let line = redact_argv(argv).join(" ");
                self.ask_about(call, permit, (0, line), verdict).await?
            }
            _ => None,
        };
        let (approver, admitted) = conclude(verdict, settlement);
        // kubectl repeats a refused WebSocket upgrade over SPDY: one denial, two requests.
        let what = (permit.verb(), permit.target(), argv);
        let repeated = admitted.is_err() && self.refusals.seen_before(call, what);
        if !repeated {
            self.auditor
                .command_judged(call, permit, argv, verdict, approver)
                .await?;
        }
        admitted
    }

    /// What watches the session, and the command that starts it: the one that was asked for,
    /// or one that starts the same shell so that it can be asked for its lines.
    fn gate(
        &self,
        (rules, current): (&Arc<Rules>, Arc<RuleSet>),
        subject: Subject,
        options: &ExecOptions,
        verb: Verb,
    ) -> Result<(InterceptorGate, Vec<String>), Error> {
        // What an attached main process is cannot be known from here: it is judged as the
        // strictest thing it may be, a shell.
        let shell = ["sh".to_owned()];
        let argv = if verb == Verb::Exec {
            options.argv.as_slice()
        } else {
            &shell
        };
        let mut interceptor = Interceptor::new(
            Arc::clone(&current),
            subject,
            argv,
            options.streams.tty,
            None,
        );
        let mut run = options.argv.clone();
        if self.asks_shells && options.streams.tty && options.streams.stdin && verb == Verb::Exec {
            let query = buffer_query()?;
            if let Some(wrapped) = query.wrap(argv) {
                interceptor = interceptor.with_query(&query);
                run = wrapped;
            }
        }
        if let Some(person) = &self.second_person {
            interceptor = interceptor.with_approvals(person.wait);
        }
        interceptor = interceptor.with_file_sizes(LONGEST_WAIT);
        let gate = InterceptorGate::new(interceptor, Arc::clone(rules), current);
        Ok((gate, run))
    }
}

/// A question to which nobody can know the answer's nonce beforehand.
fn buffer_query() -> Result<BufferQuery, Error> {
    let mut nonce = [0_u8; 16];
    getrandom::fill(&mut nonce).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the system gives no random bytes")
            .with_source(error.to_string())
    })?;
    Ok(BufferQuery::new(&hex(&nonce)))
}

/// Whom and what the rules are asked about.
pub(super) fn subject(permit: &Permit, found: &Found) -> Subject {
    let (principal, target) = (permit.principal(), permit.target());
    Subject {
        user: principal.user.clone(),
        groups: principal.groups.clone(),
        cluster: target.cluster.clone(),
        namespace: target.namespace.clone(),
        pod: target.pod.clone(),
        container: target.container.clone().unwrap_or_default(),
        labels: found.pod.labels.clone(),
        time: Some(week_time()),
        // The container is asked when a rule wants to know.
        file_sizes: BTreeMap::new(),
    }
}

/// The last refusals, so that one that kubectl asks for twice is written down once.
#[derive(Debug, Default)]
pub(super) struct RefusalMemory(Mutex<VecDeque<u64>>);

/// Refusals remembered: far more than can be between kubectl's two requests.
const REMEMBERED: usize = 256;

impl RefusalMemory {
    /// Whether this is kubectl's second try: the same process was refused `what` over WebSocket,
    /// and now asks for SPDY. A refusal is forgotten when it has been seen again, so that a third
    /// request counts anew.
    pub(super) fn seen_before(&self, call: &Call, what: impl Hash) -> bool {
        let Some(kubectl) = &call.kubectl else {
            return false;
        };
        let mut hasher = DefaultHasher::new();
        (kubectl.as_bytes(), call.client.ip(), &call.principal.user).hash(&mut hasher);
        what.hash(&mut hasher);
        let key = hasher.finish();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if call.spdy {
            let position = seen.iter().position(|known| *known == key);
            return position
                .and_then(|position| seen.remove(position))
                .is_some();
        }
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(key);
        false
    }
}
