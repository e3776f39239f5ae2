//! The key that waits: what it waits for, and how it goes on.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{ANSWER_WAIT, Held, MAX_MISSES, Submit, Terminal, judging::Line, vi::ViMode};
use crate::{
    interceptor::{
        action::{Actions, Confidence, JudgedLine, LineSource},
        query::BufferQuery,
        reading::Reading,
    },
    terminal::Key,
};

impl Terminal {
    /// Asks for the held line, when a line editor is there to answer; true while the answer is
    /// waited for.
    pub(super) fn is_asking(
        &mut self,
        waited: Duration,
        is_quiet: bool,
        actions: &mut Actions,
    ) -> bool {
        let is_over = waited >= self.echo.longest_wait();
        let may_ask = self.query.as_ref().is_some_and(|query| {
            query.answer.is_none() && !query.asked && query.at_prompt && query.misses < MAX_MISSES
        });
        // Keys of a search must be echoed first: whether it goes on can only be seen.
        if may_ask && self.searches && !is_quiet && !is_over {
            return true;
        }
        let is_editing = may_ask
            && !self.editor.is_pasting()
            && !self.screen.is_alternate()
            && !self.is_searching();
        let Some(query) = &mut self.query else {
            return false;
        };
        if query.answer.is_some() {
            return false;
        }
        if is_editing {
            query.asked = true;
            actions.forward(Bytes::from_static(BufferQuery::KEY));
            return true;
        }
        if query.asked && waited >= ANSWER_WAIT {
            query.misses += 1;
            query.asked = false;
            return false;
        }
        query.asked
    }

    /// Judges the held line if it is known by now; false when it is not.
    pub(super) fn try_release(&mut self, now: Instant, actions: &mut Actions) -> bool {
        let Some(held) = &self.held else { return true };
        let (submit, since) = (held.submit, held.since);
        if self.is_full_screen() {
            // The command row must have what was typed before it can be read.
            let is_over = now.saturating_duration_since(since) >= self.echo.longest_wait();
            let is_shown = is_over || self.echo.settles_at(since).is_some_and(|at| at <= now);
            if !is_shown && self.editor.text().contains('!') {
                return false;
            }
            self.release_in_full_screen(now, actions);
            return true;
        }
        match submit {
            Submit::Editor => {
                self.conclude_unknown(now, actions);
                return true;
            }
            Submit::Comment => {
                let reading = self.read();
                let shown = reading.screen.trim_start();
                let keys = reading.keys.trim_start();
                // With a count it takes the sign away where one stands.
                let bare = [keys, shown].iter().find_map(|it| it.strip_prefix('#'));
                if bare.is_none() && !self.editor.is_sure() && !reading.has_prompt {
                    self.conclude_unknown(now, actions);
                    return true;
                }
                let piece = match bare {
                    Some(bare) => bare.to_owned(),
                    None => format!("#{}", self.editor.text()),
                };
                let text = format!("{}{piece}", self.construct.pieces);
                if self.is_refused_elsewhere(now, &piece, "", &reading, actions)
                    || self.needs_more(now, &text, &piece, actions)
                {
                    return true;
                }
                let opinion = self.judgement.judge(text.as_bytes());
                let line = Line::new(text, Confidence::Likely, LineSource::Keys);
                self.conclude(now, opinion, line, actions);
                return true;
            }
            _ => {}
        }
        let waited = now.saturating_duration_since(since);
        let is_over = waited >= self.echo.longest_wait();
        let is_quiet =
            self.has_output.first_key && self.echo.settles_at(since).is_some_and(|at| at <= now);
        if submit != Submit::Letter && self.is_asking(waited, is_quiet, actions) {
            return false;
        }
        let mut reading = self.read();
        if reading.agrees && (!self.echo.has_shown_edits() || self.keys_doubted) && !is_quiet {
            // It may show the line as it was before the last keys.
            reading.agrees = false;
        }
        if reading.agrees {
            self.echo.see_agreement();
        }
        if submit == Submit::Letter {
            return self.release_letter(now, &reading, is_quiet, is_over, actions);
        }
        let is_answered = self
            .query
            .as_ref()
            .is_some_and(|query| query.answer.is_some());
        let is_half_shown = !is_answered
            && waited < self.half_shown_wait()
            && self.editor.is_sure()
            && reading.shows_half();
        if let Some(held) = &mut self.held {
            held.is_half_shown = is_half_shown;
        }
        if is_half_shown {
            return false;
        }
        if is_answered && !is_quiet && !is_over && self.waits_for_redraw(&reading) {
            return false;
        }
        if !is_answered && !reading.agrees && !is_quiet && !is_over {
            return false;
        }
        if !is_answered
            && !is_quiet
            && !is_over
            && !self.is_anchor_quiet
            && self.would_refuse(&reading)
        {
            return false;
        }
        // Text alone is the line, unless letters were given another meaning.
        let expects_echo = self.keys_doubted
            || self.echo.has_edits()
                && self.screen.has_bracketed_paste()
                && !self.foreground.is_echo_off();
        if !is_answered
            && !is_quiet
            && !reading.agrees
            && !reading.keys.is_empty()
            && (expects_echo || !reading.is_sure)
            && (!reading.is_hidden || self.keys_doubted && !self.foreground.may_ask_for_secret())
        {
            reading.forget();
        }
        self.judge(now, &reading, submit, actions);
        true
    }

    /// Sends a letter that is text by what the screen shows; another may run the line.
    fn release_letter(
        &mut self,
        now: Instant,
        reading: &Reading,
        is_quiet: bool,
        is_over: bool,
        actions: &mut Actions,
    ) -> bool {
        let is_text = self.behind_escape.is_text(&reading.screen, reading.agrees);
        if !is_text && !is_quiet && !is_over {
            return false;
        }
        if !is_text {
            let is_sign = self.held.as_ref().is_some_and(|held| *held.key == *b"#");
            let texts = [&reading.keys, &reading.screen];
            let is_known = (reading.is_sure || reading.has_prompt)
                && self.construct.pieces.is_empty()
                && !texts.iter().any(|text| text.contains(['!', '^', '\n']));
            if !(is_sign && is_quiet && is_known) {
                self.conclude_unknown(now, actions);
                return true;
            }
            // In vi mode `#` puts the sign in front of the line, or takes it away, and runs that:
            // harmless where the line is, for a sign begins a comment in some shells only.
            for text in texts {
                let bare = text.trim_start().trim_start_matches('#');
                let opinion = self.judgement.judge(bare.as_bytes());
                if opinion.is_refusal() {
                    let line = Line::new(bare, Confidence::Opaque, LineSource::Keys);
                    self.conclude(now, opinion, line, actions);
                    return true;
                }
            }
        }
        if let Some(held) = self.held.take() {
            for byte in &held.key {
                self.edit(now, Key::Char(char::from(*byte)));
            }
            self.vi = ViMode::Insert;
            actions.forward(held.key);
        }
        true
    }

    /// What comes of a key that runs what nobody knows.
    fn conclude_unknown(&mut self, now: Instant, actions: &mut Actions) {
        let opinion = self.judgement.judge_unknown();
        let line = Line::new(JudgedLine::UNKNOWN, Confidence::Opaque, LineSource::Keys);
        self.conclude(now, opinion, line, actions);
    }

    /// Sends the held key and starts the next line.
    pub(super) fn release(&mut self, actions: &mut Actions) {
        let Some(held) = self.held.take() else { return };
        actions.forward(held.key);
        match held.submit {
            Submit::Quoted => {
                // Whoever took it as Enter has a new line now, a line editor has a longer one.
                self.editor.insert('\n');
                self.editor.apply(Key::Unknown);
            }
            Submit::Operate => {
                self.finish_line();
                self.editor.doubt();
                self.is_operating = true;
            }
            _ => self.finish_line(),
        }
    }

    /// Sends a held `^D` that changes the line or nothing.
    pub(super) fn release_key(&mut self, actions: &mut Actions) {
        if let Some(held) = self.held.take() {
            actions.forward(held.key);
            self.ended_file = Some(self.editor.text());
            self.editor.apply(Key::Control(0x04));
            self.construct.may_be_over();
        }
    }

    /// Sends the bytes `before` of `chunk`, and holds the one behind them.
    pub(super) fn hold(
        &mut self,
        now: Instant,
        chunk: &Bytes,
        before: Range<usize>,
        submit: Submit,
        actions: &mut Actions,
    ) {
        let at = before.end;
        actions.forward(chunk.slice(before));
        let behind = chunk.slice(at + 1..);
        self.backlog_bytes += behind.len();
        if !behind.is_empty() {
            self.backlog.push_front(behind);
        }
        self.held = Some(Held {
            key: chunk.slice(at..=at),
            submit,
            since: now,
            is_half_shown: false,
        });
    }

    /// Whether a shell reads the keys, whose line editor may be in vi mode.
    pub(super) fn may_be_vi(&self) -> bool {
        self.starts_with_shell && !self.is_full_screen() && !self.foreground.is_other_language()
    }
}
