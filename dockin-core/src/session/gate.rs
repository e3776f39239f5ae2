use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use dockin_policy::{
    Action, HeldLine, HoldId, Interceptor, JudgedLine, RuleSet, Settlement, WeekTime,
};
use dockin_stream::{ExitStatus, Failure, Gate, GateAction, OutputStream, TerminalSize};

use tokio::sync::mpsc::UnboundedReceiver;

use super::{CopyDirection, Manifest};
use crate::policy::Rules;

/// What a session's gate wants written down.
#[derive(Clone, Debug)]
// Exhaustive: what is overlooked is not written down.
pub enum SessionNote {
    /// A line was judged.
    Judged(JudgedLine),
    /// A line waits for a second person.
    Held(HeldLine),
    /// A line waits no longer.
    Settled {
        /// Its number.
        id: HoldId,
        /// The line.
        line: JudgedLine,
        /// What became of it.
        settlement: Settlement,
    },
}

/// How often answers are looked for while a line waits: people do not notice.
const LOOK: Duration = Duration::from_millis(50);

/// The relay's gate that asks the policy: `dockin_policy`'s interceptor in the words of
/// `dockin_stream`.
#[derive(Debug)]
pub struct InterceptorGate {
    interceptor: Interceptor,
    rules: Arc<Rules>,
    current: Arc<RuleSet>,
    /// Answers about held lines.
    answers: Option<UnboundedReceiver<(HoldId, Settlement)>>,
    /// What lists the files of a copy.
    copy: Option<(CopyDirection, Arc<Mutex<Manifest>>)>,
    /// When to look for them next; only while a line is held.
    next_look: Option<Instant>,
}

impl InterceptorGate {
    /// A gate around `interceptor`, which was made with `current`; later lines are judged by
    /// what `rules` has then.
    pub const fn new(interceptor: Interceptor, rules: Arc<Rules>, current: Arc<RuleSet>) -> Self {
        Self {
            interceptor,
            rules,
            current,
            answers: None,
            copy: None,
            next_look: None,
        }
    }

    /// Takes the answers about held lines from `answers`.
    #[must_use]
    pub fn with_answers(mut self, answers: UnboundedReceiver<(HoldId, Settlement)>) -> Self {
        self.answers = Some(answers);
        self
    }

    /// Lists the files of the archive that passes in this direction.
    pub(crate) fn with_copy(
        mut self,
        direction: CopyDirection,
        manifest: Arc<Mutex<Manifest>>,
    ) -> Self {
        self.copy = Some((direction, manifest));
        self
    }

    fn list(&self, direction: CopyDirection, bytes: &Bytes) {
        if let Some((wanted, manifest)) = &self.copy
            && *wanted == direction
        {
            let mut manifest = manifest.lock().unwrap_or_else(PoisonError::into_inner);
            manifest.feed(bytes);
        }
    }

    fn take_answers(&mut self, now: Instant) {
        if self.next_look.is_none_or(|due| now < due) {
            return;
        }
        self.next_look = Some(now + LOOK);
        while let Some((id, settlement)) = self
            .answers
            .as_mut()
            .and_then(|inbox| inbox.try_recv().ok())
        {
            // One that is too late is about a line that waits no longer.
            let _late = self.interceptor.settle(now, id, settlement);
        }
    }

    fn refresh(&mut self) {
        let newest = self.rules.current();
        if !Arc::ptr_eq(&newest, &self.current) {
            self.interceptor.set_rules(Arc::clone(&newest));
            self.current = newest;
        }
        self.interceptor.set_time(week_time());
    }
}

/// What time it is for the rules.
pub(crate) fn week_time() -> WeekTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    WeekTime::from_unix(since.unwrap_or_default().as_secs())
}

impl Gate for InterceptorGate {
    type Note = SessionNote;

    fn handle_stdin(&mut self, now: Instant, bytes: Bytes) {
        self.refresh();
        self.list(CopyDirection::Upload, &bytes);
        self.interceptor.handle_stdin(now, bytes);
    }

    fn handle_half_close(&mut self, now: Instant) {
        self.interceptor.handle_half_close(now);
    }

    fn handle_resize(&mut self, size: TerminalSize) {
        self.interceptor.handle_resize(size.width, size.height);
    }

    fn handle_output(&mut self, now: Instant, stream: OutputStream, bytes: &Bytes) {
        if stream == OutputStream::Stdout {
            self.list(CopyDirection::Download, bytes);
        }
        self.interceptor
            .handle_output(now, stream == OutputStream::Stderr, bytes);
    }

    fn shown(&mut self, now: Instant, stream: OutputStream, bytes: Bytes) -> Bytes {
        self.interceptor
            .shown(now, stream == OutputStream::Stderr, bytes)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.refresh();
        self.take_answers(now);
        self.interceptor.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let line = self.interceptor.poll_timeout();
        [line, self.next_look].into_iter().flatten().min()
    }

    fn poll_action(&mut self) -> Option<GateAction<SessionNote>> {
        Some(match self.interceptor.poll_action()? {
            Action::Forward(bytes) => GateAction::Forward(bytes),
            Action::HalfClose => GateAction::HalfClose,
            Action::Draw {
                stderr: true,
                bytes,
            } => GateAction::Draw(OutputStream::Stderr, bytes),
            Action::Draw {
                stderr: false,
                bytes,
            } => GateAction::Draw(OutputStream::Stdout, bytes),
            Action::Judged(line) => GateAction::Note(SessionNote::Judged(line)),
            Action::Held(held) => {
                self.next_look = Some(Instant::now() + LOOK);
                GateAction::Note(SessionNote::Held(held))
            }
            Action::Settled {
                id,
                line,
                settlement,
            } => {
                self.next_look = None;
                GateAction::Note(SessionNote::Settled {
                    id,
                    line,
                    settlement,
                })
            }
            Action::End { message } => GateAction::End(ExitStatus::Failed(Failure {
                code: 403,
                reason: "Forbidden".to_owned(),
                message,
            })),
        })
    }
}
