//! A script that a shell reads on stdin, without a terminal.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::{
    action::{Actions, Confidence, LineSource},
    approval::Settlement,
    judgement::{Judgement, Opinion},
    refusal,
};
use crate::Completeness;

/// Cuts a script into complete commands and judges each before it goes on.
///
/// A command that reads stdin itself (`cat`, `read`) takes the lines behind it
/// as data; they are judged as commands all the same, because which of the two
/// reads them cannot be known here.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) judgement: Judgement,
    held: BytesMut,
    held_lines: usize,
    ended: bool,
    /// The command that waits for a second person.
    waiting: Bytes,
    /// What came behind it.
    pending: BytesMut,
    half_close: bool,
}

impl Script {
    pub(super) fn new(judgement: Judgement) -> Self {
        Self {
            judgement,
            held: BytesMut::new(),
            held_lines: 0,
            ended: false,
            waiting: Bytes::new(),
            pending: BytesMut::new(),
            half_close: false,
        }
    }

    pub(super) fn handle_stdin(&mut self, now: Instant, bytes: &[u8], actions: &mut Actions) {
        let mut rest = bytes;
        while !self.ended && !rest.is_empty() {
            if self.judgement.is_waiting() {
                self.pending.extend_from_slice(rest);
                if self.pending.len() > MAX_PENDING {
                    let approvals = &mut self.judgement.approvals;
                    let _left = approvals.settle(None, Settlement::Cancelled, actions);
                    self.end(
                        &format!("more than {MAX_PENDING} bytes behind a held command"),
                        actions,
                    );
                }
                return;
            }
            let line = rest
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(rest.len(), |at| at + 1);
            let room = MAX_HELD.saturating_sub(self.held.len());
            if line > room || self.held_lines >= MAX_HELD_LINES {
                self.end(
                    &format!("a command of more than {MAX_HELD} bytes or {MAX_HELD_LINES} lines"),
                    actions,
                );
                return;
            }
            let (line, behind) = rest.split_at(line);
            rest = behind;
            self.held.extend_from_slice(line);
            if line.ends_with(b"\n") {
                self.held_lines += 1;
                self.end_of_line(now, actions);
            }
        }
    }

    fn end(&mut self, why: &str, actions: &mut Actions) {
        self.ended = true;
        self.held.clear();
        self.pending.clear();
        actions.end(format!("refused: {why}"));
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, actions: &mut Actions) {
        if let Some((opinion, settlement)) = self.judgement.approvals.expire(now, actions) {
            self.settled(now, opinion, &settlement, actions);
        }
        if self.judgement.sizes.expire(now) {
            self.judge_again(now, actions);
        }
    }

    /// Judges the command that waited for the sizes of files, and goes on behind it.
    pub(super) fn judge_again(&mut self, now: Instant, actions: &mut Actions) {
        self.release(now, actions);
        self.go_on(now, actions);
    }

    /// Goes on behind a command that waited.
    pub(super) fn settled(
        &mut self,
        now: Instant,
        opinion: Opinion,
        settlement: &Settlement,
        actions: &mut Actions,
    ) {
        actions.draw(true, refusal::settled_on_stderr(settlement));
        let command = std::mem::take(&mut self.waiting);
        if settlement.is_approval() {
            self.judgement.adopt(opinion);
            actions.forward(command);
        }
        self.go_on(now, actions);
    }

    /// Takes what came behind a command that waits no longer.
    fn go_on(&mut self, now: Instant, actions: &mut Actions) {
        let pending = self.pending.split();
        self.handle_stdin(now, &pending, actions);
        if self.half_close && !self.judgement.is_waiting() {
            self.handle_half_close(now, actions);
        }
    }

    pub(super) fn handle_half_close(&mut self, now: Instant, actions: &mut Actions) {
        if self.ended {
            return;
        }
        if !self.held.is_empty() && !self.judgement.is_waiting() {
            self.release(now, actions);
        }
        self.half_close = self.judgement.is_waiting();
        if self.half_close {
            return;
        }
        actions.half_close();
    }

    fn end_of_line(&mut self, now: Instant, actions: &mut Actions) {
        let is_blank = self.held.trim_ascii().is_empty();
        if !is_blank && self.judgement.completeness(&self.held) == Completeness::NeedsMore {
            return;
        }
        self.release(now, actions);
    }

    /// Judges what is held and forwards or drops it, whole.
    fn release(&mut self, now: Instant, actions: &mut Actions) {
        if self.judgement.asks_sizes(now, &self.held, actions) {
            return;
        }
        let command = self.held.split().freeze();
        self.held_lines = 0;
        let text = String::from_utf8_lossy(&command);
        if text.trim().is_empty() {
            actions.forward(command.clone());
            return;
        }
        let opinion = self.judgement.judge(&command);
        self.judgement.forget_sizes();
        let record = opinion.to_record(&text, Confidence::Sure, LineSource::Script);
        if self.judgement.approvals.takes(&opinion) {
            actions.draw(true, refusal::held_on_stderr(opinion.verdict()));
            let approvals = &mut self.judgement.approvals;
            approvals.hold(now, opinion, record, actions);
            self.waiting = command;
            return;
        }
        actions.judged(record);
        if opinion.is_refusal() {
            actions.draw(true, refusal::on_stderr(opinion.verdict()));
        } else {
            self.judgement.adopt(opinion);
            actions.forward(command);
        }
    }
}

/// Most bytes behind a command that waits for a second person.
const MAX_PENDING: usize = 1024 * 1024;
/// Most bytes of an unfinished command.
const MAX_HELD: usize = 64 * 1024;
/// Most lines of an unfinished command, because each line asks about the whole.
const MAX_HELD_LINES: usize = 1024;
