//! A script that a shell reads on stdin, without a terminal.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{
    action::{Actions, Confidence, LineSource},
    judgement::Judgement,
    refusal,
};
use crate::{Completeness, RuleSet, WeekTime};

/// Cuts a script into complete commands and judges each before it goes on.
///
/// A command that reads stdin itself (`cat`, `read`) takes the lines behind it
/// as data; they are judged as commands all the same, because which of the two
/// reads them cannot be known here.
#[derive(Debug)]
pub(super) struct Script {
    judgement: Judgement,
    held: BytesMut,
    held_lines: usize,
    ended: bool,
}

impl Script {
    pub(super) fn new(judgement: Judgement) -> Self {
        Self {
            judgement,
            held: BytesMut::new(),
            held_lines: 0,
            ended: false,
        }
    }

    pub(super) fn set_rules(&mut self, rules: Arc<RuleSet>) {
        self.judgement.set_rules(rules);
    }

    pub(super) const fn set_time(&mut self, time: WeekTime) {
        self.judgement.set_time(time);
    }

    pub(super) fn handle_stdin(&mut self, bytes: &Bytes, actions: &mut Actions) {
        let mut rest: &[u8] = bytes;
        while !self.ended && !rest.is_empty() {
            let line = rest
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(rest.len(), |at| at + 1);
            let room = MAX_HELD.saturating_sub(self.held.len());
            if line > room || self.held_lines >= MAX_HELD_LINES {
                self.ended = true;
                self.held.clear();
                actions.end(format!(
                    "refused: a command of more than {MAX_HELD} bytes or {MAX_HELD_LINES} lines"
                ));
                return;
            }
            let (line, behind) = rest.split_at(line);
            rest = behind;
            self.held.extend_from_slice(line);
            if line.ends_with(b"\n") {
                self.held_lines += 1;
                self.end_of_line(actions);
            }
        }
    }

    pub(super) fn handle_half_close(&mut self, actions: &mut Actions) {
        if self.ended {
            return;
        }
        if !self.held.is_empty() {
            self.release(actions);
        }
        actions.half_close();
    }

    fn end_of_line(&mut self, actions: &mut Actions) {
        let is_blank = self.held.trim_ascii().is_empty();
        if !is_blank && self.judgement.completeness(&self.held) == Completeness::NeedsMore {
            return;
        }
        self.release(actions);
    }

    /// Judges what is held and forwards or drops it, whole.
    fn release(&mut self, actions: &mut Actions) {
        let command = self.held.split().freeze();
        self.held_lines = 0;
        let text = String::from_utf8_lossy(&command);
        if text.trim().is_empty() {
            actions.forward(command.clone());
            return;
        }
        let opinion = self.judgement.judge(&command);
        actions.judged(opinion.to_record(&text, Confidence::Sure, LineSource::Script));
        if opinion.is_refusal() {
            actions.draw(true, refusal::on_stderr(opinion.verdict()));
        } else {
            self.judgement.adopt(opinion);
            actions.forward(command);
        }
    }
}

/// Most bytes of an unfinished command.
const MAX_HELD: usize = 64 * 1024;
/// Most lines of an unfinished command, because each line asks about the whole.
const MAX_HELD_LINES: usize = 1024;
