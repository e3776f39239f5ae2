//! How the shell is made to drop a refused line, and how it shows that it did.

use std::time::Instant;

use bytes::Bytes;

use super::{CLEAR_WAIT, Terminal};
use crate::{
    interceptor::{action::Actions, approval::Settlement, judgement::Opinion, refusal},
    terminal::KeyDecoder,
};

/// A line that may still stand in the shell's buffer, because it was refused or interrupted.
#[derive(Debug)]
pub(super) struct Refused {
    /// What the shell holds if it did not drop it.
    pub(super) text: String,
    line_feeds: u64,
    /// Pieces of output so far.
    outputs: u64,
    /// The prompt in front of it.
    prompt: String,
    /// The lines before it stay: only this one is taken out, without `^C`.
    is_left_out: bool,
    /// The user pressed `^C` himself.
    is_by_user: bool,
    /// The last output since the kill keys were sent.
    tail: Option<Vec<u8>>,
    /// Refusals in a row that the shell did not answer.
    attempts: u8,
}

impl Terminal {
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        opinion: &Opinion,
        text: &str,
        is_hidden: bool,
        actions: &mut Actions,
    ) {
        actions.draw(false, refusal::on_terminal(opinion.verdict(), is_hidden));
        self.drop_line(now, text, actions);
    }

    /// Carries out what became of a line that waited for a second person.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        opinion: Opinion,
        settlement: &Settlement,
        actions: &mut Actions,
    ) {
        let waiting = self.waiting.take().unwrap_or_default();
        actions.draw(false, refusal::settled_on_terminal(settlement));
        if !settlement.is_approval() {
            self.drop_line(now, &waiting.text, actions);
        } else if waiting.is_piece {
            self.keep_pieces(waiting.text + "\n", actions);
        } else {
            self.accept(opinion, &waiting.text, waiting.is_hidden, actions);
        }
    }

    /// Makes the shell drop the line that was refused.
    fn drop_line(&mut self, now: Instant, text: &str, actions: &mut Actions) {
        self.held = None;
        self.backlog.clear();
        self.backlog_bytes = 0;
        self.decoder = KeyDecoder::new();
        if self.editor.is_pasting() {
            actions.forward(Bytes::from_static(b"\x1b[201~"));
        }
        let before = self.refused.take().filter(|refused| !refused.is_by_user);
        let attempts = before.as_ref().map_or(0, |refused| refused.attempts) + 1;
        // A shell that ignores interrupts may take ^C for the end of its input, and run what it
        // has: that must not be a part of what was refused.
        let is_left_out = self.would_run_pieces();
        let text = match before {
            Some(before) => before.text,
            None if is_left_out => text
                .strip_prefix(self.construct.pieces.as_str())
                .unwrap_or(text)
                .to_owned(),
            None => text.to_owned(),
        };
        self.refused = Some(Refused {
            text,
            line_feeds: self.screen.line_feeds(),
            outputs: self.echo.outputs(),
            prompt: self.screen.prompt().to_owned(),
            is_left_out,
            is_by_user: false,
            tail: None,
            attempts,
        });
        if attempts > MAX_ATTEMPTS {
            self.end(KEPT, actions);
            return;
        }
        if is_left_out {
            actions.draw(false, refusal::left_open());
            self.send_kill_keys(actions);
        } else {
            actions.forward(Bytes::from_static(b"\x03"));
            self.construct.is_interrupted();
        }
        self.clearing = Some(now);
        self.next_line();
    }

    /// Nothing more goes on.
    pub(super) fn end(&mut self, why: &str, actions: &mut Actions) {
        self.held = None;
        self.ended = true;
        self.backlog.clear();
        actions.end(why);
    }

    fn send_kill_keys(&mut self, actions: &mut Actions) {
        actions.forward(Bytes::from_static(b"\x05\x15"));
        if let Some(refused) = &mut self.refused {
            refused.tail = Some(Vec::new());
        }
    }

    /// The user interrupts the line `text`, which a shell may ignore.
    pub(super) fn see_interrupt(&mut self, text: String) {
        if text.trim().is_empty() || self.refused.is_some() {
            return;
        }
        self.refused = Some(Refused {
            text,
            line_feeds: self.screen.line_feeds(),
            outputs: self.echo.outputs(),
            prompt: self.screen.prompt().to_owned(),
            is_left_out: false,
            is_by_user: true,
            tail: None,
            attempts: 0,
        });
    }

    /// Looks for the kernel's echo of the kill keys: it erases what it had, and so has nothing.
    pub(super) fn see_erased(&mut self, output: &[u8]) {
        let Some(tail) = self
            .refused
            .as_mut()
            .and_then(|refused| refused.tail.as_mut())
        else {
            return;
        };
        tail.extend_from_slice(output);
        if memchr::memmem::find(tail, ERASED).is_some() {
            self.refused = None;
            self.screen.begin_here();
        } else {
            let keep = tail.len().saturating_sub(ERASED.len());
            tail.drain(..keep);
        }
    }

    /// Whether what was refused is on its way out; false while that takes its time.
    pub(super) fn is_cleared(&mut self, now: Instant, actions: &mut Actions) -> bool {
        let Some(since) = self.clearing else {
            return true;
        };
        let is_over = now.saturating_duration_since(since) >= CLEAR_WAIT;
        let (is_clear, is_sent) = self.refused.as_ref().map_or((true, true), |refused| {
            let has_line = self.screen.line_feeds() > refused.line_feeds;
            (!refused.is_left_out && has_line, refused.tail.is_some())
        });
        if !is_clear && !is_over {
            return false;
        }
        // A line feed may come from something else where keys were given another meaning.
        if !is_sent && (!is_clear || self.keys_doubted) {
            self.send_kill_keys(actions);
        }
        self.clearing = None;
        true
    }

    /// Forgets a refused line once the shell has shown that it dropped it.
    pub(super) fn confirm_refusal(&mut self) {
        let Some(refused) = &self.refused else { return };
        let last = refused.text.lines().next_back().unwrap_or_default().trim();
        let has_line = self.screen.line_feeds() > refused.line_feeds
            && (last.is_empty() || !self.screen.prompt().contains(last));
        // The prompt stands there alone, and was drawn since.
        let is_prompt = self.is_anchor_quiet
            && self.outputs_at_anchor > refused.outputs
            && !self.is_filled
            && !refused.prompt.trim().is_empty()
            && self.screen.prompt() == refused.prompt;
        let is_trusted = !self.keys_doubted && !refused.is_left_out;
        if is_prompt || has_line && is_trusted {
            self.refused = None;
        }
    }
}

/// What the kernel echoes for the kill keys: the first, and that it is erased again.
const ERASED: &[u8] = b"^E\x08 \x08\x08 \x08";
/// Refusals in a row after which a shell that shows no sign is left.
const MAX_ATTEMPTS: u8 = 3;
/// Why a session ends whose shell may run a refused line at any time.
const KEPT: &str = "refused: the shell does not show that it dropped a refused line (does it ignore interrupts?); open a new session";
