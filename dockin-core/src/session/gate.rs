use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use dockin_policy::{
    Action, CopyLimit, HeldLine, HoldId, Interceptor, JudgedLine, RuleSet, Settlement, WeekTime,
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
    /// A line waits until the sizes of these files are known.
    SizesWanted(Vec<String>),
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

/// What a line waited for.
#[derive(Clone, Debug)]
// Exhaustive: what is overlooked is waited for in vain.
pub enum SessionAnswer {
    /// What became of the held line of this number.
    Settled(HoldId, Settlement),
    /// Sizes of files in bytes, by the paths that were asked for; those that nobody knows are
    /// left out.
    FileSizes(BTreeMap<String, u64>),
}

/// How often answers are looked for while a line waits: people do not notice.
const LOOK: Duration = Duration::from_millis(50);
/// The same while it waits for the container, which answers sooner.
const LOOK_FOR_SIZES: Duration = Duration::from_millis(10);

/// The relay's gate that asks the policy: `dockin_policy`'s interceptor in the words of
/// `dockin_stream`.
#[derive(Debug)]
pub struct InterceptorGate {
    interceptor: Interceptor,
    rules: Arc<Rules>,
    current: Arc<RuleSet>,
    /// Answers to what was asked about lines.
    answers: Option<UnboundedReceiver<SessionAnswer>>,
    /// What lists the files of a copy.
    copy: Option<(CopyDirection, Arc<Mutex<Manifest>>)>,
    /// How much it may carry.
    copy_limit: Option<CopyLimit>,
    /// It carries more: nothing passes any more.
    over: Over,
    /// When to look for answers next; only while a line waits.
    next_look: Option<Instant>,
    /// A line waits for a second person.
    is_held: bool,
    /// Questions about files without an answer.
    asked_sizes: u32,
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
            copy_limit: None,
            over: Over::No,
            next_look: None,
            is_held: false,
            asked_sizes: 0,
        }
    }

    /// Takes the answers to what is asked about lines from `answers`.
    #[must_use]
    pub fn with_answers(mut self, answers: UnboundedReceiver<SessionAnswer>) -> Self {
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

    /// Ends a copy that is larger than this.
    #[must_use]
    pub(crate) fn with_copy_limit(mut self, limit: Option<CopyLimit>) -> Self {
        self.copy_limit = limit;
        self
    }

    /// Looks at bytes of a copy; a file is announced before it comes, so one that is too large
    /// never passes.
    fn list(&mut self, direction: CopyDirection, bytes: &Bytes) {
        if let Some((wanted, manifest)) = &self.copy
            && *wanted == direction
        {
            let mut manifest = manifest.lock().unwrap_or_else(PoisonError::into_inner);
            manifest.feed(bytes);
            if let Some(limit) = &self.copy_limit
                && manifest.bytes() > limit.bytes
                && self.over == Over::No
            {
                self.over = Over::Untold(limit.refusal());
            }
        }
    }

    fn take_answers(&mut self, now: Instant) {
        if self.next_look.is_none_or(|due| now < due) {
            return;
        }
        let pause = if self.asked_sizes > 0 {
            LOOK_FOR_SIZES
        } else {
            LOOK
        };
        self.next_look = Some(now + pause);
        while let Some(answer) = self
            .answers
            .as_mut()
            .and_then(|inbox| inbox.try_recv().ok())
        {
            match answer {
                // One that is too late is about a line that waits no longer.
                SessionAnswer::Settled(id, settlement) => {
                    let _late = self.interceptor.settle(now, id, settlement);
                }
                SessionAnswer::FileSizes(sizes) => {
                    self.asked_sizes = self.asked_sizes.saturating_sub(1);
                    self.interceptor.file_sizes(now, sizes);
                }
            }
        }
        if !self.is_held && self.asked_sizes == 0 {
            self.next_look = None;
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
        if self.over == Over::No {
            self.interceptor.handle_stdin(now, bytes);
        }
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
        if self.over != Over::No {
            return Bytes::new();
        }
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
        if let Over::Untold(message) = &mut self.over {
            let message = std::mem::take(message);
            self.over = Over::Told;
            return Some(GateAction::End(forbidden(message)));
        }
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
            Action::SizesWanted(files) => {
                self.asked_sizes += 1;
                self.next_look = Some(Instant::now() + LOOK_FOR_SIZES);
                GateAction::Note(SessionNote::SizesWanted(files))
            }
            Action::Held(held) => {
                self.is_held = true;
                self.next_look = Some(Instant::now() + LOOK);
                GateAction::Note(SessionNote::Held(held))
            }
            Action::Settled {
                id,
                line,
                settlement,
            } => {
                self.is_held = false;
                GateAction::Note(SessionNote::Settled {
                    id,
                    line,
                    settlement,
                })
            }
            Action::End { message } => GateAction::End(forbidden(message)),
        })
    }
}

/// Whether a copy is over its limit.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Over {
    No,
    /// The user is to be told this.
    Untold(String),
    Told,
}

fn forbidden(message: String) -> ExitStatus {
    ExitStatus::Failed(Failure {
        code: 403,
        reason: "Forbidden".to_owned(),
        message,
    })
}
