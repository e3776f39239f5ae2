//! Code that an interpreter other than a shell reads on stdin: it cannot be judged, only its
//! start.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::{
    action::{Actions, Confidence, JudgedLine, LineSource},
    approval::Settlement,
    judgement::{Judgement, Opinion},
    refusal,
};

/// Lets all of it through, or nothing.
#[derive(Debug)]
pub(super) struct Opaque {
    pub(super) judgement: Judgement,
    state: State,
    /// What came while a second person is asked.
    pending: BytesMut,
    half_close: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Unjudged,
    Waiting,
    Open,
    Ended,
}

impl Opaque {
    pub(super) fn new(judgement: Judgement) -> Self {
        Self {
            judgement,
            state: State::Unjudged,
            pending: BytesMut::new(),
            half_close: false,
        }
    }

    pub(super) fn handle_stdin(&mut self, now: Instant, bytes: Bytes, actions: &mut Actions) {
        if self.state == State::Unjudged {
            self.judge(now, actions);
        }
        match self.state {
            State::Open => actions.forward(bytes),
            State::Waiting if self.pending.len() + bytes.len() <= MAX_PENDING => {
                self.pending.extend_from_slice(&bytes);
            }
            State::Waiting => {
                let left = self
                    .judgement
                    .approvals
                    .settle(None, Settlement::Cancelled, actions);
                if let Some((opinion, _)) = left {
                    self.end(&opinion, actions);
                }
            }
            State::Unjudged | State::Ended => {}
        }
    }

    pub(super) fn handle_half_close(&mut self, actions: &mut Actions) {
        match self.state {
            State::Waiting => self.half_close = true,
            State::Ended => {}
            State::Unjudged | State::Open => actions.half_close(),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, actions: &mut Actions) {
        if let Some((opinion, settlement)) = self.judgement.approvals.expire(now, actions) {
            self.settled(&opinion, &settlement, actions);
        }
    }

    pub(super) fn settled(
        &mut self,
        opinion: &Opinion,
        settlement: &Settlement,
        actions: &mut Actions,
    ) {
        actions.draw(true, refusal::settled_on_stderr(settlement));
        if !settlement.is_approval() {
            self.end(opinion, actions);
            return;
        }
        self.state = State::Open;
        actions.forward(self.pending.split().freeze());
        if self.half_close {
            actions.half_close();
        }
    }

    fn judge(&mut self, now: Instant, actions: &mut Actions) {
        let opinion = self.judgement.judge_unknown();
        let record = opinion.to_record(JudgedLine::UNKNOWN, Confidence::Opaque, LineSource::Script);
        if self.judgement.approvals.takes(&opinion) {
            actions.draw(true, refusal::held_on_stderr(opinion.verdict()));
            let approvals = &mut self.judgement.approvals;
            approvals.hold(now, opinion, record, actions);
            self.state = State::Waiting;
            return;
        }
        actions.judged(record);
        if opinion.is_refusal() {
            self.end(&opinion, actions);
        } else {
            self.state = State::Open;
        }
    }

    fn end(&mut self, opinion: &Opinion, actions: &mut Actions) {
        self.state = State::Ended;
        self.pending = BytesMut::new();
        actions.end(format!("refused: {}", opinion.verdict()));
    }
}

/// Most bytes that wait with the program that reads them.
const MAX_PENDING: usize = 1024 * 1024;
