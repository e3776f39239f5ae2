use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use dockin_policy::{Action, Interceptor, JudgedLine, RuleSet, WeekTime};
use dockin_stream::{ExitStatus, Failure, Gate, GateAction, OutputStream, TerminalSize};

use crate::policy::Rules;

/// The relay's gate that asks the policy: `dockin_policy`'s interceptor in the words of
/// `dockin_stream`.
#[derive(Debug)]
pub struct InterceptorGate {
    interceptor: Interceptor,
    rules: Arc<Rules>,
    current: Arc<RuleSet>,
}

impl InterceptorGate {
    /// A gate around `interceptor`, which was made with `current`; later lines are judged by
    /// what `rules` has then.
    pub const fn new(interceptor: Interceptor, rules: Arc<Rules>, current: Arc<RuleSet>) -> Self {
        Self {
            interceptor,
            rules,
            current,
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
    type Note = JudgedLine;

    fn handle_stdin(&mut self, now: Instant, bytes: Bytes) {
        self.refresh();
        self.interceptor.handle_stdin(now, bytes);
    }

    fn handle_half_close(&mut self, now: Instant) {
        self.interceptor.handle_half_close(now);
    }

    fn handle_resize(&mut self, size: TerminalSize) {
        self.interceptor.handle_resize(size.width, size.height);
    }

    fn handle_output(&mut self, now: Instant, stream: OutputStream, bytes: &Bytes) {
        self.interceptor
            .handle_output(now, stream == OutputStream::Stderr, bytes);
    }

    fn shown(&mut self, now: Instant, stream: OutputStream, bytes: Bytes) -> Bytes {
        self.interceptor
            .shown(now, stream == OutputStream::Stderr, bytes)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.refresh();
        self.interceptor.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.interceptor.poll_timeout()
    }

    fn poll_action(&mut self) -> Option<GateAction<JudgedLine>> {
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
            Action::Judged(line) => GateAction::Note(line),
            Action::End { message } => GateAction::End(ExitStatus::Failed(Failure {
                code: 403,
                reason: "Forbidden".to_owned(),
                message,
            })),
        })
    }
}
