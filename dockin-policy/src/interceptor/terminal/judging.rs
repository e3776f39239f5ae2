//! What is made of a held line: read, judged, sent on or refused.

use std::{cell::LazyCell, time::Instant};

use bytes::Bytes;

use super::{Submit, Terminal, Waiting, vi::ViMode};
use crate::{
    Completeness,
    interceptor::{
        action::{Actions, Confidence, JudgedLine, LineSource},
        approval::Settlement,
        history::Expanded,
        judgement::Opinion,
        query::Answer,
        reading::{Reading, SEARCH, escape_to_shell, searched, shell_escapes, without_search},
        refusal,
    },
    words::{Words, finder},
};

/// A line as it is written down.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) confidence: Confidence,
    pub(super) source: LineSource,
    pub(super) is_hidden: bool,
    /// More lines follow it: what was judged is what runs if none did.
    pub(super) is_piece: bool,
}

impl Line {
    pub(super) fn new(text: impl Into<String>, confidence: Confidence, source: LineSource) -> Self {
        Self {
            text: text.into(),
            confidence,
            source,
            is_hidden: false,
            is_piece: false,
        }
    }
}

impl Terminal {
    /// Refuses a paste as soon as one of its complete lines is refused by a rule.
    ///
    /// A line editor submits a paste only at Enter, but that something asked for
    /// paste marks does not prove that it heeds them.
    pub(super) fn is_refused_paste(&mut self, now: Instant, actions: &mut Actions) -> bool {
        if !self.editor.is_pasting() || self.is_full_screen() {
            return false;
        }
        let text = self.editor.text();
        if !text.ends_with('\n') || text.trim().is_empty() {
            return false;
        }
        let whole = format!("{}{text}", self.construct.pieces);
        if self.judgement.completeness(whole.as_bytes()) == Completeness::NeedsMore {
            return false;
        }
        let opinion = self.judgement.judge(whole.as_bytes());
        if !opinion.is_refusal() || !opinion.is_by_rule() {
            return false;
        }
        self.drops_paste = true;
        actions.judged(opinion.to_record(&whole, Confidence::Likely, LineSource::Keys));
        self.refuse(now, &opinion, &whole, false, actions);
        true
    }

    /// What keys and screen tell about the line now.
    pub(super) fn read(&self) -> Reading {
        let keys = self.editor.text();
        let row = LazyCell::new(|| self.screen.cursor_line());
        let line = if self.is_anchor_quiet || self.editor.is_sure() && !self.keys_doubted {
            self.screen.line(self.editor.is_completed())
        } else {
            // The line began before its prompt was drawn, which only its text tells from it.
            let prompt = Some(self.shell_prompt.trim_end()).filter(|prompt| !prompt.is_empty());
            prompt
                .and_then(|prompt| row.strip_prefix(prompt))
                .map(|line| line.trim_start().to_owned())
        };
        let has_prompt = line.is_some();
        let may_search = self.screen.cursor_line_starts_with(SEARCH);
        let screen = without_search(
            may_search
                .then(|| searched(&row).map(str::to_owned))
                .flatten()
                .or(line)
                .unwrap_or_default(),
        );
        let typed = keys.trim_end();
        let follows = self.editor.is_sure() && !self.is_filled;
        let is_shown = screen.trim_end() == typed
            || (!self.is_anchor_quiet && !typed.is_empty() && row.ends_with(typed));
        let is_masked = screen
            .chars()
            .all(|character| matches!(character, '*' | '•'));
        let is_elsewhere = is_shown || self.screen.shows(typed);
        // The screen shows another line than the keys: a key is bound to something else.
        let must_show = self.keys_doubted
            && !self.foreground.is_echo_off()
            && !self.foreground.may_ask_for_secret();
        let is_contradicted = !is_elsewhere && (self.is_anchor_quiet && !is_masked || must_show);
        let is_hidden = follows
            && !is_shown
            && !keys.is_empty()
            && !self.screen.has_bracketed_paste()
            && !self.foreground.hides_commands()
            && (is_masked || !is_elsewhere && !is_contradicted);
        Reading {
            has_prompt,
            is_sure: follows && !is_contradicted,
            agrees: follows && is_shown,
            is_hidden,
            keys,
            screen,
        }
    }

    /// Judges the line that the shell itself says it holds.
    fn judge_answer(
        &mut self,
        now: Instant,
        answer: &Answer,
        reading: &Reading,
        submit: Submit,
        actions: &mut Actions,
    ) {
        self.refused = None;
        let is_blank = answer.line.trim().is_empty() && self.construct.pieces.is_empty();
        if is_blank && submit != Submit::EndOfFile {
            self.construct.line.clear();
            self.release(actions);
            return;
        }
        let confidence = if is_confirmed(answer, reading) {
            Confidence::Sure
        } else {
            Confidence::Likely
        };
        // bash leaves out the last line when a function asks it to follow a reference, so what
        // this session knows goes first.
        let (expanded, confidence) = match self.expand_history(&answer.line) {
            Expanded::Plain => (answer.line.clone(), confidence),
            Expanded::Known(line) => (line, confidence),
            Expanded::Printed(_) => (String::new(), confidence),
            Expanded::Unknown if answer.expanded.is_empty() => {
                (answer.line.clone(), Confidence::Opaque)
            }
            Expanded::Unknown => (answer.expanded.clone(), confidence.min(Confidence::Likely)),
        };
        let expanded = expanded.as_str();
        if self.is_refused_elsewhere(now, expanded, "", reading, actions) {
            return;
        }
        let whole = format!("{}{expanded}", self.construct.pieces);
        if submit != Submit::EndOfFile
            && (confidence == Confidence::Opaque && self.refuses_older_piece(now, &whole, actions)
                || self.needs_more(now, &whole, expanded, actions))
        {
            return;
        }
        let mut opinion = if confidence == Confidence::Opaque {
            self.judgement.judge_history(whole.as_bytes())
        } else {
            self.judgement.judge(whole.as_bytes())
        };
        // Whoever answers may lie: what keys and screen say counts as well when a rule names it.
        if confidence < Confidence::Sure {
            for other in [&reading.screen, &reading.keys] {
                let second = self
                    .judgement
                    .judge(format!("{}{other}", self.construct.pieces).as_bytes());
                if second.is_by_rule() && second.is_more_severe_than(&opinion) && !other.is_empty()
                {
                    opinion = second;
                }
            }
        }
        let line = Line::new(whole, confidence, LineSource::Buffer);
        self.conclude(now, opinion, line, actions);
    }

    pub(super) fn judge(
        &mut self,
        now: Instant,
        reading: &Reading,
        submit: Submit,
        actions: &mut Actions,
    ) {
        let answer = self.query.as_ref().and_then(|query| query.answer.clone());
        if let Some(answer) = answer
            && !self.foreground.is_other_language()
        {
            self.judge_answer(now, &answer, reading, submit, actions);
            return;
        }
        self.confirm_refusal();
        let leftover = self
            .refused
            .as_ref()
            .map(|refused| refused.text.clone())
            .unwrap_or_default();
        let is_blank = if reading.is_sure {
            &reading.keys
        } else {
            &reading.screen
        }
        .trim()
        .is_empty()
            && (reading.is_sure || reading.has_prompt);
        let is_alone = leftover.is_empty() && self.construct.pieces.is_empty();
        if is_blank && is_alone && self.is_known_blank(reading) {
            let guess = self.judgement.judge(reading.keys.as_bytes());
            if !guess.is_refusal() || !guess.is_by_rule() {
                self.construct.line.clear();
                self.release(actions);
                return;
            }
        }
        let (text, source) = if reading.is_sure {
            (&reading.keys, LineSource::Keys)
        } else {
            (&reading.screen, LineSource::Screen)
        };
        let confidence = match (reading.agrees, text.trim().is_empty()) {
            (true, _) => Confidence::Sure,
            (false, false) => Confidence::Likely,
            (false, true) => Confidence::Opaque,
        };
        if confidence == Confidence::Opaque && !reading.is_sure {
            let guess = self
                .judgement
                .judge(format!("{}{}", self.construct.pieces, reading.keys).as_bytes());
            let unknown = self.judgement.judge_unknown();
            let opinion = if guess.is_by_rule() && guess.is_more_severe_than(&unknown) {
                guess
            } else {
                unknown
            };
            let line = Line {
                is_hidden: reading.is_hidden,
                ..Line::new(JudgedLine::UNKNOWN, confidence, source)
            };
            self.conclude(now, opinion, line, actions);
            return;
        }
        if self.is_refused_elsewhere(now, text, &leftover, reading, actions) {
            return;
        }
        let expanded = if self.foreground.is_other_language() {
            Expanded::Plain
        } else {
            self.expand_history(text)
        };
        let is_older = expanded == Expanded::Unknown;
        let whole = format!("{}{leftover}{text}", self.construct.pieces);
        if submit != Submit::EndOfFile && !reading.is_hidden {
            let piece = match &expanded {
                Expanded::Known(line) => line,
                _ => text,
            };
            let pieces = format!("{}{leftover}{piece}", self.construct.pieces);
            if is_older && self.refuses_older_piece(now, &pieces, actions)
                || self.needs_more(now, &pieces, piece, actions)
            {
                return;
            }
        }
        let mut record = whole.clone();
        let mut opinion = if self.is_trusted_language() {
            self.judgement.judge(b"")
        } else {
            match expanded {
                Expanded::Plain => self.judgement.judge(whole.as_bytes()),
                Expanded::Known(line) => {
                    record = format!("{}{leftover}{line}", self.construct.pieces);
                    self.judgement.judge(record.as_bytes())
                }
                // It is shown, and not run.
                Expanded::Printed(line) => {
                    record = format!("{}{leftover}{line}", self.construct.pieces);
                    self.judgement.judge(b"")
                }
                Expanded::Unknown => self.judgement.judge_history(whole.as_bytes()),
            }
        };
        if self.excuses(&opinion, reading) {
            opinion.tolerate();
        }
        for other in self.other_readings(reading) {
            let second = self.judgement.judge(other.as_bytes());
            if second.is_by_rule() && second.is_more_severe_than(&opinion) {
                opinion = second;
                record = other;
            }
        }
        if submit == Submit::EndOfFile && !opinion.is_refusal() {
            self.release_key(actions);
            return;
        }
        let confidence = if self.foreground.is_other_language() || is_older {
            Confidence::Opaque
        } else {
            confidence
        };
        let line = Line {
            is_hidden: reading.is_hidden,
            ..Line::new(record, confidence, source)
        };
        self.conclude(now, opinion, line, actions);
    }

    /// The line as the shell makes it from its history; the text of a here-document stays as it is.
    fn expand_history(&self, text: &str) -> Expanded {
        let is_body = !self.construct.pieces.ends_with("\\\n") && self.would_run_pieces();
        if is_body {
            Expanded::Plain
        } else {
            self.judgement.expand_history(text)
        }
    }

    /// Refuses a line of an unfinished construct that refers to a history nobody knows here, where
    /// that is asked for; true when it did.
    fn refuses_older_piece(&mut self, now: Instant, whole: &str, actions: &mut Actions) -> bool {
        if self.judgement.completeness(whole.as_bytes()) != Completeness::NeedsMore {
            return false;
        }
        let opinion = self.judgement.judge_history(whole.as_bytes());
        let is_refused = opinion.is_refusal();
        if is_refused {
            let line = Line {
                is_piece: true,
                ..Line::new(whole, Confidence::Opaque, LineSource::Keys)
            };
            self.conclude(now, opinion, line, actions);
        }
        is_refused
    }

    /// True while the shell has answered and what it holds is not on the screen again: bash wipes
    /// the line to answer, and draws it anew.
    ///
    /// Only where it matters: to compare the answer with the screen, and to tell of a refusal
    /// below the line.
    pub(super) fn waits_for_redraw(&self, reading: &Reading) -> bool {
        let answer = self.query.as_ref().and_then(|query| query.answer.as_ref());
        answer.is_some_and(|answer| {
            let whole = || format!("{}{}", self.construct.pieces, answer.line);
            !is_confirmed(answer, reading) || self.judgement.judge(whole().as_bytes()).is_refusal()
        })
    }

    /// What else the line may mean; only rules that name it count there.
    fn other_readings(&self, reading: &Reading) -> Vec<String> {
        let mut others = Vec::new();
        let is_screen_useful = !reading.agrees
            && !reading.is_hidden
            && self.is_anchor_quiet
            && !reading.screen.is_empty();
        // A key may be bound to anything, so what the screen shows counts as well.
        if reading.is_sure && is_screen_useful {
            others.push(format!("{}{}", self.construct.pieces, reading.screen));
        }
        // What the screen adds to the keys may be a prompt.
        if !reading.is_sure && self.editor.is_sure() {
            others.push(format!("{}{}", self.construct.pieces, reading.keys));
        }
        if self.foreground.is_other_language() || !self.starts_with_shell {
            let text = if reading.is_sure {
                &reading.keys
            } else {
                &reading.screen
            };
            others.extend(shell_escapes(text));
        }
        others
    }

    /// True at the prompt of an interpreter whose lines look like nothing a shell would run.
    fn is_trusted_language(&self) -> bool {
        !self.prompt_changed
            && self.foreground.is_other_language()
            && self.is_anchor_quiet
            && matches!(self.screen.prompt(), ">>> " | "... ")
    }

    /// True when an empty line is empty by evidence: by its keys, or because the echo shows so.
    fn is_known_blank(&self, reading: &Reading) -> bool {
        reading.is_sure
            || self.has_output.first_key && self.is_anchor_quiet && !self.foreground.is_echo_off()
    }

    /// Whether a refusal that no rule names is let pass because no shell may be reading.
    fn excuses(&self, opinion: &Opinion, reading: &Reading) -> bool {
        if !opinion.is_refusal() || opinion.is_by_rule() {
            return false;
        }
        // A belief can be wrong, and be made wrong on purpose: a prompt and the alternate screen
        // are only output. What no shell would run does no harm if it is one after all.
        let elsewhere = self.foreground.is_other_language() || self.screen.is_alternate();
        elsewhere && opinion.is_unparsed()
            || !self.starts_with_shell
            || reading.is_hidden && self.foreground.may_ask_for_secret()
    }

    /// Carries out `opinion` about `text`.
    pub(super) fn conclude(
        &mut self,
        now: Instant,
        mut opinion: Opinion,
        line: Line,
        actions: &mut Actions,
    ) {
        let Line {
            text,
            confidence,
            source,
            is_hidden,
            is_piece,
        } = line;
        if self.held.is_some()
            && !is_hidden
            && !self.foreground.is_other_language()
            && self.judgement.asks_sizes(now, text.as_bytes(), actions)
        {
            return;
        }
        self.judgement.forget_sizes();
        if is_hidden {
            opinion.conceal(self.judgement.judge_unknown());
        }
        let shown = if is_hidden {
            JudgedLine::HIDDEN
        } else {
            text.as_str()
        };
        let record = opinion.to_record(shown, confidence, source);
        if self.held.is_some() && self.judgement.approvals.takes(&opinion) {
            actions.draw(
                false,
                refusal::held_on_terminal(opinion.verdict(), is_hidden),
            );
            let approvals = &mut self.judgement.approvals;
            approvals.hold(now, opinion, record, actions);
            self.waiting = Some(Waiting {
                text,
                is_hidden,
                is_piece,
            });
            return;
        }
        actions.judged(record);
        if opinion.is_refusal() {
            self.refuse(now, &opinion, &text, is_hidden, actions);
            return;
        }
        if is_piece {
            self.keep_pieces(text + "\n", actions);
        } else {
            self.accept(opinion, &text, is_hidden, actions);
        }
    }

    /// Sends a line on.
    pub(super) fn accept(
        &mut self,
        opinion: Opinion,
        text: &str,
        is_hidden: bool,
        actions: &mut Actions,
    ) {
        if PROMPTS.any_in(text) {
            self.prompt_changed = true;
        }
        self.keys_doubted |= doubts_keys(text);
        self.foreground.see_line(text);
        if !self.foreground.is_other_language() && !is_hidden {
            let programs = opinion.verdict().programs.as_deref().unwrap_or_default();
            self.foreground.start(programs, self.screen.prompt());
        }
        if let Some(mode) = ViMode::set_by(text) {
            self.is_vi_told = mode.is_some();
        }
        if !is_hidden && !self.foreground.is_other_language() {
            self.judgement.remember(text);
        }
        self.judgement.adopt(opinion);
        let only_goes = !is_hidden && self.judgement.only_goes(text);
        self.went_at = only_goes.then(|| self.screen.line_feeds());
        self.release(actions);
    }

    /// Looks for `^C` while a line waits for a second person: it takes the line back. Gives what
    /// is behind it.
    pub(super) fn take_back(&mut self, now: Instant, bytes: Bytes, actions: &mut Actions) -> Bytes {
        let interrupt = bytes.iter().position(|byte| *byte == 0x03);
        let Some(at) = interrupt.filter(|_| self.judgement.approvals.is_waiting()) else {
            return bytes;
        };
        let approvals = &mut self.judgement.approvals;
        if let Some((opinion, settlement)) = approvals.settle(None, Settlement::Cancelled, actions)
        {
            self.settle(now, opinion, &settlement, actions);
        }
        bytes.slice(at + 1..)
    }

    /// Goes on behind a line that waited for a second person, and with what was typed meanwhile.
    pub(in crate::interceptor) fn settled(
        &mut self,
        now: Instant,
        opinion: Opinion,
        settlement: &Settlement,
        actions: &mut Actions,
    ) {
        self.settle(now, opinion, settlement, actions);
        self.run(now, actions);
    }

    /// True when the cursor's row begins like the prompt the program was started from.
    pub(super) fn shows_shell_prompt(&self) -> bool {
        let prompt = self.foreground.start_prompt().trim();
        !prompt.is_empty() && self.screen.cursor_line_starts_with(prompt)
    }

    /// Lets Enter through to an editor or pager, unless its command row asks for a shell.
    pub(super) fn release_in_full_screen(&mut self, now: Instant, actions: &mut Actions) {
        if let Some(command) = escape_to_shell(&self.screen.bottom_line()).map(str::to_owned) {
            let opinion = self.judgement.judge(command.as_bytes());
            actions.judged(opinion.to_record(&command, Confidence::Likely, LineSource::Screen));
            if opinion.is_refusal() {
                self.refuse(now, &opinion, &command, false, actions);
                return;
            }
        }
        if let Some(held) = self.held.take() {
            actions.forward(held.key);
        }
        self.editor.start_line();
    }
}

/// Whether keys or screen say the same as the shell.
fn is_confirmed(answer: &Answer, reading: &Reading) -> bool {
    let same = |other: &str| other.split_whitespace().eq(answer.line.split_whitespace());
    same(&reading.screen) || reading.is_sure && same(&reading.keys)
}

/// Lines for the terminal that leave the keys as they are.
const HARMLESS_STTY: [&str; 5] = [
    "stty -echo",
    "stty echo",
    "stty sane",
    "stty -a",
    "stty size",
];

/// What sets a prompt.
static PROMPTS: Words = Words::new(|| finder(&["PS1", "PS2", "PROMPT", "prompt"]));
/// What may change what keys do, or what they reach.
static KEYS: Words = Words::new(|| finder(&["stty", "bind", "trap", "nohup", "inputrc", "setsid"]));

/// Whether `text` may give keys another meaning, have interrupts ignored, or leave something behind
/// that draws by itself.
fn doubts_keys(text: &str) -> bool {
    if HARMLESS_STTY.contains(&text.trim()) {
        return false;
    }
    let is_operator = |byte: Option<char>| matches!(byte, Some('&' | '<' | '>'));
    KEYS.any_in(text)
        || text.match_indices('&').any(|(at, _)| {
            let before = text.get(..at).and_then(|text| text.chars().next_back());
            let behind = text.get(at + 1..).and_then(|text| text.chars().next());
            !is_operator(before) && !is_operator(behind)
        })
}
