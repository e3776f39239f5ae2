//! Asking a second person before a command runs: the [`Approvals`] port.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{Target, access::SessionId, identity::Principal};

/// Asks people whether something may run that the rules say `ask` about.
///
/// The gateway writes question and answer down, waits no longer than [`ApprovalRequest::wait`],
/// and takes no approval from the person who wants the command to run.
#[async_trait]
pub trait Approvals: Send + Sync {
    /// The answer to `request`, whenever it comes.
    ///
    /// Dropped when nobody waits for it any more: the time is over, or the user took it back.
    async fn ask(&self, request: ApprovalRequest) -> Answer;
}

/// What a second person is asked.
#[derive(Clone, Debug)]
// Exhaustive: a machine fills it.
pub struct ApprovalRequest {
    /// The session that waits.
    pub session: SessionId,
    /// Number of the question in its session; 0 is the command that starts it.
    pub number: u64,
    /// Who wants it to run.
    pub principal: Arc<Principal>,
    /// From where, address and port.
    pub client: String,
    /// In which container.
    pub target: Target,
    /// The line, or the argument list joined by blanks, secrets masked; `port-forward 5432` for a
    /// port.
    pub line: String,
    /// The rule that asks, if it is one, and not that the line cannot be known.
    pub rule: Option<String>,
    /// What the rules say, in one line.
    pub reason: String,
    /// How long the answer is waited for.
    pub wait: Duration,
}

/// What a second person says.
#[derive(Clone, Debug, Eq, PartialEq)]
// Exhaustive: yes or no.
pub enum Answer {
    /// It may run.
    Approved {
        /// Who says so.
        by: String,
    },
    /// It may not.
    Refused {
        /// Who says so.
        by: String,
        /// Why, for the user; may be empty.
        why: String,
    },
}
