//! Where a line editor in vi mode is: some letters run the line there.

use crate::terminal::Key;

/// What the next letter is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ViMode {
    /// Text.
    Insert,
    /// A command: `v` opens an editor whose text is run, `#` makes a comment or takes one away.
    Command,
    /// Behind `c`: how far to change.
    Change,
}

impl ViMode {
    /// What `line` switches a shell to, if it does: vi mode, or another.
    pub(super) fn set_by(line: &str) -> Option<Option<Self>> {
        let words = line
            .split(|c: char| c.is_whitespace() || c == ';')
            .map(|word| word.trim_matches(['\'', '"']))
            .filter(|word| !word.is_empty());
        let mut found = None;
        let mut before = "";
        for word in words {
            match (before, word) {
                ("-o" | "setopt" | "editing-mode", "vi") | ("bindkey", "-v") => {
                    found = Some(Some(Self::Insert));
                }
                ("-o" | "editing-mode", "emacs") | ("+o", "vi") | ("bindkey", "-e") => {
                    found = Some(None);
                }
                _ => {}
            }
            before = word;
        }
        found
    }

    /// What the letter behind `key` is.
    pub(super) const fn behind(self, key: Key) -> Self {
        match key {
            // Escape, and the letter behind it.
            Key::Alt(byte) => Self::Command.behind_letter(byte as char),
            Key::Char(letter) => self.behind_letter(letter),
            _ => self,
        }
    }

    const fn behind_letter(self, letter: char) -> Self {
        match (self, letter) {
            (Self::Insert, _) => Self::Insert,
            (Self::Command, 'i' | 'I' | 'a' | 'A' | 'C' | 's' | 'S' | 'R')
            | (
                Self::Change,
                'w' | 'W' | 'b' | 'B' | 'e' | 'E' | '0' | '$' | '^' | 'h' | 'l' | 'c' | ' ',
            ) => Self::Insert,
            (Self::Command, 'c') => Self::Change,
            (Self::Change, '1'..='9') => Self::Change,
            (Self::Command | Self::Change, _) => Self::Command,
        }
    }
}

/// What was typed behind an escape, in a shell that may be in vi mode since before the session: an
/// `.inputrc` or a profile of the container says so, and nobody here saw it.
///
/// Letters that are commands there are text for a line editor in emacs mode. Which it is shows in
/// the echo: text makes the line longer.
#[derive(Debug, Default)]
pub(super) struct BehindEscape {
    /// The line where the first letter came, when the screen had come to rest.
    before: Option<String>,
    typed: String,
}

impl BehindEscape {
    /// Takes the key that comes next; `line` is what the screen shows, when it is at rest.
    pub(super) fn take(&mut self, key: Key, line: impl FnOnce() -> Option<String>) {
        match key {
            Key::Char(letter) => {
                if self.typed.is_empty() {
                    self.before = line();
                }
                self.typed.push(letter);
            }
            _ => *self = Self::default(),
        }
    }

    /// Whether `line`, which the screen shows now, proves that what was typed is text; `agrees`:
    /// it is what an editor in emacs mode would show.
    pub(super) fn is_text(&self, line: &str, agrees: bool) -> bool {
        // What vi mode puts or does again could look the same.
        let is_plain = |letter: char| {
            letter.is_ascii_alphanumeric() && !"pPuU".contains(letter) || "/-,: ".contains(letter)
        };
        let has_grown = || {
            self.before.as_ref().is_some_and(|before| {
                line.trim_end().chars().count()
                    == before.trim_end().chars().count() + self.typed.trim_end().chars().count()
                    && line.contains(self.typed.trim_end())
            })
        };
        !self.typed.trim().is_empty() && self.typed.chars().all(is_plain) && (agrees || has_grown())
    }
}

#[cfg(test)]
mod tests {
    use super::{BehindEscape, Key, ViMode};

    fn behind(keys: &[Key]) -> ViMode {
        keys.iter()
            .fold(ViMode::Insert, |mode, key| mode.behind(*key))
    }

    #[test]
    fn letters_are_commands_between_escape_and_an_insertion() {
        assert_eq!(behind(&[Key::Char('v')]), ViMode::Insert);
        assert_eq!(behind(&[Key::Alt(b'k')]), ViMode::Command);
        assert_eq!(behind(&[Key::Alt(b'A')]), ViMode::Insert);
        assert_eq!(
            behind(&[Key::Alt(b'c'), Key::Char('w'), Key::Char('v')]),
            ViMode::Insert
        );
        // No such motion: the line stays as it was.
        assert_eq!(behind(&[Key::Alt(b'c'), Key::Char('x')]), ViMode::Command);
    }

    #[test]
    fn lines_switch_it_on_and_off() {
        assert_eq!(ViMode::set_by("set -o vi"), Some(Some(ViMode::Insert)));
        assert_eq!(ViMode::set_by("ls; bindkey -v"), Some(Some(ViMode::Insert)));
        assert_eq!(ViMode::set_by("set -o emacs"), Some(None));
        assert_eq!(ViMode::set_by("vi x"), None);
    }

    #[test]
    fn letters_are_text_where_they_made_the_line_longer() {
        let typed = |before: &str, text: &str| {
            let mut behind = BehindEscape::default();
            behind.take(Key::Alt(b'.'), || None);
            for letter in text.chars() {
                behind.take(Key::Char(letter), || Some(before.to_owned()));
            }
            behind
        };
        assert!(typed("ls a", "/x").is_text("ls a/x", false));
        assert!(typed("ls a", "x").is_text("xls a", true));
        // They moved the cursor, or put what was there before.
        assert!(!typed("ls ll", "ll").is_text("ls ll", false));
        assert!(!typed("pp", "p").is_text("ppp", true));
        assert!(!typed("ls a", "").is_text("ls a", true));
    }
}
