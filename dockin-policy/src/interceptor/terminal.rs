//! A person at a terminal: keys, echo, and the Enter that is held between them.

mod construct;
mod echo;
mod holding;
mod judging;
mod refusing;
mod vi;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use self::{
    construct::Construct,
    echo::Echo,
    refusing::Refused,
    vi::{BehindEscape, ViMode},
};
use super::{
    action::Actions,
    foreground::Foreground,
    judgement::Judgement,
    query::{Answer, Answers, BufferQuery, Message},
    reading::{SEARCH, searched},
};
use crate::{
    RuleSet, WeekTime,
    terminal::{Key, KeyDecoder, LineEditor, Screen},
};

/// Watches one terminal.
///
/// Keys go to the container at once, except one that submits a line: it and
/// everything behind it wait until the line is judged.
///
/// ```text
/// typing ──submit key──▶ held ──keys and screen agree──────────▶ judge (sure)
///                          │──echo of all keys there, quiet────▶ judge (likely)
///                          └──longer than echo ever took───────▶ judge (keys, or opaque)
/// ```
///
/// A refused submit key is swallowed and `^C` is sent in its place: bash, dash,
/// zsh and busybox ash all drop the line, and draw a fresh prompt below the
/// message. Nothing is sent until a line feed shows that they did: bash loses an
/// interrupt that a key follows closely. If it does not come in [`CLEAR_WAIT`],
/// `^E ^U` follows, for a shell in which interrupts are ignored. What cannot be
/// told to be dropped counts as part of the next line, which is refused with it;
/// after some of these the session ends. No printable byte is ever typed into
/// the shell. A program that was running is interrupted, as if the user had
/// pressed `^C`. What was typed ahead behind the refused line is dropped, as a
/// terminal drops it at `^C`.
///
/// Lines of an unfinished command go on one by one, each only if what the shell
/// has by then may run as it is: it runs that when its input ends. So a refused
/// line of a here-document is only taken out, by `^E ^U`, and the user ends the
/// document or interrupts it himself: busybox ash with interrupts ignored would
/// take `^C` for its end.
#[derive(Debug)]
pub(super) struct Terminal {
    judgement: Judgement,
    decoder: KeyDecoder,
    editor: LineEditor,
    screen: Screen,
    foreground: Foreground,
    /// False when the session's own program is not a shell.
    starts_with_shell: bool,
    backlog: VecDeque<Bytes>,
    backlog_bytes: usize,
    held: Option<Held>,
    half_close: bool,
    ended: bool,
    construct: Construct,
    /// The line up to its last end of file.
    ended_file: Option<String>,
    refused: Option<Refused>,
    /// When the `^C` for a refused line was sent, until the shell has answered.
    clearing: Option<Instant>,
    echo: Echo,
    /// Pieces of output when the line began.
    outputs_at_anchor: u64,
    has_output: Since,
    /// The anchor was set after the output had become quiet.
    is_anchor_quiet: bool,
    /// The last prompt at rest.
    shell_prompt: String,
    /// Something stood behind the prompt before the first key.
    is_filled: bool,
    /// The line follows `^O`, which fetches it from the history.
    is_operating: bool,
    /// What keys mean to a line editor in vi mode, if it is in that.
    vi: ViMode,
    /// A line of this session switched vi mode on.
    is_vi_told: bool,
    behind_escape: BehindEscape,
    /// The last key was `^X`, the start of a readline chord.
    chord: bool,
    /// Inside a refused bracketed paste, whose rest is swallowed.
    drops_paste: bool,
    /// The line has keys that search the history.
    searches: bool,
    /// The line that waits for a second person, and whether it was typed without echo.
    waiting: Option<Waiting>,
    /// A prompt variable was set: prompts prove nothing any more.
    prompt_changed: bool,
    /// Line feeds when a line was sent on that only goes to a folder.
    went_at: Option<u64>,
    /// A line may have given keys another meaning, or left something behind that draws.
    keys_doubted: bool,
    query: Option<Query>,
}

/// A shell that can be asked for its edit buffer.
#[derive(Debug)]
struct Query {
    answers: Answers,
    /// The shell that knows the key has said that it is at its prompt, and no line has gone to it
    /// since, other than pieces of one that is not complete.
    at_prompt: bool,
    /// The held line was asked for.
    asked: bool,
    answer: Option<Answer>,
    /// Questions in a row that nobody answered.
    misses: u8,
}

/// Whether the container has sent anything since these moments.
#[derive(Debug, Default)]
struct Since {
    submit: bool,
    first_key: bool,
}

/// A submit key that waits.
#[derive(Debug)]
struct Held {
    key: Bytes,
    submit: Submit,
    since: Instant,
    /// The screen shows the beginning of the line and no more.
    is_half_shown: bool,
}

/// What a held key would do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Submit {
    /// Ends the line.
    Line,
    /// Ends the line, and readline puts the next one of its history in place.
    Operate,
    /// Ends the line after a `#` was put in front of it.
    Comment,
    /// Behind `^V`: text for a line editor, the end of the line for anything else.
    Quoted,
    /// `^D`: a deletion for a line editor, the end of the line for the kernel.
    EndOfFile,
    /// Opens an editor on the line and runs what comes out of it.
    Editor,
    /// Text, or in vi mode one of the last two.
    Letter,
}

/// A line that waits for a second person.
#[derive(Debug, Default)]
struct Waiting {
    text: String,
    /// It was typed without echo.
    is_hidden: bool,
    /// More lines follow it.
    is_piece: bool,
}

impl Terminal {
    pub(super) fn new(
        judgement: Judgement,
        argv: &[String],
        starts_with_shell: bool,
        size: (u16, u16),
    ) -> Self {
        let mut foreground = Foreground::default();
        foreground.start(std::slice::from_ref(&argv.to_vec()), "");
        Self {
            judgement,
            decoder: KeyDecoder::new(),
            editor: LineEditor::new(),
            screen: Screen::new(size.0, size.1),
            foreground,
            starts_with_shell,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            held: None,
            half_close: false,
            ended: false,
            construct: Construct::default(),
            ended_file: None,
            refused: None,
            clearing: None,
            echo: Echo::default(),
            outputs_at_anchor: 0,
            has_output: Since::default(),
            is_anchor_quiet: false,
            shell_prompt: String::new(),
            is_filled: false,
            is_operating: false,
            vi: ViMode::Insert,
            is_vi_told: false,
            behind_escape: BehindEscape::default(),
            chord: false,
            drops_paste: false,
            searches: false,
            waiting: None,
            prompt_changed: false,
            went_at: None,
            keys_doubted: false,
            query: None,
        }
    }

    pub(super) fn ask(&mut self, query: &BufferQuery) {
        self.query = Some(Query {
            answers: Answers::new(query),
            at_prompt: false,
            asked: false,
            answer: None,
            misses: 0,
        });
    }

    pub(super) const fn judgement(&mut self) -> &mut Judgement {
        &mut self.judgement
    }

    pub(super) fn set_rules(&mut self, rules: Arc<RuleSet>) {
        self.judgement.set_rules(rules);
    }

    pub(super) const fn set_time(&mut self, time: WeekTime) {
        self.judgement.set_time(time);
    }

    pub(super) fn handle_stdin(&mut self, now: Instant, bytes: Bytes, actions: &mut Actions) {
        if self.ended {
            return;
        }
        self.backlog_bytes += bytes.len();
        if self.backlog_bytes > MAX_BACKLOG {
            self.ended = true;
            self.backlog.clear();
            actions.end(format!("more than {MAX_BACKLOG} bytes typed ahead"));
            return;
        }
        let bytes = self.take_back(now, bytes, actions);
        self.backlog.push_back(bytes);
        self.run(now, actions);
    }

    pub(super) fn handle_half_close(&mut self, now: Instant, actions: &mut Actions) {
        self.half_close = true;
        self.run(now, actions);
    }

    pub(super) fn handle_resize(&mut self, columns: u16, rows: u16) {
        self.screen.resize(columns, rows);
    }

    pub(super) fn handle_output(&mut self, now: Instant, bytes: &[u8], actions: &mut Actions) {
        self.screen.process(bytes);
        self.see_erased(bytes);
        if let Some(query) = &mut self.query {
            for message in query.answers.feed(bytes) {
                match message {
                    Message::Prompt => query.at_prompt = true,
                    Message::Answer(answer) if query.asked => {
                        query.answer = Some(answer);
                        query.misses = 0;
                    }
                    // Nobody asked.
                    Message::Answer(_) => {}
                }
            }
        }
        self.echo.see_output(now);
        if self.echo.is_first_awaited()
            && let Some(line) = self.screen.line(false)
            && !line.is_empty()
            && self.editor.text().starts_with(&line)
        {
            self.echo.see_first(now);
        }
        self.has_output = Since {
            submit: true,
            first_key: true,
        };
        self.run(now, actions);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, actions: &mut Actions) {
        self.run(now, actions);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if let Some(until) = self.judgement.poll_timeout() {
            return Some(until);
        }
        if let Some(since) = self.clearing {
            return Some(since + CLEAR_WAIT);
        }
        let held = self.held.as_ref()?;
        if self
            .query
            .as_ref()
            .is_some_and(|query| query.asked && query.answer.is_none())
        {
            return Some(held.since + ANSWER_WAIT);
        }
        if held.is_half_shown {
            return Some(held.since + self.half_shown_wait());
        }
        let longest = held.since + self.echo.longest_wait();
        // Without any echo there is nothing to become quiet.
        let settled = self.echo.settles_at(held.since);
        let settled = settled.filter(|_| self.has_output.first_key || self.is_full_screen());
        Some(settled.map_or(longest, |settled| settled.min(longest)))
    }

    fn run(&mut self, now: Instant, actions: &mut Actions) {
        if let Some((opinion, settlement)) = self.judgement.approvals.expire(now, actions) {
            self.settle(now, opinion, &settlement, actions);
        }
        // Without an answer in time the line is judged as it is.
        let _over = self.judgement.sizes.expire(now);
        if self.judgement.is_waiting() {
            return;
        }
        if !self.is_cleared(now, actions) {
            return;
        }
        while self.clearing.is_none() {
            if self.held.is_some() && !self.try_release(now, actions) {
                return;
            }
            if self.judgement.is_waiting() {
                return;
            }
            let Some(chunk) = self.backlog.pop_front() else {
                break;
            };
            self.backlog_bytes -= chunk.len();
            self.scan(now, chunk, actions);
        }
        if self.clearing.is_none() && std::mem::take(&mut self.half_close) {
            actions.half_close();
        }
    }

    /// Forwards keys up to the first one that must wait.
    fn scan(&mut self, now: Instant, chunk: Bytes, actions: &mut Actions) {
        let mut start = 0;
        // A terminal sends a sequence at once: what comes later may be letters behind an escape.
        let mut is_late = !self.decoder.is_between_keys();
        for (at, byte) in chunk.iter().copied().enumerate() {
            is_late &= !self.decoder.is_between_keys();
            if is_late && matches!(byte, b'v' | b'#') && self.may_be_vi() && !self.drops_paste {
                self.decoder = KeyDecoder::new();
                self.editor.doubt();
                self.behind_escape = BehindEscape::default();
                self.hold(now, &chunk, start..at, Submit::Letter, actions);
                return;
            }
            if self.decoder.is_between_keys() && !self.editor.is_touched() && !self.is_full_screen()
            {
                self.begin_line(now);
            }
            let Some(key) = self.decoder.feed(byte) else {
                continue;
            };
            if self.drops_paste {
                start = at + 1;
                self.drops_paste = key != Key::PasteEnd;
                continue;
            }
            let Some(submit) = self.submit(key) else {
                self.edit(now, key);
                if self.is_refused_paste(now, actions) {
                    start = at + 1;
                }
                continue;
            };
            self.hold(now, &chunk, start..at, submit, actions);
            return;
        }
        actions.forward(chunk.slice(start..));
    }

    /// True while the line editor reads a search text, in which the key would be one more.
    fn is_searching(&self) -> bool {
        let begins = |text| self.screen.cursor_line_starts_with(text);
        // bash runs into an error at a key of our kind there.
        begins(SEARCH) && searched(&self.screen.cursor_line()).is_some()
            // vi mode draws the text in place of prompt and line.
            || (begins("/") || begins("?")) && self.screen.line(false).is_none()
    }

    fn begin_line(&mut self, now: Instant) {
        self.is_anchor_quiet = self.has_output.submit
            && self
                .echo
                .last_output()
                .is_none_or(|output| now.saturating_duration_since(output) >= SETTLED);
        self.has_output.first_key = false;
        self.outputs_at_anchor = self.echo.outputs();
        if std::mem::take(&mut self.is_operating) {
            self.is_anchor_quiet = true;
        }
        // Before the echo of the last Enter has come, the row is still that of the last line.
        self.is_filled = self.screen.set_anchor(self.is_anchor_quiet);
        let feeds = self.screen.line_feeds();
        if let Some(at) = self.went_at.take()
            && self.is_anchor_quiet
            && feeds.saturating_sub(at) <= 1
            && !self.screen.prompt().trim().is_empty()
        {
            self.judgement.arrive();
        }
        if self.is_anchor_quiet && !self.prompt_changed {
            self.foreground.see_prompt(self.screen.prompt());
            self.screen.prompt().clone_into(&mut self.shell_prompt);
            if !self.keys_doubted {
                self.construct.see_prompt(self.screen.prompt());
            }
        }
    }

    /// What `key` submits, if it does.
    fn submit(&mut self, key: Key) -> Option<Submit> {
        let is_command = self.vi != ViMode::Insert;
        if !self.editor.is_pasting() && !self.editor.is_quoting() {
            self.vi = self.vi.behind(key);
            match key {
                Key::Char('v') if is_command && self.is_vi_told && !self.is_full_screen() => {
                    return Some(Submit::Editor);
                }
                Key::Char('#') if is_command && self.is_vi_told => return Some(Submit::Comment),
                Key::Char('v' | '#') if is_command && self.may_be_vi() => {
                    return Some(Submit::Letter);
                }
                _ => {}
            }
        }
        let chord = std::mem::replace(&mut self.chord, key == Key::Control(0x18));
        let literal = self.editor.is_pasting() && self.screen.has_bracketed_paste();
        match key {
            Key::Control(b'\r' | b'\n') if literal => None,
            Key::Control(b'\r' | b'\n') if self.editor.is_quoting() => Some(Submit::Quoted),
            Key::Control(b'\r' | b'\n') => Some(Submit::Line),
            _ if self.editor.is_pasting() || self.editor.is_quoting() => None,
            Key::Alt(b'\r' | b'\n') => {
                self.editor.doubt();
                Some(Submit::Line)
            }
            Key::Control(0x0f) => Some(Submit::Operate),
            Key::Alt(b'#') => Some(Submit::Comment),
            Key::Control(0x05) if chord => Some(Submit::Editor),
            // `^X e` plays a macro, which may have an Enter in it.
            Key::Char('e') if chord => Some(Submit::Editor),
            Key::Alt(b'v') if !self.is_full_screen() => Some(Submit::Editor),
            Key::Control(0x04) if !self.editor.is_empty() => {
                let edits = self.screen.has_bracketed_paste()
                    && !self.editor.is_at_end()
                    && self.editor.is_sure();
                (!edits).then_some(Submit::EndOfFile)
            }
            _ => None,
        }
    }

    fn edit(&mut self, now: Instant, key: Key) {
        let was_touched = self.editor.is_touched();
        self.echo.see_key(now, matches!(key, Key::Char(_)));
        let is_at_rest = self
            .echo
            .last_output()
            .is_some_and(|output| now.saturating_duration_since(output) >= SETTLED);
        let screen = &self.screen;
        self.behind_escape
            .take(key, || is_at_rest.then(|| screen.line(false)).flatten());
        match key {
            // The kernel drops the line at an interrupt even in the middle of a paste.
            Key::Control(0x03) => {
                if !self.is_full_screen() {
                    self.see_interrupt(self.editor.text());
                }
                self.editor.start_line();
                self.construct.is_interrupted();
                self.leave_prompt();
            }
            Key::Control(0x04) if self.editor.is_empty() => {
                self.editor.apply(key);
                self.construct.may_be_over();
                self.leave_prompt();
            }
            _ => {
                self.searches |= matches!(key, Key::Control(0x12 | 0x13));
                self.editor.apply(key);
            }
        }
        let is_answer = key == Key::Reply && !was_touched;
        if is_answer || matches!(key, Key::Control(0x03 | 0x1a)) && self.editor.is_empty() {
            self.next_line();
        }
    }

    fn finish_line(&mut self) {
        self.construct.advance(&self.judgement);
        self.leave_prompt();
        self.has_output.submit = false;
        self.next_line();
    }

    fn next_line(&mut self) {
        if let Some(query) = &mut self.query {
            query.asked = false;
            query.answer = None;
        }
        self.echo.next_line();
        self.editor.start_line();
        self.screen.clear_anchor();
        self.vi = ViMode::Insert;
        self.behind_escape = BehindEscape::default();
        self.chord = false;
        self.ended_file = None;
        self.is_filled = false;
        self.searches = false;
    }

    /// What reads the next keys may not be the shell that can be asked.
    const fn leave_prompt(&mut self) {
        if let Some(query) = &mut self.query {
            query.at_prompt = false;
        }
    }

    fn half_shown_wait(&self) -> Duration {
        HALF_SHOWN_WAIT.max(self.echo.longest_wait())
    }

    fn is_full_screen(&self) -> bool {
        self.screen.is_alternate() && self.foreground.is_full_screen() && !self.shows_shell_prompt()
    }
}

/// An asked shell is waited for this long: it has said that it is at its prompt, so it will answer,
/// however slow its machine is.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// A line of which only the beginning shows is waited for this long: a shell that is kept from
/// running has drawn a part of it.
const HALF_SHOWN_WAIT: Duration = Duration::from_secs(1);
/// Output before the first key of a line is a prompt if it is older than this.
const SETTLED: Duration = Duration::from_millis(10);
/// How long a shell may take to drop a refused line before the next key is tried.
const CLEAR_WAIT: Duration = Duration::from_millis(150);
/// Unanswered questions after which a shell is not asked again.
const MAX_MISSES: u8 = 3;
/// Most bytes that wait behind a held key.
const MAX_BACKLOG: usize = 1024 * 1024;
