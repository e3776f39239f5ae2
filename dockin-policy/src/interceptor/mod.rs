//! Bytes of one live session become lines, verdicts, and what may go on.
//!
//! ```text
//!            ┌ PassThrough ─ forward
//! stdin ─────┼ Script ────── commands ─┐
//!            └ Terminal ──── lines ────┴─ judge ─┬─ Judged, Forward
//! stdout ───────▲ echo                           └─ Judged, Draw (and ^C to a shell)
//! ```

mod action;
mod approval;
mod foreground;
mod history;
mod judgement;
mod opaque;
mod query;
mod reading;
mod refusal;
mod script;
mod sizes;
mod terminal;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use self::{
    action::Actions, judgement::Judgement, opaque::Opaque, query::Curtain, script::Script,
    terminal::Terminal,
};
pub use self::{
    action::{Action, Confidence, JudgedLine, LineSource, Mode},
    approval::{HeldLine, HoldId, Settlement},
    query::BufferQuery,
};
use crate::{RuleSet, StdinProgram, Subject, WeekTime, reads_commands_from_stdin};

/// Judges what a user types into one session before the container gets it.
///
/// Sans-IO: call one `handle_*`, then drain [`poll_action`](Self::poll_action)
/// until it gives `None`, then wait for bytes or for
/// [`poll_timeout`](Self::poll_timeout). Actions are in order, and an
/// [`Action::Judged`] comes before the [`Action::Forward`] of the bytes that
/// submit the line it is about.
///
/// A line that asks for approval is refused, unless somebody [can be
/// asked](Self::with_approvals): then it waits as [`Action::Held`] until
/// [`settle`](Self::settle), its time or the user ends that, and everything sent meanwhile waits
/// behind it.
#[derive(Debug)]
pub struct Interceptor {
    inner: Inner,
    /// Hides what an asked shell says.
    curtain: Option<Curtain>,
    actions: Actions,
}

#[derive(Debug)]
enum Inner {
    PassThrough,
    Opaque(Box<Opaque>),
    Script(Box<Script>),
    Terminal(Box<Terminal>),
}

impl Interceptor {
    /// Starts to watch a session that runs `argv`.
    ///
    /// `tty` tells whether the container's side is a terminal, `size` its
    /// columns and rows. Without a terminal the mode follows from
    /// [`reads_commands_from_stdin`]. That `argv` itself may run is the
    /// caller's business, by [`judge_argv`](crate::judge_argv).
    #[must_use]
    pub fn new(
        rules: Arc<RuleSet>,
        subject: Subject,
        argv: &[String],
        tty: bool,
        size: Option<(u16, u16)>,
    ) -> Self {
        let program = reads_commands_from_stdin(argv);
        let inner = if tty {
            let judgement = Judgement::new(rules, subject, program.as_ref());
            Inner::Terminal(Box::new(Terminal::new(
                judgement,
                argv,
                program.is_some(),
                size.unwrap_or(DEFAULT_SIZE),
            )))
        } else {
            match program {
                None => Inner::PassThrough,
                Some(StdinProgram::Shell(_)) => Inner::Script(Box::new(Script::new(
                    Judgement::new(rules, subject, program.as_ref()),
                ))),
                Some(_) => Inner::Opaque(Box::new(Opaque::new(Judgement::new(
                    rules,
                    subject,
                    program.as_ref(),
                )))),
            }
        };
        Self {
            inner,
            curtain: None,
            actions: Actions::default(),
        }
    }

    /// Asks the shell for its edit buffer before a line goes on; it must have been started as
    /// [`BufferQuery::wrap`] says. What it answers must not be seen: pass its output on as
    /// [`shown`](Self::shown) gives it.
    #[must_use]
    pub fn with_query(mut self, query: &BufferQuery) -> Self {
        if let Inner::Terminal(terminal) = &mut self.inner {
            terminal.ask(query);
            self.curtain = Some(Curtain::new(query));
        }
        self
    }

    /// Holds lines that ask for approval, each for up to `wait`, in place of refusing them.
    ///
    /// In an editor's command row and in the middle of a paste there is nothing to hold, so they
    /// are refused there all the same.
    #[must_use]
    pub fn with_approvals(mut self, wait: Duration) -> Self {
        if let Some(judgement) = self.judgement() {
            judgement.approvals.allow(wait);
        }
        self
    }

    /// Ends the wait of the held line `id`; false when it does not wait any more.
    ///
    /// Whether whoever approves may, and is another person, is the caller's business. An approval
    /// that comes after other rules were put in force is none.
    pub fn settle(&mut self, now: Instant, id: HoldId, settlement: Settlement) -> bool {
        let actions = &mut self.actions;
        let Some(judgement) = (match &mut self.inner {
            Inner::PassThrough => None,
            Inner::Opaque(opaque) => Some(&mut opaque.judgement),
            Inner::Script(script) => Some(&mut script.judgement),
            Inner::Terminal(terminal) => Some(terminal.judgement()),
        }) else {
            return false;
        };
        let Some((opinion, settlement)) = judgement.approvals.settle(Some(id), settlement, actions)
        else {
            return false;
        };
        match &mut self.inner {
            Inner::PassThrough => {}
            Inner::Opaque(opaque) => opaque.settled(&opinion, &settlement, actions),
            Inner::Script(script) => script.settled(now, opinion, &settlement, actions),
            Inner::Terminal(terminal) => terminal.settled(now, opinion, &settlement, actions),
        }
        true
    }

    /// Asks for the sizes of files that rules want to know, and holds a line for up to `wait` until
    /// they are given.
    #[must_use]
    pub fn with_file_sizes(mut self, wait: Duration) -> Self {
        if let Some(judgement) = self.judgement() {
            judgement.sizes.allow(wait);
        }
        self
    }

    /// Answers [`Action::SizesWanted`]: the sizes in bytes by the paths that were asked for. What is
    /// left out is judged as not known.
    pub fn file_sizes(&mut self, now: Instant, sizes: BTreeMap<String, u64>) {
        let Some(judgement) = self.judgement() else {
            return;
        };
        if judgement.take_sizes(sizes) {
            match &mut self.inner {
                Inner::PassThrough | Inner::Opaque(_) => {}
                Inner::Script(script) => script.judge_again(now, &mut self.actions),
                Inner::Terminal(terminal) => terminal.handle_timeout(now, &mut self.actions),
            }
        }
    }

    fn judgement(&mut self) -> Option<&mut Judgement> {
        match &mut self.inner {
            Inner::PassThrough => None,
            Inner::Opaque(opaque) => Some(&mut opaque.judgement),
            Inner::Script(script) => Some(&mut script.judgement),
            Inner::Terminal(terminal) => Some(terminal.judgement()),
        }
    }

    /// How the session is watched.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self.inner {
            Inner::PassThrough => Mode::PassThrough,
            Inner::Opaque(_) => Mode::Opaque,
            Inner::Script(_) => Mode::Script,
            Inner::Terminal(_) => Mode::Terminal,
        }
    }

    /// Puts another rule set in force, from the next line on.
    pub fn set_rules(&mut self, rules: Arc<RuleSet>) {
        match &mut self.inner {
            Inner::PassThrough => {}
            Inner::Opaque(opaque) => opaque.judgement.set_rules(rules),
            Inner::Script(script) => script.judgement.set_rules(rules),
            Inner::Terminal(terminal) => terminal.set_rules(rules),
        }
    }

    /// What time it is for the lines that follow: rules may count at certain hours.
    pub const fn set_time(&mut self, time: WeekTime) {
        match &mut self.inner {
            Inner::PassThrough => {}
            Inner::Opaque(opaque) => opaque.judgement.set_time(time),
            Inner::Script(script) => script.judgement.set_time(time),
            Inner::Terminal(terminal) => terminal.set_time(time),
        }
    }

    /// Takes bytes that the user sent.
    pub fn handle_stdin(&mut self, now: Instant, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.inner {
            Inner::PassThrough => self.actions.forward(bytes),
            Inner::Opaque(opaque) => opaque.handle_stdin(now, bytes, &mut self.actions),
            Inner::Script(script) => script.handle_stdin(now, &bytes, &mut self.actions),
            Inner::Terminal(terminal) => terminal.handle_stdin(now, bytes, &mut self.actions),
        }
    }

    /// The user will send no more.
    pub fn handle_half_close(&mut self, now: Instant) {
        match &mut self.inner {
            Inner::PassThrough => self.actions.half_close(),
            Inner::Opaque(opaque) => opaque.handle_half_close(&mut self.actions),
            Inner::Script(script) => script.handle_half_close(now, &mut self.actions),
            Inner::Terminal(terminal) => terminal.handle_half_close(now, &mut self.actions),
        }
    }

    /// The user's window has another size, in columns and rows.
    pub fn handle_resize(&mut self, columns: u16, rows: u16) {
        if let Inner::Terminal(terminal) = &mut self.inner {
            terminal.handle_resize(columns, rows);
        }
    }

    /// Looks at bytes that the container sent; the user gets what [`shown`](Self::shown) gives.
    ///
    /// Costs nothing unless the session has a terminal.
    pub fn handle_output(&mut self, now: Instant, is_stderr: bool, bytes: &[u8]) {
        // A terminal has one output; what comes as stderr is the runtime's own word.
        if let (Inner::Terminal(terminal), false) = (&mut self.inner, is_stderr) {
            terminal.handle_output(now, bytes, &mut self.actions);
        }
    }

    /// What the user sees of `bytes` that the container sent: all but the words between an asked
    /// shell and this interceptor.
    pub fn shown(&mut self, now: Instant, is_stderr: bool, bytes: Bytes) -> Bytes {
        match &mut self.curtain {
            Some(curtain) if !is_stderr => curtain.feed(now, bytes),
            _ => bytes,
        }
    }

    /// Time has come to [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(curtain) = &mut self.curtain {
            let late = curtain.handle_timeout(now);
            if !late.is_empty() {
                self.actions.draw(false, late);
            }
        }
        match &mut self.inner {
            Inner::PassThrough => {}
            Inner::Opaque(opaque) => opaque.handle_timeout(now, &mut self.actions),
            Inner::Script(script) => script.handle_timeout(now, &mut self.actions),
            Inner::Terminal(terminal) => terminal.handle_timeout(now, &mut self.actions),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, if at all.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let line = match &self.inner {
            Inner::PassThrough => None,
            Inner::Opaque(opaque) => opaque.judgement.approvals.poll_timeout(),
            Inner::Script(script) => script.judgement.poll_timeout(),
            Inner::Terminal(terminal) => terminal.poll_timeout(),
        };
        let curtain = self.curtain.as_ref().and_then(Curtain::poll_timeout);
        [line, curtain].into_iter().flatten().min()
    }

    /// The next thing to do, `None` when nothing is left to do now.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.next()
    }
}

/// Columns and rows of a terminal that did not tell its size.
const DEFAULT_SIZE: (u16, u16) = (80, 24);
