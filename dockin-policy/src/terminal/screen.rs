//! What the user's screen shows behind the prompt.

use std::{borrow::Cow, num::NonZeroU16};

use unicode_width::UnicodeWidthChar;

/// The emulated screen of one session, with an anchor at the end of the prompt.
///
/// Only the container's output is drawn here, not what a gateway adds, because
/// positions must be those that the shell believes in. Memory is bounded by
/// 500 × 300 cells; there is no scrollback.
pub struct Screen {
    parser: vt100::Parser<Scrolled>,
    guard: TextGuard,
    anchor: Option<Anchor>,
    last_prompt: String,
    line_feeds: u64,
    /// Start of a character whose rest has not come, at most three bytes.
    cut_character: Vec<u8>,
}

/// Where the line starts.
#[derive(Clone, Debug)]
struct Anchor {
    /// Row counted from the first row of the session, including those scrolled away.
    row: u64,
    column: u16,
    prompt: String,
    right: String,
}

#[derive(Debug, Default)]
struct Scrolled(u64);

impl vt100::Callbacks for Scrolled {
    fn on_scroll(&mut self, _row: vt100::capture::RowContents<'_>, alternate_screen: bool) {
        if !alternate_screen {
            self.0 += 1;
        }
    }
}

impl Screen {
    /// Makes an empty screen; sizes outside `8..=500` × `2..=300` are clamped.
    #[must_use]
    pub fn new(columns: u16, rows: u16) -> Self {
        let (rows, columns) = bounded(columns, rows);
        Self {
            parser: vt100::Parser::new_with_callbacks(rows, columns, 0, Scrolled::default()),
            guard: TextGuard::default(),
            anchor: None,
            last_prompt: String::new(),
            line_feeds: 0,
            cut_character: Vec::new(),
        }
    }

    /// Follows the user's window.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        let (rows, columns) = bounded(columns, rows);
        self.parser.set_size(rows, columns);
    }

    /// Draws output of the container.
    pub fn process(&mut self, output: &[u8]) {
        let mut rest = output;
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(rest.len().min(CHUNK));
            rest = behind;
            self.line_feeds += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
            let mut whole = std::mem::take(&mut self.cut_character);
            let chunk = if whole.is_empty() {
                chunk
            } else {
                whole.extend_from_slice(chunk);
                whole.as_slice()
            };
            // The emulator can lose a character when the one before it was cut in two.
            let (chunk, cut) = chunk.split_at(chunk.len() - cut_character(chunk));
            self.cut_character = cut.to_vec();
            let Self { parser, guard, .. } = self;
            let visible = visible(chunk);
            guard.filter(&visible, |bytes| parser.process(bytes));
        }
    }

    /// Line feeds drawn since the session opened.
    #[must_use]
    pub fn line_feeds(&self) -> u64 {
        self.line_feeds
    }

    /// True while a full-screen program shows the other buffer.
    #[must_use]
    pub fn is_alternate(&self) -> bool {
        self.parser.screen().alternate_screen()
    }

    /// True while the foreground program asks for paste marks, as line editors do at their prompt.
    #[must_use]
    pub fn has_bracketed_paste(&self) -> bool {
        self.parser.screen().bracketed_paste()
    }

    /// Remembers the cursor as the start of a line; the text left of it is the prompt.
    ///
    /// With `may_be_filled`, a row that begins with the prompt of the line before
    /// and goes on is taken as a line that holds something before its first key:
    /// the anchor is set in front of it, and true is returned.
    pub fn set_anchor(&mut self, may_be_filled: bool) -> bool {
        let (row, column) = self.parser.screen().cursor_position();
        let left = self.left_of(row, column);
        let right = self.right_of(row, column).trim().to_owned();
        let prefilled = may_be_filled
            && !self.last_prompt.trim().is_empty()
            && left.len() > self.last_prompt.len()
            && left.starts_with(&self.last_prompt);
        let (column, prompt) = if prefilled {
            (
                self.column_behind(row, &self.last_prompt),
                self.last_prompt.clone(),
            )
        } else {
            (column, left)
        };
        self.last_prompt.clone_from(&prompt);
        self.anchor = Some(Anchor {
            row: self.parser.callbacks().0 + u64::from(row),
            column,
            prompt,
            right,
        });
        prefilled
    }

    /// Takes what stands left of the cursor for a prompt: the line begins here.
    pub fn begin_here(&mut self) {
        let (row, column) = self.parser.screen().cursor_position();
        self.last_prompt = self.left_of(row, column);
    }

    /// Forgets where the line started.
    pub fn clear_anchor(&mut self) {
        self.anchor = None;
    }

    /// True while a line is open.
    #[must_use]
    pub fn has_anchor(&self) -> bool {
        self.anchor.is_some()
    }

    /// The prompt in front of the open line, or of the last one.
    #[must_use]
    pub fn prompt(&self) -> &str {
        self.anchor
            .as_ref()
            .map_or(self.last_prompt.as_str(), |anchor| anchor.prompt.as_str())
    }

    /// What stands behind the prompt, across soft wraps, without trailing blanks.
    ///
    /// Rows that are not joined by a wrap are separated by a line feed. `None`
    /// when there is no anchor or its row is gone. The prompt may stand in
    /// several rows: after listed completions the last one counts
    /// (`redrawn`), otherwise the one that was anchored, because a recalled
    /// line of several rows can contain a copy of the prompt.
    #[must_use]
    pub fn line(&self, redrawn: bool) -> Option<String> {
        let anchor = self.anchor.as_ref()?;
        let (cursor, _) = self.parser.screen().cursor_position();
        let start = self.anchor_row(anchor, cursor, redrawn)?;
        let mut text = String::new();
        let mut row = start;
        loop {
            let from = if row == start { anchor.column } else { 0 };
            text.push_str(&self.right_of(row, from));
            let wraps = self.parser.screen().row_wrapped(row);
            if !wraps && row >= cursor || row >= self.rows().saturating_sub(1) {
                break;
            }
            if !wraps {
                text.push('\n');
            }
            row += 1;
        }
        let text = text.trim_end();
        let text = match text.strip_suffix(anchor.right.as_str()) {
            Some(rest) if !anchor.right.is_empty() => rest.trim_end(),
            _ => text,
        };
        Some(text.to_owned())
    }

    /// The whole logical row under the cursor, prompt included, without trailing blanks.
    #[must_use]
    pub fn cursor_line(&self) -> String {
        let (cursor, _) = self.parser.screen().cursor_position();
        let mut text = String::new();
        for row in self.cursor_line_row()..self.rows() {
            text.push_str(&self.right_of(row, 0));
            if row >= cursor && !self.parser.screen().row_wrapped(row) {
                break;
            }
        }
        text.trim_end().to_owned()
    }

    /// Whether [`Self::cursor_line`] begins with `text`, which does not end in a blank.
    #[must_use]
    pub fn cursor_line_starts_with(&self, text: &str) -> bool {
        // A character has as many bytes as columns at least.
        match u16::try_from(text.len()) {
            Ok(columns) if columns <= self.columns() => self
                .left_of(self.cursor_line_row(), columns)
                .starts_with(text),
            _ => self.cursor_line().starts_with(text),
        }
    }

    /// True when `text` stands anywhere on the screen, across soft wraps.
    #[must_use]
    pub fn shows(&self, text: &str) -> bool {
        let mut all = String::new();
        for row in 0..self.rows() {
            all.push_str(&self.right_of(row, 0));
            if !self.parser.screen().row_wrapped(row) {
                all.push('\n');
            }
        }
        all.contains(text)
    }

    /// The last row that is not empty, where pagers and editors ask.
    #[must_use]
    pub fn bottom_line(&self) -> String {
        (0..self.rows())
            .rev()
            .map(|row| self.right_of(row, 0).trim_end().to_owned())
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }

    /// The first row of the logical row under the cursor.
    fn cursor_line_row(&self) -> u16 {
        let screen = self.parser.screen();
        let (mut row, _) = screen.cursor_position();
        while row > 0 && screen.row_wrapped(row - 1) {
            row -= 1;
        }
        row
    }

    fn anchor_row(&self, anchor: &Anchor, cursor: u16, redrawn: bool) -> Option<u16> {
        let expected = anchor.row.checked_sub(self.parser.callbacks().0);
        let expected = expected
            .and_then(|row| u16::try_from(row).ok())
            .filter(|row| *row <= cursor);
        let shows_prompt = |row: &u16| self.left_of(*row, anchor.column) == anchor.prompt;
        if anchor.prompt.trim().is_empty() {
            return expected;
        }
        let nearest = || (0..=cursor).rev().find(shows_prompt);
        if redrawn {
            nearest()
        } else {
            expected.filter(shows_prompt).or_else(nearest)
        }
    }

    /// The text of a row up to column `to`, filled up with blanks.
    fn left_of(&self, row: u16, to: u16) -> String {
        let to = to.min(self.columns());
        let screen = self.parser.screen();
        // The emulator looks for a row fast only as one of several.
        let mut text = match row.checked_sub(1) {
            None => screen.contents_between(row, 0, row, to),
            Some(above) => {
                let mut text = screen.contents_between(above, self.columns(), row, to);
                if text.starts_with('\n') {
                    text.remove(0);
                }
                text
            }
        };
        fill(&mut text, usize::from(to));
        text
    }

    /// What a row adds to its line from column `from` on: all of it where the line goes on below,
    /// else without the blanks at its end.
    fn right_of(&self, row: u16, from: u16) -> String {
        let screen = self.parser.screen();
        let from = from.min(self.columns());
        let mut text = screen.contents_between(row, from, row.saturating_add(1), 0);
        if screen.row_wrapped(row) {
            fill(&mut text, usize::from(self.columns() - from));
        } else {
            text.truncate(text.trim_end().len());
        }
        text
    }

    fn column_behind(&self, row: u16, prompt: &str) -> u16 {
        (0..self.columns())
            .find(|column| self.left_of(row, *column).len() >= prompt.len())
            .unwrap_or(0)
    }

    fn columns(&self) -> u16 {
        self.parser.screen().size().1.get()
    }

    fn rows(&self) -> u16 {
        self.parser.screen().size().0.get()
    }
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Screen")
            .field("anchor", &self.anchor)
            .finish_non_exhaustive()
    }
}

/// Cuts operating-system commands that do not end, so that the emulator's buffer stays small.
#[derive(Debug, Default)]
struct TextGuard {
    state: TextState,
    length: usize,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum TextState {
    #[default]
    Ground,
    Escape,
    Inside,
}

impl TextGuard {
    fn filter(&mut self, chunk: &[u8], mut draw: impl FnMut(&[u8])) {
        if self.state == TextState::Ground && !chunk.contains(&0x1b) {
            draw(chunk);
            return;
        }
        let mut start = 0;
        for (at, byte) in chunk.iter().enumerate() {
            let dropping = self.state == TextState::Inside && self.length >= MAX_TEXT;
            match (self.state, *byte) {
                (TextState::Escape, b']') => {
                    self.state = TextState::Inside;
                    self.length = 0;
                }
                (TextState::Inside, 0x07 | 0x18 | 0x1a) => self.state = TextState::Ground,
                (_, 0x1b) => self.state = TextState::Escape,
                (TextState::Inside, _) => self.length += 1,
                _ => self.state = TextState::Ground,
            }
            let drops = self.state == TextState::Inside && self.length >= MAX_TEXT;
            if drops && !dropping {
                draw(chunk.get(start..at).unwrap_or_default());
            }
            if drops {
                start = at + 1;
            }
        }
        draw(chunk.get(start..).unwrap_or_default());
    }
}

/// Adds blanks to what stands in so many columns.
fn fill(text: &mut String, columns: usize) {
    let filled = if text.is_ascii() {
        text.len()
    } else {
        text.chars().filter_map(UnicodeWidthChar::width).sum()
    };
    text.extend(std::iter::repeat_n(' ', columns.saturating_sub(filled)));
}

/// Puts a question mark where a terminal draws a replacement character, which the emulator leaves out.
fn visible(chunk: &[u8]) -> Cow<'_, [u8]> {
    match str::from_utf8(chunk) {
        Ok(text) if !text.contains(char::REPLACEMENT_CHARACTER) => Cow::Borrowed(chunk),
        _ => Cow::Owned(
            String::from_utf8_lossy(chunk)
                .replace(char::REPLACEMENT_CHARACTER, "?")
                .into_bytes(),
        ),
    }
}

/// Bytes at the end of `chunk` that start a UTF-8 character and do not end it.
fn cut_character(chunk: &[u8]) -> usize {
    for (behind, byte) in (1..=3).zip(chunk.iter().rev()) {
        let length = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 0,
        };
        return if length > behind { behind } else { 0 };
    }
    0
}

fn bounded(columns: u16, rows: u16) -> (NonZeroU16, NonZeroU16) {
    let clamp = |value: u16, least: u16, most: u16| {
        NonZeroU16::new(value.clamp(least, most)).unwrap_or(NonZeroU16::MIN)
    };
    (clamp(rows, 2, MAX_ROWS), clamp(columns, 8, MAX_COLUMNS))
}

/// Most columns emulated.
const MAX_COLUMNS: u16 = 500;
/// Most rows emulated.
const MAX_ROWS: u16 = 300;
/// Bytes handed to the emulator at once.
const CHUNK: usize = 16 * 1024;
/// Bytes of one operating-system command that reach the emulator, which keeps them all.
const MAX_TEXT: usize = 4096;

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use proptest::prelude::*;

    use super::*;

    fn at_prompt(columns: u16, rows: u16) -> Screen {
        let mut screen = Screen::new(columns, rows);
        screen.process(b"$ ");
        screen.set_anchor(true);
        screen
    }

    #[test]
    fn the_line_is_what_stands_behind_the_prompt() {
        let mut screen = at_prompt(80, 24);
        assert_eq!(screen.line(false).as_deref(), Some(""));
        screen.process(b"ls -la  ");
        assert_eq!(screen.line(false).as_deref(), Some("ls -la"));
        screen.process("\r$ echo 漢字\x1b[K".as_bytes());
        assert_eq!(screen.line(false).as_deref(), Some("echo 漢字"));
        assert_eq!(screen.prompt(), "$ ");
    }

    #[test]
    fn a_wrapped_line_is_one_line_even_after_scrolling() {
        let mut screen = Screen::new(10, 3);
        screen.process(b"a\r\nb\r\n$ ");
        screen.set_anchor(true);
        screen.process(b"0123456789abcdefghij");
        assert_eq!(screen.line(false).as_deref(), Some("0123456789abcdefghij"));
    }

    #[test]
    fn the_prompt_is_found_again_after_a_redraw() {
        let mut screen = at_prompt(80, 24);
        screen.process(b"rm");
        screen.process(b"\r\n\r\n\r\nrmdir rmail\r\n$ rm -r");
        assert_eq!(screen.line(true).as_deref(), Some("rm -r"));
        screen.process(b"\x1b[H\x1b[2J$ rm -rf");
        assert_eq!(screen.line(false).as_deref(), Some("rm -rf"));
    }

    #[test]
    fn a_line_that_was_filled_before_the_first_key_is_seen() {
        let mut screen = at_prompt(80, 24);
        screen.process(b"ls\r\n$ rm -rf /");
        assert!(screen.set_anchor(true));
        assert_eq!(screen.line(false).as_deref(), Some("rm -rf /"));
    }

    #[test]
    fn a_right_prompt_is_not_part_of_the_line() {
        let mut screen = Screen::new(20, 4);
        screen.process(b"$             [right]\x1b[3G");
        screen.set_anchor(true);
        screen.process(b"ls");
        assert_eq!(screen.line(false).as_deref(), Some("ls"));
    }

    #[test]
    fn an_operating_system_command_without_end_does_not_grow_the_emulator() {
        let mut screen = at_prompt(80, 24);
        screen.process(b"\x1b]0;");
        for _ in 0..1000 {
            screen.process(&[b'x'; 4096]);
        }
        assert!(screen.guard.length <= MAX_TEXT + 1 || screen.guard.state == TextState::Inside);
        screen.process(b"\x07ls");
        assert_eq!(screen.line(false).as_deref(), Some("ls"));
    }

    /// The cells of a row from one column up to another, as they are drawn.
    fn cells(screen: &Screen, row: u16, columns: std::ops::Range<u16>) -> String {
        let mut text = String::new();
        for column in columns {
            match screen.parser.screen().cell(row, column) {
                Some(cell) if cell.is_wide_continuation() => {}
                Some(cell) if cell.has_contents() => text.push_str(cell.contents()),
                _ => text.push(' '),
            }
        }
        text
    }

    proptest! {
        /// What is read of a row is what its cells have.
        #[test]
        fn rows_are_read_as_they_are_drawn(
            bytes in "([ -~]|[é漢]|\\x1b\\[[0-9]{1,2}[CGKdD]|\\x1b\\[J|\r|\n|\t){0,120}",
            column in 0_u16..20,
        ) {
            let mut screen = Screen::new(20, 4);
            screen.process(bytes.as_bytes());
            for row in 0..4 {
                let continues = |column| {
                    screen.parser.screen().cell(row, column).is_some_and(vt100::Cell::is_wide_continuation)
                };
                prop_assert_eq!(screen.left_of(row, 20), cells(&screen, row, 0..20));
                // A prompt ends behind a character.
                if !continues(column) {
                    prop_assert_eq!(screen.left_of(row, column), cells(&screen, row, 0..column));
                    let right = cells(&screen, row, column..20);
                    let right = if screen.parser.screen().row_wrapped(row) {
                        right.as_str()
                    } else {
                        right.trim_end()
                    };
                    prop_assert_eq!(screen.right_of(row, column), right);
                }
            }
            let line = screen.cursor_line();
            for begin in [line.get(..3), line.get(..30), Some("x"), Some("")].into_iter().flatten() {
                prop_assert_eq!(screen.cursor_line_starts_with(begin), line.starts_with(begin));
            }
        }

        /// No output panics, however it is cut, and the cut does not matter.
        #[test]
        fn any_output_is_drawn_the_same_in_one_piece_and_in_two(
            bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0_usize..400,
        ) {
            let (mut whole, mut cut) = (at_prompt(20, 4), at_prompt(20, 4));
            let at = at.min(bytes.len());
            whole.process(&bytes);
            cut.process(&bytes[..at]);
            cut.process(&bytes[at..]);
            prop_assert_eq!(whole.cursor_line(), cut.cursor_line());
            prop_assert_eq!(whole.line(true), cut.line(true));
        }
    }
}
