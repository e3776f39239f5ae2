//! Whether the rules let a port be forwarded, asked for each connection.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use dockin_policy::{Decision, Settlement, Subject, Verdict, judge_port};
use tokio::sync::watch;

use crate::{
    Error, ErrorKind,
    access::Permit,
    gateway::{Call, Found, Gateway, approval::conclude, exec::subject},
    session::week_time,
};

/// What judges the connections of one session.
pub(super) struct PortJudge {
    gateway: Arc<Gateway>,
    call: Arc<Call>,
    permit: Permit,
    subject: Subject,
    /// Questions to a second person. Of one about a port and a rule there is one a session: what
    /// is said to it counts for every connection.
    questions: Mutex<HashMap<(u16, Option<String>), Question>>,
    asked: AtomicU64,
}

/// An answer that may still have to come.
type Question = watch::Receiver<Option<Settlement>>;

impl PortJudge {
    pub(super) fn new(
        gateway: &Arc<Gateway>,
        call: &Arc<Call>,
        permit: &Permit,
        found: &Found,
    ) -> Self {
        Self {
            gateway: Arc::clone(gateway),
            call: Arc::clone(call),
            permit: permit.clone(),
            subject: subject(permit, found),
            questions: Mutex::default(),
            asked: AtomicU64::new(0),
        }
    }

    /// Lets a connection to `port` pass, or refuses it; either way it is written down first.
    pub(super) async fn admit(&self, port: u16) -> Result<(), Error> {
        let (verdict, settlement) = loop {
            let verdict = self.judge(port);
            if verdict.decision != Decision::Ask || self.gateway.second_person.is_none() {
                break (verdict, None);
            }
            let question = self.question(port, &verdict);
            // Whoever waited for an answer may find other rules in force.
            match answer(question).await {
                Some(settlement) if self.judge(port) == verdict => {
                    break (verdict, Some(settlement));
                }
                Some(_) => {}
                None => {
                    let what = "the question to a second person is lost";
                    return Err(Error::new(ErrorKind::Unavailable, what));
                }
            }
        };
        let (approver, admitted) = conclude(&verdict, settlement);
        self.write_down(port, &verdict, approver).await?;
        admitted
    }

    /// Refuses `ports` when not one of them may be forwarded, and writes that down.
    pub(super) async fn admit_any(&self, ports: &[u16]) -> Result<(), Error> {
        let verdicts: Vec<(u16, Verdict)> = ports
            .iter()
            .map(|port| (*port, self.judge(*port)))
            .collect();
        let is_refused = |verdict: &Verdict| match verdict.decision {
            Decision::Allow | Decision::Alert => false,
            Decision::Ask => self.gateway.second_person.is_none(),
            Decision::Deny => true,
        };
        if !verdicts.iter().all(|(_, verdict)| is_refused(verdict)) {
            return Ok(());
        }
        let mut reasons: Vec<String> = Vec::new();
        for (port, verdict) in &verdicts {
            self.write_down(*port, verdict, None).await?;
            reasons.push(verdict.to_string());
        }
        Err(Error::new(ErrorKind::Forbidden, reasons.join("; ")))
    }

    fn judge(&self, port: u16) -> Verdict {
        let subject = Subject {
            time: Some(week_time()),
            ..self.subject.clone()
        };
        judge_port(&self.gateway.rules.current(), &subject, port)
    }

    async fn write_down(
        &self,
        port: u16,
        verdict: &Verdict,
        approver: Option<String>,
    ) -> Result<(), Error> {
        self.gateway
            .auditor
            .port_judged(&self.call, &self.permit, port, verdict, approver)
            .await
    }

    /// The question about `port`, asked now if it was not before.
    fn question(&self, port: u16, verdict: &Verdict) -> Question {
        let about = (port, verdict.rule.clone());
        let mut questions = self
            .questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Of one that could not be asked nobody holds the other end.
        if let Some(known) = questions.get(&about)
            && (known.borrow().is_some() || known.has_changed().is_ok())
        {
            return known.clone();
        }
        let (answer, question) = watch::channel(None);
        questions.insert(about, question.clone());
        let number = 1 + self.asked.fetch_add(1, Ordering::Relaxed);
        let (gateway, call) = (Arc::clone(&self.gateway), Arc::clone(&self.call));
        let (permit, verdict) = (self.permit.clone(), verdict.clone());
        // A task of its own: a connection that is closed takes its question along for nobody.
        self.gateway.sessions.spawn(async move {
            let line = format!("port-forward {port}");
            match gateway.ask_about(&call, &permit, (number, line), &verdict).await {
                // The session may be over.
                Ok(settlement) => drop(answer.send(settlement)),
                Err(error) => {
                    tracing::error!(session = %permit.session(), error = error.chain(), "question not asked");
                }
            }
        });
        question
    }
}

/// `None` when there will be none.
async fn answer(mut question: Question) -> Option<Settlement> {
    let answered = question.wait_for(Option::is_some).await;
    answered.ok().and_then(|settlement| settlement.clone())
}
