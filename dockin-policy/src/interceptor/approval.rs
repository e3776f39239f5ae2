//! Lines that wait for a second person.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{
    action::{Action, Actions, JudgedLine},
    judgement::Opinion,
};

/// Number of a held line, unique in its session, from 1.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HoldId(u64);

impl HoldId {
    /// The number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for HoldId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A line that does not go on before a second person has said so.
#[derive(Clone, Debug)]
pub struct HeldLine {
    /// Its number, for the answer.
    pub id: HoldId,
    /// The line, its verdict, and how well it is known.
    pub line: JudgedLine,
    /// How long it waits.
    pub wait: Duration,
}

/// What became of a held line; the set is closed, and only the first of them lets it go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Settlement {
    /// A second person let it go on.
    Approved {
        /// Who.
        by: String,
    },
    /// It was refused.
    Refused {
        /// Who did.
        by: String,
        /// What he said to it; may be empty.
        why: String,
    },
    /// Nobody answered in time.
    Expired,
    /// The user took it back, or left.
    Cancelled,
}

impl fmt::Display for Settlement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approved { by } => write!(formatter, "approved by {by}"),
            Self::Refused { by, why } if why.is_empty() => write!(formatter, "refused by {by}"),
            Self::Refused { by, why } => write!(formatter, "refused by {by}: {why}"),
            Self::Expired => formatter.write_str("refused: nobody approved it in time"),
            Self::Cancelled => formatter.write_str("cancelled"),
        }
    }
}

/// The held line of one session; there is never more than one, because nothing passes it.
#[derive(Debug, Default)]
pub(super) struct Approvals {
    /// How long a line waits; nobody can be asked without.
    wait: Option<Duration>,
    last: u64,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    id: HoldId,
    until: Instant,
    opinion: Opinion,
    record: JudgedLine,
    /// Other rules came into force after the question.
    is_stale: bool,
}

impl Approvals {
    pub(super) const fn allow(&mut self, wait: Duration) {
        self.wait = Some(wait);
    }

    pub(super) const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.until)
    }

    /// Whether a line with this opinion is held, and not refused at once.
    pub(super) fn takes(&self, opinion: &Opinion) -> bool {
        self.wait.is_some() && self.waiting.is_none() && opinion.asks()
    }

    /// Holds the line behind `record`.
    pub(super) fn hold(
        &mut self,
        now: Instant,
        opinion: Opinion,
        record: JudgedLine,
        actions: &mut Actions,
    ) {
        let wait = self.wait.unwrap_or_default();
        self.last += 1;
        let id = HoldId(self.last);
        actions.push(Action::Held(HeldLine {
            id,
            line: record.clone(),
            wait,
        }));
        self.waiting = Some(Waiting {
            id,
            until: now + wait,
            opinion,
            record,
            is_stale: false,
        });
    }

    pub(super) const fn rules_changed(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            waiting.is_stale = true;
        }
    }

    /// Ends the wait as expired when its time is over.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        actions: &mut Actions,
    ) -> Option<(Opinion, Settlement)> {
        self.poll_timeout().filter(|until| *until <= now)?;
        self.settle(None, Settlement::Expired, actions)
    }

    /// Ends the wait of the line `id`, or of whichever waits; `None` when that one does not.
    pub(super) fn settle(
        &mut self,
        id: Option<HoldId>,
        settlement: Settlement,
        actions: &mut Actions,
    ) -> Option<(Opinion, Settlement)> {
        let waiting = self
            .waiting
            .take_if(|waiting| id.is_none_or(|id| id == waiting.id))?;
        let settlement = match settlement {
            Settlement::Approved { .. } if waiting.is_stale => Settlement::Refused {
                by: "dockin".to_owned(),
                why: "the rules have changed since; send it again".to_owned(),
            },
            settlement => settlement,
        };
        let mut record = waiting.record;
        if let Settlement::Approved { by } = &settlement {
            record.approver = Some(by.clone());
        }
        actions.push(Action::Settled {
            id: waiting.id,
            line: record.clone(),
            settlement: settlement.clone(),
        });
        actions.judged(record);
        Some((waiting.opinion, settlement))
    }
}

impl Settlement {
    pub(super) const fn is_approval(&self) -> bool {
        matches!(self, Self::Approved { .. })
    }
}
