//! A line that waits because a rule wants to know how large a file is.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    action::{Action, Actions},
    judgement::Judgement,
};
use crate::file_size::sizes_wanted_by_line;

/// The question about the sizes of files, at most one for a line.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// How long a line waits; nobody can be asked without.
    wait: Option<Duration>,
    /// The line was asked about.
    asked: bool,
    until: Option<Instant>,
}

impl Sizes {
    pub(super) const fn allow(&mut self, wait: Duration) {
        self.wait = Some(wait);
    }

    /// Whether the answer is waited for.
    pub(super) const fn is_waiting(&self) -> bool {
        self.until.is_some()
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.until
    }

    /// Ends a wait whose time is over; whether it did.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }
}

impl Judgement {
    /// Asks for the sizes that rules want to know about `line`; true when it has to wait for them.
    pub(super) fn asks_sizes(&mut self, now: Instant, line: &[u8], actions: &mut Actions) -> bool {
        let Some(wait) = self.sizes.wait.filter(|_| !self.sizes.asked) else {
            return false;
        };
        let files = sizes_wanted_by_line(&self.rules, &self.subject, line, &self.session);
        if files.is_empty() {
            return false;
        }
        self.sizes.asked = true;
        self.sizes.until = Some(now + wait);
        actions.push(Action::SizesWanted(files));
        true
    }

    /// Takes the answer; false when nobody waits for it any more.
    pub(super) fn take_sizes(&mut self, sizes: BTreeMap<String, u64>) -> bool {
        if self.sizes.until.take().is_none() {
            return false;
        }
        self.subject.file_sizes = sizes;
        true
    }

    /// The line that was asked about is done: files may have grown before the next one.
    pub(super) fn forget_sizes(&mut self) {
        self.sizes.asked = false;
        self.sizes.until = None;
        self.subject.file_sizes.clear();
    }

    /// When a line has waited long enough, for a person or for sizes.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.sizes
            .poll_timeout()
            .or_else(|| self.approvals.poll_timeout())
    }

    /// Whether a line waits, for a person or for sizes.
    pub(super) const fn is_waiting(&self) -> bool {
        self.sizes.is_waiting() || self.approvals.is_waiting()
    }
}
