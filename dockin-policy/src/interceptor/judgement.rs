//! The way from a line to a verdict, with what the session has done so far.

use std::sync::Arc;

use super::{
    action::{Confidence, JudgedLine, LineSource},
    approval::Approvals,
    history::{Expanded, History},
    sizes::Sizes,
};
use crate::{
    Completeness, Decision, Dialect, Reason, RuleSet, SessionState, StdinProgram, Subject, Verdict,
    WeekTime, judge_line, judge_unknown, shell::is_complete_in,
};

/// Rules, who types, and the state that earlier lines left in the shell.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) rules: Arc<RuleSet>,
    pub(super) subject: Subject,
    pub(super) session: SessionState,
    history: History,
    /// The line that waits for a second person.
    pub(super) approvals: Approvals,
    /// What is asked about files.
    pub(super) sizes: Sizes,
}

/// A verdict that is not carried out yet, and the state if it is.
#[derive(Debug)]
pub(super) struct Opinion {
    verdict: Verdict,
    session: Option<SessionState>,
}

impl Judgement {
    pub(super) fn new(
        rules: Arc<RuleSet>,
        subject: Subject,
        program: Option<&StdinProgram>,
    ) -> Self {
        let dialect = match program {
            Some(StdinProgram::Shell(dialect)) => *dialect,
            _ => Dialect::Bash,
        };
        Self {
            rules,
            subject,
            session: SessionState::interactive(dialect),
            history: History::default(),
            approvals: Approvals::default(),
            sizes: Sizes::default(),
        }
    }

    pub(super) fn set_rules(&mut self, rules: Arc<RuleSet>) {
        if !Arc::ptr_eq(&self.rules, &rules) {
            self.approvals.rules_changed();
        }
        self.rules = rules;
    }

    pub(super) const fn set_time(&mut self, time: WeekTime) {
        self.subject.time = Some(time);
    }

    pub(super) fn completeness(&self, line: &[u8]) -> Completeness {
        if is_plain(line) && !self.session.has_aliases() {
            return Completeness::Complete;
        }
        is_complete_in(line, &self.session)
    }

    /// Judges `line` without leaving a trace in the session.
    pub(super) fn judge(&self, line: &[u8]) -> Opinion {
        let mut session = self.session.clone();
        let verdict = judge_line(&self.rules, &self.subject, line, &mut session);
        Opinion {
            verdict,
            session: Some(session),
        }
    }

    /// What the rules say about a line that cannot be known.
    pub(super) fn judge_unknown(&self) -> Opinion {
        Opinion {
            verdict: judge_unknown(&self.rules, &self.subject),
            session: None,
        }
    }

    /// The line as the shell makes it from its history, as far as this session knows that.
    pub(super) fn expand_history(&self, line: &str) -> Expanded {
        match self.session.dialect() {
            Dialect::Bash | Dialect::Zsh => self.history.expand(line),
            Dialect::Sh | Dialect::Busybox => Expanded::Plain,
        }
    }

    /// Remembers a line that the shell took.
    pub(super) fn remember(&mut self, line: &str) {
        self.history.push(line);
    }

    /// Judges a line that refers to a history nobody knows here.
    pub(super) fn judge_history(&self, line: &[u8]) -> Opinion {
        let (known, unknown) = (self.judge(line), self.judge_unknown());
        if known.is_more_severe_than(&unknown) {
            known
        } else {
            unknown
        }
    }

    /// Whether `line` does no more than go to a folder, and is told if it cannot.
    pub(super) fn only_goes(&self, line: &str) -> bool {
        let is_plain = |it: char| it.is_alphanumeric() || " _-./~".contains(it);
        line.trim_start().starts_with("cd ")
            && line.trim_end().chars().all(is_plain)
            && !self.session.has_aliases()
            && !self.session.has_functions()
    }

    /// The shell is in the folder that the last line goes to: it did not say otherwise.
    pub(super) fn arrive(&mut self) {
        let _stayed = self.session.arrive();
    }

    /// The line behind `opinion` goes to the shell.
    pub(super) fn adopt(&mut self, opinion: Opinion) {
        if let Some(session) = opinion.session {
            self.session = session;
        }
    }
}

/// True for a line of plain words, behind which no shell asks for more: most of them.
fn is_plain(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let first = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    !OPENING.contains(&first)
        && line
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b" _-./=:,+@%".contains(byte))
}

/// Words that open a construct.
const OPENING: [&[u8]; 11] = [
    b"if",
    b"for",
    b"while",
    b"until",
    b"case",
    b"select",
    b"function",
    b"time",
    b"coproc",
    b"repeat",
    b"foreach",
];

impl Opinion {
    pub(super) fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// True when a second person may let the line go on.
    pub(super) fn asks(&self) -> bool {
        self.verdict.decision == Decision::Ask
    }

    /// Whether the line does not go on as it is; an approval is asked for elsewhere.
    pub(super) fn is_refusal(&self) -> bool {
        self.verdict.decision >= Decision::Ask
    }

    /// True when the line is none that a shell would run.
    pub(super) fn is_unparsed(&self) -> bool {
        matches!(self.verdict.reason, Reason::Unparsed { .. })
    }

    /// True when a rule names what the line does, and not merely the lack of one.
    pub(super) fn is_by_rule(&self) -> bool {
        self.verdict.rule.is_some()
    }

    pub(super) fn is_more_severe_than(&self, other: &Self) -> bool {
        self.verdict.decision > other.verdict.decision
    }

    /// Lets the line go on although it could not be judged, and says so in the record.
    pub(super) fn tolerate(&mut self) {
        self.verdict.decision = self.verdict.decision.min(Decision::Alert);
    }

    /// Takes everything out of the verdict that may quote a line typed without echo.
    ///
    /// Decision and rule stay; the reason becomes that of `unknown`.
    pub(super) fn conceal(&mut self, unknown: Self) {
        self.verdict = Verdict {
            decision: self.verdict.decision,
            rule: self.verdict.rule.take(),
            programs: None,
            ..unknown.verdict
        };
    }

    pub(super) fn to_record(
        &self,
        line: &str,
        confidence: Confidence,
        source: LineSource,
    ) -> JudgedLine {
        let mut verdict = self.verdict.clone();
        let line = line.trim_end_matches(['\r', '\n']);
        let line = verdict.redact_beside(line);
        JudgedLine {
            line,
            verdict,
            confidence,
            source,
            approver: None,
        }
    }
}
