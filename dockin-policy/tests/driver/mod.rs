//! Runs an interceptor by a clock of its own and keeps what it does.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test file uses a part; a test starts its clock; a failed unwrap is a failed test"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_policy::{
    Action, Decision, HeldLine, HoldId, Interceptor, JudgedLine, RuleSet, Settlement, Subject,
};

/// One step, in the order it was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Forward(Vec<u8>),
    Draw(Vec<u8>),
    Judged(JudgedLine),
    SizesWanted(Vec<String>),
    Held(HeldLine),
    Settled(HoldId, Settlement),
    HalfClose,
    End(String),
}

pub(crate) struct Driver {
    pub(crate) interceptor: Interceptor,
    pub(crate) now: Instant,
    pub(crate) steps: Vec<Step>,
}

impl Driver {
    pub(crate) fn new(rules: RuleSet, argv: &[&str], tty: bool, size: Option<(u16, u16)>) -> Self {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let interceptor = Interceptor::new(Arc::new(rules), Subject::default(), &argv, tty, size);
        Self {
            interceptor,
            now: Instant::now(),
            steps: Vec::new(),
        }
    }

    pub(crate) fn pass(&mut self, milliseconds: u64) {
        let until = self.now + Duration::from_millis(milliseconds);
        while let Some(due) = self.interceptor.poll_timeout().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.interceptor.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    pub(crate) fn stdin(&mut self, bytes: &[u8]) {
        self.interceptor
            .handle_stdin(self.now, Bytes::copy_from_slice(bytes));
        self.drain();
    }

    pub(crate) fn output(&mut self, bytes: &[u8]) {
        self.interceptor.handle_output(self.now, false, bytes);
        self.drain();
    }

    pub(crate) fn half_close(&mut self) {
        self.interceptor.handle_half_close(self.now);
        self.drain();
    }

    /// A second person answers.
    pub(crate) fn decide(&mut self, id: HoldId, settlement: Settlement) -> bool {
        let settled = self.interceptor.settle(self.now, id, settlement);
        self.drain();
        settled
    }

    /// The container says how large files are.
    pub(crate) fn answer_sizes(&mut self, sizes: &[(&str, u64)]) {
        let sizes = sizes.iter().map(|(path, size)| ((*path).to_owned(), *size));
        self.interceptor.file_sizes(self.now, sizes.collect());
        self.drain();
    }

    /// The files whose sizes were asked for last.
    pub(crate) fn wanted(&self) -> Vec<String> {
        let wanted = self.steps.iter().rev().find_map(|step| match step {
            Step::SizesWanted(files) => Some(files.clone()),
            _ => None,
        });
        wanted.unwrap_or_default()
    }

    /// Lets time pass until nothing is held.
    pub(crate) fn settle(&mut self) {
        while let Some(due) = self.interceptor.poll_timeout() {
            self.now = due.max(self.now);
            self.interceptor.handle_timeout(self.now);
            self.drain();
        }
    }

    pub(crate) fn is_holding(&self) -> bool {
        self.interceptor.poll_timeout().is_some()
    }

    /// Types `text` key by key, with echo.
    pub(crate) fn type_echoed(&mut self, text: &str) {
        for character in text.chars() {
            let mut buffer = [0; 4];
            let bytes = character.encode_utf8(&mut buffer).as_bytes();
            self.stdin(bytes);
            self.pass(2);
            self.output(bytes);
            self.pass(20);
        }
    }

    fn drain(&mut self) {
        while let Some(action) = self.interceptor.poll_action() {
            self.steps.push(match action {
                Action::Forward(bytes) => Step::Forward(bytes.to_vec()),
                Action::Draw { bytes, .. } => Step::Draw(bytes.to_vec()),
                Action::Judged(line) => Step::Judged(line),
                Action::SizesWanted(files) => Step::SizesWanted(files),
                Action::Held(held) => Step::Held(held),
                Action::Settled { id, settlement, .. } => Step::Settled(id, settlement),
                Action::HalfClose => Step::HalfClose,
                Action::End { message } => Step::End(message),
            });
        }
    }

    pub(crate) fn forwarded(&self) -> Vec<u8> {
        self.steps
            .iter()
            .filter_map(|step| {
                if let Step::Forward(bytes) = step {
                    Some(bytes.clone())
                } else {
                    None
                }
            })
            .flatten()
            .collect()
    }

    pub(crate) fn drawn(&self) -> String {
        let bytes: Vec<u8> = self
            .steps
            .iter()
            .filter_map(|step| {
                if let Step::Draw(bytes) = step {
                    Some(bytes.clone())
                } else {
                    None
                }
            })
            .flatten()
            .collect();
        String::from_utf8(bytes).unwrap()
    }

    pub(crate) fn judged(&self) -> Vec<JudgedLine> {
        self.steps
            .iter()
            .filter_map(|step| {
                if let Step::Judged(line) = step {
                    Some(line.clone())
                } else {
                    None
                }
            })
            .collect()
    }

    pub(crate) fn refusals(&self) -> Vec<JudgedLine> {
        self.judged()
            .into_iter()
            .filter(|line| line.verdict.decision >= Decision::Ask)
            .collect()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::End(_)))
    }
}
