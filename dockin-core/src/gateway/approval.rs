//! Questions to a second person, from the moment a command is held to its answer.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dockin_policy::{HeldLine, JudgedLine, Settlement, Verdict, audit::redact_text};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::AbortHandle,
};

use super::{Call, Gateway, auditor::passes, file_sizes::file_sizes};
use crate::{
    Error, ErrorKind,
    access::Permit,
    approval::{Answer, ApprovalRequest, Approvals},
    runtime::Runtime,
    session::{SessionAnswer, SessionNote},
};

/// Whom the gateway asks, and how long it waits.
pub(super) struct SecondPerson {
    pub(super) approvals: Arc<dyn Approvals>,
    pub(super) wait: Duration,
}

impl SecondPerson {
    /// The answer, in time and from somebody else, or a refusal.
    async fn ask(&self, request: ApprovalRequest) -> Settlement {
        let user = request.principal.user.clone();
        let answer = tokio::time::timeout(request.wait, self.approvals.ask(request)).await;
        match answer {
            Err(_) => Settlement::Expired,
            Ok(Answer::Approved { by }) if by == user => Settlement::Refused {
                by: "dockin".to_owned(),
                why: "nobody approves his own commands".to_owned(),
            },
            Ok(Answer::Approved { by }) => Settlement::Approved { by },
            Ok(Answer::Refused { by, why }) => Settlement::Refused { by, why },
        }
    }
}

/// What becomes of what was judged, with what a second person said to it: who approved it, for the
/// record, and the refusal for the client, if it is one.
pub(super) fn conclude(
    verdict: &Verdict,
    settlement: Option<Settlement>,
) -> (Option<String>, Result<(), Error>) {
    let approver = match &settlement {
        Some(Settlement::Approved { by }) => Some(by.clone()),
        _ => None,
    };
    if passes(verdict, approver.as_deref()) {
        return (approver, Ok(()));
    }
    let why = match settlement {
        Some(settlement) => format!("{verdict}; {settlement}"),
        None => verdict.to_string(),
    };
    (approver, Err(Error::new(ErrorKind::Forbidden, why)))
}

/// The questions of one session.
pub(super) struct Desk {
    answers: UnboundedSender<SessionAnswer>,
    open: Mutex<Option<(HeldLine, AbortHandle)>>,
    /// Who is asked about files.
    runtime: Arc<dyn Runtime>,
}

impl Desk {
    pub(super) fn new(runtime: Arc<dyn Runtime>) -> (Self, UnboundedReceiver<SessionAnswer>) {
        let (answers, inbox) = unbounded_channel();
        let desk = Self {
            answers,
            open: Mutex::new(None),
            runtime,
        };
        (desk, inbox)
    }

    fn put(&self, question: Option<(HeldLine, AbortHandle)>) -> Option<HeldLine> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (held, task) = std::mem::replace(&mut *open, question)?;
        task.abort();
        Some(held)
    }
}

impl Gateway {
    /// Writes down what the gate noted, and asks whom it wants asked.
    pub(super) async fn note(
        self: &Arc<Self>,
        call: &Arc<Call>,
        permit: &Permit,
        desk: &Desk,
        note: SessionNote,
    ) -> Result<(), Error> {
        match note {
            SessionNote::Judged(line) => self.auditor.line_judged(call, permit, &line).await,
            SessionNote::Held(held) => {
                let request = request(call, permit, &held);
                self.auditor
                    .approval_requested(call, permit, &request)
                    .await?;
                let (gateway, answers) = (Arc::clone(self), desk.answers.clone());
                let id = held.id;
                let question = tokio::spawn(async move {
                    let settlement = match &gateway.second_person {
                        Some(person) => person.ask(request).await,
                        None => Settlement::Expired,
                    };
                    // The session may be over.
                    let _gone = answers.send(SessionAnswer::Settled(id, settlement));
                });
                let _none = desk.put(Some((held, question.abort_handle())));
                Ok(())
            }
            SessionNote::SizesWanted(files) => {
                let (answers, runtime) = (desk.answers.clone(), Arc::clone(&desk.runtime));
                let permit = permit.clone();
                tokio::spawn(async move {
                    let sizes = file_sizes(&files, &permit, &*runtime).await;
                    // The session may be over.
                    let _gone = answers.send(SessionAnswer::FileSizes(sizes));
                });
                Ok(())
            }
            SessionNote::Settled {
                id,
                line,
                settlement,
            } => {
                let _asked = desk.put(None);
                let number = id.as_u64();
                let asked = (number, line.line, line.verdict.rule);
                self.auditor
                    .approval_settled(call, permit, asked, &settlement)
                    .await
            }
        }
    }

    /// The session is over: a question that is still open is written down as taken back.
    pub(super) async fn close_desk(
        &self,
        call: &Call,
        permit: &Permit,
        desk: &Desk,
    ) -> Result<(), Error> {
        let Some(HeldLine { id, line, .. }) = desk.put(None) else {
            return Ok(());
        };
        let asked = (id.as_u64(), line.line, line.verdict.rule);
        self.auditor
            .approval_settled(call, permit, asked, &Settlement::Cancelled)
            .await
    }

    /// Asks question `number` of a session, about `line`: the command that starts it, or a port;
    /// `None` when there is nobody to ask.
    pub(super) async fn ask_about(
        self: &Arc<Self>,
        call: &Arc<Call>,
        permit: &Permit,
        (number, line): (u64, String),
        verdict: &Verdict,
    ) -> Result<Option<Settlement>, Error> {
        let Some(person) = &self.second_person else {
            return Ok(None);
        };
        let request = ApprovalRequest {
            session: permit.session(),
            number,
            principal: Arc::clone(&call.principal),
            client: call.client.to_string(),
            target: permit.target().clone(),
            line,
            rule: verdict.rule.clone(),
            reason: redact_text(&verdict.to_string()),
            wait: person.wait,
        };
        self.auditor
            .approval_requested(call, permit, &request)
            .await?;
        let (gateway, call, permit) = (Arc::clone(self), Arc::clone(call), permit.clone());
        // A task of its own: a client that gives up drops his request, and the end of a question
        // is written down all the same.
        let asking = self.sessions.spawn(async move {
            let asked = (number, request.line.clone(), request.rule.clone());
            let settlement = match &gateway.second_person {
                Some(person) => gateway.cut.run_until_cancelled(person.ask(request)).await,
                None => None,
            };
            let settlement = settlement.unwrap_or(Settlement::Cancelled);
            gateway
                .auditor
                .approval_settled(&call, &permit, asked, &settlement)
                .await?;
            Ok::<_, Error>(settlement)
        });
        match asking.await {
            Ok(settlement) => settlement.map(Some),
            // Nobody has answered.
            Err(_) => Ok(Some(Settlement::Expired)),
        }
    }
}

fn request(call: &Call, permit: &Permit, held: &HeldLine) -> ApprovalRequest {
    let JudgedLine { line, verdict, .. } = &held.line;
    ApprovalRequest {
        session: permit.session(),
        number: held.id.as_u64(),
        principal: Arc::clone(&call.principal),
        client: call.client.to_string(),
        target: permit.target().clone(),
        line: redact_text(line),
        rule: verdict.rule.clone(),
        reason: redact_text(&verdict.to_string()),
        wait: held.wait,
    }
}
