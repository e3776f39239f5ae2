//! A model of readline in emacs mode, driven by keys alone.

use super::Key;

/// Longest line the model holds, characters.
pub const MAX_LINE: usize = 65_536;

/// The line a shell with default bindings would hold after these keys.
///
/// The model follows insertion, deletion, movement, kill and yank. Whatever
/// depends on things it cannot see (history, completion, vi mode, macros,
/// unknown keys) makes it [unsure](Self::is_sure) until the line ends; the
/// text is then a guess and the screen must say what the line is.
///
/// Spec: GNU Readline manual, "Bindable Readline Commands".
#[derive(Clone, Debug, Default)]
pub struct LineEditor {
    text: Vec<char>,
    cursor: usize,
    kill: Option<Vec<char>>,
    killing: bool,
    unsure: bool,
    listed: bool,
    recalled: bool,
    touched: bool,
    quoting: bool,
    pasting: bool,
    full: bool,
}

impl LineEditor {
    /// Makes an empty line with an unknown kill buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the line holds, as far as the keys tell.
    #[must_use]
    pub fn text(&self) -> String {
        self.text.iter().collect()
    }

    /// True when nothing was inserted, or all of it was deleted again.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// True when the text follows from the keys under default bindings.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        !self.unsure
    }

    /// True when any key belonged to this line, even one without effect.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.touched
    }

    /// True when the cursor stands behind the last character.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.cursor == self.text.len()
    }

    /// True when the line was longer than [`MAX_LINE`] and its end is missing.
    #[must_use]
    pub fn is_overlong(&self) -> bool {
        self.full
    }

    /// True between the marks of a bracketed paste.
    #[must_use]
    pub fn is_pasting(&self) -> bool {
        self.pasting
    }

    /// True when the next key is inserted as it is, after `^V`.
    #[must_use]
    pub fn is_quoting(&self) -> bool {
        self.quoting
    }

    /// True when the only doubt is a completion, after which the prompt may be drawn again.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.listed && !self.recalled
    }

    /// Says that the line may hold something the keys do not show.
    pub fn doubt(&mut self) {
        self.unsure = true;
        self.recalled = true;
    }

    /// Starts the next line; what was killed can still be yanked.
    pub fn start_line(&mut self) {
        let kill = self.kill.take();
        *self = Self {
            kill,
            ..Self::default()
        };
    }

    /// Inserts `character` as text, whatever it is.
    pub fn insert(&mut self, character: char) {
        self.touched = true;
        if self.text.len() >= MAX_LINE {
            self.full = true;
            self.unsure = true;
            return;
        }
        self.text
            .insert(self.cursor.min(self.text.len()), character);
        self.cursor += 1;
        self.killing = false;
    }

    /// Applies one key that does not submit the line.
    pub fn apply(&mut self, key: Key) {
        if key != Key::Reply {
            self.touched = true;
        }
        if self.pasting || self.quoting {
            self.quoting = false;
            match key {
                Key::PasteEnd => self.pasting = false,
                Key::Char(character) => self.insert(character),
                Key::Control(b'\r' | b'\n') => self.insert('\n'),
                Key::Control(byte) => self.insert(char::from(byte)),
                _ => self.unsure = true,
            }
            return;
        }
        let was_killing = std::mem::take(&mut self.killing);
        match key {
            Key::Char(character) => self.insert(character),
            Key::Invalid(_) => {
                self.insert(char::REPLACEMENT_CHARACTER);
                self.unsure = true;
            }
            Key::Left => self.cursor = self.cursor.saturating_sub(1),
            Key::Right => self.cursor = (self.cursor + 1).min(self.text.len()),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.text.len(),
            Key::Delete => self.delete(self.cursor, self.cursor + 1),
            Key::PasteStart => self.pasting = true,
            Key::Control(byte) => self.control(byte, was_killing),
            Key::Alt(byte) => self.alt(byte, was_killing),
            // A terminal answers at the prompt; in the middle of a line readline
            // may take part of an answer for text.
            Key::Reply => self.unsure |= !self.text.is_empty(),
            Key::PasteEnd | Key::Function => {}
            Key::Up | Key::Down | Key::Unknown => self.doubt(),
        }
    }

    fn control(&mut self, byte: u8, was_killing: bool) {
        match byte {
            0x01 => self.cursor = 0,
            0x02 => self.cursor = self.cursor.saturating_sub(1),
            0x03 => self.start_line(),
            0x04 => self.delete(self.cursor, self.cursor + 1),
            0x05 => self.cursor = self.text.len(),
            0x06 => self.cursor = (self.cursor + 1).min(self.text.len()),
            0x08 | 0x7f => {
                let end = self.cursor;
                self.cursor = end.saturating_sub(1);
                self.delete(self.cursor, end);
            }
            0x0b => self.kill(self.cursor, self.text.len(), was_killing, Side::After),
            // Redraws; NUL sets the mark. Neither changes the line.
            0x00 | 0x0c => {}
            b'\t' => {
                self.unsure = true;
                self.listed = true;
            }
            0x14 => self.transpose(),
            0x15 => {
                // zsh and the kernel kill the whole line, readline what is left of the cursor.
                self.unsure |= !self.is_at_end();
                self.kill(0, self.cursor, was_killing, Side::Before);
            }
            0x16 => self.quoting = true,
            0x17 => {
                let start = self.word_start(|character| !character.is_whitespace());
                self.kill(start, self.cursor, was_killing, Side::Before);
            }
            0x19 => self.yank(),
            0x1a => self.unsure |= !self.text.is_empty(),
            _ => self.doubt(),
        }
    }

    fn alt(&mut self, byte: u8, was_killing: bool) {
        match byte {
            b'b' => self.cursor = self.word_start(char::is_alphanumeric),
            b'f' => self.cursor = self.word_end(),
            b'd' => self.kill(self.cursor, self.word_end(), was_killing, Side::After),
            0x08 | 0x7f => {
                let start = self.word_start(char::is_alphanumeric);
                self.kill(start, self.cursor, was_killing, Side::Before);
            }
            _ => self.doubt(),
        }
    }

    fn delete(&mut self, start: usize, end: usize) {
        let end = end.min(self.text.len());
        if start < end {
            self.text.drain(start..end);
        }
    }

    fn kill(&mut self, start: usize, end: usize, append: bool, side: Side) {
        self.killing = true;
        if start >= end || end > self.text.len() {
            return;
        }
        let cut: Vec<char> = self.text.drain(start..end).collect();
        self.cursor = start;
        let kept = self.kill.take().filter(|_| append).unwrap_or_default();
        let (mut first, second) = match side {
            Side::Before => (cut, kept),
            Side::After => (kept, cut),
        };
        first.extend(second);
        first.truncate(MAX_LINE);
        self.kill = Some(first);
    }

    fn yank(&mut self) {
        let Some(killed) = &self.kill else {
            self.unsure = true;
            return;
        };
        if self.text.len() + killed.len() > MAX_LINE {
            self.full = true;
            self.unsure = true;
            return;
        }
        let at = self.cursor.min(self.text.len());
        self.text.splice(at..at, killed.iter().copied());
        self.cursor = at + killed.len();
    }

    fn transpose(&mut self) {
        let length = self.text.len();
        if self.cursor == 0 || length < 2 {
            return;
        }
        let right = self.cursor.min(length - 1);
        self.text.swap(right - 1, right);
        self.cursor = right + 1;
    }

    fn word_start(&self, is_word: impl Fn(char) -> bool) -> usize {
        let before = self.text.get(..self.cursor).unwrap_or_default();
        let trailing = before
            .iter()
            .rev()
            .take_while(|character| !is_word(**character))
            .count();
        let word = before
            .iter()
            .rev()
            .skip(trailing)
            .take_while(|character| is_word(**character))
            .count();
        self.cursor - trailing - word
    }

    fn word_end(&self) -> usize {
        let after = self.text.get(self.cursor..).unwrap_or_default();
        let leading = after
            .iter()
            .take_while(|character| !character.is_alphanumeric())
            .count();
        let word = after
            .iter()
            .skip(leading)
            .take_while(|character| character.is_alphanumeric())
            .count();
        self.cursor + leading + word
    }
}

/// On which side of what was killed before a further kill is added.
#[derive(Clone, Copy)]
enum Side {
    Before,
    After,
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use proptest::prelude::*;

    use super::{super::KeyDecoder, *};

    fn typed(bytes: &[u8]) -> LineEditor {
        let mut decoder = KeyDecoder::new();
        let mut editor = LineEditor::new();
        for byte in bytes {
            if let Some(key) = decoder.feed(*byte) {
                editor.apply(key);
            }
        }
        editor
    }

    #[test]
    fn edits_give_what_readline_gives() {
        for (keys, line) in [
            (&b"rmx\x7f -rf"[..], "rm -rf"),
            (b"m -rf\x01r", "rm -rf"),
            (b"rxm\x01\x06\x04", "rm"),
            (b"echo harmless\x15rm", "rm"),
            (b"rm foo\x17-rf", "rm -rf"),
            (b"mr\x14", "rm"),
            (b"rm XX -rf\x01\x1bf\x1bd", "rm -rf"),
            (b"abc\x1b[D\x1b[D\x1b[3~", "ac"),
            (b"a b c\x17\x17\x19", "a b c"),
            (b"one two\x01\x0b\x19\x19", "one twoone two"),
            (b"x\x1b[200~a\tb\rc\x1b[201~", "xa\tb\nc"),
            (b"a\x16\x01b", "a\u{1}b"),
            (b"one/two\x1b\x7fx", "one/x"),
            (b"abc\x03ls", "ls"),
        ] {
            let editor = typed(keys);
            assert_eq!(editor.text(), line, "{}", keys.escape_ascii());
            assert!(editor.is_sure(), "{}", keys.escape_ascii());
        }
    }

    #[test]
    fn what_the_model_cannot_follow_makes_it_unsure_until_the_line_ends() {
        for keys in [
            &b"re\t"[..],
            b"\x1b[A",
            b"\x12rm",
            b"\x10",
            b"\x19",
            b"r\x1b[99~m",
            b"\x1b.",
            b"a\xff",
        ] {
            let mut editor = typed(keys);
            assert!(!editor.is_sure(), "{}", keys.escape_ascii());
            editor.start_line();
            assert!(editor.is_sure());
        }
    }

    #[test]
    fn a_line_beyond_the_limit_is_known_to_be_cut() {
        let mut editor = LineEditor::new();
        for _ in 0..=MAX_LINE {
            editor.insert('x');
        }
        assert!(editor.is_overlong() && !editor.is_sure());
        assert_eq!(editor.text().len(), MAX_LINE);
    }

    proptest! {
        /// No keys panic, and the cursor stays inside the text.
        #[test]
        fn any_bytes_keep_the_cursor_inside_the_text(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let editor = typed(&bytes);
            prop_assert!(editor.cursor <= editor.text.len());
        }
    }
}
