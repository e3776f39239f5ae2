//! Lines that the shell keeps until their construct is complete, and what it may keep instead.

use std::time::Instant;

use super::{Terminal, judging::Line};
use crate::{
    Completeness,
    interceptor::{
        action::{Actions, Confidence, LineSource},
        judgement::{Judgement, Opinion},
        reading::{Reading, is_continuation_prompt},
    },
};

/// What the shell holds in front of the next line.
///
/// Two things may end a construct without a sign: an end of file and an
/// interrupt, which a shell may as well ignore. From then on both may be true,
/// and a line must be harmless behind each text the shell may hold.
#[derive(Debug, Default)]
pub(super) struct Construct {
    /// Lines of a construct that is not complete.
    pub(super) pieces: String,
    /// The prompt in front of the first of `pieces`.
    first_prompt: String,
    /// What the shell may hold in place of `pieces`; empty is a shell at its prompt.
    others: Vec<String>,
    /// The line that is judged.
    pub(super) line: String,
    /// There were more of them than are followed.
    is_lost: bool,
}

impl Construct {
    /// An end of file: a shell may end the construct and run it.
    pub(super) fn may_be_over(&mut self) {
        if !self.pieces.is_empty() || !self.others.is_empty() {
            self.also(String::new());
        }
    }

    /// An interrupt: a shell drops the construct, unless it ignores it.
    pub(super) fn is_interrupted(&mut self) {
        if !self.pieces.is_empty() {
            let pieces = std::mem::take(&mut self.pieces);
            self.also(pieces);
        }
    }

    fn also(&mut self, text: String) {
        if text == self.pieces || self.others.contains(&text) {
            return;
        }
        self.is_lost |= self.others.len() >= MAX_OTHERS;
        if !self.is_lost {
            self.others.push(text);
        }
    }

    /// A prompt at rest; the one of the first line shows that the shell holds nothing.
    pub(super) fn see_prompt(&mut self, prompt: &str) {
        let is_shell = !prompt.trim().is_empty()
            && prompt == self.first_prompt
            && !is_continuation_prompt(prompt);
        if is_shell && (self.pieces.is_empty() || self.others.iter().any(String::is_empty)) {
            self.pieces.clear();
            self.others.clear();
        }
    }

    /// The line goes on to the shell.
    pub(super) fn advance(&mut self, judgement: &Judgement) {
        self.pieces.clear();
        let line = std::mem::take(&mut self.line);
        for before in std::mem::take(&mut self.others) {
            let whole = before + &line;
            self.is_lost |= whole.len() > MAX_CONSTRUCT;
            let is_open = judgement.completeness(whole.as_bytes()) == Completeness::NeedsMore;
            let held = if is_open { whole + "\n" } else { String::new() };
            if !self.others.contains(&held) {
                self.others.push(held);
            }
        }
    }
}

impl Terminal {
    /// Judges `text` behind everything that the shell may hold in place of what is believed;
    /// `leftover` is a refused line that it may or may not have dropped. True when that is refused.
    pub(super) fn is_refused_elsewhere(
        &mut self,
        now: Instant,
        text: &str,
        leftover: &str,
        reading: &Reading,
        actions: &mut Actions,
    ) -> bool {
        text.clone_into(&mut self.construct.line);
        if self.construct.is_lost {
            self.end(LOST, actions);
            return true;
        }
        let construct = &self.construct;
        let dropped = (!leftover.is_empty()).then_some(&construct.pieces);
        let behind = construct
            .others
            .iter()
            .filter(|other| **other != construct.pieces)
            .chain(dropped)
            .flat_map(|before| {
                // A screen may be older than the keys, whatever it shows.
                let keys = self.editor.is_sure().then_some(reading.keys.as_str());
                let texts = [Some(text), keys.filter(|keys| *keys != text)];
                texts
                    .into_iter()
                    .flatten()
                    .map(move |text| format!("{before}{text}"))
            });
        // What stood in front of an end of file may have gone to a program that ended by it.
        let rest = self.ended_file.as_deref().filter(|read| !read.is_empty());
        let rest = rest.and_then(|read| reading.keys.strip_prefix(read));
        let is_older = self.editor.is_sure() && reading.keys != text;
        let newer = (is_older && !construct.pieces.is_empty())
            .then(|| format!("{}{}", construct.pieces, reading.keys));
        let all = behind.chain(rest.map(str::to_owned)).chain(newer);
        let refused = { all }.find_map(|whole| {
            let opinion = self.judgement.judge(whole.as_bytes());
            let is_excused = self.foreground.is_other_language() && !opinion.is_by_rule();
            (runs_refused(&opinion) && !is_excused).then_some((opinion, whole))
        });
        let Some((opinion, whole)) = refused else {
            return false;
        };
        let line = Line {
            is_hidden: reading.is_hidden,
            ..Line::new(whole, Confidence::Opaque, LineSource::Keys)
        };
        self.conclude(now, opinion, line, actions);
        true
    }

    /// Keeps a line that the shell will ask to continue, and forwards it; true when the line is
    /// dealt with.
    pub(super) fn needs_more(
        &mut self,
        now: Instant,
        whole: &str,
        piece: &str,
        actions: &mut Actions,
    ) -> bool {
        let mut whole = whole.to_owned();
        if self.judgement.completeness(whole.as_bytes()) != Completeness::NeedsMore {
            return false;
        }
        if whole.len() > MAX_CONSTRUCT {
            self.end(OVERLONG, actions);
            return true;
        }
        // A shell runs what it has when its input ends in the middle, and that may happen at any
        // time: by ^D, by a hang-up that it ignores, in busybox ash by an ignored ^C.
        if let Some(opinion) = self.refusal_if_ended(&whole, piece) {
            let line = Line {
                is_piece: true,
                ..Line::new(whole, Confidence::Likely, LineSource::Keys)
            };
            self.conclude(now, opinion, line, actions);
            return true;
        }
        if self.construct.pieces.is_empty() {
            self.construct.first_prompt = self.screen.prompt().to_owned();
        } else if !self.is_trusted_continuation(piece) {
            // Whoever reads this piece may not be the shell that waits for more.
            let alone = self.judgement.judge(piece.as_bytes());
            if alone.is_refusal() && alone.is_by_rule() {
                let line = Line::new(piece, Confidence::Likely, LineSource::Keys);
                self.conclude(now, alone, line, actions);
                return true;
            }
        }
        whole.push('\n');
        self.keep_pieces(whole, actions);
        true
    }

    /// Sends a line of a construct on, and waits for the rest.
    pub(super) fn keep_pieces(&mut self, whole: String, actions: &mut Actions) {
        let at_prompt = self.query.as_ref().is_some_and(|query| query.at_prompt);
        self.release(actions);
        // Nothing of it has run, so the same shell asks for the rest.
        if let Some(query) = &mut self.query {
            query.at_prompt = at_prompt;
        }
        self.construct.pieces = whole;
    }

    /// What speaks against `whole`, which ends in `piece`, if nothing came behind it.
    fn refusal_if_ended(&self, whole: &str, piece: &str) -> Option<Opinion> {
        let opinion = self.judgement.judge(whole.as_bytes());
        if runs_refused(&opinion) {
            return Some(opinion);
        }
        // Of a paste of several lines the first may be complete.
        let mut start = 0;
        let mut complete = None;
        for (at, _) in piece.match_indices('\n') {
            let command = piece.get(start..at).unwrap_or_default();
            if self.judgement.completeness(command.as_bytes()) != Completeness::NeedsMore {
                start = at + 1;
                complete = Some(at);
            }
        }
        let behind = piece.len() - complete?;
        let opinion = self
            .judgement
            .judge(whole.get(..whole.len() - behind)?.as_bytes());
        opinion.is_refusal().then_some(opinion)
    }

    /// Whether the shell would run the pieces it has, were they all.
    pub(super) fn would_run_pieces(&self) -> bool {
        let pieces = self.construct.pieces.as_bytes();
        !pieces.is_empty() && !self.judgement.judge(pieces).is_unparsed()
    }

    /// Whether it is the shell that waits for more that reads `piece`: its prompt says so.
    fn is_trusted_continuation(&self, piece: &str) -> bool {
        let is_shown = || {
            // Nothing was started yet that could read in the shell's place.
            if self.starts_with_shell && !self.foreground.has_started_readers() {
                return true;
            }
            if self.is_anchor_quiet {
                return is_continuation_prompt(self.screen.prompt());
            }
            // Echo of what was typed ahead stands behind the prompt, in front of it, or both.
            let row = self.screen.cursor_line();
            let row = row.trim_end();
            let piece = piece.trim_end();
            let row = row.strip_suffix(piece).unwrap_or(row);
            is_continuation_prompt(row.strip_prefix(piece).unwrap_or(row))
        };
        !self.prompt_changed
            && !self.foreground.is_other_language()
            && !is_continuation_prompt(&self.construct.first_prompt)
            && is_shown()
    }

    /// Whether a line typed ahead would be refused, which waits until the lines before it are done:
    /// the `^C` would interrupt them, and who reads it shows only then.
    pub(super) fn would_refuse(&self, reading: &Reading) -> bool {
        let pieces = &self.construct.pieces;
        let judged = |text: &str| self.judgement.judge(text.as_bytes()).is_refusal();
        judged(&format!("{pieces}{}", reading.keys)) || !pieces.is_empty() && judged(&reading.keys)
    }
}

/// Whether something runs that must not; what cannot be read as a command does not run.
fn runs_refused(opinion: &Opinion) -> bool {
    opinion.is_refusal() && (opinion.is_by_rule() || !opinion.is_unparsed())
}

/// Longest construct over several lines, bytes.
const MAX_CONSTRUCT: usize = 64 * 1024;
/// Texts that are followed beside the believed one.
const MAX_OTHERS: usize = 4;
/// Why a session ends whose construct is longer than is looked at.
const OVERLONG: &str = "refused: a command of more than 64 KiB over several lines";
/// Why a session ends in which the shell may hold anything.
const LOST: &str = "refused: it cannot be told any more what the shell waits for (too many interrupts in unfinished commands); open a new session";
